"""Fixed points and depth scales of feed-forward networks, against 40-digit values and their own maps."""

import json
import math
from dataclasses import replace

import pytest
import torch
from dual_references import ACTIVATIONS
from feed_forward import FOLDER, ORACLES, row_id
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from resnet_sde.activations import (
    ERF,
    GELU,
    LINEAR,
    RELU,
    SIGMOID,
    TANH,
    Activation,
    AlphaReLU,
    LeakyReLU,
    activation,
)
from resnet_sde.meanfield.phases import MARGINAL, NoFixedPoint, Phase, fixed_points, phase

ROWS = ORACLES["fixed_points"]
NUMBERS = {"q_star": 1e-12, "chi_1": 1e-12, "chi_q": 1e-12, "chi_c": 1e-12, "c_star": 1e-12}
SCALES = {"xi_q": 1e-13, "xi_c": 1e-13, "xi_grad": 1e-13, "one_minus_c_star": 1e-13}
KEYS = {**NUMBERS, **SCALES, "C2_at_1": 1e-12}


def of_row(row: dict, phi: Activation | None = None) -> Phase:
    phi = activation(row["activation"]) if phi is None else phi
    return phase(phi, float(row["sw2"]), float(row["sb2"]), keep_rate=float(row["rho"]))


def tolerance(key: str, row: dict) -> float:
    """Relative. A depth scale ξ and 1 − c* amplify the rounding of a slope by ξ."""
    if key not in SCALES:
        return KEYS[key]
    scale = abs(float(row["xi_c" if key == "one_minus_c_star" else key]))
    return KEYS[key] * max(1.0, scale if math.isfinite(scale) else 1.0)


def mismatches(found: Phase, row: dict) -> list[str]:
    """The keys of a row that the answer does not reproduce; a critical scale need only be beyond 1e10."""
    wrong = [] if found.label == row["phase"] else ["phase"]
    for key in KEYS:
        value = found.curvature if key == "C2_at_1" else getattr(found, key)
        expected = None if row[key] is None else float(row[key])
        if expected is None or value is None:
            same = expected is value
        elif math.isinf(expected):
            same = value == expected or (row["phase"] == "critical" and abs(value) > 1e10)
        else:
            same = abs(value - expected) <= tolerance(key, row) * abs(expected)
        if not same:
            wrong.append(key)
    return wrong


@pytest.mark.parametrize("row", ROWS, ids=row_id)
def test_the_table(row: dict) -> None:
    assert mismatches(of_row(row), row) == []


def test_the_tables_of_moments_are_those_tested_elsewhere() -> None:
    """With test_dual_tables.py, in which they are reproduced."""
    others = json.loads((FOLDER / "duals.json").read_text(encoding="utf-8"))
    for table in ("tanh_moments", "tanh_pairs"):
        assert len(ORACLES[table]) == len(others[table]) > 0
        for row, other in zip(ORACLES[table], others[table], strict=True):
            assert {key: pytest.approx(float(value), rel=1e-15) for key, value in row.items()} == other


def test_no_table_is_left_out() -> None:
    """The keys of the file, each with the tests that reproduce it."""
    here = {"fixed_points", "tanh_moments", "tanh_pairs"}
    critical = {"critical_line", "dropout_peak_tanh_sb2_0p05"}  # test_critical.py
    layers = {"trajectories", "residual_ode_limit", "degenerate"}  # test_feed_forward.py
    assert ORACLES.keys() == {"meta"} | here | critical | layers


