"""Networks that can be trained, drawn from a `Model`: `ResNet`, and `Stack` for many at once."""

from resnet_sde.networks.claims import check_block
from resnet_sde.networks.modules import Ends, ResNet, Stack, dropout_masks, structure

__all__ = ["Ends", "ResNet", "Stack", "check_block", "dropout_masks", "structure"]
