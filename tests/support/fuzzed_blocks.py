"""What the blocks of fuzzed networks compute, how they add it to the stream, and how they hand it on."""

import random
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.checkpoint import checkpoint


class UsersError(Exception):
    """Raised by code that stands for the user's."""


class UsersStop(BaseException):
    """Raised likewise, and no Exception, as an interrupt is."""


class Block(nn.Module):
    """One block; `given` calls it as its way of handing tensors on wants it."""

    def __init__(self, drawn: Any, place: int, depth: int) -> None:
        super().__init__()
        self.drawn, self.place, self.depth, self.calls = drawn, place, depth, 0
        self.axis = 1 if drawn.stream == "images" else -1
        self.size = 2 if drawn.stream == "images" else drawn.width
        self.norm = _norm(drawn.norm, drawn.stream, self.size)
        self.body = BODY[drawn.body](self.size)
        if drawn.skip == "post-norm":
            self.last = _norm("layer", drawn.stream, self.size)
        if drawn.skip == "gate":
            self.gate = nn.Linear(self.size, self.size)

    def given(self, h: Tensor) -> Tensor:
        """The block as the network calls it."""
        way = self.drawn.way
        if way == "keyword":
            return self(mask=None, hidden=h)
        if way == "second argument":
            return self(torch.ones(2, dtype=torch.bool), h)
        if way == "nested":
            return self((h,))["x"]
        if way == "two streams":
            return self(h, h.clone())[0]
        if way == "none":
            h = h.clone()
            self(h)
            return h
        if way == "complex":
            return self(torch.complex(h.float(), h.float())).real.to(h.dtype)
        if way == "text":
            self(h)
            return h
        out = self(h)
        if way in ("tuple", "list"):
            return out[0]
        if way == "none first":
            return out[1]
        if way == "mapping":
            return out["hidden"]
        if way == "namespace":
            return out.last_hidden_state
        if way == "generator":
            return next(out)
        return h + 0.0 * out.sum() if way == "integers" else out

    def forward(self, *args: Any, hidden: Any = None, mask: Any = None) -> Any:
        way = self.drawn.way
        given = hidden if way == "keyword" else args[1] if way == "second argument" else args[0]
        x = given[0] if way == "nested" else given
        y = self._update(x.real if x.is_complex() else x)
        if way == "none":
            x.copy_(y)
            return None
        return _HAND_ON.get(way, lambda y, x: y)(y, x)

    def branch(self, x: Tensor) -> Tensor:
        """What is added."""
        y = F.layer_norm(x, x.shape[-1:]) if self.drawn.norm == "functional" else _apply(self.norm, x)
        if self.axis == 1:
            return self.body(y.movedim(1, -1)).movedim(-1, 1)
        return self.body(y)

    def _update(self, x: Tensor) -> Tensor:
        self.calls += 1
        kind = self.drawn.skip
        if kind.startswith("fail") or kind in ("stops", "fickle"):
            return self._fail(kind, x)
        change = UPDATES.get(kind)
        return x + 0.5 * self.branch(x) if change is None else change(self, x)

    def _fail(self, kind: str, x: Tensor) -> Tensor:
        middle = self.place == self.depth // 2
        if kind == "fails" or (kind == "fails in the middle" and middle):
            raise UsersError(f"block {self.place} fails")
        if kind == "stops" and middle:
            raise UsersStop("the user stops")
        if kind == "fails without gradients" and not torch.is_grad_enabled():
            raise UsersError("no gradients here")
        if kind == "fails the second time" and self.calls > 1:
            raise UsersError("called again")
        y = x + 0.5 * self.branch(x)
        return y[:1] if kind == "fickle" and self.calls % 2 == 0 else y


