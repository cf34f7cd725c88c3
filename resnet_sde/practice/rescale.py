"""Scale the residual branches of a network to a given action, through what writes to the stream, and undo it.

With a the median size of the first eight branches, independent layers are brought to a √L = √S, coherent ones
to a L = √S, and those that share a direction, with a mean cosine c, to a √(L (1 + c (L − 1))) = √S. A branch
depends on the state of its stream, so one step is not enough: the factor is corrected until a is within 5 %
of its target, at most five times.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from resnet_sde.practice.calling import Call, calling, first_tensor, preserved, unwrapped
from resnet_sde.practice.find_stream import BlockChoice, Blocks
from resnet_sde.practice.profile import Profile, follow, measured, tried
from resnet_sde.practice.record import HEAD, StreamRecord
from resnet_sde.practice.replay import Replay, replays
from resnet_sde.practice.writers import WriterNames, class_name, find_writers
from resnet_sde.streams import seed_torch

_ROUNDS = 5
_NEAR = 0.05
_SAME = 1e-4

_TOTALS: weakref.WeakKeyDictionary[nn.Module, _Scaling] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, repr=False)
class Scaled:
    """A network whose branches were scaled.

    Attributes:
        factor: on what writes to the stream, relative to the module as it was built.
        rounds: a √L after each correction; a L where layers are coherent, and between where they share a
            direction.
        before: the profile before.
        after: the profile after.
    """

    factor: float
    rounds: tuple[float, ...]
    before: Profile
    after: Profile
    _scaling: _Scaling

    def __repr__(self) -> str:
        return (
            f"<Scaled by {self.factor:.4g}: action {self.before.action:.3g} → {self.after.action:.3g}, "
            f"growth {self.before.growth:.3g} → {self.after.growth:.3g}>"
        )

    def undo(self) -> None:
        """Put the module back as it was built: hooks are removed, scaled weights are as then, to the bit.

        Weights that were trained since are put back too.
        """
        self._scaling.set(1.0)


def scale_residual_(
    module: nn.Module,
    batch: Any,
    *,
    to: float = 1.0,
    factor: float | None = None,
    how: str = "multiplier",
    blocks: BlockChoice = None,
    call: Callable[[nn.Module, Any], Any] | None = None,
) -> Scaled:
    """Scale what writes to the stream, in place, so that the action S of the network becomes `to`.

    Args:
        module: with a residual stream whose writers are found (see `probe`).
        batch: what it is called with, as for `probe`.
        to: the action wanted; 1 moves the stream by about its own size.
        factor: to set instead, relative to the module as it was built.
        how: "multiplier" multiplies outputs of writers by hooks, which a state_dict does not hold; "weights"
            multiplies their own weights and biases.
        blocks: where the stream runs, as for `probe`.
        call: how to call the module, as ``call(module, batch)``.

    Raises:
        NoStream: no block is repeated.
        NotAStream: the blocks carry no one residual stream.
        ValueError: the writers are not found, their weights do not scale their outputs, or all branches are
            zero; the module is then as it was.

    Example:
        >>> layers = [nn.TransformerEncoderLayer(16, 2, 32, 0.0, norm_first=True) for _ in range(12)]
        >>> x = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(0))
        >>> scaled = scale_residual_(nn.Sequential(*layers), x)
        >>> abs(scaled.rounds[-1] - 1) < 0.05
        True
    """
    if how not in ("multiplier", "weights"):
        raise ValueError(f'how must be "multiplier" or "weights", got {how!r}')
    for name, value in (("to", to), ("factor", 1.0 if factor is None else factor)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be positive, got {value}; give for example 1.0")
    module = unwrapped(module)
    forward = calling(batch, call)
    before, record, names = _measure(module, forward, blocks)
    scaling = _TOTALS.get(module)
    if scaling is None or scaling.how != how:
        if scaling is not None and scaling.total != 1.0:
            raise ValueError(f"the module is scaled by {scaling.how} already; undo that first")
        scaling = (
            _multipliers(record.blocks, names) if how == "multiplier" else _weights(module, record, names)
        )
    start = scaling.total
    try:
        scaled = _corrected(module, forward, blocks, scaling, before, to, factor)
    except BaseException:
        scaling.set(start)
        raise
    _TOTALS[module] = scaling
    return scaled


def _measure(
    module: nn.Module, forward: Call, blocks: BlockChoice
) -> tuple[Profile, StreamRecord, WriterNames]:
    with preserved(module):
        record = follow(module, forward, tried(module, forward, blocks), gradients=False)
        profile = measured(record)
        names, notes = find_writers(record, profile.kind)
    if not names or len(names) < len({class_name(m) for m in record.blocks.modules}):
        why = notes[0] if notes else "no branch writes to the stream"
        raise ValueError(f"the branches cannot be scaled: {why}; multiply them in the code of the module")
    return profile, record, names


def _corrected(
    module: nn.Module,
    forward: Call,
    blocks: BlockChoice,
    scaling: _Scaling,
    before: Profile,
    to: float,
    factor: float | None,
) -> Scaled:
    profile = before
    rounds: list[float] = []
    if factor is not None:
        scaling.set(factor)
        profile = _measure(module, forward, blocks)[0]
        return Scaled(factor, (_size(profile),), before, profile, scaling)
    target = math.sqrt(to)
    size = _size(profile)
    while abs(size / target - 1) > _NEAR and len(rounds) < _ROUNDS:
        scaling.set(scaling.total * target / size)
        profile = _measure(module, forward, blocks)[0]
        size = _size(profile)
        rounds.append(size)
    return Scaled(scaling.total, tuple(rounds) or (size,), before, profile, scaling)


def _size(profile: Profile) -> float:
    """A L^{β*}, the square root of the action that the head of the network gives."""
    head = float(profile.sizes[:HEAD].median())
    if not (math.isfinite(head) and head > 0):
        raise ValueError(
            "all branches are zero or not finite: no factor scales them; train a few steps first"
        )
    return head * profile.layers.sum_of(len(profile.names))


class _Scaling:
    """A factor on the writers of a module, relative to how it was built."""

    def __init__(self, how: str, apply: Callable[[float], None]) -> None:
        self.how, self.apply, self.total = how, apply, 1.0

    def set(self, total: float) -> None:
        self.apply(total)
        self.total = total


def _writers(blocks: Blocks, names: WriterNames) -> Iterator[tuple[str, nn.Module]]:
    """Every writer of every block, a repeated one once."""
    seen: set[int] = set()
    for block in blocks.modules:
        for name in names[class_name(block)]:
            writer = block.get_submodule(name)
            if id(writer) not in seen:
                seen.add(id(writer))
                yield name, writer


def _multipliers(blocks: Blocks, names: WriterNames) -> _Scaling:
    writers = [writer for _, writer in _writers(blocks, names)]
    handles: list[RemovableHandle] = []

    def apply(total: float) -> None:
        while handles:
            handles.pop().remove()
        if total != 1.0:
            multiply = _Multiplier(total)
            handles.extend(writer.register_forward_hook(multiply) for writer in writers)

    return _Scaling("multiplier", apply)


@dataclass(frozen=True)
class _Multiplier:
    """A hook that multiplies what a module returns, the first tensor of several."""

    factor: float

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        if isinstance(output, Tensor):
            return self.factor * output
        if isinstance(output, Mapping):
            found = first_tensor(output)
            scaled = {
                k: v if v is not found or found is None else self.factor * found for k, v in output.items()
            }
            return type(output)(**scaled)
        return (self.factor * output[0], *output[1:])


def _weights(module: nn.Module, record: StreamRecord, names: WriterNames) -> _Scaling:
    writers = list(_writers(record.blocks, names))
    held = {id(p): p for _, w in writers for p in w._parameters.values() if p is not None}
    original = {key: p.detach().clone() for key, p in held.items()}
    bare = [name for name, w in writers if all(p is None for p in w._parameters.values())]
    if bare:
        raise _not_by_weights(bare[0], "it has no weights of its own")
    _refuse_shared(module, writers, held)

    def apply(total: float) -> None:
        with torch.no_grad():
            for key, parameter in held.items():
                parameter.copy_(original[key] if total == 1.0 else total * original[key])

    _verify(module, record, names, apply)
    return _Scaling("weights", apply)


def _refuse_shared(
    module: nn.Module, writers: list[tuple[str, nn.Module]], held: Mapping[int, nn.Parameter]
) -> None:
    """A weight that others use too would scale more than the branch."""
    inside = {id(w) for _, w in writers}
    for owner in module.modules():
        for name, parameter in owner._parameters.items():
            if parameter is not None and id(parameter) in held and id(owner) not in inside:
                raise _not_by_weights(name, "its weights are shared with what does not write")


def _verify(
    module: nn.Module, record: StreamRecord, names: WriterNames, apply: Callable[[float], None]
) -> None:
    """Twice the weights must give twice the output, on what each writer was given."""
    blocks = {class_name(r.module): r for r in replays(record, sorted(record.kept))}
    with preserved(module), torch.no_grad():
        for cls, replay in blocks.items():
            for name in names[cls]:
                writer = replay.module.get_submodule(name)
                args, kwargs = _arguments(writer, replay)
                once = _output(writer, args, kwargs)
                try:
                    apply(2.0)
                    twice = _output(writer, args, kwargs)
                finally:
                    apply(1.0)
                if float((twice - 2 * once).norm()) > _SAME * float(twice.norm()):
                    raise _not_by_weights(name, "twice its own weights do not give twice its output")


def _arguments(writer: nn.Module, replay: Replay) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a writer is given when its block runs again."""
    seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        own = [v.clone() if isinstance(v, Tensor) else v for v in args]
        named = {k: v.clone() if isinstance(v, Tensor) else v for k, v in kwargs.items()}
        seen.append((tuple(own), named))

    handle = writer.register_forward_pre_hook(enter, with_kwargs=True)
    try:
        replay()
    finally:
        handle.remove()
    return seen[-1]


def _output(writer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    seed_torch(0)  # the same dropout every time
    output = first_tensor(writer(*args, **kwargs))
    assert output is not None  # it was found as a writer
    return output.to(torch.float64, copy=True)


def _not_by_weights(name: str, reason: str) -> ValueError:
    return ValueError(f'weights cannot scale what {name} writes: {reason}; give how="multiplier"')
