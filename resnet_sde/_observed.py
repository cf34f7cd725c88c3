"""What observables return: checked where it is first seen, and copied, because states are overwritten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from typing_extensions import override

from resnet_sde.states import Trajectory

_TRUSTED = "resnet_sde.observables"
_KINDS = {
    *(torch.float64, torch.float32, torch.float16, torch.bool),
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
}


def observable_name(observe: object) -> str:
    """The name of an observable's results."""
    return getattr(observe, "__name__", type(observe).__name__)


SHOWN = (
    "parameters",
    "tangents",
    "preactivations",
    "weights",
    "jacobian",
)  # what observables may ask for, beside states


def asks(observe: object, what: str) -> bool:
    """Whether an observable says that it needs this; a method of that name, as modules have, says nothing."""
    said = getattr(observe, what, False)
    return bool(said) and not callable(said)


class _Draws(TorchFunctionMode):
    """Notes the generators that torch draws from, with their states before."""

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[torch.Generator, Tensor] = {}

    @override
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for given in (*args, *(kwargs or {}).values()):
            if isinstance(given, torch.Generator):
                self.states.setdefault(given, given.get_state())
        return func(*args, **(kwargs or {}))

    def back(self) -> None:
        """Set them back."""
        for generator, state in self.states.items():
            generator.set_state(state)


def check_observables(observe: Sequence[object]) -> None:
    """Raises ValueError unless these are observables of different names."""
    if (
        not isinstance(observe, Sequence)
        or isinstance(observe, str)
        or not all(map(callable, observe))
        or not observe
    ):
        raise ValueError(
            f"observe must be a list of functions such as observables.displacement, got {observe!r}"
        )
    names = [observable_name(o) for o in observe]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two observables have the name {name!r}; give each function its own name")


def observed(
    observe: Sequence[object], t: Trajectory, *, first: bool, in_turn: bool = False
) -> dict[str, Tensor]:
    """What the observables say of an ensemble, (sample, ...), on the CPU and in memory of its own.

    Args:
        observe: the observables.
        t: the trajectory, which they must leave as it is.
        first: whether to ask each of them about one network alone too, twice, and compare.
        in_turn: whether all networks are seen here, one group after the other, so that numbers which are
            drawn from a generator of torch's are those that its state gives.

    Raises:
        ValueError: an observable does not return one entry for each network, or axes that it says to have, or
            what it returns is not decided by what it is shown. What changes with the number of its calls
            later than between two calls is not seen.
    """
    found: dict[str, Tensor] = {}
    for observable in observe:
        name, before = observable_name(observable), _writes(t)
        kept = _copied(t) if first and not _trusted(observable) else None
        found[name] = _own(name, observable(_shown(t)), len(t.hidden.scaled[0]))  # type: ignore[operator]
        if _writes(t) != before or (kept is not None and not _same(kept, _copied(t))):
            raise ValueError(
                f"observable {name} writes into the states that it is shown; let it work on a copy, as in "
                "t.hidden.scaled[-1].clone()"
            )
        if first:
            _check_alone(observable, t, found[name])
            _check_again(observable, t, in_turn=in_turn)
    _check_axes(observe, found, t)
    return found


def check_parts(parts: Sequence[Mapping[str, Tensor | np.ndarray]]) -> None:
    """Raises ValueError if results of consecutive networks differ in an axis that is not theirs."""
    for name, values in parts[0].items():
        for part in parts:
            if part[name].shape[1:] != values.shape[1:]:
                raise ValueError(
                    f"observable {name} returned shape {tuple(values.shape)} for some networks and "
                    f"{tuple(part[name].shape)} for others; only the first axis, of the networks, may differ"
                )


def _own(name: str, value: object, networks: int) -> Tensor:
    """A checked result, in memory that nothing else uses."""
    masked = isinstance(value, np.ma.MaskedArray)
    if isinstance(value, np.ndarray) and not masked and value.dtype.kind in "fiub" and value.itemsize <= 8:
        value = torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("=")))
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_nested:
        kind = value.layout if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"observable {name} returned {kind}; it must return a tensor whose first axis is that of the "
            f"{networks} networks it is shown"
        )
    if value.dtype not in _KINDS:
        raise ValueError(
            f"observable {name} returned numbers of type {value.dtype}; return real ones, for example with "
            "torch.view_as_real or .double()"
        )
    if value.ndim == 0 or len(value) != networks:
        raise ValueError(
            f"observable {name} returned shape {tuple(value.shape)}; its first axis must be that of the "
            f"{networks} networks it is shown, and means over networks are taken of the results"
        )
    return value.detach().clone(memory_format=torch.contiguous_format).cpu()


