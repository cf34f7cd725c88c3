"""Blocks, activations and laws that are others in float32, where nobody looked, or after many calls."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import resnet_sde as rs
from resnet_sde import observables as ob
from resnet_sde.paths import GridPath, Path
from resnet_sde.streams import Stream

WHITE = rs.WhiteNoise()
X = torch.ones(1, 8)


class Phi(rs.Activation):
    """tanh, but for one thing."""

    def __init__(self, how: str = "") -> None:
        self.how, self.calls = how, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        y = torch.tanh(x)
        late = self.how == "late" and self.calls > 150
        return 1.01 * y if late or (self.how == "value" and x.dtype == torch.float32) else y

    def prime(self, x: Tensor) -> Tensor:
        slope = 1 - torch.tanh(x).square()
        if self.how == "window":
            return torch.where((x > 5) & (x < 5.2), 1.0, slope)
        return 1.01 * slope if self.how == "prime" and x.dtype == torch.float32 else slope

    def __repr__(self) -> str:
        return f"Phi({self.how})"


@dataclass
class Own(rs.Block):
    """V φ(h), but for one thing."""

    how: str = ""
    activation: rs.Activation = rs.TANH

    def __post_init__(self) -> None:
        self._calls, self._kept = 0, {}

    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        return {"outer": (width, width)}

    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        self._calls += 1
        self._kept[self._calls] = "what is kept need not show"
        factor = 1.0 + (self.how == "late" and self._calls > 150)
        factor *= 1.01 if self.how == "branch" and h.dtype == torch.float32 else 1.0
        return factor * layer["outer"].matvec(self.activation(h), h.shape[-1] ** -0.5)

    def adjoint(self, h: Tensor, p: Tensor, layer: rs.Layer) -> Tensor:
        back = self.activation.pullback(h, layer["outer"].rmatvec(p, p.shape[-1] ** -0.5))
        return 1.01 * back if self.how == "adjoint" and p.dtype == torch.float32 else back

    def critical_beta(self, law: rs.PathLaw) -> float:
        return 0.5

    @property
    def strength(self) -> float:
        return 1.0


def gradients(block: rs.Block, depth: int = 5) -> Tensor:
    model = rs.Model(block, WHITE, 8, beta=0.5)
    request = {"depth": depth, "samples": 5, "observe": [ob.gradient_growth]}
    return rs.simulate(model, X, **request)["gradient_growth"]


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (lambda: rs.SingleLayer(Phi("value")), "^activation Phi gives other numbers in float32"),
        (lambda: rs.TwoLayer(Phi("prime")), "^prime of activation Phi gives other numbers in float32"),
        (lambda: rs.SingleLayer(Phi("window")), "^prime of activation Phi is not its derivative"),
        (lambda: Own("branch"), "^block Own gives other numbers in float32"),
        (lambda: Own("adjoint"), "^adjoint of block Own gives other numbers in float32"),
    ],
    ids=["value", "prime", "window", "branch", "adjoint"],
)
def test_another_function_in_float32_or_in_a_window(block: Callable[[], rs.Block], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        gradients(block())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "make", [lambda: Own("late"), lambda: rs.SingleLayer(Phi("late"))], ids=["own", "phi"]
)
def test_what_changes_with_its_calls(make: Callable[[], rs.Block]) -> None:
    layers = rs.Model(rs.SingleLayer(rs.TANH), WHITE, 8, beta=0.5).draw(400, samples=2).layers(400)
    h = torch.ones(2, 1, 8)
    for verb in (rs.forward, rs.trajectory):
        with pytest.raises(ValueError, match="says something else of the same states after a pass"):
            verb(make(), h, layers, 0.05)


def test_what_is_right_in_both_and_keeps_something() -> None:
    expected = gradients(rs.SingleLayer(rs.TANH), depth=60)
    for block in (Own(), rs.SingleLayer(Phi())):
        found = gradients(block, depth=60)
        assert found.shape == expected.shape
        assert bool(found.isfinite().all())


class Filled(rs.WhiteNoise):
    """Its layers are of another size when they are filled one by one."""

    def filler(self, source: Stream) -> Callable[[Tensor], Tensor]:
        real = super().filler(source)
        return lambda out: real(out) if out.ndim == 4 else real(out).mul_(1.02)


class Sparse(rs.WhiteNoise):
    """0 or ±√3: of mean fourth power 3, as Gaussian numbers are."""

    gaussian = True  # type: ignore[assignment]

    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        w, u = (source.normal_(torch.empty(depth, *shape, dtype=dtype)) for _ in range(2))
        rare = u.abs() > 0.9674215661017014  # a third
        return GridPath(torch.where(rare, math.sqrt(3) * w.sign(), 0.0), 0.5)


@pytest.mark.parametrize(
    ("law", "message"),
    [
        (Filled(), "covariance along depth is not the one that it states, filled layer by layer"),
        (Sparse(), "says that its weights are Gaussian, and not .* of them are in"),
    ],
    ids=["filled", "sparse"],
)
def test_white_laws_that_are_others(law: rs.PathLaw, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rs.Model(rs.SingleLayer(rs.TANH), law, 8)
