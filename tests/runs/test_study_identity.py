"""What a study keeps, it keeps under a name of everything that decides its numbers; or not at all."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from small_study import small

import resnet_sde as rs
from resnet_sde.propagate import Trajectory


def scaled(t: Trajectory) -> torch.Tensor:
    """An observable that reads a global."""
    return t.hidden.scaled[-1][:, :, 0] * SCALE


SCALE = 1.0


def files(store: Path) -> list[Path]:
    return sorted((store / "cells").glob("*"))


def unsteady(t: Trajectory) -> torch.Tensor:
    """An observable that reads what no key can cover."""
    return t.hidden.scaled[-1][:, :, 0] * (1.0 if NUMBERS is None else next(NUMBERS))


NUMBERS: Iterator[float] | None = None


def test_a_global_that_an_observable_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = small(store=tmp_path, observe=[scaled])
    monkeypatch.setattr(sys.modules[__name__], "SCALE", 3.0)
    second = small(store=tmp_path, observe=[scaled])
    np.testing.assert_array_equal(second.scaled, first.scaled * 3.0)
    assert len(files(tmp_path)) == 8


def test_what_no_key_covers_is_computed_anew_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With one sentence, and with its results."""
    found = []
    for factor in (1.0, 2.0):
        numbers = (factor for _ in range(100))
        monkeypatch.setattr(sys.modules[__name__], "NUMBERS", numbers)
        found.append(small(store=tmp_path, observe=[unsteady]).unsteady)
    np.testing.assert_array_equal(found[1], found[0] * 2.0)
    assert not files(tmp_path)
    messages = [line for line in caplog.messages if "computed anew, and not kept" in line]
    assert len(messages) == 2, "one for each study"
    assert messages[0].startswith("unsteady → NUMBERS is an object of type generator")


@dataclass(frozen=True)
class Steps(rs.Activation):
    """An activation with a table, of which a repr shows the ends."""

    table: np.ndarray

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return x * float(self.table[2500])

    def prime(self, x: torch.Tensor) -> torch.Tensor:
        return torch.full_like(x, float(self.table[2500]))


def test_an_array_in_an_activation(tmp_path: Path) -> None:
    def build(height: float) -> rs.Model:
        table = np.zeros(5000)
        table[2500] = height
        return rs.Model(rs.SingleLayer(Steps(table)), rs.WhiteNoise(), width=4, beta=0.5)

    low, high = (
        small(build=lambda height=height: build(height), over={}, depth=3, store=tmp_path)
        for height in (1.0, 3.0)
    )
    assert bool((high.displacement > low.displacement).all())
    assert len(files(tmp_path)) == 2
