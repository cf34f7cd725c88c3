r"""Who writes to the stream: submodules of a block whose outputs, times numbers, are added to it.

A block is run once more with a hook on every submodule, and its output is explained by its input and as few
outputs as possible, h' = s h + Σ c_m out_m, by orthogonal matching pursuit in float64. Outputs that are
parallel to each other are one, named by the submodule with parameters of its own. Two kinds need more:

- where a rectifier stands after the sum ("post-activation"), only coordinates where it is open are compared;
- where a normalization stands after the sum ("post-norm"), the sum is what enters it. It starts from the
  input, or from the output of another normalization, which is then explained in its turn.

The size of a writer in block k, at the initial norm of the stream, is |c_m| |out_m| |h_k|^{−η} |h_0|^{η−1}.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resnet_sde._json import json_number
from resnet_sde.practice.calling import first_tensor
from resnet_sde.practice.errors import mixed
from resnet_sde.practice.record import HEAD, StreamRecord
from resnet_sde.practice.replay import Replay, replays

_MOST = 6
_PARALLEL = 1e-12
_RESOLUTION = 0.05
_SKIP_OF_ONE = 0.02


@dataclass(frozen=True)
class Writer:
    """A submodule that writes to the stream.

    Attributes:
        name: within its block; "" is the block itself, where the module adds it.
        coefficient: what its output is multiplied with on its way, beside a stream of weight 1.
        size: of what it adds, at the initial norm of the stream; the median over the first eight blocks.
        parameters: names within the block of all parameters inside it.
        residual: share of the update of the block that no writer explains.
    """

    name: str
    coefficient: float
    size: float
    parameters: tuple[str, ...]
    residual: float

    def document(self) -> dict[str, Any]:
        """Ready for JSON."""
        numbers = {n: json_number(getattr(self, n)) for n in ("coefficient", "size", "residual")}
        return {"name": self.name, **numbers, "parameters": list(self.parameters)}


@dataclass(frozen=True)
class WriterSize:
    """The size of a writer in the first eight blocks and in each of them, its coefficient, its parameters."""

    size: float
    sizes: tuple[float, ...]
    coefficient: float
    parameters: tuple[str, ...]
    residual: float


WriterNames = dict[str, tuple[str, ...]]
"""What writes to the stream in blocks of a class, the largest first. A factory may define classes anew."""


def class_name(module: nn.Module) -> str:
    """The class of a block and of all that it holds, since a class may hold other submodules elsewhere."""
    inside = ", ".join(f"{name}: {type(m).__name__}" for name, m in module.named_modules() if name)
    return f"{type(module).__module__}.{type(module).__qualname__}({inside})"


def find_writers(record: StreamRecord, kind: str) -> tuple[WriterNames, list[str]]:
    """The writers in one block of every class, and remarks on classes where there are none to be found.

    Raises:
        NotAStream: a block scales what it carries on, as its writers show.
    """
    modules = record.blocks.modules
    middle = {class_name(m): k for k, m in enumerate(modules) if k in record.kept}
    middle[class_name(modules[len(modules) // 2])] = len(modules) // 2
    names: WriterNames = {}
    notes = []
    for replay in replays(record, sorted(middle.values())):
        found, name = decompose(replay, kind), type(replay.module).__name__
        if found.coefficients and kind != "post-norm" and not found.carries:
            if replay.index == 0 and len(middle) > 1:  # a norm of the embedding, which is held by block 0
                continue
            raise mixed(found.skip)
        if found.coefficients:
            sizes = {n: abs(c) * found.outputs[n] for n, c in found.coefficients.items()}
            names[class_name(replay.module)] = tuple(sorted(sizes, key=lambda n: -sizes[n]))
        elif not found.resolved:
            notes.append(
                f"the update of {name} is below the resolution of its numbers (layer scale 1e-6?): give a "
                "float64 network to see its writers"
            )
        elif found.residual:
            notes.append(f"what writes to the stream in {name} is not the output of any submodule of it")
    return names, list(dict.fromkeys(notes))


def writer_sizes(record: StreamRecord, kind: str, degree: float, names: WriterNames) -> dict[str, WriterSize]:
    """By name, medians over the first eight blocks; over the first that write it where none of these does."""
    head = head_blocks(record.blocks.modules)
    degree = 0.0 if math.isnan(degree) else degree
    seen: dict[str, dict[int, tuple[float, float, float]]] = {}
    inside: dict[str, dict[str, None]] = {}
    for cls, writers in names.items():
        for replay in replays(record, head.get(cls, [])):
            found = decompose(replay, kind, writers)
            scale = (record.norms[0] / record.norms[replay.index]) ** degree / record.norms[0]
            for name, c in found.coefficients.items():
                size = abs(c) * found.outputs[name] * scale
                seen.setdefault(name, {})[replay.index] = (c, size, found.residual)
                own = replay.module.get_submodule(name).named_parameters(prefix=name)
                inside.setdefault(name, {}).update((parameter, None) for parameter, _ in own)
    result = {}
    for name, rows in seen.items():
        kept = [row for k, row in rows.items() if k < HEAD] or list(rows.values())
        coefficient, size, residual = np.median(np.array(kept), axis=0)
        given_a_norm = sorted(rows)[
            int(kind == "post-norm" and len(rows) > 1) :
        ]  # block 0 of post-norm is not
        sizes, within = tuple(rows[k][1] for k in given_a_norm), tuple(inside[name])
        result[name] = WriterSize(float(size), sizes, float(coefficient), within, float(residual))
    return result


def head_blocks(modules: Sequence[nn.Module]) -> dict[str, list[int]]:
    """By class, its blocks among the first eight, or its own first eight where it has none there."""
    classes: dict[str, list[int]] = {}
    for k, module in enumerate(modules):
        classes.setdefault(class_name(module), []).append(k)
    return {cls: [k for k in at if k < HEAD] or at[:HEAD] for cls, at in classes.items()}


def writers_of(record: StreamRecord, kind: str, degree: float) -> tuple[tuple[Writer, ...], list[str]]:
    """The writers of a network, the largest first, and remarks."""
    names, notes = find_writers(record, kind)
    found = writer_sizes(record, kind, degree, names)
    writers = [Writer(name, s.coefficient, s.size, s.parameters, s.residual) for name, s in found.items()]
    return tuple(sorted(writers, key=lambda w: -w.size)), notes


@dataclass(frozen=True)
class _Output:
    """What a submodule returned, and for a normalization what it was given."""

    name: str
    value: Tensor
    given: Tensor | None
    own: bool


@dataclass(frozen=True)
class Decomposition:
    """h' = s h + Σ c_m out_m for one block.

    Attributes:
        coefficients: by name of the writer.
        outputs: norms |out_m|.
        skip: s; NaN where the writers are not found, or a normalization stands after the sum.
        residual: what is not explained, as a share of the update.
        resolved: whether the precision of the block shows the update at all.
    """

    coefficients: dict[str, float] = field(default_factory=dict)
    outputs: dict[str, float] = field(default_factory=dict)
    skip: float = math.nan
    residual: float = math.inf
    resolved: bool = True

    @property
    def carries(self) -> bool:
        """Whether the block is known to carry its input on with weight 1."""
        return abs(self.skip - 1) < _SKIP_OF_ONE


def decompose(replay: Replay, kind: str, names: Sequence[str] | None = None) -> Decomposition:
    """The writers of a block, or the coefficients of those that are named."""
    outputs, leaving = _record(replay, names, kind)
    entering = replay.input
    change = float((leaving - entering).norm())
    if change == 0.0 or not math.isfinite(change):  # a stream that is not finite has a note of its own
        return Decomposition(residual=0.0)
    given = replay.kept.arguments
    place = replay.kept.place
    dtype = (given[0][place] if isinstance(place, int) else given[1][place]).dtype
    tolerance = 2e-5 + 2 * torch.finfo(dtype).eps * float(leaving.norm()) / change
    if tolerance > _RESOLUTION:
        return Decomposition(resolved=False)
    if kind == "post-norm":
        return _before_the_norm(entering, leaving, outputs, tolerance)
    mask = leaving > 0 if kind == "post-activation" else None
    candidates = _distinct([o for o in outputs if not _is_parallel(o.value, leaving)])
    return _pursue(leaving, entering, candidates, change, tolerance, mask)


def _record(replay: Replay, names: Sequence[str] | None, kind: str) -> tuple[list[_Output], Tensor]:
    """Outputs of submodules in the order in which they finish, of the size of the stream and finite."""
    block, shape = replay.module, replay.input.shape
    outputs: list[_Output] = []

    def finish(name: str, module: nn.Module, args: Any, output: Any) -> None:
        tensor = first_tensor(output)
        if tensor is None or tensor.numel() != shape.numel():
            return
        value = _as_stream(tensor.detach().to(torch.float64, copy=True), shape)
        size = float(value.norm())
        if not math.isfinite(size) or size == 0.0:
            return
        given = first_tensor(args) if _is_norm(name, module) else None
        if given is not None:
            given = given.detach().to(torch.float64, copy=True)
            given = _as_stream(given, shape) if given.numel() == shape.numel() else None
        own = any(p is not None for p in module._parameters.values())
        outputs.append(_Output(name, value, given, own))

    watched = {
        name: m
        for name, m in block.named_modules()
        if (name or replay.scale is not None) and (names is None or name in names or kind == "post-norm")
    }
    handles = [
        m.register_forward_hook(lambda m, args, out, n=name: finish(n, m, args, out))
        for name, m in watched.items()
    ]
    try:
        leaving = replay()
    finally:
        for handle in handles:
            handle.remove()
    return outputs, leaving


def _as_stream(value: Tensor, shape: torch.Size) -> Tensor:
    """In the shape of the stream, axes in order: some modules work on tokens last or on channels first."""
    if value.shape == shape or sorted(value.shape) != sorted(shape):
        return value.reshape(shape)
    axes: list[int] = []
    for size in shape:
        axes.append(next(i for i, n in enumerate(value.shape) if n == size and i not in axes))
    return value.permute(axes)


def _is_norm(name: str, module: nn.Module) -> bool:
    last = name.rpartition(".")[2].lower()
    return "norm" in type(module).__name__.lower() or "norm" in last or last.startswith("ln")


def _is_parallel(left: Tensor, right: Tensor) -> bool:
    norms = float(left.norm()) * float(right.norm())
    return norms > 0 and 1 - abs(float((left * right).sum())) / norms < _PARALLEL


def _distinct(outputs: Sequence[_Output]) -> list[_Output]:
    """Of parallel outputs the one with parameters of its own, else the first to finish."""
    kept: list[_Output] = []
    for output in outputs:
        for i, other in enumerate(kept):
            if _is_parallel(output.value, other.value):
                if output.own and not other.own:
                    kept[i] = output
                break
        else:
            kept.append(output)
    return kept


def _pursue(
    target: Tensor,
    base: Tensor,
    candidates: Sequence[_Output],
    change: float,
    tolerance: float,
    mask: Tensor | None = None,
) -> Decomposition:
    """Add the output most aligned with what is left, until nothing is."""
    on = slice(None) if mask is None else mask.flatten()
    goal, columns = target.flatten()[on], [base.flatten()[on]]
    chosen: list[_Output] = []
    if mask is not None:
        change = float((goal - columns[0]).norm()) or change
    while True:
        found, rest = _fit(columns, goal)
        residual = float(rest.norm()) / change
        if residual < tolerance or len(chosen) == _MOST:
            break
        free = [c for c in candidates if all(c is not o for o in chosen)]
        cosines = [_cosine(c.value.flatten()[on], rest) for c in free]
        if not cosines or max(cosines) == 0.0:
            break
        best = free[int(np.argmax(cosines))]
        chosen.append(best)
        columns.append(best.value.flatten()[on])
    if residual >= tolerance:
        return Decomposition(residual=residual)
    # What was taken for its likeness to a writer that came later has nothing left to explain.
    parts = [float(c) * column.norm() for c, column in zip(found[1:], columns[1:], strict=True)]
    kept = [i for i, part in enumerate(parts) if abs(part) >= tolerance * change]
    if len(kept) < len(chosen):
        chosen = [chosen[i] for i in kept]
        found, rest = _fit([columns[0], *(columns[i + 1] for i in kept)], goal)
        residual = float(rest.norm()) / change
    factors = dict(zip((c.name for c in chosen), found[1:].tolist(), strict=True))
    sizes = {c.name: float(c.value.norm()) for c in chosen}
    return Decomposition(factors, sizes, float(found[0]), residual)


def _fit(columns: Sequence[Tensor], goal: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients of least squares, and what they leave."""
    matrix = torch.stack(list(columns), dim=1)
    found = torch.linalg.lstsq(matrix, goal.unsqueeze(1)).solution.squeeze(1)
    return found, goal - matrix @ found


