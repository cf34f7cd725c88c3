"""What is known at finite width."""

from resnet_sde.finite_width.depth_flow import saturation_kernel
from resnet_sde.finite_width.finite_size import FiniteSize, finite_size
from resnet_sde.finite_width.homogeneous import HomogeneousMoments, homogeneous_moments
from resnet_sde.finite_width.optimal import (
    Optimum,
    branch_optimum,
    diagonal_optimum,
    off_diagonal_optimum,
    saturation_scale,
    sensitive_band,
)
from resnet_sde.finite_width.posterior import posterior_shift
from resnet_sde.finite_width.random_walk import RandomWalk, random_walk
from resnet_sde.finite_width.response import off_diagonal_response, output_response
from resnet_sde.finite_width.two_inputs import finite_size_pair

__all__ = [
    "FiniteSize",
    "HomogeneousMoments",
    "Optimum",
    "RandomWalk",
    "branch_optimum",
    "diagonal_optimum",
    "finite_size",
    "finite_size_pair",
    "homogeneous_moments",
    "off_diagonal_optimum",
    "off_diagonal_response",
    "output_response",
    "posterior_shift",
    "random_walk",
    "saturation_kernel",
    "saturation_scale",
    "sensitive_band",
]