def _check_alone(observable: object, t: Trajectory, found: Tensor) -> None:
    """Raise ValueError if what is said of one network depends on its company.

    The shape alone does not tell an axis of networks from another of the same size.
    """
    if len(found) == 1 or _trusted(observable):
        return
    name = observable_name(observable)
    others = {*t.hidden.scaled[0].shape[1:], len(t.hidden.scaled)}
    for network in (0, len(found) - 1):
        try:
            alone = observable(_only(t, network))  # type: ignore[operator]
            alone = torch.as_tensor(alone).detach().cpu()
        except Exception:  # what it holds may be of the size of all networks
            return
        of_all = found[network : network + 1]
        if alone.shape != of_all.shape:
            if len(found) in others:
                raise ValueError(
                    f"observable {name} returned shape {tuple(found.shape)} for {len(found)} networks and "
                    f"{tuple(alone.shape)} for one of them; its first axis must be that of the networks"
                )
        elif not _close(alone, of_all) and _close(_again(observable, t), found):
            raise ValueError(
                f"observable {name} says something else of a network in other company; it must treat "
                "networks apart, and what compares them is taken of the results"
            )


def _check_again(observable: object, t: Trajectory, *, in_turn: bool) -> None:
    """Raise ValueError if an observable that is asked about the same again says something else."""
    if _trusted(observable):
        return
    with _Draws() as draws:
        try:
            shown = _only(t, 0)
            before = _again(observable, shown)
        except Exception:  # what it holds may be of the size of all networks
            shown = t
            before = _again(observable, shown)
        if in_turn:
            draws.back()
        after = _again(observable, shown)
        draws.back()
    if before.shape != after.shape or not _same([before.double()], [after.double()]):
        raise ValueError(
            f"observable {observable_name(observable)} says something else when it is shown the same networks"
            " again, so its numbers depend on how often it was called; keep no count in it, and draw random "
            + ("numbers from a torch.Generator" if in_turn else "numbers beforehand, as many as it needs")
        )


def _trusted(observable: object) -> bool:
    return getattr(observable, "__module__", "") == _TRUSTED


def _again(observable: object, t: Trajectory) -> Tensor:
    """A second time: an observable with random numbers of its own may say something else."""
    return torch.as_tensor(observable(_shown(t))).detach().cpu()  # type: ignore[operator]


def _close(first: Tensor, second: Tensor) -> bool:
    a, b = first.double(), second.double()
    size = b[b.isfinite()].abs().max() if bool(b.isfinite().any()) else b.new_ones(())
    return torch.allclose(a, b, rtol=1e-4, atol=1e-4 * float(size), equal_nan=True)


def _check_axes(observe: Sequence[object], found: Mapping[str, Tensor], t: Trajectory) -> None:
    inputs = t.hidden.scaled[0].shape[1]
    sizes = {"input": (inputs, "the inputs"), "other_input": (inputs, "the inputs")}
    for observable in observe:
        name, dims = observable_name(observable), getattr(observable, "dims", ())
        shape = tuple(found[name].shape)
        if dims and len(dims) != len(shape) - 1:
            raise ValueError(
                f"observable {name} returned shape {shape}, and says that its axes behind the networks are "
                f"{', '.join(dims)}; name each of them once"
            )
        for axis, size in zip(dims, shape[1:], strict=False):
            known, whose = sizes.setdefault(axis, (size, f"observable {name}"))
            if known != size:
                raise ValueError(
                    f"axis {axis!r} of observable {name} has {size} entries, and that of {whose} has "
                    f"{known}; give axes of different sizes different names"
                )


def _only(t: Trajectory, network: int) -> Trajectory:
    """The same trajectory of one network."""
    each = slice(network, network + 1)
    return t.mapped(lambda part: part[each])


def _shown(t: Trajectory) -> Trajectory:
    """The same states in lists of its own, which may be changed."""
    return t.mapped(lambda part: part)


def _copied(t: Trajectory) -> list[Tensor]:
    """The states of the first network, to see what is written without torch: by NumPy, or through `data`."""
    return _parts(t.mapped(lambda part: part[:1].clone()))


def _same(before: Sequence[Tensor], after: Sequence[Tensor]) -> bool:
    return all(
        torch.equal(a, b) or torch.allclose(a, b, 0, 0, equal_nan=True)
        for a, b in zip(before, after, strict=True)
    )


def _parts(t: Trajectory) -> list[Tensor]:
    return [part for states in t.states() for part in (*states.scaled, *states.exponent)]


def _writes(t: Trajectory) -> int:
    """How often anything was written into the states."""
    return sum(part._version for part in _parts(t))
