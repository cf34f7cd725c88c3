"""Modules and batches drawn at random: residual and not, sound and not, as no person would write them.

Everything of a pair is decided by its number: what a block computes, how it adds to the stream, how it hands
tensors on, how the network calls its blocks, what it is called with, and what was done to it before.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from fuzzed_blocks import BODIES, Block
from fuzzed_histories import HISTORY, OPTION
from torch import Tensor, nn

SKIPS = (
    "add",
    *("add in place", "subtract", "post-norm", "post-activation", "scaled sum", "nothing", "scaled skip"),
    *("gate", "zero", "identity", "detached", "not finite", "overflow", "wider", "other dtype", "transposed"),
    *("fails", "fails in the middle", "fails without gradients", "fails the second time", "fickle", "stops"),
)
WAYS = (
    *(
        "tensor",
        "tuple",
        "list",
        "mapping",
        "namespace",
        "keyword",
        "second argument",
        "nested",
        "none",
        "text",
    ),
    *("integers", "generator", "two streams", "none first", "complex"),
)
RUNS = (
    *(
        "list",
        "sequential",
        "branches outside",
        "branches outside in place",
        "loop",
        "encoder and decoder",
        "shuffled",
        "twice",
    ),
    *("dictionary", "attributes", "hybrid", "holes", "reversed", "dropped", "stages", "scaled between"),
    *("first differs", "no grad inside", "parallel wrapper", "stops early", "list of lists"),
)
STREAMS = ("vectors", "tokens", "images")
BATCHES = (
    *(
        "plain",
        "tuple",
        "list",
        "mapping",
        "one row",
        "no rows",
        "zeros",
        "not finite",
        "other dtype",
        "expanded",
    ),
    *("needs gradients", "made for inference", "transposed", "too many", "a parameter", "text"),
)
HISTORIES = (
    *(
        "none",
        "modes",
        "gradients",
        "frozen",
        "some frozen",
        "hooks",
        "changing hooks",
        "failing hook",
        "half",
    ),
    *("brain", "double", "backward hooks", "compiled", "lazy", "cache", "fixed cache", "made for inference"),
    *("shared", "float8", "empty parameters", "meta"),
)
ENDS = ("tensor", "tuple", "mapping", "none", "number", "scalar", "loss", "integers")
OPTIONS = (
    *(
        "none",
        "no gradients",
        "no replays",
        "pattern",
        "wrong pattern",
        "class",
        "names",
        "call",
        "failing call",
    ),
    *("loss", "vector loss", "number loss", "failing loss", "seed", "wrong seed"),
)


@dataclass(frozen=True)
class Pair:
    """What was drawn for one number."""

    number: int
    stream: str
    body: str
    norm: str
    skip: str
    way: str
    run: str
    batch: str
    history: str
    end: str
    option: str
    width: int
    depth: int
    stem: bool
    tied: bool

    def factory(self, depth: int) -> nn.Module:
        """The network with this many blocks."""
        return Network(self, depth)

    def module(self) -> nn.Module:
        """A network with a history."""
        net = self.factory(self.depth)
        past = HISTORY.get(self.history)
        return net if past is None else past(net)

    def inputs(self) -> Any:
        """What it is called with."""
        return _batch(self)

    def arguments(self) -> dict[str, Any]:
        """Options of `probe`."""
        return dict(OPTION.get(self.option, {}))


def pair(number: int, seed: int = 0) -> Pair:
    """The pair of a number."""
    rng = np.random.default_rng([seed, number])

    odd = float(rng.choice([0.0, 0.1, 0.3, 1.0]))

    def one(of: tuple[str, ...]) -> str:
        """The first, or anything where this pair is odd here."""
        return of[int(rng.integers(len(of)))] if rng.random() < odd else of[0]

    def any_of(of: tuple[str, ...]) -> str:
        return of[int(rng.integers(len(of)))]

    return Pair(
        number=number,
        stream=any_of(STREAMS),
        body=any_of(BODIES),
        norm=any_of(("none", "layer", "root mean square", "batch", "group", "functional")),
        skip=one(SKIPS),
        way=one(WAYS),
        run=one(RUNS),
        batch=one(BATCHES),
        history=one(HISTORIES),
        end=one(ENDS),
        option=one(OPTIONS),
        width=int(rng.choice([2, 4, 6])),
        depth=int(rng.choice([1, 2, 3, 4, 5, 10])),
        stem=bool(rng.integers(2)),
        tied=bool(rng.integers(8) == 0),
    )


class Network(nn.Module):
    """Blocks that are called in one of the ways of `RUNS`."""

    def __init__(self, drawn: Pair, depth: int) -> None:
        super().__init__()
        self.drawn, self.depth = drawn, depth
        width = drawn.width
        self.stem = nn.Linear(width, width) if drawn.stem and drawn.stream != "images" else nn.Identity()
        count = 1 if drawn.run == "loop" else depth
        shared = Block(drawn, 0, depth) if drawn.tied else None
        blocks = [shared or (Other if self._other(k) else Block)(drawn, k, depth) for k in range(count)]
        if drawn.run == "dictionary":
            self.blocks: Any = nn.ModuleDict({f"b{k}": b for k, b in enumerate(blocks)})
        elif drawn.run == "attributes":
            for k, block in enumerate(blocks):
                self.add_module(f"block{k}", block)
        elif drawn.run == "list of lists":
            self.blocks = nn.ModuleList([nn.ModuleList([b]) for b in blocks])
        elif drawn.run == "sequential" and drawn.way == "tensor":
            self.blocks = nn.Sequential(*blocks)
        else:
            self.blocks = nn.ModuleList(blocks)
        if drawn.run == "holes":
            self.blocks._modules["hole"] = None
        if drawn.run == "encoder and decoder":
            self.decoder = nn.ModuleList([Block(drawn, k, depth) for k in range(depth)])
        self.head = nn.Linear(width, 3)
        if drawn.tied and isinstance(self.stem, nn.Linear):
            self.stem.weight = nn.Parameter(torch.randn(width, width))
            self.head = nn.Linear(width, width)
            self.head.weight = self.stem.weight

    def _other(self, k: int) -> bool:
        run = self.drawn.run
        return (run == "hybrid" and k % 2 == 1) or (run == "first differs" and k == 0)

    def _order(self) -> list[nn.Module]:
        run = self.drawn.run
        if run == "attributes":
            return [m for n, m in self._modules.items() if n.startswith("block") and m is not None]
        found = list(self.blocks.values() if run == "dictionary" else self.blocks._modules.values())
        found = [b[0] if run == "list of lists" else b for b in found if b is not None]
        if run == "loop":
            return found * self.depth
        if run == "shuffled":
            random.shuffle(found)
        if run == "reversed":
            return found[::-1]
        if run == "twice":
            return [b for b in found for _ in range(2)]
        if run == "dropped":
            return [b for b in found if random.random() < 0.7]
        if run == "stops early":
            return found[:-1]
        return found + list(self.decoder) if run == "encoder and decoder" else found

    def forward(self, x: Any, *rest: Any, **named: Any) -> Any:
        run = self.drawn.run
        h = self.stem(x)
        for k, block in enumerate(self._order()):
            if run == "branches outside":
                h = h + 0.3 * block.given(h)
            elif run == "branches outside in place":
                h = h.clone() if k == 0 else h
                h += 0.3 * block.given(h)
            elif run == "no grad inside":
                with torch.no_grad():
                    h = block.given(h)
            else:
                h = block.given(h)
            if run == "scaled between" and k == 1:
                h = 0.5 * h
            if run == "stages" and k == self.depth // 2:
                h = torch.cat([h, h], 0)
        return _end(self.drawn.end, self.head, h)


class Other(Block):
    """A block of another class."""


def _end(kind: str, head: nn.Module, h: Tensor) -> Any:
    if h.is_complex() or h.shape[-1] != head.in_features:
        return h
    out = head(h.to(head.weight.dtype))
    ends = {
        "tuple": lambda: (out, "more"),
        "mapping": lambda: {"logits": out},
        "none": lambda: None,
        "number": lambda: float(out.detach().double().sum()),
        "scalar": lambda: out.sum(),
        "loss": lambda: SimpleNamespace(loss=out.square().mean(), logits=out),
        "integers": lambda: out.argmax(-1),
    }
    return ends.get(kind, lambda: out)()


# What a network is called with


def _batch(drawn: Pair) -> Any:
    generator = torch.Generator().manual_seed(drawn.number)
    rows = {"one row": 1, "no rows": 0}.get(drawn.batch, 4)
    shape = {
        "vectors": (rows, drawn.width),
        "tokens": (rows, 3, drawn.width),
        "images": (rows, 2, drawn.width, drawn.width),
    }[drawn.stream]
    x = torch.randn(shape, generator=generator)
    double = {"double": torch.float64, "half": torch.float16, "brain": torch.bfloat16}
    x = x.to(double.get(drawn.history, x.dtype))
    kinds: dict[str, Callable[[], Any]] = {
        "tuple": lambda: (x, torch.ones(2, dtype=torch.bool)),
        "list": lambda: [x, "mode"],
        "mapping": lambda: {"x": x, "mask": None},
        "zeros": lambda: torch.zeros_like(x),
        "not finite": lambda: x / 0,
        "other dtype": lambda: x.double(),
        "expanded": lambda: x[:1].expand(shape),
        "needs gradients": lambda: x.requires_grad_(),
        "made for inference": lambda: _inference(x),
        "transposed": lambda: x.transpose(0, -1).contiguous().transpose(0, -1),
        "too many": lambda: {"x": x, "y": x, "z": {"w": x}},
        "a parameter": lambda: nn.Parameter(x),
        "text": lambda: "a batch",
    }
    return kinds.get(drawn.batch, lambda: x)()


def _inference(x: Tensor) -> Tensor:
    with torch.inference_mode():
        return x.clone()
