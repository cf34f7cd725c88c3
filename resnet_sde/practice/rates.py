r"""How the learning rate of each group of parameters must move with depth, from one step of the optimizer.

Δθ is the step that the optimizer makes from one gradient, at rates divided by their largest. For a group G

.. math:: D_G(c) = |h_L(θ + c Δθ_G; x') − h_L(θ; x')| / |h_L(θ; x')|, \qquad D_G(c_G) = 0.05,

with x' other rows than those of the gradient: the step must change the stream by one share at every depth.
The slope of log c_G on log L is the exponent x_G of L^{x_G} for the rate of G. Rates that a recipe has scaled
already come out with x = 0. Labels and text are not needed: ⟨output, c⟩ with a fixed Gaussian c serves for a
loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resnet_sde._json import json_number
from resnet_sde.estimate import Estimate
from resnet_sde.practice.calling import (
    backward_pass,
    calling,
    first_tensor,
    preserved,
    scalar,
    stream_argument,
)
from resnet_sde.practice.find_stream import Blocks, parameters
from resnet_sde.practice.one_stream import Finder
from resnet_sde.practice.over_seeds import over_seeds
from resnet_sde.practice.profile import follow
from resnet_sde.practice.record import StreamRecord
from resnet_sde.practice.writers import WriterNames, class_name
from resnet_sde.streams import generator, stream

Optimizer = torch.optim.Optimizer
KNOWN = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)

CHANGE = 0.05
_START = 2.0**-8
_EVALUATIONS = 16
_NO_CHANGE = 1e-12
_BEND = 0.5
_TOO_WIDE = 0.3


@dataclass(frozen=True)
class RateLaw:
    """How the rate of a group of parameters must move with depth.

    Attributes:
        group: "blocks", "writers", "inner" (what does not write), "rest", or a group of the optimizer's own.
        exponent: x of L^x; None where the group does not reach the stream.
        log2_rates: of one step that changes the stream by 5 %, for each depth; the mean over seeds.
        local_exponents: between neighbouring depths.
        power_law: whether one exponent fits; if not, no exponent is right.
        parameters: how many entries the group has at the deepest depth.
        theory: the exponent of `rate_theory`; None where it has none for the optimizer, network or group.
    """

    group: str
    exponent: Estimate | None
    log2_rates: tuple[float, ...]
    local_exponents: tuple[float, ...]
    power_law: bool
    parameters: int
    theory: float | None = None

    @property
    def decided(self) -> bool:
        """Whether there is an exponent that a rate may follow."""
        if self.exponent is None or not self.power_law:
            return False
        return (self.exponent.high - self.exponent.low) / 2 <= _TOO_WIDE

    def document(self) -> dict[str, Any]:
        """Ready for JSON."""
        from resnet_sde.practice.laws_of_depth import as_json

        return {
            "group": self.group,
            "exponent": None if self.exponent is None else as_json(self.exponent),
            "log2_rates": [json_number(v) for v in self.log2_rates],
            "local_exponents": [json_number(v) for v in self.local_exponents],
            "power_law": self.power_law,
            "parameters": self.parameters,
            "theory": self.theory,
        }


@dataclass(frozen=True)
class RateTask:
    """What is needed to measure one network.

    Attributes:
        optimizer: makes the optimizer of a network.
        batch: as given to the depth check.
        call: how to call the module, or None.
        loss: of output and batch, or None.
        finder: of the stream.
        writers: by class of block.
        seed: of everything that is drawn.
    """

    optimizer: Callable[[nn.Module], Optimizer]
    batch: Any
    call: Callable[[nn.Module, Any], Any] | None
    loss: Callable[[Any, Any], Tensor] | None
    finder: Finder
    writers: WriterNames
    seed: int


def rate_laws(
    depths: Sequence[int], seeds: int, build: Callable[[int, int], nn.Module], task: RateTask, level: float
) -> tuple[RateLaw, ...]:
    """The laws of all groups.

    Raises:
        ValueError: the batch has one row, or the step of the optimizer says nothing about its rate.
    """
    found: list[list[dict[str, tuple[float, int]]]] = []
    for depth in depths:
        row: list[dict[str, tuple[float, int]]] = []
        for number in range(seeds):
            net = build(depth, number)
            first = not found and not row
            with preserved(net, initial=True):
                row.append(_rates(net, task, number, check=first))
        found.append(row)
    groups = [g for g in found[0][0] if all(g in rates for row in found for rates in row)]
    return tuple(_law(group, depths, found, level) for group in groups)


def _law(
    group: str,
    depths: Sequence[int],
    found: Sequence[Sequence[Mapping[str, tuple[float, int]]]],
    level: float,
) -> RateLaw:
    logs = np.array([[rates[group][0] for rates in row] for row in found])
    size = found[-1][0][group][1]
    means = tuple(float(v) for v in logs.mean(axis=1))
    if not np.isfinite(logs).all() or len(depths) < 2:
        return RateLaw(group, None, means, (), False, size)
    steps = np.log2(depths)
    slopes = np.polyfit(steps, logs, 1)[0]
    local = tuple(float(v) for v in np.diff(means) / np.diff(steps))
    power_law = max(local) - min(local) <= _BEND
    return RateLaw(group, over_seeds(slopes, level), means, local, power_law, size)


def _rates(net: nn.Module, task: RateTask, number: int, *, check: bool) -> dict[str, tuple[float, int]]:
    """log2 of the rate that changes the stream by 5 %, and the size, of every group."""
    learned, other = _halves(task.batch, task.seed, number)
    forward = calling(other, task.call)
    record = follow(net, forward, task.finder(net), fewest=1, gradients=False)
    steps, groups = _step(net, task, learned, number, check)
    sets = _groups(net, record.blocks, task.writers, steps)
    if len(groups) > 1:
        sets |= {name: [p for p in members if p in steps] for name, members in groups.items()}
    before = _last_state(net, forward, record)
    norm = float(before.norm())

    def change(members: Sequence[nn.Parameter], c: float) -> float:
        with torch.no_grad():
            for p in members:
                p.add_(c * steps[p])
            try:
                after = _last_state(net, forward, record)
            finally:
                for p in members:
                    p.copy_(kept[p])
        return float((after - before).norm()) / norm

    kept = {p: p.detach().clone() for p in steps}
    return {
        name: (_solve(partial(change, members)), sum(p.numel() for p in members))
        for name, members in sets.items()
        if members
    }


def _halves(batch: Any, seed: int, number: int) -> tuple[Any, Any]:
    """Rows for the gradient, and others for the change."""
    if callable(batch) and not isinstance(batch, (Tensor, Mapping)):
        learned, other = (batch(generator(seed, "rates", "batch", number, half)) for half in (0, 1))
        return learned, other
    parts = batch if isinstance(batch, (tuple, list)) else [batch]
    parts = list(batch.values()) if isinstance(batch, Mapping) else parts
    rows = next((p.shape[0] for p in parts if isinstance(p, Tensor) and p.ndim), 0)
    if rows < 2:
        raise ValueError(
            "the batch has one row and the rate law needs two halves: a step changes its own rows more than "
            "others; give two rows or more, or a function of a generator"
        )

    def part(value: Any, half: slice) -> Any:
        return value[half] if isinstance(value, Tensor) and value.ndim and value.shape[0] == rows else value

    def take(half: slice) -> Any:
        if isinstance(batch, Mapping):
            return {name: part(value, half) for name, value in batch.items()}
        return tuple(part(v, half) for v in batch) if isinstance(batch, (tuple, list)) else part(batch, half)

    return take(slice(0, rows // 2)), take(slice(rows // 2, rows))


def _step(
    net: nn.Module, task: RateTask, batch: Any, number: int, check: bool
) -> tuple[dict[nn.Parameter, Tensor], dict[str, list[nn.Parameter]]]:
    """The step of the optimizer by parameter, and its groups of parameters by name."""
    optimizer = task.optimizer(net)
    if not isinstance(optimizer, Optimizer):
        raise ValueError(
            f"optimizer(module) must return a torch.optim.Optimizer, not {type(optimizer).__name__}"
        )
    net.zero_grad()
    output = calling(batch, task.call)(net)
    loss = _objective(output, batch, task, number)
    with backward_pass("without it there is no step and no rate law"):
        loss.backward()
    steps = _make_step(optimizer, 1.0)
    if check and type(optimizer) not in KNOWN:
        _check_proportional(task.optimizer(net), steps)
    groups = {
        str(group.get("name", f"group {i}")): [p for p in group["params"]]
        for i, group in enumerate(optimizer.param_groups)
    }
    net.zero_grad()
    return steps, groups


def _objective(output: Any, batch: Any, task: RateTask, number: int) -> Tensor:
    if task.loss is not None:
        return scalar(task.loss(output, batch))
    own = getattr(output, "loss", None)
    if isinstance(own, Tensor):
        return own
    values = first_tensor(output)
    if values is None:
        raise ValueError("the module returns no tensor of real numbers; give a loss of output and batch")
    direction = torch.empty(values.shape, dtype=torch.float64)
    stream(task.seed, "rates", "direction", number).normal_(direction)
    return (values * direction.to(values.device, values.dtype)).sum() / values.numel()


def _make_step(optimizer: Optimizer, scale: float) -> dict[nn.Parameter, Tensor]:
    """What one step changes, at rates whose largest is `scale`; parameters are put back."""
    largest = max(float(group["lr"]) for group in optimizer.param_groups)
    if not largest > 0:
        raise ValueError("all rates of the optimizer are zero; give one that makes a step")
    for group in optimizer.param_groups:
        group["lr"] = scale * group["lr"] / largest
    held = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    before = {p: p.detach().clone() for p in held}
    try:
        optimizer.step()
    except TypeError as error:
        if "closure" not in str(error):
            raise
        raise ValueError(
            f"{type(optimizer).__name__} needs a closure: its step depends on more than one gradient and has "
            "no rate law; use an optimizer whose step() takes none"
        ) from None
    with torch.no_grad():
        steps = {p: p.detach() - before[p] for p in held}
        for p in held:
            p.copy_(before[p])
    return steps


def reads_on_the_way(net: nn.Module, task: RateTask) -> bool:
    """Whether a loss reaches the parameters of blocks by another way than the end of the stream."""
    learned, other = _halves(task.batch, task.seed, 0)
    with preserved(net, initial=True):
        record = follow(net, calling(other, task.call), task.finder(net), fewest=1, gradients=False)
        if record.scales:  # the module adds the last block itself, and its end cannot be cut off
            return False

        def cut(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            end = first_tensor(output)
            if end is not None and end.requires_grad:
                end.register_hook(torch.zeros_like)

        handle = record.blocks.modules[-1].register_forward_hook(cut)
        try:
            loss = _objective(calling(learned, task.call)(net), learned, task, 0)
            with backward_pass("without it there is no step and no rate law"):
                loss.backward()
        finally:
            handle.remove()
        inside = parameters(record.blocks.modules)
        return any(p.grad is not None and bool((p.grad != 0).any()) for p in inside)


def _check_proportional(optimizer: Optimizer, steps: Mapping[nn.Parameter, Tensor]) -> None:
    """A rate law speaks only of optimizers whose step is the rate times something."""
    half = _make_step(optimizer, 0.5)
    missed = math.hypot(*(float((steps[p] - 2 * half[p]).norm()) for p in steps))
    size = math.hypot(*(float(v.norm()) for v in steps.values()))
    if not size or missed > 0.01 * size:
        off = f"off by {missed / size:.0%} at half the rate" if size else "it makes none"
        raise ValueError(
            f"the step of {type(optimizer).__name__} is not proportional to its rate ({off}): there is no "
            "rate law; use SGD, Adam, AdamW or another optimizer whose step is"
        )


def _groups(
    net: nn.Module, blocks: Blocks, writers: WriterNames, steps: Mapping[nn.Parameter, Tensor]
) -> dict[str, list[nn.Parameter]]:
    """Parameters that the optimizer moves, by where they are; each once."""
    inside = {id(p) for p in parameters(blocks.modules)}
    writing = {
        id(p)
        for block in dict.fromkeys(blocks.modules)
        for name in writers.get(class_name(block), ())
        for p in block.get_submodule(name).parameters()
    }
    found = {"blocks": [p for p in steps if id(p) in inside]}
    if writing:
        found["writers"] = [p for p in steps if id(p) in writing]
        found["inner"] = [p for p in steps if id(p) in inside - writing]
    found["rest"] = [p for p in steps if id(p) not in inside]
    return found


def _last_state(net: nn.Module, forward: Callable[[nn.Module], Any], record: StreamRecord) -> Tensor:
    """h_L, in float64."""
    last = record.blocks.modules[-1]
    seen: list[Tensor] = []

    def leave(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        leaving, entering = first_tensor(output), stream_argument(args, kwargs)
        assert leaving is not None
        assert entering is not None
        state = leaving.detach().to(torch.float64, copy=True)
        if record.scales:
            state = entering[1].detach().double() + record.scales[-1] * state
        seen[:] = [state]

    handle = last.register_forward_hook(leave, with_kwargs=True)
    try:
        with torch.no_grad():
            forward(net)
    finally:
        handle.remove()
    return seen[0]


def _solve(change: Callable[[float], float]) -> float:
    """log2 of the c at which the change is 5 %; infinite where there is none, NaN where it is not found."""
    c, silent = _START, 0
    for _ in range(_EVALUATIONS):
        found = change(c)
        if not math.isfinite(found) or found > 1e3:
            c /= 8
        elif found < _NO_CHANGE:
            silent += 1
            if silent == 4:
                return math.inf
            c *= 8.0**4
        elif abs(math.log2(found / CHANGE)) < 0.05:
            return math.log2(c)
        else:
            c *= min(max(CHANGE / found, 1 / 8), 8.0)
    return math.nan
