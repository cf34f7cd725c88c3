"""Sweeps over the rate at three depths: training beside torch's optimizers, and crossings of a fixed loss."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr

from experiments.execution import Execution
from experiments.own import depth_transfer as transfer
from experiments.own.transferred import COPIED, FACTORIES, LETTERS, TOKENS, examples, text
from resnet_sde.streams import generator


@pytest.fixture(autouse=True)
def float32(float64_by_default: None) -> None:
    torch.set_default_dtype(torch.float32)


KINDS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@pytest.mark.usefixtures("global_random")
@pytest.mark.parametrize("optimizer", KINDS)
def test_networks_side_by_side_are_trained_as_one_alone(optimizer: str) -> None:
    scheme = transfer.Scheme("multiplier", optimizer, (-6, -6, -6))
    nets = [FACTORIES["multiplier"](3) for _ in range(2)]
    rates = {name: torch.tensor([0.01, 0.03]) for name, _ in nets[0].named_parameters()}
    found = transfer.trained(nets, rates, scheme, 5, [(0, 0), (0, 1)])
    for sample, (net, rate) in enumerate(zip(nets, (0.01, 0.03), strict=True)):
        source = generator(0, "depth transfer", "batches", sample)
        steps = KINDS[optimizer](net.parameters(), lr=rate)
        for _ in range(5):
            x, y = examples("digits", 32, source)
            loss = F.cross_entropy(net(x), y)
            steps.zero_grad()
            loss.backward()
            steps.step()
        assert float(found[sample]) == pytest.approx(loss.item(), rel=1e-4)  # the last fifth of five steps


def made_up(deep: float) -> xr.Dataset:
    """Losses that come down to 0.2 at the rates 2^-5.5, 2^(-5.5 + deep / 2) and 2^(-5.5 + deep)."""
    shifts = np.array([0.0, deep / 2, deep])
    rates = np.arange(-8.0, -3) + shifts.round()[:, None]
    loss = 0.2 * np.exp(-(rates + 5.5 - shifts[:, None]))[None, :, :, None].repeat(3, -1)
    loss[0, 0, -1] = np.inf
    loss[..., 2] = np.nan  # a network that only the other task has
    numbers = {
        "loss": (("scheme", "place", "rate", "sample"), loss),
        "log2_rate": (("scheme", "place", "rate"), rates[None]),
        "level": (("scheme",), [0.2]),
        "depth": (("scheme", "place"), [[8, 32, 128]]),
        "law": (("scheme", "of"), [[-1.0, -1.1, -0.9]]),
    }
    name = "SGD, 1/√L in weights, one rate"
    return xr.Dataset(numbers, {"scheme": [name], "of": list(transfer.ENDS)})


@pytest.mark.parametrize("deep", [0.0, -3.25])
def test_the_crossing_of_a_fixed_loss(deep: float) -> None:
    ds = made_up(deep)
    (name,) = ds.scheme.values
    assert transfer.crossings(ds, name)[0] == pytest.approx(np.full(2, -5.5))
    assert transfer.shift(ds, name).value == pytest.approx(deep)
    assert transfer.shift(ds, name, 1).value == pytest.approx(deep / 2)
    assert transfer.predicted(ds, name) == pytest.approx(-4.0)
    lost = ds.assign(loss=ds.loss + 10)
    assert np.isnan(transfer.crossings(lost, name)).all()
    assert np.isnan(transfer.shift(lost, name).value)


@pytest.mark.usefixtures("global_random")
def test_rates_by_the_law() -> None:
    scheme = transfer.SCHEMES["GPT, 1/√(2L) in weights, by the law"]
    found = transfer.factors(scheme, FACTORIES[scheme.factory](2), 4.0)
    assert {found["embedding"], found["positions"], found["readout.weight"]} == {None}  # they keep their rate
    blocks = {name.split(".")[2]: rate for name, rate in found.items() if name.startswith("blocks.1.")}
    assert blocks == {"o": 0.25, "down": 0.25, "qkv": 0.5, "up": 0.5}


def test_the_text_repeats_itself() -> None:
    """A letter is that two places before with the chance that is said, within five standard errors."""
    letters = text(4000, generator(0, "text"))
    for lag, chance in ((2, COPIED + (1 - COPIED) / LETTERS), (1, 1 / LETTERS)):
        same = (letters[:, lag:] == letters[:, :-lag]).double()
        rows = same.mean(1)
        assert float(rows.mean()) == pytest.approx(chance, abs=5 * float(rows.std()) / len(rows) ** 0.5)
    x, y = examples("letters", 32, generator(0, "text"))
    assert x.shape == y.shape == (8, TOKENS)
    assert torch.equal(x[:, 1:], y[:, :-1])


def test_it_goes_on_from_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = transfer.DepthTransfer(
        schemes=("GPT, multiplier 1/√(2L), one rate",), letters=(3, 4, 5), steps=(1, 1), rates=2, rate_seeds=1
    )
    first = of.run(how=Execution(store=tmp_path))
    assert first.sizes["sample"] == 8
    assert np.isnan(first.loss[..., 6:]).all()
    assert np.isfinite(first.loss[..., :6]).all()
    monkeypatch.setattr("resnet_sde.runs.store.Store.save", None)  # nothing new is kept
    xr.testing.assert_identical(of.run(how=Execution(store=tmp_path)), first)


@pytest.mark.full
def test_a_rate_holds_on_digits_with_the_factor_in_the_graph() -> None:
    """From depth 8 to 128; with the factor in initial weights the same rate is far too large."""
    stays, moves = "SGD, multiplier 1/√L, one rate", "SGD, 1/√L in weights, one rate"
    ds = transfer.DepthTransfer(schemes=(stays, moves), samples=(3, 3)).run(seed=1)
    assert transfer.shift(ds, stays).value == pytest.approx(0.0, abs=0.4)
    assert transfer.shift(ds, moves).value < -2.4
