"""Gaussian moments of nonlinearities: closed forms, and rules of quadrature, without cancellation.

Every formula takes the gap 1 − correlation rather than the correlation, so that two nearly equal inputs keep
their digits, and writes angles with atan2, so that none is lost near 0 or π either.
"""

from resnet_sde._gaussian.gelu import GeluMoments
from resnet_sde._gaussian.mixtures import ErfMixture, logistic
from resnet_sde._gaussian.moments import Moments
from resnet_sde._gaussian.numerical import Numerical
from resnet_sde._gaussian.powers import HalfPower
from resnet_sde._gaussian.rectified import IdentityMoments, Rectified
from resnet_sde._gaussian.sine import Sine

__all__ = [
    "ErfMixture",
    "GeluMoments",
    "HalfPower",
    "IdentityMoments",
    "Moments",
    "Numerical",
    "Rectified",
    "Sine",
    "logistic",
]
