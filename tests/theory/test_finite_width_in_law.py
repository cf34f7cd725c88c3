"""The 1/width theory against simulated networks.

Every comparison has a chance of a false alarm below 6e-7 (five standard errors); the quick tests make some
two hundred. Beside them networks may differ from the leading order by 5/width of it, responses by 2/width.
"""

import math
from typing import Any

import pytest
import torch
from finite_width_cases import LAYERS, PAIRS, model_of, square
from finite_width_runs import case_of, covariance, shift
from torch import Tensor

from resnet_sde import ERF, Model, SingleLayer, Trajectory, WhiteNoise, simulate
from resnet_sde.finite_width import FiniteSize, finite_size_pair, output_response, posterior_shift
from resnet_sde.finite_width.finite_size import without_memory
from resnet_sde.theorems.fischer.networks import look
from resnet_sde.theorems.lab import Lab

WIDTHS = {"deferred": (256, 400), "dense": (64, 160)}  # width, samples
FULL = {"deferred": (256, 20_000), "dense": (64, 6_000)}
AT_ONCE = 1000
ONE_INPUT = {
    **{f"{name}{n}": {**LAYERS["E1"], "width": n} for name, n in (("E1-", 64), ("E1-", 128))},
    **LAYERS,
}
TWO_INPUTS = {f"L{row['L']}-{row['rho']}": row for row in PAIRS}
WITH_MEMORY = ["E1", "E2", "E4", "E5", "R1", "T1", "L1", "S1"]

Comparison = tuple[str, float, float, float]
"""A name, what was measured, its standard error, and the theory."""


