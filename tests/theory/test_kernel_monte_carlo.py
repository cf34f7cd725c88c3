"""Simulated networks agree with the recursions of infinite width, for any law and block, and in both passes.

Means over networks are extrapolated in 1/width from two widths. The chance of a false alarm in the whole file
is below 1e-3, one half of it for single comparisons and one for means over them. Errors of 2 % are caught.
"""

import functools
import math
from dataclasses import dataclass

import pytest
import scipy.stats
import torch
from torch import Tensor

from resnet_sde import (
    RELU,
    TANH,
    Block,
    FractionalNoise,
    Model,
    Reduced,
    SingleLayer,
    SmoothNoise,
    TwoLayer,
    WhiteNoise,
    observables,
    simulate,
)
from resnet_sde.activations import Activation
from resnet_sde.laws import PathLaw
from resnet_sde.meanfield import gradients_along, kernel, lengths, two_time
from resnet_sde.observables import observable
from resnet_sde.propagate import Trajectory

DEPTH = 16
SIZES = {  # two widths and as many numbers of networks; white weights cost less
    True: ((50, 320), (200, 360)),
    False: ((28, 160), (112, 165)),
}
QUANTITIES = ("forward", "gradient", "forward between layers", "gradient between layers")

BLOCKS = {
    "res-1 ReLU": SingleLayer(RELU),
    "res-1 tanh": SingleLayer(TANH),
    "res-3": TwoLayer(RELU),
    "res-2 tanh": TwoLayer(TANH, 1.5),
    "full tanh": TwoLayer(TANH, 1.5, 0.3, 1.0, 0.2),
    "reduced tanh": Reduced(TANH, 1.5, 0.2),
}
LAWS = {
    "white": (WhiteNoise(), 0.5),
    "H = 0.2": (FractionalNoise(0.2), 0.4),
    "H = 0.8": (FractionalNoise(0.8), 0.8),
    "smooth": (SmoothNoise(0.5), 1.0),
}


@dataclass(frozen=True)
class Case:
    block: Block
    law: PathLaw
    beta: float

    def model(self, width: int) -> Model:
        return Model(self.block, self.law, width, beta=self.beta)


CASES = {f"{block}, {law}": Case(BLOCKS[block], *LAWS[law]) for block in BLOCKS for law in LAWS}
COMPARISONS = len(CASES) * len(QUANTITIES) + 2 * 3  # those of two inputs too
SINGLE = scipy.stats.norm.isf(0.5e-3 / 2 / COMPARISONS)
TOGETHER = scipy.stats.norm.isf(0.5e-3 / 2 / 4)


