"""Moments by quadrature against closed forms, at any variance and gap, and what is refused."""

import math
from functools import partial

import pytest
import torch
from dual_references import GAPS, LENGTHS, PAIRS
from torch import Tensor
from torch.nn import functional

import resnet_sde as rs
from resnet_sde import Activation

CLOSE = 1e-11  # a hundred times what is seen; the contract is 1e-10
F64 = {"dtype": torch.float64}
KNOWN = {
    torch.tanh: rs.TANH,
    torch.sigmoid: rs.SIGMOID,
    torch.erf: rs.ERF,
    functional.gelu: rs.GELU,
    functional.relu: rs.RELU,
    torch.sin: rs.activation("sin"),
    partial(functional.leaky_relu, negative_slope=0.3): rs.LeakyReLU(0.3),
}
every_known = pytest.mark.parametrize(("f", "exact"), KNOWN.items(), ids=lambda x: getattr(x, "__name__", ""))


def points(largest: float = math.inf) -> tuple[Tensor, Tensor, Tensor]:
    variances = [(q, q) for q in LENGTHS] + PAIRS + [(b, a) for a, b in PAIRS] + [(20.0, 1e4), (300.0, 7.0)]
    kept = [pair for pair in variances if max(pair) <= largest]
    q1, q2 = torch.tensor(kept, **F64).T
    gap = torch.tensor([1e-12, 1e-5, 0.03, *GAPS], **F64)
    return q1[:, None], q2[:, None], gap


def assert_close(found: Tensor, exact: Tensor, size: Tensor | float = 0.0) -> None:
    """To 1e-11 of the number, or of its size where it may vanish."""
    scale = torch.maximum(exact.abs(), torch.as_tensor(size))
    assert ((found - exact).abs() <= CLOSE * scale).all(), ((found - exact).abs() / scale).max()


@every_known
def test_against_closed_forms(f: object, exact: Activation) -> None:
    phi = Activation.of(f)  # type: ignore[arg-type]
    q1, q2, gap = points(100.0 if f is torch.sin else math.inf)
    size = (exact.second_moment(q1) * exact.second_moment(q2)).sqrt()
    slopes = (exact.second_moment_prime(q1) * exact.second_moment_prime(q2)).sqrt()
    assert_close(phi.dual(q1, q2, gap=gap), exact.dual(q1, q2, gap=gap), size)
    assert_close(phi.dual_prime(q1, q2, gap=gap), exact.dual_prime(q1, q2, gap=gap), slopes)
    assert_close(phi.mean_curvature(q1, q2, gap=gap), exact.mean_curvature(q1, q2, gap=gap), slopes)
    near = gap >= 1e-12  # below, differences of numbers that are nearly the same count
    assert_close(phi.difference(q1, q2, gap=gap)[:, near], exact.difference(q1, q2, gap=gap)[:, near])
    q = q1[:, 0]
    assert_close(phi.mean(q), exact.mean(q), exact.second_moment(q).sqrt())
    for name in ("second_moment", "second_moment_prime", "second_moment_second"):
        found, expected = getattr(phi, name)(q), getattr(exact, name)(q)
        assert_close(found[expected.isfinite()], expected[expected.isfinite()])
        assert torch.equal(found.isinf(), expected.isinf())
    assert (phi.homogeneous, phi.odd) == (exact.homogeneous, exact.odd)
    assert phi.smooth in (exact.smooth, False)
