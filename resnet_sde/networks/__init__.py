"""Networks that can be trained, drawn from a `Model`: `ResNet`, `Stack` for many, `save` and `load`."""

from resnet_sde.networks.claims import check_block
from resnet_sde.networks.files import load, save
from resnet_sde.networks.modules import Ends, ResNet, Stack, dropout_masks, structure

__all__ = ["Ends", "ResNet", "Stack", "check_block", "dropout_masks", "load", "save", "structure"]