def _cosine(left: Tensor, right: Tensor) -> float:
    norms = float(left.norm()) * float(right.norm())
    return abs(float((left * right).sum())) / norms if norms else 0.0


def _before_the_norm(
    entering: Tensor, leaving: Tensor, outputs: Sequence[_Output], tolerance: float
) -> Decomposition:
    """The sum is what enters the last norm, or what leaves the block where a norm came first of all.

    Its base is the input or the output of an earlier norm.
    """
    norms = [o for o in outputs if o.given is not None]
    last = next((o for o in norms if torch.equal(o.value, leaving)), None)
    candidates = _distinct([o for o in outputs if o.given is None])
    factors: dict[str, float] = {}
    sizes: dict[str, float] = {}
    residual = 0.0
    while True:
        target, before = (leaving, len(outputs)) if last is None else (last.given, outputs.index(last))
        assert target is not None
        if factors and torch.equal(target, entering):
            return Decomposition(factors, sizes, residual=residual)
        earlier = [o for o in norms if o is not last and outputs.index(o) < before]
        # What is parallel to the sum is the sum itself, as a dropout behind it would be.
        parts = [c for c in candidates if not _is_parallel(c.value, target)]
        best, following = Decomposition(), None
        for base, norm in [(entering, None), *((o.value, o) for o in earlier)]:
            change = float((target - base).norm())
            if change == 0.0 or not math.isfinite(change):
                continue
            found = _pursue(target, base, parts, change, tolerance)
            if math.isfinite(found.residual) and found.coefficients:
                if not best.coefficients or len(found.coefficients) < len(best.coefficients):
                    best, following = found, norm
            elif not best.coefficients:
                best = found if found.residual < best.residual else best
        if not best.coefficients:
            return Decomposition(residual=best.residual)
        # A norm forgets the scale of the sum: what counts is the writer beside what it is added to.
        factors |= {name: c / best.skip for name, c in best.coefficients.items()}
        sizes |= best.outputs
        residual = max(residual, best.residual)
        last = following
        if last is None:
            return Decomposition(factors, sizes, residual=residual)