def _apply(norm: nn.Module, x: Tensor) -> Tensor:
    if isinstance(norm, (nn.LayerNorm, nn.RMSNorm)) and x.ndim == 4:
        return norm(x.movedim(1, -1)).movedim(-1, 1)
    if isinstance(norm, (nn.BatchNorm1d, nn.GroupNorm)) and x.ndim == 3:
        return norm(x.transpose(1, 2)).transpose(1, 2)
    return norm(x)


def _norm(kind: str, stream: str, size: int) -> nn.Module:
    kinds: dict[str, Callable[[], nn.Module]] = {
        "layer": lambda: nn.LayerNorm(size),
        "root mean square": lambda: nn.RMSNorm(size),
        "batch": lambda: nn.BatchNorm2d(size) if stream == "images" else nn.BatchNorm1d(size),
        "group": lambda: nn.GroupNorm(2, size),
    }
    return kinds.get(kind, nn.Identity)()


def _not_finite(block: Block, x: Tensor) -> Tensor:
    y = x + block.branch(x)
    return y / 0 if block.place == block.depth - 1 else y


def _wider(block: Block, x: Tensor) -> Tensor:
    y = x + block.branch(x)
    return torch.cat([y, y]) if block.place == block.depth // 2 else y


def _in_place(block: Block, x: Tensor) -> Tensor:
    x += 0.5 * block.branch(x)
    return x


def _gated(block: Block, x: Tensor) -> Tensor:
    z = torch.sigmoid(block.gate(x.movedim(block.axis, -1))).movedim(-1, block.axis)
    return (1 - z) * x + z * torch.tanh(block.branch(x))


UPDATES: dict[str, Callable[[Block, Tensor], Tensor]] = {
    "add in place": _in_place,
    "subtract": lambda b, x: x - b.branch(x),
    "post-norm": lambda b, x: _apply(b.last, x + b.branch(x)),
    "post-activation": lambda b, x: F.relu(x + b.branch(x)),
    "scaled sum": lambda b, x: x + b.depth**-0.5 * b.branch(x),
    "nothing": lambda b, x: b.branch(x),
    "scaled skip": lambda b, x: 0.8 * x + b.branch(x),
    "gate": _gated,
    "zero": lambda b, x: x + 0.0 * b.branch(x),
    "identity": lambda b, x: x,
    "detached": lambda b, x: x.detach() + b.branch(x.detach()),
    "not finite": _not_finite,
    "overflow": lambda b, x: x + 1e20 * b.branch(x),
    "wider": _wider,
    "other dtype": lambda b, x: (x + b.branch(x)).double() if b.place == b.depth - 1 else x + b.branch(x),
    "transposed": lambda b, x: (x + b.branch(x)).flip(-1),
}


def _generated(y: Tensor) -> Iterator[Tensor]:
    yield y


_HAND_ON: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "tuple": lambda y, x: (y, "cache"),
    "list": lambda y, x: [y, None],
    "mapping": lambda y, x: {"hidden": y, "attention": None},
    "namespace": lambda y, x: SimpleNamespace(last_hidden_state=y),
    "nested": lambda y, x: {"x": y},
    "text": lambda y, x: "done",
    "integers": lambda y, x: y.detach().nan_to_num().long(),
    "generator": lambda y, x: _generated(y),
    "two streams": lambda y, x: (y, y + x),
    "none first": lambda y, x: (None, y),
    "complex": lambda y, x: torch.complex(y.float(), y.float()),
}


# Bodies


