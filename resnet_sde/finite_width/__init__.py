"""What is known at finite width."""

from resnet_sde.finite_width.homogeneous import HomogeneousMoments, homogeneous_moments

__all__ = ["HomogeneousMoments", "homogeneous_moments"]