class Wrong(Activation):
    """tanh with one of its moments off by 2 %."""

    odd = True

    def __init__(self, moment: str) -> None:
        self.moment = moment

    def __call__(self, x: Tensor) -> Tensor:
        return TANH(x)

    def prime(self, x: Tensor) -> Tensor:
        return TANH.prime(x)

    def _of(self, moment: str, *q: Tensor, **gap: Tensor) -> Tensor:
        return getattr(TANH, moment)(*q, **gap) * (1.02 if moment == self.moment else 1)

    def difference(self, q1: Tensor, q2: Tensor, *, gap: Tensor) -> Tensor:
        return self._of("difference", q1, q2, gap=gap)

    def dual_prime(self, q1: Tensor, q2: Tensor, *, gap: Tensor) -> Tensor:
        return self._of("dual_prime", q1, q2, gap=gap)

    def mean_curvature(self, q1: Tensor, q2: Tensor, *, gap: Tensor) -> Tensor:
        return self._of("mean_curvature", q1, q2, gap=gap)

    def second_moment(self, q: Tensor) -> Tensor:
        return self._of("second_moment", q)

    def second_moment_prime(self, q: Tensor) -> Tensor:
        return self._of("second_moment_prime", q)

    def second_moment_second(self, q: Tensor) -> Tensor:
        return self._of("second_moment_second", q)


@pytest.mark.usefixtures("moments_believed")
@pytest.mark.parametrize(
    ("moment", "caught"),
    [
        ("none", set()),
        ("second_moment", {"q_star", "chi_1", "chi_q", "xi_q", "xi_grad"}),
        ("second_moment_prime", {"chi_1", "chi_q", "xi_grad"}),
        ("mean_curvature", {"chi_q", "xi_q"}),
        ("second_moment_second", {"C2_at_1"}),
        ("difference", {"c_star", "one_minus_c_star", "chi_c", "xi_c"}),
        ("dual_prime", {"chi_c", "xi_c"}),
    ],
)
def test_an_error_of_two_per_cent_is_caught(moment: str, caught: set[str]) -> None:
    row = next(r for r in ROWS if r["activation"] == "tanh" and r["sw2"] == "2.5" and r["rho"] == "0.9")
    wrong = set(mismatches(of_row(row, Wrong(moment)), row))
    assert caught <= wrong
    assert bool(wrong) == bool(caught)


def test_many_at_once_are_each_alone() -> None:
    for name in ("tanh", "erf", "relu"):
        rows = [row for row in ROWS if row["activation"] == name]
        w, b, rho = (torch.tensor([float(row[key]) for row in rows]) for key in ("sw2", "sb2", "rho"))
        together = fixed_points(activation(name), w, b, keep_rate=rho)
        alone = [
            fixed_points(activation(name), *one[:2], keep_rate=one[2]) for one in zip(w, b, rho, strict=True)
        ]
        for key in ("q_star", "one_minus_c_star", "chi_1", "chi_q", "chi_c", "delta", "curvature"):
            found, expected = getattr(together, key), torch.stack([getattr(one, key) for one in alone])
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=0, equal_nan=True)
            assert found.dtype == torch.float64


def test_grids_broadcast() -> None:
    found = fixed_points(TANH, torch.tensor([[1.0], [2.0]]), torch.tensor([0.01, 0.05, 0.1]))
    assert found.q_star.shape == found.xi_c.shape == (2, 3)
    assert fixed_points(TANH, 1.0, 0.05).c_star.shape == ()


# --- Degenerate and divergent networks.


@pytest.mark.parametrize("phi", [TANH, ERF], ids=str)
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_saturating_networks_without_bias_forget_nothing(phi: Activation, share: float) -> None:
    slope = float(phi.prime(torch.zeros(())).square())
    found = phase(phi, share / slope, 0.0)
    assert (found.label, found.q_star) == ("degenerate", 0)
    assert found.c_star is found.one_minus_c_star is found.chi_c is found.xi_c is None
    expected = math.inf if share == 1 else -1 / math.log(share)
    assert found.xi_q == found.xi_grad == pytest.approx(expected, rel=1e-13)
    dropped = phase(phi, share * 0.7 / slope, 0.0, keep_rate=0.7)
    assert (dropped.label, dropped.c_star, dropped.chi_c) == ("degenerate", 0, 0.7)


