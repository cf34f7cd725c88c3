"""Gaussian duals against the tabulated values of the specifications."""

import json
import math

import pytest
import torch
from dual_references import check, tensors
from places import TABLES

from resnet_sde.activations import TANH, Activation, AlphaReLU, activation

ORACLES = json.loads((TABLES / "duals.json").read_text(encoding="utf-8"))
# --- The tabulated values of the specifications.


def activation_of(row: dict) -> Activation:
    return activation(row["activation"])


@pytest.mark.parametrize("row", ORACLES["tanh_moments"], ids=lambda row: str(row["q"]))
def test_tanh_moments(row: dict) -> None:
    q, zero = tensors(row["q"], 0.0)
    check(TANH.second_moment(q), row["E_phi2"])
    check(TANH.second_moment_prime(q), row["E_dphi2"])
    check(TANH.second_moment_second(q), row["E_d2phi2"])
    check(TANH.mean_curvature(q, q, gap=zero), row["E_phi_d2phi"])


def test_tanh_pairs_and_tables() -> None:
    for row in ORACLES["tanh_pairs"]:
        q1, q2, gap = tensors(row["qa"], row["qb"], 1 - row["c"])
        check(TANH.dual(q1, q2, gap=gap), row["E_phi_phi"])
        check(TANH.dual_prime(q1, q2, gap=gap), row["E_dphi_dphi"])
    for row in ORACLES["tanh_1d"]:
        (q,) = tensors(row["q"])
        check(TANH.second_moment(q), row["V"])
        check(TANH.second_moment_prime(q), row["Vdot"])
    for row in ORACLES["tanh_V_minus_W"]:
        q, gap = tensors(row["q"], row["one_minus_c"])
        check(TANH.difference(q, q, gap=gap), row["V_minus_W"])


@pytest.mark.parametrize(
    "row", ORACLES["fixed_points"], ids=lambda r: f"{r['activation']}-{r['sw2']}-{r['sb2']}-{r['rho']}"
)
def test_fixed_points(row: dict) -> None:
    phi, weight = activation_of(row), row["sw2"] / row["rho"]
    q, gap, zero = tensors(row["q_star"], row["one_minus_c_star"] or 0.0, 0.0)
    chi_1 = weight * phi.second_moment_prime(q)
    check(weight * phi.second_moment(q) + row["sb2"], row["q_star"])
    check(chi_1, row["chi_1"])
    check(chi_1 + weight * phi.mean_curvature(q, q, gap=zero), row["chi_q"])
    if row["chi_c"] is not None:
        check(row["sw2"] * phi.dual_prime(q, q, gap=gap), row["chi_c"])
        dropout = (1 / row["rho"] - 1) * row["sw2"] * phi.second_moment(q)
        returned = (dropout + row["sw2"] * phi.difference(q, q, gap=gap)) / q
        assert abs(returned.item() - gap.item()) <= 1e-12 * gap.item()
    if row["C2_at_1"] is not None:
        check(row["sw2"] * q * phi.second_moment_second(q), row["C2_at_1"])


@pytest.mark.parametrize("row", ORACLES["critical_line"], ids=lambda r: f"{r['activation']}-{r['sb2']}")
def test_critical_line(row: dict) -> None:
    phi, (q, zero) = activation_of(row), tensors(row["q_star"], 0.0)
    check(row["sw2"] * phi.second_moment_prime(q), 1.0)
    check(q - row["sw2"] * phi.second_moment(q), row["sb2"], 1e-11)  # a difference of larger numbers
    check(-1 / torch.log1p(row["sw2"] * phi.mean_curvature(q, q, gap=zero)), row["xi_q"])
    check(row["sw2"] * q * phi.second_moment_second(q), row["C2_at_1"])


@pytest.mark.parametrize("row", ORACLES["J_alpha"], ids=lambda r: f"{r['alpha']}-{r['one_minus_c']}")
def test_alpha_kernel(row: dict) -> None:
    phi, (one, gap) = AlphaReLU(row["alpha"]), tensors(1.0, row["one_minus_c"])
    size = phi.second_moment(one)
    check(phi.dual(one, one, gap=gap) / size, row["J"])
    check(phi.difference(one, one, gap=gap) / size, row["one_minus_J"])
    check(phi.dual_prime(one, one, gap=gap) / size, row["Jprime"])


def test_finite_width_scalars() -> None:
    """Here the slope of the second moment is E φ'² + E φ''φ, and the file gives 12 to 15 digits."""
    for row in ORACLES["scalars"]:
        phi, (q, zero) = activation_of(row), tensors(row["K"], 0.0)
        check(phi.second_moment(q), row["f"], 1e-11)
        check(phi.second_moment_prime(q) + phi.mean_curvature(q, q, gap=zero), row["a"], 1e-11)
    for row in ORACLES["two_input"]:
        k11, k22, k12 = row["K"]
        phi, (q1, q2, gap) = activation_of(row), tensors(k11, k22, 1 - k12 / math.sqrt(k11 * k22))
        check(
            torch.stack([phi.second_moment(q1), phi.second_moment(q2), phi.dual(q1, q2, gap=gap)]), row["F"]
        )
        halves = phi.mean_curvature(q1, q2, gap=gap) / 2, phi.mean_curvature(q2, q1, gap=gap) / 2
        check(torch.stack([*halves, phi.dual_prime(q1, q2, gap=gap)]), row["J"])
