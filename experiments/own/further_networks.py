"""Further networks with a residual stream, or with none: mixers, layer scale, hybrids, two streams."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.own import depth_networks as nets

Factory = Callable[[int], nn.Module]


def stacked(stem: Callable[[], nn.Module], block: Callable[[int], nn.Module]) -> Factory:
    """A stem and blocks, which are given the depth."""
    return lambda depth: nn.Sequential(stem(), nn.Sequential(*[block(depth) for _ in range(depth)]))


class Patches(nn.Module):
    """Patches of an image as tokens of width 64."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Conv2d(3, nets.WIDTH, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x).flatten(2).transpose(1, 2)


class Mixer(nn.Module):
    """A branch across 16 tokens and one across channels, each behind a LayerNorm."""

    def __init__(self, width: int = nets.WIDTH, tokens: int = 16) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = nn.Sequential(nn.Linear(tokens, width), nn.GELU(), nn.Linear(width, tokens))
        self.channels = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norm_1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm_2(x))


class Scaled(nn.Module):
    """A transformer's block with a factor on both branches, learned per channel (layer scale) or not."""

    def __init__(self, factor: float, *, learned: bool) -> None:
        super().__init__()
        self.body = nets.GPTBlock()
        scales = [torch.full((nets.WIDTH,), factor) for _ in range(2)]
        self.scales = nn.ParameterList(scales) if learned else [factor] * 2

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.scales[0] * self.body.attention(self.body.norm_1(x))
        return x + self.scales[1] * self.body.down(F.gelu(self.body.up(self.body.norm_2(x))))


class ByPosition(nn.Module):
    """Normalized branches, the k-th of them over √k."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        blocks = [nets.Branch(nets.WIDTH, norm=True, factor=(k + 1) ** -0.5) for k in range(depth)]
        self.stem, self.blocks = nn.Linear(20, nets.WIDTH), nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.stem(x))


class TorchDecoder(nn.Module):
    """The decoder of torch: its constructor copies one layer."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        layer = nn.TransformerDecoderLayer(nets.WIDTH, nets.HEADS, 256, 0.0, batch_first=True)
        self.decoder = nn.TransformerDecoder(layer, depth)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        return self.decoder(x, memory)


class Dense(nn.Module):
    """Hands on its input beside what it makes of it, as DenseNet does."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.w = nn.Linear(inputs, 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, F.relu(self.w(x))], dim=-1)


class Highway(nn.Module):
    """g f(x) + (1 − g) x with a gate g."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.w = nn.Linear(nets.WIDTH, nets.WIDTH), nn.Linear(nets.WIDTH, nets.WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        g = torch.sigmoid(self.gate(x))
        return g * F.relu(self.w(x)) + (1 - g) * x


class Coupled(nn.Module):
    """Two streams, each of which is the input of the other's branch."""

    def __init__(self) -> None:
        super().__init__()
        self.f, self.g = nets.Branch(32, norm=True), nets.Branch(32, norm=True)

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        left = left + self.f(right)
        return left, right + self.g(left)


class Reversible(nn.Module):
    """A network of coupled blocks."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.stem, self.blocks = nn.Linear(20, 32), nn.ModuleList([Coupled() for _ in range(depth)])

    def forward(self, x: Tensor) -> Tensor:
        left = right = self.stem(x)
        for block in self.blocks:
            left, right = block(left, right)
        return torch.cat([left, right], dim=-1)


def hybrid(depth: int) -> nn.Module:
    """Attention at every fourth place, and branches of two matrices in between, in one list."""
    net = nets.Decoder(nets.GPTBlock, depth)
    for k in range(depth):
        if k % 4:
            net.h[k] = nets.Branch(nets.WIDTH, norm=True)
    return net


def zeroed_gpt(depth: int) -> nn.Module:
    """A GPT whose output projections are zero."""
    net = nets.gpt(0.0)(depth)
    for block in net.h:
        nets.multiply(block.attention.o, 0.0)
        nets.multiply(block.down, 0.0)
    return net


def zeroed_convolutions(depth: int) -> nn.Module:
    """ResNet-v1 with the last normalization of every branch zero."""
    net = nets.convolutional(0.0, after=True)(depth)
    for block in net[1]:
        nn.init.zeros_(block.norm_2.weight)
    return net


def scaled_gpt(beta: float) -> Factory:
    """A GPT with a multiplier L^{−β} on its branches."""
    return lambda depth: nets.Decoder(lambda: Scaled(depth**-beta, learned=False), depth)


def perceptron_of_torch(depth: int) -> nn.Module:
    """Branches of two matrices as torch initializes them."""
    net = nets.perceptron(0.0)(depth)
    for block in net[1]:
        block.w.reset_parameters()
        block.v.reset_parameters()
    return net
