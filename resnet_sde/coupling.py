"""Networks of many depths on one weight path: strong and weak errors, and their orders.

A network of depth L is compared with a reference at the same input: a much deeper network on the same path,
the limit solved on that path, or a closed form. The error of a finite reference is part of what is measured
and is taken out of the fit: errors of a scheme driven by Brownian motion add like those of a martingale, in
the square, all others with their sign. Where a mask φ' flips because a coordinate is within its error of a
kink, the square of the gradient's error is proportional to that error, so it adds in the fourth power.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

from resnet_sde.blocks import Layer
from resnet_sde.checks import check_memory, flag, positive_integer
from resnet_sde.contracts.inputs import check_depths
from resnet_sde.estimate import Estimate, Outcome, mean, order, weak_order
from resnet_sde.limits import Limit, RandomODE, YoungODE, limit
from resnet_sde.limits.exact import exact_end
from resnet_sde.model import Model, WeightPaths
from resnet_sde.propagate import forward, one_thread, trajectory
from resnet_sde.streams import Stream, check_seed, stream

TOLERANCE = 0.1
"""How far an order may lie from its expected value, for the bias of a rate over practical depths."""

_ERROR_BYTES = 64  # of the four errors of a network at one depth, and their copies when the parts are joined
_ELEMENTS = 2**26  # numbers of the weights held at once


@dataclass(frozen=True)
class Convergence:
    """Errors of networks of several depths against their limit, relative to the size of the input.

    strong_errors, sup_errors: root mean squares over networks of the error at time 1, and of the largest one
        at the layers of the network; None where convergence holds in law only. An exact reference is known at
        time 1 alone.
    weak_errors: |E ‖h_L‖² − E ‖H‖²| / ‖h_0‖²; behind a normalization |E ⟨h_L − H, h_0⟩| / ‖h_0‖².
    gradient_errors: as strong_errors, for p_0 given a random p_L, relative to the size of p_L; None if not
        asked for.
    strong_order, weak_order, gradient_order: rates in depth, with intervals.
    expected, expected_gradient: the rates that theory gives; None where it gives none that shows here.
    intervals: of the errors at every depth, under their names; those of weak errors have a sign.
    """

    depths: tuple[int, ...]
    strong_errors: tuple[float, ...] | None
    sup_errors: tuple[float, ...] | None
    weak_errors: tuple[float, ...]
    strong_order: Estimate | None
    weak_order: Estimate
    expected: float | None
    gradient_errors: tuple[float, ...] | None = None
    gradient_order: Estimate | None = None
    expected_gradient: float | None = None
    intervals: Mapping[str, tuple[Estimate, ...]] = field(default_factory=dict)

    @property
    def status(self) -> Outcome:
        """Whether the strong order is the expected one; undecided where there is nothing to compare."""
        if self.strong_order is None or self.expected is None:
            return Outcome.UNDECIDED
        return self.strong_order.within(self.expected, TOLERANCE)


def couple(
    model: Model,
    x: Tensor,
    *,
    depths: Sequence[int],
    samples: int,
    reference: int | str | None = None,
    gradients: bool = False,
    method: str = "auto",
    seed: int = 0,
    done: Callable[[float], object] | None = None,
) -> Convergence:
    """Strong and weak errors of networks of several depths on one path.

    Args:
        model: at its critical scaling.
        x: initial states h_0, (input, width), the same for every network, or (samples, input, width); its
            dtype (float32 or float64) and device are those of the computation.
        depths: two or more, increasing; each divides the reference, or the deepest one where that is not a
            network.
        samples: independent paths.
        reference: depth of a finer network on the same path; "exact" for a closed form; "solver" for the
            limit solved on the path (smooth weights). None takes the solver where there is one, else eight
            times the deepest network.
        gradients: compare gradients with respect to h_0 too; not with an exact reference.
        method: "dense" holds the weights of a path; "deferred" walks all depths at once and reveals white
            Gaussian weights where they are looked at, exact in law; "auto" takes the cheaper one.
        seed: a non-negative integer.
        done: called again and again with how much was done since, in networks; for a progress bar.

    Raises:
        NoLimit: the model has no limit.
        ValueError: an argument is out of range, or there is no closed form.

    Example:
        >>> from resnet_sde import TANH, SingleLayer, WhiteNoise
        >>> model = Model(SingleLayer(TANH), WhiteNoise(), width=4)
        >>> result = couple(model, torch.ones(1, 4), depths=(8, 16, 32), samples=200, reference=256)
        >>> result.expected
        0.5
    """
    equation = limit(model)
    _check_input(model, x, samples)
    layers, gradients = check_depths(depths), flag("gradients", gradients)
    needed = _ERROR_BYTES * len(layers) * samples
    check_memory(f"the errors of {samples} networks at {len(layers)} depths", needed, "give fewer samples")
    target = _reference(equation, layers, reference, gradients)
    request = Comparison(model, equation, x, layers, target, method, gradients, done or _nothing)
    errors = request.run(int(samples), check_seed(seed))
    finite = target if isinstance(target, int) else None
    summary = _Summary(request.depths, finite)
    power = 2 if model.law.exponent == 0.5 else 1
    strong, backward = equation.coupled, equation.coupled and gradients
    return Convergence(
        depths=request.depths,
        strong_errors=summary.roots(errors.terminal) if strong else None,
        sup_errors=summary.roots(errors.largest) if strong and target != "exact" else None,
        weak_errors=tuple(errors.weak.mean(0).abs().tolist()),
        strong_order=summary.order(errors.terminal, power) if strong else None,
        weak_order=weak_order(request.depths, errors.weak, reference=finite),
        expected=_expected(equation),
        gradient_errors=summary.roots(errors.gradient) if backward else None,
        gradient_order=summary.order(errors.gradient, 2 * power if _flips(model) else power)
        if backward
        else None,
        expected_gradient=_expected_gradient(equation) if backward else None,
        intervals=_intervals(errors, strong, strong and target != "exact", backward),
    )


def _intervals(
    errors: PathErrors, strong: bool, largest: bool, backward: bool
) -> dict[str, tuple[Estimate, ...]]:
    """Of the errors that are known, at every depth."""
    found = {"weak_errors": tuple(mean(part) for part in errors.weak.unbind(1))}
    squares = {"strong_errors": (errors.terminal, strong), "sup_errors": (errors.largest, largest)}
    squares["gradient_errors"] = (errors.gradient, backward)
    for name, (values, known) in squares.items():
        if known:
            found[name] = tuple(_root(mean(part)) for part in values.unbind(1))
    return found


def _root(square: Estimate) -> Estimate:
    """The interval of a root mean square, from that of the mean square."""
    value, low, high = (math.sqrt(max(0.0, end)) for end in (square.value, square.low, square.high))
    return Estimate(value, low, high, square.reason)


def _expected(equation: Limit) -> float | None:
    """The strong order to compare with.

    With fractional weights, 2H − 1 shows at practical depths for one matrix of width 1 only; with two
    matrices a finer network has errors of its own, which neither add nor average out.
    """
    if isinstance(equation, YoungODE):
        shows = equation.model.width == 1 and equation.model.block.one_matrix
        return equation.strong_order if shows else None
    return equation.strong_order


def _expected_gradient(equation: Limit) -> float | None:
    """Kinks of φ halve it for white weights."""
    expected = _expected(equation)
    return expected / 2 if expected is not None and _flips(equation.model) else expected


def _flips(model: Model) -> bool:
    """Whether masks flip often enough to decide the error of a gradient."""
    phi = getattr(model.block, "activation", None)
    return model.law.exponent == 0.5 and phi is not None and phi.homogeneous and not phi.odd


@dataclass(frozen=True)
class _Summary:
    """From squared errors, (sample, depth), to root mean squares and their order."""

    depths: tuple[int, ...]
    reference: int | None

    def roots(self, squares: Tensor) -> tuple[float, ...]:
        return tuple(squares.mean(0).sqrt().tolist())

    def order(self, squares: Tensor, power: int) -> Estimate:
        return order(self.depths, squares, reference=self.reference, power=power)


@dataclass(frozen=True)
class PathErrors:
    """Of every network at every depth, (sample, depth): squared, but for `weak`, which is signed."""

    terminal: Tensor
    largest: Tensor
    weak: Tensor
    gradient: Tensor

    @staticmethod
    def cat(parts: Sequence[PathErrors]) -> PathErrors:
        """Those of one group of networks after another, on the CPU."""
        names = [f.name for f in fields(PathErrors)]
        return PathErrors(*(torch.cat([getattr(part, name) for part in parts]).cpu() for name in names))

    @staticmethod
    def stack(parts: Sequence[PathErrors]) -> PathErrors:
        """From one depth after another, (sample,) each."""
        return PathErrors(
            *(torch.stack([getattr(part, f.name) for part in parts], 1) for f in fields(PathErrors))
        )


def _nothing(share: float) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True)
class Comparison:
    """What is compared with what."""

    model: Model
    equation: Limit
    x: Tensor
    depths: tuple[int, ...]
    reference: int | str
    method: str
    gradients: bool
    done: Callable[[float], object] = _nothing

    @property
    def finest(self) -> int:
        """Depth of the grid that the path is drawn on."""
        return self.reference if isinstance(self.reference, int) else self.depths[-1]

    def run(self, samples: int, seed: int) -> PathErrors:
        """The errors of all networks, relative to the size of the input."""
        deferred = self._deferred()
        held = sum(a * b for a, b in self.model.block.shapes(self.model.width).values()) * self.finest
        if deferred:
            held = 4 * (len(self.depths) + 1) * self.x.shape[-2] * self.x.shape[-1]
        chunk = max(1, min(256, _ELEMENTS // held))
        parts = []
        for start in range(0, samples, chunk):
            size = min(chunk, samples - start)
            key = (self.model, self.depths, self.reference, "deferred" if deferred else "dense", start)
            source = stream(seed, "couple", *key, device=self.x.device)
            h = self.x[start : start + size] if self.x.ndim == 3 else self.x.expand(size, *self.x.shape)
            with one_thread(), torch.no_grad():
                parts.append(self._walk(h, source) if deferred else self._dense(h, source))
        found, square = PathErrors.cat(parts), _square(self.x.reshape(-1, *self.x.shape[-2:]))[:, None].cpu()
        return PathErrors(
            found.terminal / square, found.largest / square, found.weak / square, found.gradient
        )

    def _deferred(self) -> bool:
        probes = (len(self.depths) + 1) * self.x.shape[-2]
        law = self.model.law
        white = law.independent and law.gaussian and law.filler is not None
        single = self.model.block.one_matrix and not self.gradients and self.model.norm is None
        possible = white and single and isinstance(self.reference, int)
        if self.method == "deferred" and not possible:
            raise ValueError(
                "a deferred walk needs one white Gaussian matrix, a finer network as reference, no norm and "
                "no gradients; give method dense"
            )
        if self.method not in ("auto", "dense", "deferred"):
            raise ValueError(f"unknown method {self.method!r}; give one of auto, dense, deferred")
        return possible and (
            self.method == "deferred" or (self.method == "auto" and 8 * probes < self.model.width)
        )

    def _dense(self, h: Tensor, source: Stream) -> PathErrors:
        shapes = self.model.block.shapes(self.model.width).items()
        draw = self.model.law.path
        paths = {n: draw(self.finest, (len(h), *s), generator=source, dtype=h.dtype) for n, s in shapes}
        path = WeightPaths(paths, self.model.law, self.finest)
        top = source.normal_(h.new_empty(len(h), 1, h.shape[-1])).expand_as(h).contiguous()
        target, slope = self._target(h, path, top)
        self.done(len(h) / (len(self.depths) + 1))
        parts = []
        for depth in self.depths:
            states, gradient = self._network(h, path, depth, top)
            step = (len(target) - 1) // depth
            part = _compare(states, target[::step] if step else target, target[-1])
            if self.model.norm is not None:  # all states have one size
                along = (states[-1] - target[-1]).double() * h
                part = replace(part, weak=along.sum(-1).mean(-1).cpu())
            self.done(len(h) / (len(self.depths) + 1))
            parts.append(replace(part, gradient=_square(gradient - slope) / _square(top)))
        return PathErrors.stack(parts)

    def _network(self, h: Tensor, path: WeightPaths, depth: int, top: Tensor) -> tuple[Tensor, Tensor]:
        """All states of a network on the path, and its p_0 (NaN if not asked for)."""
        layers, alpha = path.layers(depth, shared=True), self.model.alpha(depth)
        block, norm = self.model.block, self.model.norm
        states = forward(block, h, layers, alpha, norm=norm)
        if not self.gradients:
            return states, torch.full_like(top, torch.nan)
        adjoint = trajectory(block, h, layers, alpha, norm=norm, top=top, every_layer=False).adjoint
        assert adjoint is not None
        return states, adjoint.natural(0)

    def _target(self, h: Tensor, path: WeightPaths, top: Tensor) -> tuple[Tensor, Tensor]:
        """States of the reference on the finest grid, or at its end alone, and its p_0."""
        if isinstance(self.reference, int):
            return self._network(h, path, self.reference, top)
        unknown = torch.full_like(top, torch.nan)
        if self.reference == "exact":
            return exact_end(self.model, h, path, self.finest)[None], unknown
        assert isinstance(self.equation, RandomODE)
        steps = 4 * self.finest
        slope = self.equation.gradient(h, top, path, steps=steps) if self.gradients else unknown
        states = self.equation.states(h, path, steps=steps)
        states[0] = h  # behind a normalization a solution starts from what that makes of h
        return states, slope

    def _walk(self, h: Tensor, source: Stream) -> PathErrors:
        """All depths in one walk of the finest grid; the module `matrices` explains the looks."""
        fine = self.finest
        depths = (*self.depths, fine)
        samples, inputs, width = h.shape
        states = h.repeat(len(depths), 1, 1, 1).contiguous()
        frozen, waiting = states.clone(), torch.zeros_like(states)
        largest = torch.zeros(samples, len(self.depths), dtype=torch.float64, device=h.device)
        for k in range(1, fine + 1):
            self.done(samples / fine)
            probe = frozen.transpose(0, 1).reshape(samples, -1, width)
            look = self.model.block.branch(probe, Layer.revealed(self.model.block.shapes(width), source))
            waiting += look.view(samples, len(depths), inputs, width).transpose(0, 1)
            for place, depth in enumerate(depths):
                if k % (fine // depth) == 0:
                    states[place] += self.model.gain * fine**-0.5 * waiting[place]
                    frozen[place] = states[place]
                    waiting[place] = 0.0
            for place, depth in enumerate(self.depths):
                if k % (fine // depth) == 0:
                    gap = _square(states[place] - states[-1])
                    largest[:, place] = torch.maximum(largest[:, place], gap)
        ends = [_compare(state[None], states[-1:], states[-1]) for state in states[:-1]]
        return replace(PathErrors.stack(ends), largest=largest)


def _compare(states: Tensor, target: Tensor, end: Tensor) -> PathErrors:
    """Errors of states against a target at the same times; the largest is NaN where only its end is known."""
    terminal = _square(states[-1] - end)
    unknown = torch.full_like(terminal, torch.nan)
    largest = _square(states - target).amax(0) if len(states) == len(target) else unknown
    return PathErrors(terminal, largest, _square(states[-1]) - _square(end), unknown)


def _square(x: Tensor) -> Tensor:
    """Squared norm, averaged over inputs."""
    return x.double().square().sum(-1).mean(-1)


def _check_input(model: Model, x: Tensor, samples: int) -> None:
    positive_integer("samples", samples, "give for example 1000")
    if not isinstance(x, Tensor) or x.dtype not in (torch.float32, torch.float64):
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x must be a float32 or float64 tensor, got {kind}; convert it")
    if x.ndim not in (2, 3) or 0 in x.shape or x.shape[-1] != model.width:
        raise ValueError(f"x must have shape (input, width {model.width}), got {tuple(x.shape)}; reshape it")
    if x.ndim == 3 and len(x) != samples:
        raise ValueError(f"x holds {len(x)} networks' states, but samples is {samples}; give one for each")
    if not all(0 < size < torch.inf for size in _square(x.reshape(-1, *x.shape[-2:])).tolist()):
        raise ValueError("errors are relative to the size of x; give one whose square is finite and not zero")


def _reference(
    equation: Limit, depths: tuple[int, ...], reference: int | str | None, gradients: bool
) -> int | str:
    deepest = depths[-1]
    if reference is None:
        reference = "solver" if isinstance(equation, RandomODE) else 8 * deepest
    if reference == "solver" and not isinstance(equation, RandomODE):
        raise ValueError(
            "a solver is the reference of smooth weights only; give the depth of a finer network"
        )
    if reference == "exact" and gradients:
        raise ValueError("closed forms of gradients are not known; give the depth of a finer network")
    named = reference in ("exact", "solver")
    if not named and (isinstance(reference, str) or reference % 1 != 0 or reference <= deepest):
        raise ValueError(
            f"reference must be exact, solver or the depth of a network beyond {deepest}, "
            f"got {reference!r}; give for example {8 * deepest}"
        )
    finest = deepest if isinstance(reference, str) else int(reference)
    if any(finest % depth for depth in depths):
        raise ValueError(f"every depth must divide {finest}, so that all see one path, got {list(depths)}")
    return reference if isinstance(reference, str) else finest