class Attention(nn.MultiheadAttention):
    def __init__(self, size: int) -> None:
        super().__init__(size, 1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(x.shape[0], -1, x.shape[-1])
        return super().forward(flat, flat, flat, need_weights=False)[0].reshape(x.shape)


class Bare(nn.Module):
    """A matrix without a module of its own."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(size, size) / size)
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.w.to(x.dtype)


class Complex(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(size, size, dtype=torch.complex64) / size)

    def forward(self, x: Tensor) -> Tensor:
        return (x.to(self.w.dtype) @ self.w).real.to(x.dtype)


class Random(nn.Linear):
    """Draws from all global random states."""

    def __init__(self, size: int) -> None:
        super().__init__(size, size)

    def forward(self, x: Tensor) -> Tensor:
        noise = random.random() + float(np.random.standard_normal())  # noqa: NPY002
        return super().forward(x) + 0.1 * noise + 0.1 * torch.randn_like(x)


class Counting(nn.Linear):
    """Changes, replaces and makes buffers."""

    def __init__(self, size: int) -> None:
        super().__init__(size, size)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("replaced", torch.zeros(2))
        self.register_buffer("none", None)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.replaced = torch.cat([self.replaced, self.calls[None]])
        self.none = torch.ones(1)
        if "new" not in self._buffers:
            self.register_buffer("new", torch.ones(3))
        return super().forward(x)


class Recurrent(nn.GRU):
    def __init__(self, size: int) -> None:
        super().__init__(size, size, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(x.shape[0], -1, x.shape[-1])
        return super().forward(flat)[0].reshape(x.shape)


class Checkpointed(nn.Linear):
    def __init__(self, size: int, *, reentrant: bool) -> None:
        super().__init__(size, size)
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(super().forward, x, use_reentrant=self.reentrant)


class _Failing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        raise UsersError("the gradient of the user's fails")


class NoGradient(nn.Linear):
    def __init__(self, size: int) -> None:
        super().__init__(size, size)

    def forward(self, x: Tensor) -> Tensor:
        return _Failing.apply(super().forward(x))


class InPlace(nn.Linear):
    """Overwrites what its gradient needs."""

    def __init__(self, size: int) -> None:
        super().__init__(size, size)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.sigmoid(super().forward(x))
        z = y * y
        y.mul_(2.0)
        return z


class Steps(nn.Linear):
    """Differentiates as it goes, and leaves gradients behind."""

    def __init__(self, size: int) -> None:
        super().__init__(size, size)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and self.weight.requires_grad:
            self.weight.square().sum().backward()
        return super().forward(x)


class ByNumPy(nn.Linear):
    def __init__(self, size: int) -> None:
        super().__init__(size, size)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.from_numpy(np.tanh(x.detach().float().numpy())).to(x.dtype))


def _gated_unit(size: int) -> nn.Module:
    return nn.Sequential(nn.Linear(size, 2 * size), nn.GLU(), nn.Linear(size, size))


def _mlp(size: int) -> nn.Module:
    return nn.Sequential(nn.Linear(size, 2 * size), nn.ReLU(), nn.Linear(2 * size, size))


def _zero(size: int) -> nn.Module:
    body = _mlp(size)
    nn.init.zeros_(body[2].weight)
    nn.init.zeros_(body[2].bias)
    return body


BODY: dict[str, Callable[[int], nn.Module]] = {
    "linear": lambda n: nn.Linear(n, n),
    "two layers": _mlp,
    "gated": _gated_unit,
    "attention": Attention,
    "bare": Bare,
    "complex": Complex,
    "zero": _zero,
    "dropout": lambda n: nn.Sequential(nn.Linear(n, n), nn.Dropout(0.5), nn.Linear(n, n)),
    "random": Random,
    "counting": Counting,
    "recurrent": Recurrent,
    "checkpointed": lambda n: Checkpointed(n, reentrant=False),
    "reentrant": lambda n: Checkpointed(n, reentrant=True),
    "spectral": lambda n: spectral_norm(nn.Linear(n, n)),
    "failing gradient": NoGradient,
    "in place": InPlace,
    "in-place ReLU": lambda n: nn.Sequential(nn.Linear(n, n), nn.ReLU(inplace=True), nn.Linear(n, n)),
    "steps": Steps,
    "NumPy": ByNumPy,
    "nothing": lambda n: nn.Identity(),
}
BODIES = (*BODY, "linear", "two layers", "two layers", "two layers", "attention")
