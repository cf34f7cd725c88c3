"""What was done to fuzzed networks before, and options with which they are probed."""

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from fuzzed_blocks import Block, UsersError
from torch import Tensor, nn


def _modes(net: nn.Module) -> nn.Module:
    for k, m in enumerate(net.modules()):
        m.training = k % 3 != 0
    return net


def _gradients(net: nn.Module) -> nn.Module:
    for k, p in enumerate(net.parameters()):
        if k % 2 and p.is_floating_point():
            p.grad = torch.ones_like(p)
    return net


def _frozen(net: nn.Module, every: int = 1) -> nn.Module:
    for k, p in enumerate(net.parameters()):
        p.requires_grad_(k % every != 0)
    return net


def _hooked(net: nn.Module, hook: Callable[..., Any], pre: Callable[..., Any] | None = None) -> nn.Module:
    for m in list(net.modules())[::2]:
        m.register_forward_hook(hook)
        if pre is not None:
            m.register_forward_pre_hook(pre)
    return net


def _twice(module: nn.Module, args: Any, output: Any) -> Any:
    return 2 * output if isinstance(output, Tensor) and output.is_floating_point() else None


def _failing(module: nn.Module, args: Any, output: Any) -> None:
    raise UsersError("a hook of the user's fails")


def _backward(net: nn.Module) -> nn.Module:
    for m in net.modules():
        m.register_full_backward_hook(lambda *_: None)
    return net


def _lazy(net: nn.Module) -> nn.Module:
    net.stem = nn.LazyLinear(net.drawn.width)
    return net


@dataclass(frozen=True)
class Fixed:
    """A configuration that cannot be changed."""

    use_cache: bool = True


@dataclass
class Config:
    """One that can."""

    use_cache: bool = True
    seen: list[str] = field(default_factory=list)


def _configured(net: nn.Module, config: Any) -> nn.Module:
    for m in net.modules():
        m.config = config
    return net


def _again(net: nn.Module) -> nn.Module:
    with torch.inference_mode():
        return copy.deepcopy(net)


def _sharing(net: nn.Module) -> nn.Module:
    """Every matrix of one shape is one parameter."""
    seen: dict[Any, nn.Parameter] = {}
    for m in net.modules():
        for name, p in list(m._parameters.items()):
            if p is not None:
                m._parameters[name] = seen.setdefault((p.shape, p.dtype), p)
    return net


def _with(net: nn.Module, value: Tensor) -> nn.Module:
    for m in list(net.modules()):
        m.register_parameter("odd", nn.Parameter(value.clone(), requires_grad=False))
    return net


def _compiled(net: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        return torch.compile(net)


HISTORY: dict[str, Callable[[nn.Module], nn.Module]] = {
    "modes": _modes,
    "gradients": _gradients,
    "frozen": _frozen,
    "some frozen": lambda net: _frozen(net, 3),
    "hooks": lambda net: _hooked(net, lambda *_: None, lambda *_: None),
    "changing hooks": lambda net: _hooked(net, _twice),
    "failing hook": lambda net: _hooked(net, _failing),
    "half": lambda net: net.half(),
    "brain": lambda net: net.bfloat16(),
    "double": lambda net: net.double(),
    "backward hooks": _backward,
    "compiled": _compiled,
    "lazy": _lazy,
    "cache": lambda net: _configured(net, Config()),
    "fixed cache": lambda net: _configured(net, Fixed()),
    "made for inference": _again,
    "shared": _sharing,
    "float8": lambda net: _with(net, torch.ones(3).to(torch.float8_e4m3fn)),
    "empty parameters": lambda net: _with(net, torch.zeros(0, 2)),
    "meta": lambda net: net.to("meta"),
}


# Options of `probe`


def _call(module: nn.Module, batch: Any) -> Any:
    if isinstance(batch, dict):
        return module(**batch)
    return module(*batch) if isinstance(batch, (tuple, list)) else module(batch)


def _failing_call(module: nn.Module, batch: Any) -> Any:
    _call(module, batch)
    raise UsersError("the call of the user's fails")


def _loss(output: Any, batch: Any) -> Tensor:
    if not isinstance(output, Tensor):
        raise UsersError("a loss of the user's takes tensors")
    return F.softplus(output.double()).mean()


def _failing_loss(output: Any, batch: Any) -> Tensor:
    raise UsersError("the loss of the user's fails")


OPTION: dict[str, dict[str, Any]] = {
    "no gradients": {"gradients": False},
    "no replays": {"replays": False},
    "pattern": {"blocks": "blocks.*"},
    "wrong pattern": {"blocks": "nothing.*"},
    "class": {"blocks": Block},
    "names": {"blocks": ["blocks.0", "blocks.1"]},
    "call": {"call": _call},
    "failing call": {"call": _failing_call},
    "loss": {"loss": _loss},
    "vector loss": {"loss": lambda output, _: output},
    "number loss": {"loss": lambda output, _: 1.0},
    "failing loss": {"loss": _failing_loss},
    "seed": {"seed": 2**64},
    "wrong seed": {"seed": -1},
}
