"""For networks of one's own: how their branches, initial sizes and learning rates scale with depth."""

from resnet_sde.practice.audit import RoleLaw
from resnet_sde.practice.check import assert_depth_law, depth_check
from resnet_sde.practice.errors import DepthMismatch, NoStream, NotAStream
from resnet_sde.practice.laws_of_depth import DepthCheck, Fate, WriterLaw
from resnet_sde.practice.profile import Profile, probe
from resnet_sde.practice.rates import RateLaw
from resnet_sde.practice.writers import Writer

__all__ = [
    "DepthCheck",
    "DepthMismatch",
    "Fate",
    "NoStream",
    "NotAStream",
    "Profile",
    "RateLaw",
    "RoleLaw",
    "Writer",
    "WriterLaw",
    "assert_depth_law",
    "depth_check",
    "probe",
]