@pytest.mark.parametrize("phi", [TANH, ERF], ids=str)
@pytest.mark.parametrize("keep_rate", [1.0, 0.9])
def test_odd_chaos_without_bias(phi: Activation, keep_rate: float) -> None:
    found = phase(phi, 3.0, 0.0, keep_rate=keep_rate)
    q = torch.tensor(found.q_star)
    slope = 3.0 * phi.dual_prime(q, q, gap=torch.ones(()))  # of independent inputs: σ_w² (E φ')²
    assert found.c_star == 0
    assert found.chi_c == pytest.approx(float(slope), rel=1e-13)


def test_linear_networks() -> None:
    found = phase(LINEAR, 0.5, 0.1)
    assert (found.label, found.c_star, found.q_star) == ("ordered", 1, pytest.approx(0.2))
    assert found.chi_1 == found.chi_q == found.chi_c == 0.5
    kept = phase(LINEAR, 0.5, 0.0)
    assert (kept.label, kept.c_star, kept.xi_c) == ("degenerate", None, None)
    for sigma_b2, label, c_star in ((0.0, "critical", None), (0.1, "critical-divergent", 1.0)):
        found = phase(LINEAR, 1.0, sigma_b2)
        assert (found.label, found.c_star, found.xi_q) == (label, c_star, math.inf)
    assert phase(LINEAR, 1.5, 0.1).c_star is None
    dropped = phase(LINEAR, 0.5, 0.1, keep_rate=0.8)
    assert dropped.c_star == pytest.approx((1 - 0.5 / 0.8) / (1 - 0.5), rel=1e-13)
    assert dropped.chi_c == 0.5
    assert phase(LINEAR, 0.8, 0.1, keep_rate=0.8).c_star == 0


@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_rectified_networks(slope: float) -> None:
    """Leaky or not: the ratio to the critical σ_w² decides, and dropout has one c* at and beyond it."""
    phi, critical = LeakyReLU(slope), 2 / (1 + slope**2)
    found = phase(phi, critical / 2, 0.1)
    assert (found.label, found.c_star) == ("ordered", 1)
    assert found.xi_q == found.xi_c == found.xi_grad == pytest.approx(1 / math.log(2), rel=1e-13)
    labels = [phase(phi, w * critical, b).label for w, b in ((1.0, 0.0), (1.0, 0.1), (1.25, 0.1), (0.5, 0.0))]
    assert labels == ["critical", "critical-divergent", "divergent", "degenerate"]
    lost = [phase(phi, w * critical, b, keep_rate=0.9) for w, b in ((0.9, 0.0), (2.0, 0.3), (0.4, 0.0))]
    assert [one.label for one in lost] == ["dropout-critical", "divergent", "degenerate"]
    assert len({(one.c_star, one.chi_c) for one in lost}) == 1


def test_dropout_has_another_exponent_at_a_kink() -> None:
    """1 − c* ~ ((1 − ρ)/k)^{2/3}, k = 2√2/3π: ξ_c grows like (1 − ρ)^{−1/3} instead of (1 − ρ)^{−1/2}."""
    lost = 1e-6
    found = phase(RELU, 2 * (1 - lost), 0.0, keep_rate=1 - lost)
    assert found.one_minus_c_star == pytest.approx((lost * 3 * math.pi / 8**0.5) ** (2 / 3), rel=0.004)
    assert found.xi_c == pytest.approx(148.21, abs=0.005)


def test_constant_networks() -> None:
    found = phase(TANH, 0.0, 0.3)
    assert (found.q_star, found.c_star, found.chi_1, found.xi_c) == (0.3, 1, 0, 0)
    nothing = phase(RELU, 0.0, 0.0)
    assert (nothing.label, nothing.q_star, nothing.c_star) == ("degenerate", 0, None)
    assert phase(SIGMOID, 0.0, 0.0).label == "degenerate"


