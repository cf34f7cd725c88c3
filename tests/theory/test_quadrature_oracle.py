"""Moments of named activations without closed forms against many digits, at any variance and gap."""

import json
import math

import exact_moments
import mpmath as mp
import pytest
import torch

import resnet_sde as rs

CLOSE = 1e-10  # the contract
ORACLE = json.loads(exact_moments.ORACLE.read_text(encoding="utf-8"))
NAMES = list(exact_moments.FUNCTIONS)


def wrong(found: torch.Tensor, exact: torch.Tensor) -> float:
    """The largest relative error."""
    return float((found / exact - 1).abs().max())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("moment", ["dual", "dual_prime", "difference"])
def test_pairs(name: str, moment: str) -> None:
    rows = torch.tensor(ORACLE[name], dtype=torch.float64).T
    assert rows.shape == (6, len(exact_moments.POINTS))
    exact = rows[3 + ["dual", "dual_prime", "difference"].index(moment)]
    found = getattr(rs.activation(name), moment)(rows[0], rows[1], gap=rows[2])
    assert wrong(found, exact) < CLOSE
    assert wrong(found * (1 + 1e-8), exact) > CLOSE  # planted


MANY_DIGITS = {
    "silu": lambda x: x / (1 + mp.exp(-x)),
    "softplus": lambda x: mp.log1p(mp.exp(x)) if x < 0 else x + mp.log1p(mp.exp(-x)),
    "mish": lambda x: x * mp.tanh(mp.log1p(mp.exp(x))),
    "elu": lambda x: x if x > 0 else mp.expm1(x),
    "hard-tanh": lambda x: max(-1, min(1, x)),
    "sin": mp.sin,
}


@pytest.mark.parametrize("name", MANY_DIGITS)
@pytest.mark.parametrize("q", [1e-8, 0.3, 1e3, 1e8])
def test_one_variable_in_thirty_digits(name: str, q: float) -> None:
    phi, f = rs.activation(name), MANY_DIGITS[name]
    if name == "sin" and q > 1:
        pytest.skip("oscillates; its moments are elementary")
    with mp.workdps(30):
        root = mp.sqrt(mp.mpf(q))
        ends = sorted({0, *(e for x in (1, 4, 12, 40) if (e := x / root) < 10), 3, 6, 11})
        ends = [-e for e in ends[:0:-1]] + ends
        square = mp.quad(lambda z: f(root * z) ** 2 * mp.npdf(z), ends)
        mean = mp.quad(lambda z: f(root * z) * mp.npdf(z), ends)
    at = torch.tensor(q, dtype=torch.float64)
    assert float(phi.second_moment(at)) == pytest.approx(float(square), rel=1e-11)
    assert float(phi.mean(at)) == pytest.approx(float(mean), rel=1e-11, abs=1e-11 * math.sqrt(square))


def test_many_gaps_are_those_one_by_one() -> None:
    """From a table, at both ends and between its nodes."""
    gap = torch.cat(
        [torch.logspace(-14, 0.3, 300, dtype=torch.float64), torch.tensor([0.0, 2.0 - 1e-9, 2.0])]
    )
    for name in ("silu", "elu"):
        phi = rs.activation(name)
        for q1, q2 in ((1.0, 1.0), (1e4, 3.0)):
            a, b = torch.tensor([q1, q2], dtype=torch.float64)
            size = (phi.second_moment(a) * phi.second_moment(b)).sqrt()
            for moment, scale in (("dual", size), ("difference", 0 * size)):
                whole = getattr(phi, moment)(a, b, gap=gap)
                some = torch.cat([getattr(phi, moment)(a, b, gap=part) for part in gap[::7].split(20)])
                assert ((whole[::7] - some).abs() <= CLOSE * torch.maximum(some.abs(), scale)).all()


def test_moments_are_differentiated() -> None:
    """Price's theorem through autograd; where a kink makes masses of derivatives, it says so."""
    q1 = torch.tensor([0.4, 2.0], dtype=torch.float64, requires_grad=True)
    q2, gap = torch.tensor([0.7, 0.6], dtype=torch.float64), torch.tensor([0.2, 1.3], dtype=torch.float64)
    phi, step = rs.activation("mish"), 1e-4
    for moment in ("dual", "dual_prime", "mean_curvature"):
        f = getattr(phi, moment)
        (slope,) = torch.autograd.grad(f(q1, q2, gap=gap).sum(), q1)
        at = q1.detach()
        near = (f(at + step, q2, gap=gap) - f(at - step, q2, gap=gap)) / (2 * step)
        torch.testing.assert_close(slope, near, rtol=1e-6, atol=1e-8)
    with pytest.raises(ValueError, match="kinks"):
        torch.autograd.grad(rs.activation("hard-tanh").dual_prime(q1, q2, gap=gap).sum(), q1)


@pytest.mark.parametrize(
    ("name", "sigma_w2", "sigma_b2", "label"),
    [
        *((name, 2.0, 1.0, "critical-divergent") for name in ("silu", "softplus", "elu", "mish")),
        ("elu", 2.0, 1e-12, "critical-divergent"),
        ("selu", 2 / 1.0507009873554805**2, 1.0, "critical-divergent"),
        ("silu", 4.0, 0.1, "divergent"),
        ("hard-tanh", 1.0, 0.0, "degenerate"),
        ("sin", 1.0, 0.0, "degenerate"),
        ("hard-tanh", 4.0, 0.1, "chaotic"),
    ],
)
def test_where_lengths_go(name: str, sigma_w2: float, sigma_b2: float, label: str) -> None:
    assert rs.meanfield.phase(rs.activation(name), sigma_w2, sigma_b2).label == label


def test_lengths_creep_up_from_nothing() -> None:
    """SiLU is x / 2 + x² / 4 − …: V(q) = q + 3 q² / 4 at σ_w² = 4."""
    for q0 in (1e-12, 1e-60):
        assert rs.meanfield.phase(rs.activation("silu"), 4.0, q0=q0).label == "divergent"
    assert rs.meanfield.phase(rs.activation("silu"), 3.9, q0=1e-12).label == "degenerate"
