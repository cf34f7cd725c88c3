"""Networks that can be trained, drawn from a `Model`: `ResNet`, `StackedResNets` for many; `save`, `load`."""

from resnet_sde.networks.claims import check_block
from resnet_sde.networks.drawing import ReadInOut
from resnet_sde.networks.files import load, save
from resnet_sde.networks.modules import ResNet, StackedResNets, dropout_masks, structure

__all__ = [
    "ReadInOut",
    "ResNet",
    "StackedResNets",
    "check_block",
    "dropout_masks",
    "load",
    "save",
    "structure",
]
