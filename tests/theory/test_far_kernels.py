"""Kernels of states of any size and of any ratio of lengths, against the recursion in sixty digits."""

import math
from collections.abc import Callable

import mpmath as mp
import pytest
import torch

import resnet_sde as rs
from resnet_sde import meanfield as mf
from resnet_sde.blocks import Block

mp.mp.dps = 60

Dual = Callable[[mp.mpf, mp.mpf, mp.mpf], mp.mpf]


def erf_dual(a: mp.mpf, b: mp.mpf, k: mp.mpf) -> mp.mpf:
    return 2 / mp.pi * mp.asin(2 * k / mp.sqrt((1 + 2 * a) * (1 + 2 * b)))


def relu_dual(a: mp.mpf, b: mp.mpf, k: mp.mpf) -> mp.mpf:
    size = mp.sqrt(a * b)
    angle = mp.acos(max(min(k / size, mp.mpf(1)), mp.mpf(-1)))
    return size * (mp.sin(angle) + (mp.pi - angle) * mp.cos(angle)) / (2 * mp.pi)


DUALS: dict[rs.Activation, Dual] = {rs.ERF: erf_dual, rs.RELU: relu_dual}


def gap_after(model: rs.Model, k0: list[list[float]], depth: int) -> float:
    """1 − cosine of two inputs after so many layers, entry by entry of their kernel."""
    block, dual = model.block, DUALS[model.block.activation]
    w, b, v, a = map(mp.mpf, block.variances)
    skip, alpha = mp.mpf(model.skip), mp.mpf(model.alpha(depth))
    k = {(i, j): mp.mpf(k0[i][j]) for i in (0, 1) for j in (0, 1)}
    modes = [mp.mpf(0), mp.mpf(0)]
    for _ in range(depth):
        r = {ij: w * value + b for ij, value in k.items()}
        means = [mp.mpf(0), mp.mpf(0)]
        if isinstance(block, rs.Reduced) and not block.activation.odd:
            means = [mp.sqrt(r[i, i] / (2 * mp.pi)) for i in (0, 1)]
        branch = {(i, j): v * dual(r[i, i], r[j, j], r[i, j]) + a for i, j in k}
        k = {
            (i, j): skip**2 * k[i, j]
            + skip * alpha * (modes[i] * means[j] + modes[j] * means[i])
            + alpha**2 * branch[i, j]
            for i, j in k
        }
        modes = [skip * mode + alpha * mean for mode, mean in zip(modes, means, strict=True)]
    return float(1 - k[0, 1] / mp.sqrt(k[0, 0] * k[1, 1]))


def of(block: Block, **more: float) -> rs.Model:
    return rs.Model(block, rs.WhiteNoise(), 8, **{"beta": 0.5, **more})


MODELS = {
    "res-1": of(rs.SingleLayer(rs.RELU)),
    "res-1 with a bias": of(rs.SingleLayer(rs.RELU, 1.0, 0.3)),
    "full": of(rs.TwoLayer(rs.ERF, 1.3, 0.2, 0.7, 0.1)),
    "feed-forward": of(rs.SingleLayer(rs.ERF, 1.5, 0.0), beta=0.0, skip=0.0),
    "feed-forward with a bias": of(rs.SingleLayer(rs.ERF, 1.5, 0.3), beta=0.0, skip=0.0),
    "reduced": of(rs.Reduced(rs.RELU), beta=1.0),
}


def matrix(q1: float, q2: float, cosine: float) -> list[list[float]]:
    cross = cosine * math.sqrt(q1) * math.sqrt(q2)
    return [[q1, cross], [cross, q2]]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("q1", "q2"),
    [
        (1.0, 1.0),
        (1.0, 1e24),
        (1e-24, 1.0),
        (1.0, 1e12),
        (1e-6, 1e6),
        (3.0, 40.0),
        (1e155, 1e155),
        (1e-170, 1e-170),
        (2e-170, 1e-170),
        (1e155, 1e140),
        (1e300, 1e290),
    ],
)
def test_the_cosine_of_any_two_lengths(name: str, q1: float, q2: float) -> None:
    model = MODELS[name]
    k0 = matrix(q1, q2, 0.4)
    found = mf.kernel(model, torch.tensor(k0), depth=6)
    root = found[:, 0, 0].sqrt() * found[:, 1, 1].sqrt()
    gap = 1 - found[:, 0, 1] / root
    # Entries are exponentials of logarithms of this size.
    rounding = 1e-15 * (10 + abs(math.log(q1)) + abs(math.log(q2)))
    assert float(gap[0]) == pytest.approx(0.6, abs=rounding)
    assert float(gap[-1]) == pytest.approx(gap_after(model, k0, 6), abs=rounding)


@pytest.mark.parametrize("name", ["res-1", "full", "feed-forward"])
def test_a_small_gap_of_equal_lengths_of_any_size(name: str) -> None:
    for q in (1e155, 1.0, 1e-170):
        found = float(mf.gaps(MODELS[name], q, 1e-9, depth=5)[-1])
        k0 = [[mp.mpf(q), mp.mpf(q) * (1 - mp.mpf(1e-9))]] * 2
        k0 = [k0[0], [k0[0][1], k0[0][0]]]
        assert found == pytest.approx(gap_after(MODELS[name], k0, 5), rel=1e-11)  # type: ignore[arg-type]


def test_gradients_of_two_inputs_of_any_size() -> None:
    """E φ'(u) φ'(v) of erf is 4/π over the root of (1 + 2q)² − 4k², from layer to layer."""
    model = MODELS["feed-forward"]
    for q0 in (1e155, 1e130, 1.0, 1e-170):
        q, k, cosine = mp.mpf(q0), mp.mpf(q0) * mp.mpf("0.5"), mp.mpf(1)
        for _ in range(4):
            ratio = mp.sqrt((1 + 2 * q) ** 2 - 4 * q**2) / mp.sqrt((1 + 2 * q) ** 2 - 4 * k**2)
            cosine *= ratio
            q, k = (mp.mpf(1.5) * erf_dual(q, q, x) for x in (q, k))
        found = float(mf.gradient_cosines(model, q0, 0.5, depth=4)[-1])
        assert found == pytest.approx(float(cosine), rel=1e-11)


@pytest.mark.parametrize("q0", [1e155, 1e-170, 1e120])
def test_flows_are_refused_where_products_of_lengths_leave_the_range(q0: float) -> None:
    for law in (rs.WhiteNoise(), rs.SmoothNoise()):
        with pytest.raises(ValueError, match="q0 must lie between"):
            mf.flow(rs.Model(rs.SingleLayer(rs.RELU), law, 8), q0, steps=4)
    with pytest.raises(ValueError, match="q0 must lie between"):
        mf.flow_gaps(MODELS["res-1"], q0, 0.5, torch.linspace(0, 1, 3))


@pytest.mark.parametrize(
    ("law", "q0"),
    [
        (rs.WhiteNoise(), 1e100),
        (rs.SmoothNoise(), 1.0),
        (rs.FractionalNoise(0.8), 1.0),
    ],  # a way of many steps
    ids=str,
)
def test_a_flow_that_overflows_is_refused(law: rs.PathLaw, q0: float) -> None:
    with pytest.raises(mf.NoFlow, match=r"leaves the range .* give a smaller gain"):
        mf.flow(rs.Model(rs.SingleLayer(rs.RELU), law, 8, gain=1e3), q0, steps=64)
