"""Bugs in the laws of the weights, their paths and the scaling."""

import math

import torch
from torch import Tensor

from mutants import Patch, caught_by
from resnet_sde import fractional, laws
from resnet_sde.blocks import TwoLayer
from resnet_sde.laws import PathLaw
from resnet_sde.model import Model
from resnet_sde.paths import GridPath, SmoothPath
from resnet_sde.streams import Stream


@caught_by("strong-error")
def scaling(patch: Patch) -> None:
    """The exponent of the scaling is off by a twentieth."""
    patch.setattr(Model, "alpha", lambda self, depth: self.gain * float(depth) ** -(self.beta + 0.05))


@caught_by("interpolation")
def another_hurst_index(patch: Patch) -> None:
    """Fractional noise has another Hurst index than it should."""
    real = laws.fractional_noise_
    patch.setattr(
        laws,
        "fractional_noise_",
        lambda noise, hurst, source, sampler: real(noise, min(hurst + 0.05, 0.99), source, sampler),
    )


@caught_by("drawn-weights")
def smooth_variance(patch: Patch) -> None:
    """The variance of smooth weights is 3 % too large."""
    real = SmoothPath.at
    patch.setattr(SmoothPath, "at", lambda self, times: real(self, times) * math.sqrt(1.03))


@caught_by("drawn-weights")
def uniform_variance(patch: Patch) -> None:
    """Uniform entries lie on (−1, 1), where their variance is 1/3."""
    real = Stream.uniform_
    patch.setattr(Stream, "uniform_", lambda self, out: real(self, out).div_(math.sqrt(3)))


@caught_by("drawn-weights")
def signs_with_a_mean(patch: Patch) -> None:
    """Entries ±1 are 0 and √2 instead: of unit second moment, but not centred."""
    real = Stream.rademacher_
    patch.setattr(Stream, "rademacher_", lambda self, out: real(self, out).add_(1).div_(math.sqrt(2)))


@caught_by("drawn-weights")
def nyquist_eigenvalue(patch: Patch) -> None:
    """The last eigenvalue of fractional noise misses the factor of a real mode, as if it had a partner."""
    _scaled_mode(patch, slice(-2, None))


@caught_by("drawn-weights")
def zero_eigenvalue(patch: Patch) -> None:
    """The same for the first eigenvalue, of the mean along the path."""
    _scaled_mode(patch, slice(0, 2))


def _scaled_mode(patch: Patch, place: slice) -> None:
    real = fractional.Circulant.__init__

    def halved(self: fractional.Circulant, *arguments: object) -> None:
        real(self, *arguments)
        self._scale[place] /= math.sqrt(2)

    patch.setattr(fractional.Circulant, "__init__", halved)


@caught_by("drawn-weights")
def lag_off_by_one(patch: Patch) -> None:
    """Covariances of fractional noise from lag 2 on are those of the next lag."""
    real = fractional.autocovariance

    def late(hurst: float, depth: int) -> Tensor:
        gamma = real(hurst, depth + 1)
        return torch.cat([gamma[:2], gamma[3:]])[:depth]

    patch.setattr(fractional, "autocovariance", late)


@caught_by("drawn-weights")
def smooth_times(patch: Patch) -> None:
    """Smooth weights are seen at the times k / (L − 1), so that the last layer sees time 1."""
    times = torch.linspace
    patch.setattr(SmoothPath, "weights", lambda self, depth: self.at(times(0, 1, depth, dtype=torch.float64)))


@caught_by("euler-scheme")
def right_point(patch: Patch) -> None:
    """Smooth weights are seen at the right end of each layer."""
    steps = torch.arange
    patch.setattr(
        SmoothPath, "weights", lambda self, depth: self.at(steps(1, depth + 1, dtype=torch.float64) / depth)
    )


@caught_by("young-limit")
def coarse_scale(patch: Patch) -> None:
    """Sums of fractional weights are rescaled like sums of independent ones."""
    real = GridPath.weights

    def rescaled(self: GridPath, depth: int) -> Tensor:
        return real(self, depth) * (self.fine.shape[0] / depth) ** (self.exponent - 0.5)

    patch.setattr(GridPath, "weights", rescaled)


@caught_by("strong-error")
def coarse_sample(patch: Patch) -> None:
    """A coarse layer takes the first of the increments that it should add up."""
    patch.setattr(GridPath, "weights", lambda self, depth: self.fine[:: self.fine.shape[0] // depth])


@caught_by("critical-scaling")
def odd_activation(patch: Patch) -> None:
    """The critical scaling of two fractional matrices forgets that an odd activation has no mean."""

    def critical_beta(self: TwoLayer, law: PathLaw) -> float:
        return max(law.exponent, 0.5)

    patch.setattr(TwoLayer, "critical_beta", critical_beta)
