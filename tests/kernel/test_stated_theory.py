"""What blocks and activations of one's own say of infinite width is tried on their functions."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import resnet_sde as rs
from resnet_sde import meanfield as mf
from resnet_sde.blocks import Variances

WHITE = rs.WhiteNoise()


@dataclass(frozen=True)
class Half(rs.Activation):
    """max(x, 0), with moments written by hand, one of which may be false."""

    wrong: str = ""
    factor: float = 1.02

    def __call__(self, x: Tensor) -> Tensor:
        return torch.relu(x)

    def prime(self, x: Tensor) -> Tensor:
        return (x > 0).to(x.dtype)

    def _times(self, name: str, value: Tensor) -> Tensor:
        return value * self.factor if name == self.wrong else value

    def second_moment(self, q: Tensor) -> Tensor:
        return self._times("second_moment", q / 2)

    def second_moment_prime(self, q: Tensor) -> Tensor:
        return self._times("second_moment_prime", torch.full_like(q, 0.5))

    def mean(self, q: Tensor) -> Tensor:
        return self._times("mean", rs.RELU.mean(q))

    def dual(self, q1: Tensor, q2: Tensor, *, gap: Tensor) -> Tensor:
        return self._times("dual", rs.RELU.dual(q1, q2, gap=gap))

    def difference(self, q1: Tensor, q2: Tensor, *, gap: Tensor) -> Tensor:
        return self._times("difference", rs.RELU.difference(q1, q2, gap=gap))

    def mean_curvature(self, q1: Tensor, q2: Tensor, *, gap: Tensor) -> Tensor:
        return self._times("mean_curvature", rs.RELU.mean_curvature(q1, q2, gap=gap))


MOMENTS = ("mean", "second_moment", "second_moment_prime", "dual", "difference", "mean_curvature")


@pytest.mark.parametrize("wrong", MOMENTS)
def test_moments_that_contradict_their_function(wrong: str) -> None:
    with pytest.raises(ValueError, match=f"^{wrong} of activation Half at q") as caught:
        rs.Model(rs.SingleLayer(Half(wrong, 1.2)), WHITE, 4)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=f"^{wrong} of activation Half"):
        mf.one_time.check_activation(Half(wrong, 1.2))


def test_moments_that_are_right() -> None:
    model, plain = (rs.Model(rs.SingleLayer(phi), WHITE, 4) for phi in (Half(), rs.RELU))
    assert torch.allclose(mf.lengths(model, depth=5).log_q, mf.lengths(plain, depth=5).log_q)
    with pytest.raises(ValueError, match="second_moment of"):
        rs.Model(rs.SingleLayer(Half("second_moment", 1.005)), WHITE, 4)


@dataclass(frozen=True)
class Own(rs.Block):
    """V φ(W h + b) of variances 1.5, 0.2 and 0.8, and what it says of them."""

    says: tuple[float, ...] = (1.5, 0.2, 0.8, 0.0)
    back: float = 1.0
    entries: bool = False
    activation: rs.Activation = rs.TANH

    def _known(self) -> rs.TwoLayer:
        return rs.TwoLayer(self.activation, 1.5, 0.2, 0.8)

    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        return self._known().shapes(width)

    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        if self.entries:
            assert layer["outer"].entries is not None
        return self._known().branch(h, layer)

    def adjoint(self, h: Tensor, p: Tensor, layer: rs.Layer) -> Tensor:
        return self.back * self._known().adjoint(h, p, layer)

    @property
    def variances(self) -> Variances:
        return Variances(*self.says)

    def critical_beta(self, law: rs.PathLaw) -> float:
        return 0.5

    @property
    def strength(self) -> float:
        return 1.5


@dataclass(frozen=True)
class OneMatrix(Own):
    """V φ(h)."""

    says: tuple[float, ...] = (1.0, 0.0, 0.8, 0.0)

    def _known(self) -> rs.SingleLayer:  # type: ignore[override]
        return rs.SingleLayer(self.activation, 0.8)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (Own((2.0, 0.2, 0.8, 0.0)), "dual of block Own"),
        (Own((1.5, 0.0, 0.8, 0.0)), "dual of block Own"),
        (Own((1.5, 0.2, 0.9, 0.0)), "dual of block Own"),
        (Own((1.5, 0.2, 0.8, 0.1)), "dual of block Own"),
        (Own((0.8, 0.2, 1.5, 0.0)), "of block Own"),
        (Own((1.5, 0.2, 1.2, 0.0), entries=True), "dual of block Own"),
        (Own((1.5, 0.2, float("nan"), 0.0)), "four numbers from 0 on"),
        (Own(back=1.1), "dual_prime of block Own"),
        (OneMatrix((2.0, 0.0, 0.8, 0.0)), "inner matrix, which it lacks"),
        (OneMatrix((1.0, 0.0, 1.0, 0.0)), "dual of block OneMatrix"),
    ],
    ids=str,
)
def test_variances_that_are_not_those_of_the_branch(block: rs.Block, message: str) -> None:
    model = rs.Model(block, WHITE, 8, beta=0.5)
    for theory in (mf.lengths, mf.two_time):
        with pytest.raises(ValueError, match=message) as caught:
            theory(model, depth=3)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("block", [Own(), Own(entries=True), OneMatrix()], ids=str)
def test_variances_that_are_right(block: rs.Block) -> None:
    own, known = (rs.Model(b, WHITE, 8, beta=0.5) for b in (block, block._known()))  # type: ignore[attr-defined]
    assert torch.equal(mf.lengths(own, depth=4).log_q, mf.lengths(known, depth=4).log_q)


class Tunable(rs.Activation):
    """x, or what it is set to later."""

    power = 1

    def __call__(self, x: Tensor) -> Tensor:
        return x**self.power

    def prime(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)


@pytest.mark.parametrize("of_the_class", [False, True])
def test_what_is_changed_after_its_check_is_checked_again(of_the_class: bool) -> None:
    phi = Tunable()
    model = rs.Model(rs.SingleLayer(phi), WHITE, 4, beta=0.5)
    layers, h = model.draw(3, samples=2).layers(3), torch.ones(2, 1, 4)
    rs.forward(model.block, h, layers, 0.5)
    owner = Tunable if of_the_class else phi
    owner.power = 2
    try:
        for _ in range(2):
            with pytest.raises(ValueError, match="prime of activation Tunable is not its derivative"):
                rs.forward(model.block, h, layers, 0.5)
    finally:
        owner.power = 1
    rs.forward(model.block, h, layers, 0.5)
