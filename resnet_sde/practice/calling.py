"""How a module of someone else's is called, and how it is left as it was found.

`preserved` puts back whatever a forward pass may change: buffers, random states, modes, caches that a
configuration switches on, compiled code. Hooks are removed by those who set them.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Call = Callable[[nn.Module], Any]


def calling(batch: Any, call: Callable[[nn.Module, Any], Any] | None) -> Call:
    """The forward pass: ``call(module, batch)``, else keywords, several arguments or one, as the batch is."""
    if call is not None:
        return lambda module: call(module, batch)
    if isinstance(batch, Mapping):
        return lambda module: module(**batch)
    if isinstance(batch, (tuple, list)):
        return lambda module: module(*batch)
    return lambda module: module(batch)


def unwrapped(module: nn.Module) -> nn.Module:
    """The module itself, if it was compiled."""
    if not isinstance(module, nn.Module):
        raise ValueError(f"module must be a torch.nn.Module, got {type(module).__name__}; give the network")
    inner = getattr(module, "_orig_mod", module)
    return inner if isinstance(inner, nn.Module) else module


@contextlib.contextmanager
def preserved(module: nn.Module, *, initial: bool = False) -> Iterator[None]:
    """Whatever happens inside, the module and all random states are afterwards as they were before.

    Gradients are on inside, whatever the caller's context.

    Args:
        module: not compiled as a whole.
        initial: whether its modes are those of a network at initialization: no dropout, and statistics of
            the batch where running ones are kept, since these would normalize nothing.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_same_random_states())
        stack.enter_context(_eager(module))
        stack.enter_context(_same_buffers(module))
        stack.enter_context(_no_caches(module))
        if initial:
            stack.enter_context(_initial_modes(module))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        yield


@contextlib.contextmanager
def _same_random_states() -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=_devices()):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def _devices() -> list[int]:
    return list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []


@contextlib.contextmanager
def _eager(module: nn.Module) -> Iterator[None]:
    """Compiled blocks run as they were written: under hooks they would be compiled anew in every call."""
    compiled = [(m, m._compiled_call_impl) for m in module.modules() if m._compiled_call_impl is not None]
    wrapped = [
        (parent, name, child)
        for parent in module.modules()
        for name, child in parent._modules.items()
        if child is not None and hasattr(child, "_orig_mod")
    ]
    try:
        for m, _ in compiled:
            m._compiled_call_impl = None
        for parent, name, child in wrapped:
            parent._modules[name] = unwrapped(child)
        yield
    finally:
        for m, implementation in compiled:
            m._compiled_call_impl = implementation
        for parent, name, child in wrapped:
            parent._modules[name] = child


@contextlib.contextmanager
def _same_buffers(module: nn.Module) -> Iterator[None]:
    before = [(m, dict(m._buffers)) for m in module.modules()]
    values = {id(b): (b, b.detach().clone()) for b in module.buffers()}
    try:
        yield
    finally:
        for m, buffers in before:
            if [(n, id(b)) for n, b in m._buffers.items()] != [(n, id(b)) for n, b in buffers.items()]:
                m._buffers.clear()
                m._buffers.update(buffers)
        with torch.no_grad():
            for buffer, value in values.values():
                if not _same(buffer, value):
                    buffer.copy_(value)


def _same(left: Tensor, right: Tensor) -> bool:
    return left.shape == right.shape and bool(torch.equal(left, right))


@contextlib.contextmanager
def _no_caches(module: nn.Module) -> Iterator[None]:
    """Keys and values kept from an earlier call would lengthen every block that is called again."""
    configs = {id(c): c for m in module.modules() if (c := getattr(m, "config", None)) is not None}
    switched = [c for c in configs.values() if getattr(c, "use_cache", False)]
    try:
        for config in switched:
            config.use_cache = False
        yield
    finally:
        for config in switched:
            config.use_cache = True


@contextlib.contextmanager
def _initial_modes(module: nn.Module) -> Iterator[None]:
    modes = [(m, m.training) for m in module.modules()]
    try:
        for m, _ in modes:
            m.training = isinstance(m, _BatchNorm) and m.track_running_stats
        yield
    finally:
        for m, training in modes:
            m.training = training


def stream_argument(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[int | str, Tensor] | None:
    """The first floating tensor among arguments, then keywords: its place and itself."""
    given: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
    for place, value in given:
        if isinstance(value, Tensor) and value.is_floating_point():
            return place, value
    return None


def with_stream(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], place: int | str, stream: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments with another stream in its place."""
    if isinstance(place, str):
        return args, {**kwargs, place: stream}
    return (*args[:place], stream, *args[place + 1 :]), dict(kwargs)


def first_tensor(output: Any) -> Tensor | None:
    """The stream in what a block or a module returns."""
    if isinstance(output, Tensor):
        return output if output.is_floating_point() else None
    last = getattr(output, "last_hidden_state", None)
    if isinstance(last, Tensor):
        return last
    parts = output.values() if isinstance(output, Mapping) else output
    if isinstance(parts, (tuple, list)) or isinstance(output, Mapping):
        return next((p for p in parts if isinstance(p, Tensor) and p.is_floating_point()), None)
    return None
