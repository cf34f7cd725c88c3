"""Where the depth check looks for the stream: the first tensor of more than one number."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import resnet_sde as rs


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


class MessagePassing(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.update = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, nodes: Tensor, adjacency: Tensor) -> Tensor:
        return nodes + adjacency @ self.update(self.norm(nodes))


class Rate(nn.Module):
    """A field of (time, state), as solvers of equations want it."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(17, 32), nn.Linear(32, 16)

    def forward(self, time: Tensor, x: Tensor) -> Tensor:
        return self.down(torch.tanh(self.up(torch.cat([x, time.expand(len(x), 1)], -1))))


class Euler(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.enter, self.rate, self.depth = nn.Linear(6, 16), Rate(), depth

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for k in range(self.depth):
            x = x + self.rate(torch.tensor(k / self.depth), x) / self.depth
        return x


def test_a_time_before_the_state_is_not_the_stream() -> None:
    check = rs.depth_check(Euler, normal(6, 6), depths=(8, 24))
    assert check.copies == "loop"
    assert abs(check.beta.value - 1) < 0.06


class Around(nn.Module):
    """Message passing whose arguments and outputs stand in other orders, or in one object."""

    def __init__(self, depth: int, width: int, order: str) -> None:
        super().__init__()
        self.order, self.encoder = order, nn.Linear(5, width)
        self.layers = nn.ModuleList([Ordered(width, order) for _ in range(depth)])

    def forward(self, nodes: Tensor, adjacency: Tensor) -> Tensor:
        x = self.encoder(nodes)
        for layer in self.layers:
            if self.order == "argument":
                x = layer(adjacency, x)
            elif self.order == "output":
                x = layer(x, adjacency)[1]
            else:
                x = layer({"nodes": x, "adjacency": adjacency})["nodes"]
        return x


class Ordered(nn.Module):
    def __init__(self, width: int, order: str) -> None:
        super().__init__()
        self.order, self.inside = order, MessagePassing(width)

    def forward(self, first: Any, second: Tensor | None = None) -> Any:
        if self.order == "argument":
            return self.inside(second, first)
        if self.order == "output":
            return second, self.inside(first, second)
        return {**first, "nodes": self.inside(first["nodes"], first["adjacency"])}


@pytest.mark.parametrize("width", [16, 12])  # as many channels as nodes, and fewer
@pytest.mark.parametrize(
    ("order", "sentence"),
    [
        ("argument", "is given another tensor before its stream: .* Make the stream its first argument"),
        ("output", "returns another tensor before its stream: .* Return the stream first"),
        ("object", r"layers\.0 is given no tensor of real numbers: .* an argument and an output of its own"),
    ],
)
def test_a_stream_that_stands_elsewhere_is_refused_by_where_it_should(
    width: int, order: str, sentence: str
) -> None:
    batch = normal(3, 16, 5), torch.eye(16).expand(3, -1, -1).contiguous()
    with pytest.raises(rs.NotAStream, match=sentence):
        rs.depth_check(functools.partial(Around, width=width, order=order), batch, depths=(3, 6), seeds=1)
