"""Lengths, cosines and gradients of unscaled residual networks against tabulated values.

The tables are good to 1e-12; they were computed in 25 to 40 digits or by two independent quadratures.
"""

import json

import pytest
import torch
from dual_references import check
from places import TABLES
from residual_models import COSINES, ORACLES, model_of, named, thousand_gaps
from torch import Tensor

from resnet_sde import LINEAR, RELU, TANH, Activation, AlphaReLU, Model, TwoLayer, WhiteNoise
from resnet_sde.meanfield import flow, gaps, lengths, parameter_gradients
from resnet_sde.meanfield.flow import flow_gaps

DUALS = json.loads((TABLES / "duals.json").read_text(encoding="utf-8"))
TOLERANCE = 1e-10

PAIRS = [table for table in ORACLES["trajectories"] if "e0" in table]
SLOW = {"FA2", "FA3", "FA4", "FA5"}

every_set = pytest.mark.parametrize("table", ORACLES["trajectories"], ids=lambda table: table["id"])


@every_set
def test_lengths_and_gradients(table: dict) -> None:
    layers = [row["l"] for row in table["rows"]]
    found = lengths(model_of(table), table["p0"], depth=layers[-1])
    check(found.q[layers], [row["p"] for row in table["rows"]], TOLERANCE)
    growth = [row["log_chi0_over_chil"] for row in table["rows"]]
    check(found.log_gradient_growth[layers], growth, TOLERANCE)
    if "mean0" in table:
        check((found.mean * found.q.sqrt())[layers], [row["mean"] for row in table["rows"]], TOLERANCE)
    else:
        assert not found.mean.any()


@pytest.mark.parametrize("table", PAIRS, ids=lambda table: table["id"])
def test_cosines(table: dict) -> None:
    """The thousandth layer of most powers, which are slow, comes with the tests marked full."""
    rows = table["rows"][:-1] if table["id"] in SLOW else table["rows"]
    layers, gap0 = [row["l"] for row in rows], 1 - table["e0"]
    if table["id"] in SLOW:
        found = gaps(model_of(table), table["p0"], gap0, depth=layers[-1])[layers]
    else:
        found = thousand_gaps(model_of(table), table["p0"])[layers, COSINES.index(table["e0"])]
    check(found, [row["one_minus_e"] for row in rows], TOLERANCE)


@pytest.mark.full
@pytest.mark.parametrize("table", [t for t in PAIRS if t["id"] in SLOW], ids=lambda table: table["id"])
def test_cosines_of_powers_after_a_thousand_layers(table: dict) -> None:
    found = gaps(model_of(table), table["p0"], 1 - table["e0"], depth=1000)[-1]
    check(found, table["rows"][-1]["one_minus_e"], TOLERANCE)


@pytest.mark.parametrize(
    ("name", "cosines"), [("RR1", (0.5931, 0.8828)), ("RR2", (0.7806, 0.98516))], ids=["RR1", "RR2"]
)
def test_cosines_beside_a_mean(name: str, cosines: tuple[float, float]) -> None:
    found = 1 - gaps(named(name), 1.0, 0.5, depth=12)[[4, 12]]
    torch.testing.assert_close(found, torch.tensor(cosines), atol=6e-5, rtol=0)


@pytest.mark.parametrize(
    "row", ORACLES["weight_gradients_over_chiL"], ids=lambda row: f"{row['id']}-{row['l']}"
)
def test_parameter_gradients(row: dict) -> None:
    found = parameter_gradients(named(row["id"]), depth=row["L"])
    columns = {
        "chi": found.log_state,
        "chi_b": found.log_inner_bias,
        "chi_w": found.log_inner,
        "chi_v": found.log_outer,
        "chi_a": found.log_outer_bias,
    }
    for name, column in columns.items():
        if name in row:
            assert column is not None
            check(column[row["l"] - 1].exp(), row[name], TOLERANCE)
        else:
            assert column is None


# --- Networks whose branch is scaled with depth.


