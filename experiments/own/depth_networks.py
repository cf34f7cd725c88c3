"""Small networks with a residual stream, as people write them, and ways to get their depth wrong.

A factory takes the number of blocks; `beta` is the exponent of its branches.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VOCABULARY, WIDTH, HEADS = 97, 64, 4


def tokens(batch: int = 4, length: int = 16) -> Tensor:
    """Random tokens, (batch, length)."""
    return torch.randint(0, VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(1))


def vectors(batch: int = 16, size: int = 20) -> Tensor:
    """Gaussian inputs, (batch, size), of the default dtype."""
    return torch.randn(batch, size, generator=torch.Generator().manual_seed(1))


def images(batch: int = 4, size: int = 8) -> Tensor:
    """Noise of three channels, (batch, 3, size, size)."""
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))


class Attention(nn.Module):
    """Causal attention without biases."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.o = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        heads = [p.unflatten(-1, (HEADS, -1)).transpose(-3, -2) for p in self.qkv(x).chunk(3, dim=-1)]
        out = F.scaled_dot_product_attention(*heads, is_causal=True)
        return self.o(out.transpose(-3, -2).flatten(-2))


class GPTBlock(nn.Module):
    """Attention and a two-layer branch, each behind a LayerNorm."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_1(x))
        return x + self.down(F.gelu(self.up(self.norm_2(x))))


class Decoder(nn.Module):
    """Embedding, blocks, readout; drawn in this order, so that networks of all depths begin alike."""

    def __init__(self, block: Callable[[], nn.Module], depth: int, width: int = WIDTH) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.positions = nn.Parameter(0.1 * torch.randn(64, width))
        self.h = nn.ModuleList([block() for _ in range(depth)])
        self.norm, self.readout = nn.LayerNorm(width), nn.Linear(width, VOCABULARY)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embedding(x) + self.positions[: x.shape[1]]
        for block in self.h:
            h = block(h)
        return self.readout(self.norm(h))


def multiply(module: nn.Module, factor: float) -> None:
    """Multiply all parameters of a module."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(factor)


def gpt(beta: float, constant: float = 2.0) -> Callable[[int], nn.Module]:
    """Output projections of a GPT times (2L)^{−β}."""

    def factory(depth: int) -> nn.Module:
        net = Decoder(GPTBlock, depth)
        for block in net.h:
            multiply(block.attention.o, (constant * depth) ** -beta)
            multiply(block.down, (constant * depth) ** -beta)
        return net

    return factory


def loop_gpt(beta: float) -> Callable[[int], nn.Module]:
    """One block, called again and again."""

    class Loop(nn.Module):
        def __init__(self, depth: int) -> None:
            super().__init__()
            self.embedding, self.depth = nn.Embedding(VOCABULARY, WIDTH), depth
            self.block = GPTBlock()
            multiply(self.block.attention.o, (2 * depth) ** -beta)
            multiply(self.block.down, (2 * depth) ** -beta)

        def forward(self, x: Tensor) -> Tensor:
            h = self.embedding(x)
            for _ in range(self.depth):
                h = self.block(h)
            return h

    return Loop


class Encoder(nn.Module):
    """torch's own encoder: its constructor copies one layer."""

    def __init__(self, depth: int, beta: float, *, redrawn: bool, norm_first: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 256, 0.0, batch_first=True, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        for layer in self.encoder.layers:
            if redrawn:
                for module in (layer.self_attn, layer.linear1, layer.linear2):
                    module._reset_parameters() if module is layer.self_attn else module.reset_parameters()
                layer.self_attn.out_proj.reset_parameters()
            multiply(layer.self_attn.out_proj, depth**-beta)
            multiply(layer.linear2, depth**-beta)

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(self.embedding(x))


def encoder(beta: float, *, redrawn: bool = True, norm_first: bool = True) -> Callable[[int], nn.Module]:
    """The encoder of torch with out_proj, linear2 times L^{−β}, its layers drawn anew or left as copies."""
    return lambda depth: Encoder(depth, beta, redrawn=redrawn, norm_first=norm_first)


class Convolutional(nn.Module):
    """A pre-activation branch of two convolutions, or one of the first kind with a ReLU after the sum."""

    def __init__(self, channels: int, factor: float, *, after: bool) -> None:
        super().__init__()
        self.after, self.factor = after, factor
        self.norm_1, self.norm_2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.conv_1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        if after:
            nn.init.constant_(self.norm_2.weight, factor)
        else:
            multiply(self.conv_2, factor)

    def forward(self, x: Tensor) -> Tensor:
        if self.after:
            return F.relu(x + self.norm_2(self.conv_2(F.relu(self.norm_1(self.conv_1(x))))))
        return x + self.conv_2(F.relu(self.norm_2(self.conv_1(F.relu(self.norm_1(x))))))


def convolutional(beta: float, *, after: bool = False) -> Callable[[int], nn.Module]:
    """Convolutional networks with the last normalization, or the last convolution, times L^{−β}."""

    def factory(depth: int) -> nn.Module:
        stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(inplace=True))
        blocks = [Convolutional(16, depth**-beta, after=after) for _ in range(depth)]
        return nn.Sequential(stem, nn.Sequential(*blocks))

    return factory


