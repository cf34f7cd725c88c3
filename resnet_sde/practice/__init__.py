"""For networks of one's own: how their branches, initial sizes and learning rates scale with depth."""

from resnet_sde.practice.errors import DepthMismatch, NoStream, NotAStream
from resnet_sde.practice.profile import Profile, probe
from resnet_sde.practice.writers import Writer

__all__ = ["DepthMismatch", "NoStream", "NotAStream", "Profile", "Writer", "probe"]
