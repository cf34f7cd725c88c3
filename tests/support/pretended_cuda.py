"""A CUDA device without one: tensors that say they are on `cuda:0` and whose numbers are on the CPU.

What a real device refuses is refused: tensors of two devices in one operation (but for numbers on the CPU
without axes, and for indices), generators of another device than the tensor's, `.numpy()`. What a real device
waits for is counted: numbers that go to the CPU or come from it, and operations whose result has a size that
only the device knows.

The tensors are a subclass whose device, as C++ sees it, is the CPU. So no guard or driver is needed, and
autograd's engine runs; what C++ alone would decide by device is decided here, by `answer` and `dispatched`.
Bits are those of the CPU, and so is the time.
"""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

CUDA = torch.device("cuda:0")
_CPU = torch.device("cpu")
_RealGenerator = torch.Generator
_WAITS = {  # operations whose result the host waits for, beside copies to it
    "_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_linalg_check_errors",
    "_unique2", "unique_dim", "unique_consecutive", "linalg_cholesky_ex", "_linalg_eigh", "bincount",
}  # fmt: skip
_COPIES = {"copy_", "_copy_from"}
_INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
waits: Counter[str] = Counter()
"""How often the host waited for the device, by the name of the operation, since it was cleared."""


class OnDevice(Tensor):
    """A tensor that says it is on the device; `inner` holds its numbers."""

    inner: Tensor
    device = property(lambda self: CUDA)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]

    @staticmethod
    def __new__(cls: type[OnDevice], inner: Tensor) -> OnDevice:
        """A wrapper of these numbers, which take no part in autograd themselves."""
        found = Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype
        )
        found.inner = inner
        return found

    def __repr__(self) -> str:  # type: ignore[override]
        return f"on {CUDA}: {self.inner!r}"

    def get_device(self) -> int:
        return 0

    def __reduce_ex__(self, protocol: int) -> Any:
        return _again, (self.inner, self.requires_grad)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            return answer(func, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatched(func, args, kwargs or {})


def _again(inner: Tensor, requires_grad: bool) -> OnDevice:
    return OnDevice(inner).requires_grad_(requires_grad)


class _Plan(NamedTuple):
    """What the schema of an operation says: its name, what it writes, and which result is what it wrote."""

    name: str
    written: frozenset[str]
    arguments: tuple[str, ...]
    results: tuple[str | None, ...]


@functools.cache
def _plan(func: Any) -> _Plan:
    schema = func._schema
    written = {
        frozenset(a.alias_info.before_set): a.name
        for a in schema.arguments
        if a.alias_info and a.alias_info.is_write
    }
    results = [
        written.get(frozenset(r.alias_info.before_set)) if r.alias_info else None for r in schema.returns
    ]
    names = tuple(a.name for a in schema.arguments)
    return _Plan(schema.name.removeprefix("aten::"), frozenset(written.values()), names, tuple(results))


def dispatched(func: Any, args: Any, kwargs: Any) -> Any:
    """An operation of which a tensor on the device is part, run on the CPU."""
    plan = _plan(func)
    given = {**dict(zip(plan.arguments, args, strict=False)), **kwargs}
    _check(plan, given)
    if plan.name in _WAITS:
        waits[plan.name] += 1
    found = func(*map(_inner, args), **{name: _inner(value) for name, value in kwargs.items()})
    for name in plan.written:
        if isinstance(given.get(name), OnDevice) and given[name].inner.shape != given[name].shape:
            raise NotImplementedError(f"{plan.name} changed the shape of a tensor on the pretended device")
    if len(plan.results) == 1:
        return given[plan.results[0]] if plan.results[0] else _outer(found)
    if not plan.results:
        return found
    return tuple(
        given[name] if name else _outer(value) for name, value in zip(plan.results, found, strict=True)
    )


def _inner(value: Any) -> Any:
    if isinstance(value, OnDevice):
        return value.inner
    return [_inner(v) for v in value] if isinstance(value, (list, tuple)) else value


def _outer(value: Any) -> Any:
    if isinstance(value, Tensor):
        return OnDevice(value)
    return [_outer(v) for v in value] if isinstance(value, (list, tuple)) else value


def _check(plan: _Plan, given: dict[str, Any]) -> None:
    """Refuse what a real device refuses, and count what it waits for."""
    name, to_other = plan.name, plan.name in _COPIES
    if to_other and isinstance(given["self"], OnDevice) is not isinstance(given["src"], OnDevice):
        waits["to cuda" if isinstance(given["self"], OnDevice) else "to cpu"] += 1
    for argument, value in given.items():
        if argument == "indices" and name in _INDEXED:
            # Masks count what they choose; indices of the CPU are copied.
            waits[name] += sum(
                i is not None and (i.dtype in (torch.bool, torch.uint8) or not isinstance(i, OnDevice))
                for i in value
            )
            continue
        for t in value if isinstance(value, (list, tuple)) else (value,):
            if not isinstance(t, Tensor) or isinstance(t, OnDevice) or to_other:
                continue
            if t.ndim or name in ("cat", "stack") or argument in plan.written:
                raise RuntimeError(
                    "Expected all tensors to be on the same device, but found at least two devices, cuda:0 "
                    f"and cpu! (when checking argument {argument} of {name})"
                )


class _Move(torch.autograd.Function):
    """From one device to the other."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        with torch._C.DisableTorchFunction():
            waits["to cpu" if isinstance(x, OnDevice) else "to cuda"] += 1
            return x.inner.clone() if isinstance(x, OnDevice) else OnDevice(x.detach().clone())

    @staticmethod
    def backward(ctx: Any, p: Tensor) -> Tensor:
        return _Move.apply(p)


def _moved(x: Tensor, device: Any) -> Tensor:
    """X on this device."""
    there = torch.device(device).type == "cuda"
    return x if there == isinstance(x, OnDevice) else _Move.apply(x)


def _to(x: Tensor, *args: Any, copy: bool = False, **kwargs: Any) -> Tensor:
    """`Tensor.to` in all its forms."""
    given = {"device": kwargs.get("device"), "dtype": kwargs.get("dtype")}
    for value in (*args, kwargs.get("other")):
        if isinstance(value, Tensor):
            given = {"device": value.device, "dtype": value.dtype}
        elif isinstance(value, torch.dtype):
            given["dtype"] = value
        elif isinstance(value, (str, torch.device)):
            given["device"] = value
    found = x if given["device"] is None else _moved(x, given["device"])
    return found.to(given["dtype"] or x.dtype, copy=copy and found is x)


_NUMPY = (Tensor.numpy, Tensor.__array__)


def _tolist(x: Tensor) -> Any:
    return _moved(x.detach(), _CPU).tolist()


_INSTEAD: dict[Any, Callable[..., Any]] = {
    Tensor.to: _to,
    Tensor.cpu: lambda x, **_: _moved(x, _CPU),
    Tensor.cuda: lambda x, *_, **__: _moved(x, CUDA),
    Tensor.tolist: _tolist,
    Tensor.type_as: lambda x, like: _to(x, like),
}
_BACKWARD = (Tensor.backward, torch.autograd.grad, torch.autograd.backward)
_MADE_FROM_DATA = (torch.tensor, torch.as_tensor, torch.asarray)


def answer(func: Any, args: Any, kwargs: Any) -> Any:
    """A call of torch's, with what it says of devices carried out here."""
    there = bool(args) and isinstance(args[0], OnDevice)
    if func in _NUMPY and there:
        raise TypeError(
            f"can't convert {CUDA} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host "
            "memory first."
        )
    if func in _INSTEAD and (there or func is not Tensor.tolist):
        return _INSTEAD[func](*args, **kwargs)
    device = kwargs.get("device")
    if kwargs.get("generator") is not None:
        _check_generator(kwargs["generator"], device, args)
    if func in _MADE_FROM_DATA and there:
        return _to(args[0], device=device or CUDA, **{k: v for k, v in kwargs.items() if k == "dtype"})
    if func in _BACKWARD:
        with _Factories():
            return func(*args, **kwargs)
    if device is None or not (isinstance(device, (str, torch.device, int))):
        return func(*args, **kwargs)
    found = func(*args, **{**kwargs, "device": _CPU})
    if not isinstance(found, Tensor):
        return found
    if torch.device(device).type == "cuda":
        if isinstance(found, OnDevice):
            return found
        if func in _MADE_FROM_DATA:
            return _moved(found, CUDA)
        return OnDevice(found.detach()).requires_grad_(found.requires_grad)
    return found.inner if isinstance(found, OnDevice) else found


def _check_generator(generator: torch.Generator, device: Any, args: Any) -> None:
    tensors = [t for t in args if isinstance(t, Tensor)]
    expected = torch.device(device) if device is not None else tensors[0].device if tensors else _CPU
    if generator.device.type != expected.type:
        raise RuntimeError(
            f"Expected a '{expected.type}' device type for generator but found '{generator.device.type}'"
        )


class _GeneratorType(type(_RealGenerator)):  # type: ignore[misc]
    def __call__(cls, device: Any = "cpu") -> torch.Generator:
        if torch.device(device).type != "cuda":
            return _RealGenerator(device)
        return type.__call__(cls)

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, _RealGenerator)