def test_an_alpha_relu_is_chaotic_without_bias() -> None:
    """χ_1 = α²/(2α − 1) > 1 and χ_q = α at every σ_w²."""
    for alpha in (0.6, 0.75, 0.9, 0.99):
        found = phase(AlphaReLU(alpha), 1.3, 0.0)
        assert found.label == "chaotic"
        assert found.chi_1 == pytest.approx(alpha**2 / (2 * alpha - 1), rel=1e-11)
        assert found.chi_q == pytest.approx(alpha, rel=1e-11)
        assert 0 < found.one_minus_c_star < 1


def test_a_gelu_keeps_where_it_starts() -> None:
    """Two fixed points at once: small inputs vanish, large ones settle high up or explode."""
    assert phase(GELU, 2.5, 0.0, q0=0.01).label == "degenerate"
    far = phase(GELU, 2.5, 0.0, q0=100.0)
    assert (far.label, far.q_star, far.chi_1, far.c_star) == ("divergent", math.inf, 1.25, 1)
    near, far = (phase(GELU, 1.9875, 0.1625, q0=q0) for q0 in (1e-3, 1e6))
    assert near.q_star < 3
    assert far.q_star > 6
    assert max(near.chi_q, far.chi_q) < 1
    assert (near.label, far.label) == ("ordered", "chaotic")


def test_refusals() -> None:
    with pytest.raises(NoFixedPoint, match="give smaller variances"):
        phase(AlphaReLU(0.999), 1e6, 1.0)
    with pytest.raises(NoFixedPoint, match="give a larger sigma_b2"):
        phase(AlphaReLU(0.999), 1.0, 0.0)
    for wrong in ({"sigma_w2": -1.0}, {"sigma_w2": math.nan}, {"sigma_w2": 1.0, "sigma_b2": math.inf}):
        with pytest.raises(ValueError, match=r"is a variance.*give for example 1"):
            phase(TANH, **wrong)
    for keep_rate in (0.0, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"keep_rate must lie in \(0, 1\], got"):
            phase(TANH, 1.0, 0.1, keep_rate=keep_rate)
    with pytest.raises(ValueError, match="q0 is the mean square"):
        phase(TANH, 1.0, 0.1, q0=0.0)


# --- Any network at all.

LOG = st.floats(-6, 2)


@given(
    phi=st.sampled_from(ACTIVATIONS),
    w=LOG,
    b=LOG,
    keep_rate=st.sampled_from([1.0, 1 - 1e-9, 0.9, 0.3]),
    q0=st.sampled_from([1e-300, 1e-3, 1.0, 1e3, 1e300]),
)
def test_what_is_found_is_a_stable_fixed_point(
    phi: Activation, w: float, b: float, keep_rate: float, q0: float
) -> None:
    w, b = 10**w, 10**b
    try:
        found = phase(phi, w, b, keep_rate=keep_rate, q0=q0)
    except NoFixedPoint:
        return
    if found.q_star in (None, math.inf):
        assert found.chi_q >= 1 - MARGINAL
        return
    q = torch.tensor(found.q_star)
    squares = float(phi.second_moment(q))
    assert w / keep_rate * squares + b == pytest.approx(found.q_star, rel=1e-12)
    assert 0 <= found.chi_q <= 1 + 1e-9
    gap = found.one_minus_c_star
    assert 0 <= gap <= 1
    added = (1 / keep_rate - 1) * w * squares + w * float(phi.difference(q, q, gap=torch.tensor(gap)))
    assert added / found.q_star == pytest.approx(gap, rel=1e-12, abs=1e-15)
    assert found.chi_c <= 1 + 1e-12
    assert (keep_rate < 1) == (gap > 0) or found.label == "chaotic"


def test_a_row_is_not_its_neighbour() -> None:
    """The comparison itself notices every field."""
    row = next(r for r in ROWS if r["phase"] == "chaotic")
    found = of_row(row)
    assert mismatches(found, row) == []
    for key in KEYS:
        name = "curvature" if key == "C2_at_1" else key
        assert key in mismatches(replace(found, **{name: getattr(found, name) * 1.02}), row)
        assert key in mismatches(replace(found, **{name: None}), row)
    assert mismatches(replace(found, label="ordered"), row) == ["phase"]
