"""The residual layers of a network as modules without parameters, to which hooks can be put."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

if TYPE_CHECKING:
    from resnet_sde.networks.modules import Network


class ResidualBlock(nn.Module):
    """One residual layer of a network, h → N(λh + α V φ(W h + b) + α c), as the network's `blocks` hold it.

    It has no parameters: those of all layers are the network's, of which the block knows its layer. It runs
    where some block has a hook or is not as it was made; otherwise the network runs all layers at once.

    index: of the layer, from 0.
    """

    def __init__(self, network: Network, index: int) -> None:
        super().__init__()
        self.index = index
        self.belong_to(network)

    def belong_to(self, network: Network) -> None:
        """Let this be a layer of that network."""
        # A network that its own parts held would be freed by the garbage collector only.
        self._network: Callable[[], Network | None] | None = weakref.ref(network)

    @property
    def alone(self) -> bool:
        """Whether there is no network that it is a layer of."""
        return self._network is None or self._network() is None

    def forward(self, h: Tensor, mask: Tensor | None = None) -> Tensor:
        """The states that the layer puts out, from those that it starts from, (..., width).

        Args:
            mask: factors on φ, of the shape of h.

        Raises:
            RuntimeError: the network is gone.
        """
        network = None if self._network is None else self._network()
        if network is None:
            raise RuntimeError("a block has no weights of its own, and its network is gone; keep the network")
        return network.step(self.index, h, mask)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_network": None}  # copies belong to the copy of the network


def blocks_of(network: Network, depth: int) -> nn.ModuleList:
    """One block for each layer."""
    return nn.ModuleList(ResidualBlock(network, k) for k in range(depth))


def as_made(blocks: object, depth: int) -> bool:
    """Whether the blocks do no more than the network can do at once: no hooks, none changed or missing."""
    if type(blocks) is not nn.ModuleList or len(blocks._modules) != depth or _has_any_global_hook():
        return False
    for k, block in enumerate(blocks._modules.values()):
        if type(block) is not ResidualBlock:
            return False
        hooked = block._forward_hooks or block._forward_pre_hooks
        hooked = hooked or block._backward_hooks or block._backward_pre_hooks
        if hooked or block.index != k or "forward" in block.__dict__:
            return False
    return True