def comparisons(case: dict[str, Any], theory: FiniteSize, method: str, samples: int) -> list[Comparison]:
    """Variances of the last kernels and of the readout, a covariance of two layers, and the shifts."""
    width, last, entries = theory.width, case["L"], theory.kernel.shape[1]
    parts = []
    for seed in range(-(-samples // AT_ONCE)):
        seen = look(Lab(seed, 0.99, min(samples, AT_ONCE)), case_of(case, width), method)
        found: dict[str, tuple[float, float]] = {}
        for p in range(entries):
            found[f"shift {p}"] = shift(seen.c(p))
            found[f"empirical {p}"] = covariance(seen.q(p), seen.q(p))
            found[f"layers {p}"] = covariance(seen.c(p, 1), seen.c(p))
            for q in range(p, entries):
                found[f"readout {p} {q}"] = covariance(seen.c(p), seen.c(q))
        parts.append(found)
    expected = {}
    for p in range(entries):
        expected[f"shift {p}"] = theory.branch_shift[last, p]
        expected[f"empirical {p}"] = theory.kernel_covariance[last, last, p, p]
        expected[f"layers {p}"] = theory.branch_covariance[1, last, p, p]
        for q in range(p, entries):
            expected[f"readout {p} {q}"] = theory.branch_covariance[last, last, p, q]
    count = len(parts)
    values = {name: sum(part[name][0] for part in parts) / count for name in expected}
    errors = {name: math.sqrt(sum(part[name][1] ** 2 for part in parts)) / count for name in expected}
    return [(name, values[name], errors[name], float(expected[name])) for name in expected]


def missed(found: list[Comparison], width: int) -> list[Comparison]:
    return [row for row in found if abs(row[1] - row[3]) > 5 * row[2] + 5 / width * abs(row[3])]


@pytest.mark.parametrize("method", WIDTHS)
@pytest.mark.parametrize("name", [*ONE_INPUT, *TWO_INPUTS])
def test_fluctuations_and_shifts(name: str, method: str) -> None:
    case = {**ONE_INPUT, **TWO_INPUTS}[name]
    width, samples = WIDTHS[method]
    theory = case_of(case, case.get("width", width)).theory
    found = comparisons(case, theory, method, samples)
    assert not missed(found, theory.width)
    for what, _, error, expected in found:
        # Sharp enough: a readout's variance wrong by a quarter would be seen, in wide networks.
        assert method == "dense" or not what.startswith("readout 0 0") or 5 * error < 0.25 * expected


@pytest.mark.full
@pytest.mark.parametrize("method", FULL)
@pytest.mark.parametrize("name", [*ONE_INPUT, *TWO_INPUTS])
def test_fluctuations_and_shifts_of_many_networks(name: str, method: str) -> None:
    case = {**ONE_INPUT, **TWO_INPUTS}[name]
    width, samples = FULL[method]
    theory = case_of(case, case.get("width", width)).theory
    found = comparisons(case, theory, method, samples)
    print("\n".join(f"{name} {method} {w} {v:.5f} ({e:.5f}) {t:.5f}" for w, v, e, t in found))
    assert not missed(found, theory.width)


@pytest.mark.parametrize("name", WITH_MEMORY)
def test_a_theory_without_memory_is_caught(name: str) -> None:
    """The planted error: sources of one layer are taken to be independent of those of the others."""
    case, (width, samples) = LAYERS[name], WIDTHS["deferred"]
    found = comparisons(case, case_of(case, width).theory, "deferred", samples)
    less = without_memory(model_of(case, width), case["K0"], depth=case["L"])
    wrong = float(less.branch_covariance[-1, -1])
    claimed = [(what, value, error, wrong) for what, value, error, _ in found if what.startswith("readout")]
    assert len(missed(claimed, width)) == 1


# Responses: the same random numbers for two inputs that differ a little


def readout(model: Model, k0: Tensor, depth: int, samples: int) -> Tensor:
    """The branch kernel of the readout, (sample, input, input)."""
    x = torch.linalg.cholesky(k0) * math.sqrt(len(k0))
    h = simulate(model, x, depth=depth, samples=samples, observe=[_last], method="deferred")["_last"]
    phi = model.block.activation(h)
    return model.block.sigma_w2 / model.width * phi @ phi.mT + model.block.sigma_b2


def _last(t: Trajectory) -> Tensor:
    return t.hidden.natural(-1)


_last.every_layer = False  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["E1", "E2", "R1", "T1", "F1"])
def test_responses(name: str) -> None:
    case, width, samples = LAYERS[name], 128, 1000
    model, step = model_of(case, width), 1e-4 * case["K0"]
    up, down = (
        readout(model, torch.tensor([[case["K0"] + sign * step]]), case["L"], samples) for sign in (1, -1)
    )
    slopes = ((up - down) / (2 * step)).flatten()
    error = float(slopes.std()) / math.sqrt(samples)
    expected = output_response(model, case["K0"], depth=case["L"])
    assert abs(float(slopes.mean()) - expected) < 5 * error + 2 / width
    if name != "F1":
        assert expected > 4 * (5 * error + 2 / width)  # half of it would be seen


def test_responses_of_two_inputs() -> None:
    case, width, samples, step = PAIRS[0], 128, 1000, 1e-5
    model, depth = model_of(case, width), case["L"]
    expected = finite_size_pair(model, square(case["K0"]), depth=depth).output_response
    for q in range(3):
        shift = step * square(torch.eye(3)[q].tolist())
        up, down = (readout(model, square(case["K0"]) + sign * shift, depth, samples) for sign in (1, -1))
        slopes = (up - down) / (2 * step)
        found = torch.stack([slopes[:, 0, 0], slopes[:, 1, 1], slopes[:, 0, 1]], -1)
        error = found.std(0) / math.sqrt(samples)
        assert bool(((found.mean(0) - expected[:, q]).abs() < 5 * error + 5 / width).all())


def test_the_posterior_of_wide_networks() -> None:
    """Prior networks, weighted by how well they explain two targets; the next order is 6/width of it."""
    case, width, samples, noise = PAIRS[0], 128, 6000, 0.1
    model = model_of(case, width)
    targets = torch.tensor([[1.5], [-1.0]])
    kernels = readout(model, square(case["K0"]), case["L"], samples)
    spread = torch.distributions.MultivariateNormal(torch.zeros(2), kernels + noise * torch.eye(2))
    weight = torch.softmax(spread.log_prob(targets[:, 0]), 0)
    between = kernels[:, 0, 1]
    centred = between - between.mean()
    shift = float(weight @ centred)
    error = math.sqrt(float(((weight - 1 / samples) * (centred - shift)).square().sum()))
    theory = finite_size_pair(model, square(case["K0"]), depth=case["L"])
    expected = float(posterior_shift(theory, targets, noise=noise)[2])
    assert abs(shift - expected) < 5 * error + 6 / width * abs(expected)
    assert abs(expected) > 2 * (5 * error + 6 / width * abs(expected))  # half of it would be seen


def test_outputs_are_mixtures_of_gaussian_variables() -> None:
    """The excess kurtosis of an output, from the variance of its kernel over networks."""
    width, samples = 32, 20_000
    model = Model(SingleLayer(ERF, 1.2, 0.05), WhiteNoise(), width, beta=0.0, gain=0.3)
    kernels = readout(model, torch.tensor([[0.1]]), 10, samples).flatten()
    found = 3 * float(kernels.var() / kernels.mean().square())
    theory = case_of(LAYERS["E1"], width).theory.output_excess_kurtosis
    assert abs(found / float(theory) - 1) < 5 * math.sqrt(2 / samples) + 5 / width