@observable("input", "quantity", every_layer=True, gradients=True)
def moves(t: Trajectory) -> Tensor:
    """⟨a, a⟩ and ⟨a, b⟩ of the moves a from end to end and b up to the middle, from a start of length 1."""
    assert t.adjoint is not None
    columns = []
    for states, order in ((t.hidden, (0, DEPTH // 2, DEPTH)), (t.adjoint, (DEPTH, DEPTH // 2, 0))):
        start, middle, end = (states.natural(layer).double() for layer in order)
        square = start.square().sum(-1)
        columns.append((end - start).square().sum(-1) / square)
        columns.append(((end - start) * (middle - start)).sum(-1) / square)
    return torch.stack([columns[0], columns[2], columns[1], columns[3]], -1)


def inputs() -> Tensor:
    """Two that are orthogonal, and their opposites: most of what they do in a network is independent."""
    x = torch.zeros(4, 8, dtype=torch.float32)
    x[0, ::2] = x[1, 1::2] = math.sqrt(2)
    x[2:] = -x[:2]
    return x


def extrapolated(narrow: Tensor, wide: Tensor) -> tuple[Tensor, Tensor]:
    """Mean at infinite width, from those at a width and at four times it (sample, ...); its standard error.

    Of two widths at one product, which decides the bias, these need far fewer networks than close ones.
    """
    value = (4 * wide.mean(0) - narrow.mean(0)) / 3
    return value, (16 * wide.var(0) / len(wide) + narrow.var(0) / len(narrow)).sqrt() / 3


@functools.cache
def simulated(name: str) -> tuple[Tensor, Tensor]:
    """Value and standard error of every quantity."""
    case = CASES[name]
    found = [
        simulate(case.model(width), inputs(), depth=DEPTH, samples=samples, observe=[moves])["moves"].mean(1)
        for width, samples in SIZES[isinstance(case.law, WhiteNoise)]
    ]
    return extrapolated(*found)


def expected(case: Case) -> Tensor:
    model, half = case.model(1), DEPTH // 2
    states = two_time(model, depth=DEPTH)
    back = gradients_along(model, states).flip(0, 1)
    moved = [k - k[:1] - k[:, :1] + 1 for k in (states, back)]
    ends = [m[-1, -1] for m in moved]
    if isinstance(case.law, WhiteNoise):
        single = lengths(model, depth=DEPTH)
        ends = [single.displacement2[-1], single.log_gradient_growth[-1].expm1()]
    return torch.stack([*ends, *(m[-1, half] for m in moved)])


def scores(name: str) -> Tensor:
    """Deviations in standard errors."""
    value, error = simulated(name)
    return (value - expected(CASES[name])) / error


def together(which: int, white: bool) -> float:
    """Mean relative deviation over all networks with white or with other weights, in standard errors."""
    precisions, total = [], 0.0
    for name, case in CASES.items():
        if isinstance(case.law, WhiteNoise) == white:
            value, error, exact = (float(x[which]) for x in (*simulated(name), expected(case)))
            precisions.append(exact / error)
            total += precisions[-1] * (value - exact) / error
    return total / math.hypot(*precisions)


@pytest.mark.parametrize("name", CASES)
def test_each_network(name: str) -> None:
    found = dict(zip(QUANTITIES, scores(name).tolist(), strict=True))
    assert all(abs(score) < SINGLE for score in found.values()), found


ALL = [(which, white) for which in (0, 1) for white in (True, False)]
"""Both passes, with white weights and with others."""


def test_all_networks_together() -> None:
    found = {(QUANTITIES[which], white): together(which, white) for which, white in ALL}
    assert all(abs(score) < TOGETHER for score in found.values()), found


def test_an_error_of_2_percent_is_caught() -> None:
    for which, white in ALL:
        with pytest.MonkeyPatch.context() as patch:
            for method in (("dual", "second_moment"), ("dual_prime", "second_moment_prime"))[which]:
                true = getattr(Activation, method)
                patch.setattr(Activation, method, lambda *a, _true=true, **k: 1.02 * _true(*a, **k))
            assert together(which, white) < -TOGETHER, (QUANTITIES[which], white)


# --- Two inputs.


def lengths_and_distance(k: Tensor) -> Tensor:
    """Both squared lengths, and half the squared distance, from the products (..., 2, 2)."""
    first, second = k[..., 0, 0], k[..., 1, 1]
    return torch.stack([first, second, (first + second) / 2 - k[..., 0, 1]], -1)


def two_inputs(block: Block, k0: Tensor) -> tuple[Tensor, Tensor]:
    """Value and standard error at the last layer."""
    x = torch.linalg.cholesky(2 * k0).float()
    found = []
    for width, samples in SIZES[True]:
        model = Model(block, WhiteNoise(), width, beta=0.5)
        out = simulate(model, x, depth=DEPTH, samples=3 * samples, observe=[observables.kernel])
        found.append(out["kernel"])
    return extrapolated(*(lengths_and_distance(at_end.double()) for at_end in found))


@pytest.mark.parametrize("name", ["full tanh", "reduced ReLU"])
def test_two_inputs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    block = (BLOCKS | {"reduced ReLU": Reduced(RELU, 1.5, 0.3)})[name]
    k0 = torch.tensor([[1.0, 0.5], [0.5, 0.8]])
    value, error = two_inputs(block, k0)

    def deviations() -> Tensor:
        end = kernel(Model(block, WhiteNoise(), 1, beta=0.5), k0, depth=DEPTH)[-1]
        return (value - lengths_and_distance(end)) / error

    assert float(deviations().abs().max()) < SINGLE
    true = Activation.difference
    monkeypatch.setattr(Activation, "difference", lambda *a, **k: 1.1 * true(*a, **k))
    assert float(deviations()[2]) < -SINGLE, "inputs that part too fast are noticed"
