"""For networks of one's own: how their branches, initial sizes and learning rates scale with depth."""

from resnet_sde.practice.advice import Advice, Reason, advise
from resnet_sde.practice.audit import RoleLaw
from resnet_sde.practice.check import assert_depth_law, depth_check
from resnet_sde.practice.errors import DepthMismatch, NoStream, NotAStream
from resnet_sde.practice.laws_of_depth import DepthCheck, Fate, WriterLaw
from resnet_sde.practice.profile import Profile, probe
from resnet_sde.practice.rates import RateLaw
from resnet_sde.practice.rescale import Scaled, scale_residual_
from resnet_sde.practice.writers import Writer

__all__ = [
    "Advice",
    "DepthCheck",
    "DepthMismatch",
    "Fate",
    "NoStream",
    "NotAStream",
    "Profile",
    "RateLaw",
    "Reason",
    "RoleLaw",
    "Scaled",
    "Writer",
    "WriterLaw",
    "advise",
    "assert_depth_law",
    "depth_check",
    "probe",
    "scale_residual_",
]
