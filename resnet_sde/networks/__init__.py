"""Networks that can be trained, drawn from a `Model`: `ResNet`, and `Stack` for many at once."""

from resnet_sde.networks.modules import Ends, ResNet, Stack, dropout_masks, structure

__all__ = ["Ends", "ResNet", "Stack", "dropout_masks", "structure"]
