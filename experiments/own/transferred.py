"""Networks and examples of `depth_transfer`: perceptrons on digits, and a transformer on characters."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_sde.training import load_data

LETTERS, COPIED = 8, 0.9  # of the text; how often a letter is that two places before it
WIDTH, TOKENS = 32, 16


def matrix(outputs: int, inputs: int, square: float) -> nn.Linear:
    """Gaussian, with this variance times the number of inputs."""
    made = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(made.weight, std=math.sqrt(square / inputs))
    return made


class Branch(nn.Module):
    """x + α V relu(W x)."""

    def __init__(self, sigma_w2: float, sigma_v2: float, alpha: float) -> None:
        super().__init__()
        self.w, self.v = matrix(WIDTH, WIDTH, sigma_w2), matrix(WIDTH, WIDTH, sigma_v2)
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        """Shape: x and the output (rows, width)."""
        return x + self.alpha * self.v(F.relu(self.w(x)))


class Perceptron(nn.Module):
    """Pixels to classes.

    depth: number of blocks.
    where: "multiplier" in the graph, "weights" at initialization, or "default" for torch's variances.
    beta: of the factor L^{−β}.
    """

    def __init__(self, depth: int, where: str, beta: float = 0.5) -> None:
        super().__init__()
        factor = depth**-beta
        sizes = {
            "multiplier": (2.0, 1.0, factor),
            "weights": (2.0, factor**2, 1.0),
            "default": (1 / 3, 1 / 3, 1.0),
        }
        self.first = matrix(WIDTH, 64, 1.0)
        self.blocks = nn.ModuleList([Branch(*sizes[where]) for _ in range(depth)])
        self.readout = matrix(10, WIDTH, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: from (rows, 64) to (rows, 10)."""
        h = self.first(x)
        for block in self.blocks:
            h = block(h)
        return self.readout(h)


class Layer(nn.Module):
    """Attention and a perceptron with relu², each behind a normalization and times α.

    size: variance of what writes, times the number of inputs.
    """

    def __init__(self, alpha: float, size: float) -> None:
        super().__init__()
        self.qkv, self.o = matrix(3 * WIDTH, WIDTH, 1.0), matrix(WIDTH, WIDTH, size)
        self.up, self.down = matrix(4 * WIDTH, WIDTH, 1.0), matrix(WIDTH, 4 * WIDTH, size)
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        """Shape: x and the output (rows, tokens, width)."""
        q, k, v = (p.unflatten(-1, (2, -1)).transpose(-3, -2) for p in self.qkv(normed(x)).chunk(3, dim=-1))
        later = torch.ones(x.shape[-2], x.shape[-2], dtype=torch.bool).triu(1)
        scores = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).masked_fill(later, -math.inf)
        mixed = (scores.softmax(-1) @ v).transpose(-3, -2).flatten(-2)
        x = x + self.alpha * self.o(mixed)
        return x + self.alpha * self.down(F.relu(self.up(normed(x))).square())


def normed(x: Tensor) -> Tensor:
    """With mean square 1 along the last axis."""
    return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt()


class Transformer(nn.Module):
    """Characters to the next ones.

    where: "multiplier" with the factor (2L)^{−β} in the graph, or "weights" with it at initialization.
    """

    def __init__(self, depth: int, where: str, beta: float = 0.5) -> None:
        super().__init__()
        factor = (2 * depth) ** -beta
        alpha, size = (factor, 1.0) if where == "multiplier" else (1.0, factor**2)
        self.embedding = nn.Parameter(torch.empty(LETTERS, WIDTH))
        self.positions = nn.Parameter(torch.empty(TOKENS, WIDTH))
        nn.init.normal_(self.embedding)
        nn.init.normal_(self.positions, std=0.3)
        self.blocks = nn.ModuleList([Layer(alpha, size) for _ in range(depth)])
        self.readout = matrix(LETTERS, WIDTH, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: from (rows, tokens) to (rows, tokens, letters)."""
        h = F.embedding(x, self.embedding) + self.positions
        for block in self.blocks:
            h = block(h)
        return self.readout(normed(h))


Factory = Callable[[int], nn.Module]
PERCEPTRONS: dict[str, Factory] = {
    "multiplier": partial(Perceptron, where="multiplier"),
    "multiplier 1/L": partial(Perceptron, where="multiplier", beta=1.0),
    "weights": partial(Perceptron, where="weights"),
    "default": partial(Perceptron, where="default"),
}
TRANSFORMERS: dict[str, Factory] = {
    "transformer, multiplier": partial(Transformer, where="multiplier"),
    "transformer, multiplier 1/(2L)": partial(Transformer, where="multiplier", beta=1.0),
    "transformer, weights": partial(Transformer, where="weights"),
}
FACTORIES: dict[str, Factory] = PERCEPTRONS | TRANSFORMERS


@cache
def digits() -> tuple[Tensor, Tensor]:
    """Pixels with mean square 1, and labels, of training."""
    train = load_data("digits").train
    x = train.x.float().flatten(1)
    return x / x.square().mean().sqrt(), train.y


def text(rows: int, source: torch.Generator) -> Tensor:
    """Letters, of which each is that two places before it with a chance of `COPIED`, or else any.

    Shape: (rows, tokens + 1).
    """
    letters = torch.randint(LETTERS, (rows, TOKENS + 1), generator=source)
    copied = torch.rand(rows, TOKENS + 1, generator=source) < COPIED
    for k in range(2, TOKENS + 1):
        letters[:, k] = torch.where(copied[:, k], letters[:, k - 2], letters[:, k])
    return letters


def examples(task: str, rows: int, source: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows drawn at random, and what is to be predicted; a quarter as many rows of letters."""
    if task == "digits":
        x, y = digits()
        at = torch.randint(len(x), (rows,), generator=source)
        return x[at], y[at]
    found = text(rows // 4, source)
    return found[:, :-1], found[:, 1:]