class Branch(nn.Module):
    """x + c V relu(W x), behind a normalization or not."""

    def __init__(self, width: int, *, factor: float = 1.0, norm: bool = False, inplace: bool = False) -> None:
        super().__init__()
        self.w, self.v = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        nn.init.normal_(self.w.weight, std=math.sqrt(2 / width))
        nn.init.normal_(self.v.weight, std=math.sqrt(1 / width))
        self.factor, self.inplace = factor, inplace

    def forward(self, x: Tensor) -> Tensor:
        update = self.factor * self.v(F.relu(self.w(self.norm(x))))
        if self.inplace:
            x += update
            return x
        return x + update


def perceptron(
    beta: float, *, width: int = WIDTH, norm: bool = False, inputs: int = 20, multiplier: bool = False
) -> Callable[[int], nn.Module]:
    """Networks of two matrices in a branch, the second times L^{−β}, or the branch itself."""

    def factory(depth: int) -> nn.Module:
        factor, first = depth**-beta, nn.Linear(inputs, width)
        blocks = [Branch(width, factor=factor if multiplier else 1.0, norm=norm) for _ in range(depth)]
        for block in blocks if not multiplier else ():
            multiply(block.v, factor)
        return nn.Sequential(first, nn.Sequential(*blocks), nn.Linear(width, 10))

    return factory


class SwiGLUBlock(nn.Module):
    """Attention and a gated branch, w2(silu(w1 x) * w3 x), each behind an RMSNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)
        self.wqkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.wo = nn.Linear(WIDTH, WIDTH, bias=False)
        self.w1 = nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.w3 = nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.w2 = nn.Linear(2 * WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        heads = [
            p.unflatten(-1, (HEADS, -1)).transpose(-3, -2) for p in self.wqkv(self.norm_1(x)).chunk(3, -1)
        ]
        out = F.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.wo(out.transpose(-3, -2).flatten(-2))
        normed = self.norm_2(x)
        return x + self.w2(F.silu(self.w1(normed)) * self.w3(normed))


PLANTED = ("none", "lost", "w3", "q, k, v", "q, k, v only", "position", "copies")


def swiglu(planted: str = "none") -> Callable[[int], nn.Module]:
    """A SwiGLU GPT with wo and w2 times (2L)^{−1/2}, and what public libraries have got wrong about it."""

    def factory(depth: int) -> nn.Module:
        net = Decoder(SwiGLUBlock, depth)
        for k, block in enumerate(net.h):
            factor = (2 * (k + 1 if planted == "position" else depth)) ** -0.5
            scaled = {
                "lost": [],
                "w3": [block.wo, block.w2, block.w3],
                "q, k, v": [block.wo, block.w2, block.wqkv],
                "q, k, v only": [block.wqkv, block.w2],
            }.get(planted, [block.wo, block.w2])
            for matrix in scaled:
                multiply(matrix, factor)
            if planted == "copies":
                block.load_state_dict(net.h[0].state_dict())
        return net

    return factory


def deep_norm(depth: int) -> nn.Module:
    """Post-norm with the skip times (2L)^{1/4}, and branches by (8L)^{−1/4} in both of their matrices."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.u, self.w = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)
            self.norm = nn.LayerNorm(WIDTH)
            multiply(self.u, (8 * depth) ** -0.25)
            multiply(self.w, (8 * depth) ** -0.25)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm((2 * depth) ** 0.25 * x + self.w(F.relu(self.u(x))))

    return nn.Sequential(nn.Linear(20, WIDTH), nn.Sequential(*[Block() for _ in range(depth)]))
