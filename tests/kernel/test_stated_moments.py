"""E φ''², and moments that are false in one place, as activations of one's own state them."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import resnet_sde as rs
from resnet_sde import meanfield as mf

WHITE = rs.WhiteNoise()
F64 = {"dtype": torch.float64}


@dataclass(frozen=True)
class Smooth(rs.Activation):
    """tanh or softplus, and what it says of E φ''² beside what is true."""

    times: float = 1.0
    steep: float = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        return torch.nn.functional.softplus(x * self.steep) / self.steep if self.steep else torch.tanh(x)

    def prime(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.steep * x) if self.steep else rs.TANH.prime(x)

    def second_moment(self, q: Tensor) -> Tensor:
        z = torch.linspace(-9, 9, 18001, **F64)
        weight = torch.exp(-0.5 * z.square())
        return (self(q.sqrt()[..., None] * z).square() * weight).sum(-1) / weight.sum()

    def second_moment_second(self, q: Tensor) -> Tensor:
        if not self.steep:
            return self.times * rs.TANH.second_moment_second(q)
        z = torch.linspace(-60, 60, 100001, **F64)  # in units of the bend
        s = torch.sigmoid(z)
        density = torch.exp(-0.5 * z.square() / (q[..., None] * self.steep**2))
        bend = ((s * (1 - s)).square() * density).sum(-1) * float(z[1] - z[0]) * self.steep
        return self.times * bend / (2 * torch.pi * q).sqrt()


@dataclass(frozen=True)
class Elsewhere(rs.Activation):
    """tanh, with moments that are false in one place."""

    name: str
    low: float
    high: float

    def __call__(self, x: Tensor) -> Tensor:
        return torch.tanh(x)

    def prime(self, x: Tensor) -> Tensor:
        return rs.TANH.prime(x)

    def second_moment(self, q: Tensor) -> Tensor:
        found = rs.TANH.second_moment(q)
        there = (q > self.low) & (q < self.high) & torch.tensor(self.name == "second_moment")
        return torch.where(there, 1.1 * found, found)

    def dual(self, q1: Tensor, q2: Tensor, *, gap: Tensor) -> Tensor:
        found = rs.TANH.dual(q1, q2, gap=gap)
        there = (gap > self.low) & (gap < self.high) & torch.tensor(self.name == "dual")
        return torch.where(there, 1.1 * found, found)


PLACES = [("second_moment", 20, 1e9), ("second_moment", 0, 0.01), ("dual", 0.1, 0.2), ("dual", 0.5, 1.0)]


@pytest.mark.parametrize(("name", "low", "high"), PLACES)
def test_moments_that_are_false_in_one_place(name: str, low: float, high: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} of activation Elsewhere at q"):
        rs.Model(rs.SingleLayer(Elsewhere(name, low, high)), WHITE, 4)
    assert rs.Model(rs.SingleLayer(Elsewhere(name, 2.0, 2.0)), WHITE, 4).beta == 0.5


@dataclass(frozen=True)
class Kinked(rs.Activation):
    """A leaky ReLU, and a hard tanh at slope −1, that say that E φ''² is a number."""

    slope: float = 0.0
    says: float = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        if self.slope < 0:
            return x.clamp(-1.0, 1.0)
        return torch.nn.functional.leaky_relu(x, self.slope)

    def prime(self, x: Tensor) -> Tensor:
        if self.slope < 0:
            return (x.abs() < 1).to(x.dtype)
        return torch.full_like(x, self.slope).masked_fill_(x > 0, 1.0)

    def second_moment(self, q: Tensor) -> Tensor:
        z = torch.linspace(-9, 9, 18001, **F64)
        weight = torch.exp(-0.5 * z.square())
        return (self(q.sqrt()[..., None] * z).square() * weight).sum(-1) / weight.sum()

    def second_moment_second(self, q: Tensor) -> Tensor:
        return torch.full_like(q, self.says)


FALSE = [Smooth(1.05), Smooth(0.95), Smooth(0.0), Smooth(1.3, 3.0), Smooth(0.5, 300.0)]
KINKS = [Kinked(), Kinked(0.3), Kinked(-1.0), Kinked(0.0, 5.0), Kinked(0.9, 0.01)]


@pytest.mark.parametrize("phi", [*FALSE, *KINKS], ids=str)
def test_curvatures_that_contradict_their_function(phi: rs.Activation) -> None:
    for use in (lambda: rs.Model(rs.SingleLayer(phi), WHITE, 4), lambda: mf.one_time.check_activation(phi)):
        with pytest.raises(ValueError, match=f"^second_moment_second of activation {type(phi).__name__}"):
            use()


HONEST = [Smooth(), *(Smooth(1.0, steep) for steep in (1.0, 3.0, 300.0, 1e5)), Kinked(0.0, float("inf"))]


@pytest.mark.parametrize("phi", HONEST, ids=str)
def test_curvatures_that_are_right(phi: rs.Activation) -> None:
    assert rs.Model(rs.SingleLayer(phi), WHITE, 4).beta == 0.5