class _Generator(_RealGenerator, metaclass=_GeneratorType):
    """Stands in for `torch.Generator`: one of the device says so, others are torch's."""

    device = property(lambda self: CUDA)  # type: ignore[assignment]


class _Factories(TorchDispatchMode):
    """Makes tensors on the device where calls are not seen by `_Mode`: in autograd's engine."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("device") is None or torch.device(kwargs["device"]).type != "cuda":
            return func(*args, **kwargs)
        return _outer(func(*map(_inner, args), **{**kwargs, "device": _CPU}))


class _Mode(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return answer(func, args, kwargs or {})


@contextlib.contextmanager
def pretended_cuda() -> Iterator[None]:
    """Inside, this machine has one CUDA device, `cuda:0`."""
    from resnet_sde.networks import residual

    state = _RealGenerator()
    cuda = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_name": lambda device=None: "pretended",
        "get_device_properties": lambda device=None: SimpleNamespace(total_memory=2**36),
        "current_stream": lambda device=None: SimpleNamespace(cuda_stream=0),
        "synchronize": lambda device=None: None,
        "get_rng_state": lambda device="cuda": state.get_state(),
        "set_rng_state": lambda new, device="cuda": state.set_state(new),
        "manual_seed_all": lambda seed: state.manual_seed(seed),
    }

    def plain_type(x: object) -> type:
        return Tensor if type(x) is OnDevice else type(x)

    future = torch.__future__.get_overwrite_module_params_on_conversion()
    with contextlib.ExitStack() as stack:
        # A tensor of the CPU cannot become one that is wrapped: modules that are moved get new parameters.
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, future)
        for name, value in cuda.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        stack.enter_context(mock.patch.object(torch, "Generator", _Generator))
        # The layers run by their own adjoint on plain tensors only, which these stand for.
        stack.enter_context(mock.patch.object(residual, "type", plain_type, create=True))
        stack.enter_context(_Mode())
        waits.clear()
        yield
