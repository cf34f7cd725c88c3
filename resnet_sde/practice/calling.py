"""How a module of someone else's is called, and how it is left as it was found.

`preserved` puts back whatever a forward pass may change: buffers, random states, modes, caches that a
configuration switches on, compiled code. Hooks are removed by those who set them.
"""

from __future__ import annotations

import contextlib
import inspect
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from resnet_sde.streams import started_devices

Call = Callable[[nn.Module], Any]


def calling(batch: Any, call: Callable[[nn.Module, Any], Any] | None) -> Call:
    """The forward pass: ``call(module, batch)``, else keywords, several arguments or one, as the batch is.

    Every call is given tensors of its own: a module may write on its input, and no later call may see that.
    """
    if call is not None:
        return lambda module: call(module, _fresh(batch))

    def forward(module: nn.Module) -> Any:
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        if isinstance(batch, Mapping):
            kwargs = {name: _fresh(value) for name, value in batch.items()}
        else:
            args = list(map(_fresh, batch)) if isinstance(batch, (tuple, list)) else [_fresh(batch)]
        try:
            return module(*args, **kwargs)
        except TypeError as error:
            tensors = any(isinstance(value, Tensor) for value in (*args, *kwargs.values()))
            if tensors and takes(module.forward, *args, **kwargs):
                raise
            raise ValueError(
                f"the module cannot be called with this batch, of {type(batch).__name__}: {error}; give a "
                "tensor, a tuple of arguments or a mapping of keywords"
            ) from error

    return forward


def takes(function: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
    """Whether a function takes so many arguments and these names."""
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return False
    except ValueError:  # such as a scripted module, which shows no signature
        return True
    return True


def _fresh(value: Any) -> Any:
    """A copy of the tensors in a batch; what is neither one nor a plain collection of them is left alone."""
    if isinstance(value, Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if type(value) in (tuple, list):
        return type(value)(map(_fresh, value))
    return {name: _fresh(each) for name, each in value.items()} if type(value) is dict else value


def unwrapped(module: nn.Module) -> nn.Module:
    """The module itself, if it was compiled."""
    if not isinstance(module, nn.Module):
        raise ValueError(f"module must be a torch.nn.Module, got {type(module).__name__}; give the network")
    inner = getattr(module, "_orig_mod", module)
    inner = inner if isinstance(inner, nn.Module) else module
    lazy = next((n for n, p in inner.named_parameters() if is_lazy(p)), None)
    if lazy is not None:
        raise ValueError(f"{lazy} gets its shape in the first call; call the module once before")
    made = next((n for n, p in inner.named_parameters() if p.is_inference()), None)
    if made is not None:
        raise ValueError(
            f"{made} was made in inference mode, and has no derivatives; make the module outside of it"
        )
    return inner


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
        stack.enter_context(_same_gradients(module))
        stack.enter_context(_no_caches(module))
        if initial:
            stack.enter_context(_initial_modes(module))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        yield


@contextlib.contextmanager
def _same_random_states() -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=started_devices()):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


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
    before = [(m, dict(m._buffers), set(m._non_persistent_buffers_set)) for m in module.modules()]
    values = {id(b): (b, b.detach().clone()) for b in module.buffers()}
    try:
        yield
    finally:
        for m, buffers, passing in before:
            if [(n, id(b)) for n, b in m._buffers.items()] != [(n, id(b)) for n, b in buffers.items()]:
                m._buffers.clear()
                m._buffers.update(buffers)
                m._non_persistent_buffers_set = passing
        for buffer, value in values.values():
            if not _same(buffer, value):
                with torch.no_grad(), torch.inference_mode(buffer.is_inference()):
                    buffer.copy_(value)


def _same(left: Tensor, right: Tensor) -> bool:
    return left.is_meta or (left.shape == right.shape and bool(torch.equal(left, right)))


@contextlib.contextmanager
def _same_gradients(module: nn.Module) -> Iterator[None]:
    """Inside there are none: a module may differentiate as it goes, which adds to those that are there."""
    before = [(p, p.grad) for p in module.parameters()]
    try:
        for p, gradient in before:
            if gradient is not None:
                p.grad = None
        yield
    finally:
        for p, gradient in before:
            if p.grad is not gradient:
                p.grad = gradient


@contextlib.contextmanager
def _no_caches(module: nn.Module) -> Iterator[None]:
    """Keys and values kept from an earlier call would lengthen every block that is called again."""
    configs = {id(c): c for m in module.modules() if (c := getattr(m, "config", None)) is not None}
    switched: list[Any] = []
    try:
        for config in configs.values():
            if getattr(config, "use_cache", False):
                _switch_off(config)
                switched.append(config)
        yield
    finally:
        for config in switched:
            config.use_cache = True


def _switch_off(config: Any) -> None:
    try:
        config.use_cache = False
    except Exception:  # what is frozen raises errors of its own
        raise ValueError(
            "the configuration of the module has use_cache=True and cannot be changed: blocks that are run "
            "again would be given more keys; give a module with use_cache=False"
        ) from None


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
    """The first floating tensor among arguments, then keywords: its place and itself.

    One number, such as a time, is passed over where there is a tensor of more.
    """
    given: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
    real = [(place, v) for place, v in given if isinstance(v, Tensor) and v.is_floating_point()]
    return next((found for found in real if found[1].numel() > 1), real[0] if real else None)


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
        return last if last.is_floating_point() else None
    parts = output.values() if isinstance(output, Mapping) else output
    if isinstance(parts, (tuple, list)) or isinstance(output, Mapping):
        return next((p for p in parts if isinstance(p, Tensor) and p.is_floating_point()), None)
    return None


def scalar(loss: Any) -> Tensor:
    """What a loss of the user's returned, which must be a tensor of one number."""
    if isinstance(loss, Tensor) and loss.numel() == 1 and loss.is_floating_point():
        return loss
    what = f"one of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
    raise ValueError(f"loss must return a tensor of one real number, not {what}; give for example a mean")


class Reentrant(ValueError):
    """What ran under reentrant checkpointing, which cannot be differentiated in parts."""


@contextlib.contextmanager
def backward_pass(remedy: str) -> Iterator[None]:
    """What autograd says against a backward pass inside, in a sentence; errors of the user's pass through."""
    try:
        yield
    except RuntimeError as error:
        if not _of_torch(error):
            raise
        why = str(error).partition("\n")[0].partition(". ")[0].rstrip(".")
        kind = Reentrant if "checkpoint" in why.lower() else ValueError
        raise kind(f"the backward pass fails: {why}; {remedy}") from error


def _of_torch(error: BaseException) -> bool:
    """Whether autograd itself raised it, and no backward function of the user's."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith("torch.")


def autocast_of(x: Tensor) -> tuple[str, torch.dtype] | None:
    """The precision of automatic casts around it: device and dtype, None without any."""
    device = x.device.type
    return (device, torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else None
