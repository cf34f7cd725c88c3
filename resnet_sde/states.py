"""What a pass through the layers gives: states, and what else was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class States:
    """A sequence of states of natural size 2^exponent · scaled.

    Shape: scaled (layer, sample, input, width), exponent (layer, sample, input, 1).
    """

    scaled: Sequence[Tensor] | Tensor
    exponent: Sequence[Tensor] | Tensor

    def natural(self, layer: int) -> Tensor:
        """The states of one layer in natural size, float64; infinite where they do not fit."""
        return torch.ldexp(self.scaled[layer].double(), self.exponent[layer].double())

    def ends(self) -> States:
        """Those of the first layer and of the last."""
        ends = slice(None, None, max(len(self.scaled) - 1, 1))
        return States(self.scaled[ends], self.exponent[ends])


@dataclass(frozen=True)
class Trajectory:
    """States of an ensemble: hidden h_0 … h_L, and adjoint p_0 … p_L when the backward pass has run.

    When only the ends were kept, both hold two states, of layer 0 and of layer L.

    parameters: norms of the gradients of the matrices of every layer, by their names, and of the columns for
        biases, "outer_bias" and "inner_bias"; one for each layer, network and input, as states of width 1.
        They are those of entries of variance 1: divided by σ / √d, or by σ for biases, they are those of the
        weights as a layer uses them.
    preactivations: what φ meets in every layer, 1 … L, where that was asked for.
    weights: the matrices of every layer, 1 … L, by their names, where they were asked for: entries (sample,
        in, out) of variance 1, a bias as one more row, and exponents of 0.
    tangents: products of the gradients of which `parameters` has the norms, for all pairs of inputs, (sample,
        input, input) in every layer; their exponents have this shape too.
    jacobian: ∂h_L / ∂h_0 where it was asked for, (sample, input, width, width), the axis of h_L first, as the
        only layer of its states; exponents (sample, input, width, 1).
    """

    hidden: States
    adjoint: States | None = None
    parameters: Mapping[str, States] | None = None
    preactivations: States | None = None
    weights: Mapping[str, States] | None = None
    tangents: Mapping[str, States] | None = None
    jacobian: States | None = None

    def states(self) -> Iterator[States]:
        """All there are."""
        alone = (self.hidden, self.adjoint, self.preactivations, self.jacobian)
        yield from (each for each in alone if each is not None)
        for named in (self.parameters, self.weights, self.tangents):
            yield from (named or {}).values()

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Trajectory:
        """The same with every tensor changed, in lists of their own."""

        def of(states: States) -> States:
            return States([change(h) for h in states.scaled], [change(e) for e in states.exponent])

        def of_each(named: Mapping[str, States] | None) -> Mapping[str, States] | None:
            return None if named is None else {name: of(states) for name, states in named.items()}

        alone = (self.adjoint, self.preactivations, self.jacobian)
        adjoint, pre, jacobian = (None if s is None else of(s) for s in alone)
        norms, weights, tangents = map(of_each, (self.parameters, self.weights, self.tangents))
        return Trajectory(of(self.hidden), adjoint, norms, pre, weights, tangents, jacobian)
