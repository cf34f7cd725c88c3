"""Small trainable networks, and the same written operation by operation: it knows no fast path."""

import pytest
import torch
from torch import Tensor, nn

import resnet_sde as rs
from resnet_sde.networks import ResNet, dropout_masks
from resnet_sde.streams import stream

DEPTH, WIDTH, N_IN, N_OUT, INPUTS = 4, 5, 3, 2, 6
ALL = {"sigma_w2": 1.3, "sigma_b2": 0.4}
BLOCKS = {
    "res-1": rs.SingleLayer(rs.TANH),
    "res-1 bias": rs.SingleLayer(rs.GELU, **ALL),
    "res-2": rs.TwoLayer(rs.TANH),
    "full": rs.TwoLayer(rs.GELU, **ALL, sigma_v2=0.8, sigma_a2=0.2),
    "reduced": rs.Reduced(rs.SIGMOID),
    "reduced bias": rs.Reduced(rs.ERF, **ALL),
}
SKIPS = {"skip 1": 1.0, "skip 0.7": 0.7, "skip 0": 0.0}
both = pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
of_both = pytest.mark.parametrize("skip", SKIPS.values(), ids=SKIPS)


def model(block: rs.Block = BLOCKS["full"], skip: float = 1.0) -> rs.Model:
    return rs.Model(block, rs.WhiteNoise(), WIDTH, beta=0.3, gain=0.9, skip=skip)


def network(block: rs.Block = BLOCKS["full"], skip: float = 1.0, **options: object) -> ResNet:
    return ResNet(model(block, skip), DEPTH, N_IN, N_OUT, **{"biases": True, **options})


def inputs(*shape: int) -> Tensor:
    return torch.randn(*(shape or (INPUTS, N_IN)), generator=rs.generator(0, "inputs", shape))


def masks_for(x: Tensor) -> Tensor:
    return dropout_masks((DEPTH + 1, WIDTH, len(x)), 0.6, stream(1, "masks"), x)


class Plain(nn.Module):
    """The same network, operation by operation, with its parameters."""

    def __init__(self, net: ResNet) -> None:
        super().__init__()
        for name, value in net.named_parameters():
            self.register_parameter(name, nn.Parameter(value.detach().clone()))
        self.register_buffer("alpha", net.alpha.clone())
        self.phi, self.skip, self.activated = net._layers.activation, net._layers.skip, net._activated

    def forward(self, x: Tensor, masks: Tensor | None = None) -> Tensor:
        p = dict(self.named_parameters())
        h = x @ p["embed"] + p["embed_bias"] if "embed" in p else x
        for k in range(DEPTH):
            pre = h
            if "inner" in p:
                pre = h @ p["inner"][k] + (p["inner_bias"][k] if "inner_bias" in p else 0.0)
            a = self.phi(pre) if masks is None else self.phi(pre) * masks[k].mT
            if "outer" in p:
                a = a @ p["outer"][k] + (p["outer_bias"][k] if "outer_bias" in p else 0.0)
            h = self.skip * h + self.alpha * a
        if self.activated:
            h = self.phi(h) if masks is None else self.phi(h) * masks[-1].mT
        return h @ p["readout"] + p["readout_bias"]


class Doubled(nn.Module):
    """A parametrization: twice the parameter."""

    def forward(self, weights: Tensor) -> Tensor:
        return 2 * weights


def assert_same(one: object, other: object, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
