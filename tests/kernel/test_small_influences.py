"""Influences of one network on another, and of a study on its input, that are small or seldom."""

import pytest
import torch
from torch import Tensor

import resnet_sde as rs
from resnet_sde import observables as ob
from resnet_sde.studies.axes import axis_labels

WHITE = rs.WhiteNoise()
MODEL = rs.Model(rs.SingleLayer(rs.TANH), WHITE, width=8)


def size(t: rs.Trajectory) -> Tensor:
    return t.hidden.scaled[-1].square().mean((1, 2))


@pytest.mark.parametrize("share", [1e-3, 0.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_small_share_of_the_mean_over_networks(share: float, dtype: torch.dtype) -> None:
    def shifted(t: rs.Trajectory) -> Tensor:
        return size(t) + share * size(t).mean()

    def run() -> dict[str, Tensor]:
        x = torch.ones(1, 8, dtype=dtype)
        return rs.simulate(MODEL, x, depth=3, samples=20, observe=[shifted, ob.displacement])

    if share:
        with pytest.raises(ValueError, match="observable shifted says something else of a network"):
            run()
    else:
        assert bool((run()["shifted"] > 0).all())


class Mixing(rs.SingleLayer):
    """A branch that adds the first network to those from one on."""

    first = 4

    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        found = super().branch(h, layer).clone()
        found[self.first :] += found[:1]
        return found


class Third(Mixing):
    """From the third on."""

    first = 2


class Last(Mixing):
    """From the fourth on."""

    first = 3


class Never(Mixing):
    """Of ensembles of at most a thousand, none."""

    first = 1000


@pytest.mark.parametrize("kind", [Third, Last])
def test_a_block_that_mixes_later_networks(kind: type[Mixing]) -> None:
    with pytest.raises(ValueError, match=f"block {kind.__name__} mixes networks"):
        rs.Model(kind(rs.TANH), WHITE, 8, beta=0.5)
    assert rs.Model(Never(rs.TANH), WHITE, 8, beta=0.5).beta == 0.5


def test_build_leaves_the_inputs_as_they_are() -> None:
    x = torch.ones(1, 8)

    def build(beta: float) -> rs.Model:
        x.mul_(2)
        return rs.Model(rs.SingleLayer(rs.TANH), WHITE, 8, beta=beta)

    request = {"over": {"beta": [0.5, 1.0]}, "depth": 3, "samples": 4, "observe": [ob.displacement]}
    with pytest.raises(ValueError, match="build writes into the inputs x"):
        rs.study(build, x, **request)
    found = rs.study(lambda beta: rs.Model(rs.SingleLayer(rs.TANH), WHITE, 8, beta=beta), x, **request)
    assert found.sizes["beta"] == 2


@pytest.mark.parametrize("values", [[2**53 + 1, 1], [2**53 + 1], [10**400, 1], [-(2**60) - 1, 5]])
def test_labels_are_not_rounded(values: list[int]) -> None:
    with pytest.raises(ValueError, match="labels are floats, which cannot hold it"):
        axis_labels({"seed": values})


@pytest.mark.parametrize("values", [[2**53, 1], [2**60, 3], [2**31, 7], [1, 2]])
def test_labels_that_floats_hold(values: list[int]) -> None:
    assert axis_labels({"seed": values})["seed"] == values


@pytest.mark.parametrize("verb", [rs.forward, rs.trajectory])
@pytest.mark.parametrize("shape", [(2, 1, 6), (3, 1, 8)])
def test_layers_of_another_width_or_number(verb: object, shape: tuple[int, ...]) -> None:
    layers = MODEL.draw(3, samples=2).layers(3)
    with pytest.raises(ValueError, match=r"the outer matrix of a layer has shape \(2, 8, 8\)"):
        verb(MODEL.block, torch.ones(shape), layers, 0.5)  # type: ignore[operator]
    verb(MODEL.block, torch.ones(2, 1, 8), layers, 0.5)  # type: ignore[operator]
