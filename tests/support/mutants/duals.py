"""Bugs in the Gaussian moments of activations."""

import math

import torch
from torch import Tensor

from mutants import Patch, caught_by
from resnet_sde import TANH, _gaussian
from resnet_sde._gaussian import ErfMixture, Rectified, mixtures
from resnet_sde.blocks import Block


@caught_by("length-fixed-point")
def second_moment(patch: Patch) -> None:
    """The second moments of ReLU and tanh are 5 % too large."""
    for kind in (_gaussian.Rectified, type(TANH._moments)):
        real = kind.second_moment
        patch.setattr(kind, "second_moment", lambda self, q, real=real: 1.05 * real(self, q))


@caught_by("gaussian-duals")
def clipped_correlation(patch: Patch) -> None:
    """The dual of ReLU is that of the correlation 0.999 where inputs are closer than that."""
    real = Rectified.dual
    patch.setattr(Rectified, "dual", lambda self, q1, q2, gap: real(self, q1, q2, gap.clamp(min=1e-3)))


@caught_by("gaussian-duals")
def angle_for_its_supplement(patch: Patch) -> None:
    """E φ'φ' of ReLU has the angle between two inputs in place of π minus it."""
    real = Rectified.dual_prime
    patch.setattr(Rectified, "dual_prime", lambda self, q1, q2, gap: real(self, q1, q2, 2 - gap))


@caught_by("gaussian-duals")
def half_a_kink(patch: Patch) -> None:
    """The Dirac mass of φ'' at a kink counts half."""
    real = Rectified.mean_curvature
    patch.setattr(Rectified, "mean_curvature", lambda self, q1, q2, gap: real(self, q1, q2, gap) / 2)


@caught_by("gaussian-duals")
def mean_of_a_leaky_relu(patch: Patch) -> None:
    """The mean of a leaky ReLU is that of a ReLU."""
    patch.setattr(Rectified, "mean", lambda self, q: (q / (2 * math.pi)).sqrt())


@caught_by("gaussian-duals")
def lengths_do_not_differ(patch: Patch) -> None:
    """E (φ(u) − φ(v))² of tanh and erf forgets that u and v have unequal variances."""
    patch.setattr(mixtures, "_unequal", lambda s, t, q1, q2: torch.zeros_like(s + q1))


@caught_by("gaussian-duals")
def wrong_variance(patch: Patch) -> None:
    """E φ''φ of tanh and erf divides by the variance of the wrong one of its two variables."""
    real = ErfMixture.mean_curvature

    def wrong(self: ErfMixture, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        return real(self, q2, q1, gap)

    patch.setattr(ErfMixture, "mean_curvature", wrong)


@caught_by("saturating-cosines")
def bias_that_does_not_join(patch: Patch) -> None:
    """The common bias of two inputs brings their pre-activations no closer."""
    real = Block.preactivations

    def apart(self: Block, q1: Tensor, q2: Tensor, gap: Tensor, inner=1.0, one=1.0):
        r1, r2, _ = real(self, q1, q2, gap, inner, one)
        bare = real(self, q1, q2, gap, inner, 0.0)[2]
        return r1, r2, bare

    patch.setattr(Block, "preactivations", apart)