@pytest.mark.parametrize(
    "row", ORACLES["depth_scaled_ode_p0_1_e0_half"], ids=lambda row: f"{row['act']}-{row['sw2']}"
)
def test_depth_scaled_networks_and_their_flow(row: dict) -> None:
    """At β = 1/2 the layers are Euler's scheme of the flow; the first term of its error is tabulated too."""
    phi = {"tanh": TANH, "relu": RELU, "id": LINEAR, "alpha-relu 0.75": AlphaReLU(0.75)}[row["act"]]
    model = Model(TwoLayer(phi, row["sw2"], row["sb2"], row["sv2"], row["sa2"]), WhiteNoise(), 1)
    end = flow(model, steps=1)
    cosine = 1 - flow_gaps(model, 1.0, 0.5, torch.tensor([0.0, 1.0]))[-1]
    limit = torch.stack([end.kernel[-1, -1], cosine, end.log_gradient_growth[-1]])
    assert torch.allclose(limit, torch.tensor([row["p1"], row["e1"], row["logchi"]]), rtol=0, atol=6e-11)

    def scaled_error(depth: int) -> Tensor:
        along, gap = lengths(model, depth=depth), gaps(model, 1.0, 0.5, depth=depth)
        return depth * (torch.stack([along.q[-1], 1 - gap[-1], along.log_gradient_growth[-1]]) - limit)

    first_term = 2 * scaled_error(160) - scaled_error(80)
    assert torch.allclose(
        first_term, torch.tensor(row["err_coef"], dtype=torch.float64), rtol=2e-3, atol=6e-6
    )


@pytest.mark.parametrize(
    ("phi", "beta", "column", "expected"),
    [
        (RELU, 0.25, "log_gradient_growth", (1.47, 4.88, 15.7, 49.9)),
        (RELU, 0.25, "q", (4.34, 131.5, 6.5e6, 4.6e21)),
        (RELU, 0.5, "log_gradient_growth", (0.488, 0.4988, 0.4999, 0.5000)),
        (RELU, 0.5, "q", (1.629, 1.647, 1.649, 1.649)),
        (RELU, 0.75, "log_gradient_growth", (0.157, 0.0500, 0.0158, 0.0050)),
        (TANH, 0.25, "log_gradient_growth", (1.157, 2.844, 5.887, 11.05)),
        (TANH, 0.5, "log_gradient_growth", (0.4264, 0.4317, 0.4322, 0.4323)),
    ],
    ids=lambda value: str(value) if isinstance(value, (Activation, float, str)) else "",
)
def test_scalings_on_both_sides_of_one_half(
    phi: Activation, beta: float, column: str, expected: tuple[float, ...]
) -> None:
    """Explosion below 1/2, for tanh only a stretched exponential; a limit at 1/2; the identity above."""
    model = Model(TwoLayer(phi), WhiteNoise(), 1, beta=beta)
    for depth, value in zip((10, 100, 1000, 10_000), expected, strict=True):
        found = float(getattr(lengths(model, depth=depth), column)[-1])
        assert abs(found / value - 1) < 0.011  # some values have two digits


def test_tables_of_moments_are_those_of_the_duals() -> None:
    """They are tested beside the other tables of duals; an α-ReLU of exponent 3/2 is not of the family."""
    assert ORACLES["tanh_1d"] == DUALS["tanh_1d"]
    assert ORACLES["tanh_V_minus_W"] == DUALS["tanh_V_minus_W"]
    assert [row for row in ORACLES["J_alpha"] if row["alpha"] <= 1] == DUALS["J_alpha"]
    assert {row["alpha"] for row in ORACLES["J_alpha"] if row["alpha"] > 1} == {1.5}
    with pytest.raises(ValueError, match=r"\(1/2, 1\]"):
        AlphaReLU(1.5)


def test_no_table_is_forgotten() -> None:
    here = {"trajectories", "weight_gradients_over_chiL", "tanh_1d", "tanh_V_minus_W", "J_alpha"}
    here |= {"depth_scaled_ode_p0_1_e0_half"}
    elsewhere = {
        "alpha_relu_fixed_points",
        "tanh_frn_fixed_points",
        "tanh_asymptotic_constants",
        "measured_residuals_l_1e5",
        "relu_cosine_constant",
        "recommended_sw2",
    }
    assert ORACLES.keys() == here | elsewhere | {"meta", "digits_experiment"}
