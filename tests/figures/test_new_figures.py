"""What figures of correlated weights and of deferred ones are made with."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn_figures import (
    failures,
    smoke,
)

import resnet_sde as rs
from experiments.marion import correlated_weights as weights
from experiments.own import dense_and_deferred
from resnet_sde.matrices import Deferred
from resnet_sde.propagate import default_dtype


def test_deferred_weights_that_forget_are_noticed() -> None:
    """Looks back that are fresh in all directions, those included that were looked along before."""

    def without_memory(self: Deferred, p: torch.Tensor, scale: float) -> torch.Tensor:
        return self._source.normal_(torch.empty_like(p)) * p.norm(dim=-1, keepdim=True) * scale

    ds, settings = smoke("own/dense_and_deferred"), dense_and_deferred.BUDGETS["smoke"]
    with pytest.MonkeyPatch.context() as patch, default_dtype(torch.float32):
        patch.setattr(Deferred, "rmatvec", without_memory)
        found = dense_and_deferred.look(settings.model(), settings.depth, settings.samples, "deferred", 0)
    for name, values in zip(("ratio", "moved_product"), found, strict=True):
        ds[name].loc[{"weights": "deferred"}] = values
    noticed = failures("own/dense_and_deferred", ds)
    assert any(failure.startswith("deferred, largest |⟨p_0, h_0⟩") for failure in noticed)


def test_no_claim_is_about_time() -> None:
    ds = smoke("own/dense_and_deferred")
    slower = ds.assign(seconds=100 * ds.seconds)
    assert failures("own/dense_and_deferred", slower) == []


@pytest.mark.parametrize(("width", "inputs"), [(3, 1), (7, 2), (8, 5)])
def test_random_numbers_are_counted(width: int, inputs: int) -> None:
    assert dense_and_deferred.numbers("dense", width, inputs) == 2 * width**2
    assert dense_and_deferred.numbers("deferred", width, inputs) == 4 * width * inputs


class TestCorrelatedWeights:
    """At width 4, where correlations are of size 1/4; |z| < 4.42, a false alarm of 1e-5 each."""

    width, seed = 4, 42

    def draws(self, count: int, key: str) -> torch.Tensor:
        """√d V with rows of inputs, (draw, in, out)."""
        z = torch.randn(count, self.width**2, generator=rs.generator(0, key))
        return (z @ weights.symmetric_root(self.width, self.seed)).view(count, self.width, self.width)

    def test_the_root_makes_the_correlations(self) -> None:
        """What unit vectors become is their covariance; no sampling."""
        root, entries = (
            make(self.width, self.seed) for make in (weights.symmetric_root, weights.correlation)
        )
        np.testing.assert_allclose((root @ root.T).numpy(), entries, atol=1e-12)
        assert np.linalg.eigvalsh(entries)[0] == pytest.approx(0, abs=1e-12)  # rows are centred

    def test_mixed_paths_have_them_in_every_layer(self) -> None:
        root = weights.symmetric_root(self.width, self.seed)
        units = torch.eye(self.width**2).view(-1, self.width, self.width)
        for law in (weights.WHITE, weights.SMOOTH):
            path = law.path(3, (1, self.width, self.width), generator=rs.generator(0), dtype=torch.float64)
            kind = "fine" if law is weights.WHITE else "modes"
            layers = getattr(weights.mixed(replace(path, **{kind: units[:, None]}), root), kind)
            torch.testing.assert_close(layers.flatten(1), root)

    def test_mean_squares_given_them(self) -> None:
        entries = weights.correlation(self.width, self.seed)
        form = weights.outer_form(entries)
        count = 100_000
        outer, inner = self.draws(count, "outer"), self.draws(count, "inner")
        u = torch.tensor([1.0, -0.5, 0.3, 2.0])
        squares = (u @ outer).square().sum(-1) / self.width
        assert abs(self.z(squares, float(u.numpy() @ form @ u.numpy()))) < 4.42
        assert abs(self.z(squares, float(u.square().sum()))) > 4.42
        (factor,) = weights.branch_factors(entries, u.numpy()[None])
        branch = (torch.relu(u @ inner)[:, None] @ outer)[:, 0].square().sum(-1) / self.width**2
        assert abs(self.z(branch / u.square().sum(), factor)) < 4.42
        assert abs(self.z(branch / u.square().sum(), 0.5)) > 4.42

    @staticmethod
    def z(values: torch.Tensor, exact: float) -> float:
        return float((values.mean() - exact) / values.std()) * len(values) ** 0.5
