"""Bugs planted in the library at run time: the theorems at their quick budget must catch each of them."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from resnet_sde import _gaussian, laws
from resnet_sde._random import Stream
from resnet_sde.blocks import Block, SingleLayer, TwoLayer
from resnet_sde.model import Model
from resnet_sde.theorems import Outcome, verify

Patch = pytest.MonkeyPatch


def scaling(patch: Patch) -> None:
    """The exponent is off by a twentieth."""
    patch.setattr(Model, "alpha", lambda self, depth: self.gain * float(depth) ** -(self.beta + 0.05))


def noise_covariance(patch: Patch) -> None:
    """Fractional noise of another Hurst index."""
    real = laws.fractional_noise_
    patch.setattr(
        laws,
        "fractional_noise_",
        lambda noise, hurst, source, sampler: real(noise, min(hurst + 0.05, 0.99), source, sampler),
    )


def activation_dual(patch: Patch) -> None:
    """The second moment of tanh is 5 % off."""
    for kind in (_gaussian.Rectified, type(torch_tanh())):
        real = kind.second_moment
        patch.setattr(kind, "second_moment", lambda self, q, real=real: 1.05 * real(self, q))


def torch_tanh() -> object:
    """The moments behind tanh."""
    from resnet_sde import TANH

    return TANH._moments


def adjoint(patch: Patch) -> None:
    """Gradients come back through φ as if it were the identity."""
    for kind in (SingleLayer, TwoLayer):

        def straight(self: Block, pre: Tensor, p: Tensor, layer: object, real=kind.adjoint) -> Tensor:
            return real(self, torch.ones_like(pre), p, layer)

        patch.setattr(kind, "adjoint", straight)


def seed_reuse(patch: Patch) -> None:
    """Every layer draws the numbers of the first one again."""
    real = Stream.normal_

    def again(self: Stream, out: Tensor) -> Tensor:
        if not hasattr(self, "start"):
            self.start = (self.torch.get_state(), copy.deepcopy(self.numpy.bit_generator.state))
        self.torch.set_state(self.start[0])
        self.numpy.bit_generator.state = self.start[1]
        return real(self, out)

    patch.setattr(Stream, "normal_", again)


CAUGHT_BY = {
    scaling: ("mean-variation", "strong-error"),
    noise_covariance: ("one-path-many-depths", "young-drift", "interpolation"),
    activation_dual: ("wide-residual-networks", "length-fixed-point"),
    adjoint: ("gradient-mean-variation", "gradient-invariant"),
    seed_reuse: ("mean-variation", "log-normal-limit"),
}


@pytest.mark.parametrize("bug", CAUGHT_BY, ids=lambda bug: bug.__name__)
def test_a_bug_is_caught(bug: Callable[[Patch], None], monkeypatch: Patch) -> None:
    bug(monkeypatch)
    found = {id: verify(id, budget="quick", seed=0).outcome for id in CAUGHT_BY[bug]}
    assert Outcome.FAILS in found.values(), found


@pytest.mark.parametrize("id", sorted({id for ids in CAUGHT_BY.values() for id in ids}))
def test_without_a_bug_they_hold(id: str) -> None:
    assert verify(id, budget="quick", seed=0).holds
