r"""The networks that these theorems look at, and how their kernels deviate from infinite width.

Given the states before it, what a layer adds is Gaussian, with a covariance C that all neurons
share. So the standard normal numbers behind a simulated network can be read off it, and the same
numbers with C at infinite width drive independent neurons. A deviation of a kernel is close to a
mean over these N neurons of independent terms, its linear part: the variance of a term is seen N
times in every network, and only what the linear part leaves has to be averaged over networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from resnet_sde.activations import ERF, LINEAR, RELU, TANH, Activation
from resnet_sde.blocks import SingleLayer
from resnet_sde.finite_width import FiniteSize, finite_size, finite_size_pair
from resnet_sde.finite_width.finite_size import check_model, without_memory
from resnet_sde.finite_width.two_inputs import PAIRS, second_moments
from resnet_sde.laws import WhiteNoise
from resnet_sde.model import Model
from resnet_sde.observables import Observable, observable
from resnet_sde.propagate import Trajectory
from resnet_sde.theorems.lab import Lab, ask

RESIDUAL = ("one matrix a layer: h ← λ h + ρ (W φ(h) + b)", "white Gaussian weights and biases")


@dataclass(frozen=True)
class Case:
    """Networks of one depth, with what they start from.

    start: kernel of the states h_0, K_0 of one input or the entries 11, 22, 12 of two.
    """

    model: Model
    start: tuple[float, ...]
    depth: int

    def at(self, width: int) -> Case:
        """The same at another width."""
        return replace(self, model=replace(self.model, width=width))

    def off(self, variance: float) -> Case:
        """What is really looked at: σ_w² times this factor, in the layers and in the readout."""
        block = check_model(self.model)
        wrong = replace(block, sigma_w2=variance * block.sigma_w2)
        return replace(self, model=replace(self.model, block=wrong))

    @property
    def theory(self) -> FiniteSize:
        """To order 1/width, with an axis of the entries of the kernel."""
        if len(self.start) == 3:
            return ask(finite_size_pair, self.model, square(self.start), depth=self.depth)
        return with_entries(ask(finite_size, self.model, self.start[0], depth=self.depth))

    def without_memory(self, *, fluctuations: bool = False, feedback: bool = False) -> FiniteSize:
        """The theory of one input without the memory of its fluctuations, or of its feedback.

        Sources of different layers are then independent, or neurons do not feed back on themselves.
        """
        model, start = self.model, self.start[0]
        return without_memory(model, start, depth=self.depth, fluctuations=fluctuations, feedback=feedback)


def network(
    phi: Activation, sigma_w2: float, sigma_b2: float, gain: float, *, skip: float = 1.0, width: int = 64
) -> Model:
    """A network whose residual scale ρ is the gain at every depth."""
    return Model(SingleLayer(phi, sigma_w2, sigma_b2), WhiteNoise(), width, beta=0.0, gain=gain, skip=skip)


ERF_NET = Case(network(ERF, 1.2, 0.05, 0.3), (0.1,), 10)
DEEP = Case(network(ERF, 1.0, 0.0, 0.15), (0.05,), 50)
RELU_NET = Case(network(RELU, 1.2, 0.05, 0.3), (0.5,), 10)
TANH_NET = Case(network(TANH, 1.2, 0.05, 0.3), (0.5,), 10)
PARTIAL = Case(network(ERF, 1.2, 0.05, 0.5, skip=0.8), (0.3,), 10)
FEED_FORWARD = Case(network(ERF, 1.2, 0.05, 1.0, skip=0.0), (0.5,), 10)
LINEAR_NET = Case(network(LINEAR, 1.2, 0.0, 0.3), (0.1,), 10)
TWO_INPUTS = Case(network(ERF, 1.2, 0.05, 0.4), (0.3, 0.2, 0.1), 6)


def with_entries(size: FiniteSize) -> FiniteSize:
    """Of one input, with an axis of the only entry of its kernel."""
    vectors = ("kernel", "branch", "kernel_shift", "branch_shift")
    axes = {name: (..., None) if name in vectors else (..., None, None) for name in vars(size)}
    return FiniteSize(size.width, **{n: getattr(size, n)[axis] for n, axis in axes.items() if n != "width"})


def square(entries: tuple[float, ...] | Tensor) -> Tensor:
    """The kernel with these entries: 11 of one input, or 11, 22, 12 of two."""
    if len(entries) == 1:
        return torch.as_tensor(entries).reshape(1, 1)
    first, second, both = (float(x) for x in entries)
    return torch.tensor([[first, both], [both, second]])


@dataclass(frozen=True)
class Deviation:
    """What an entry of a kernel of networks deviates by from its value at infinite width.

    limit: that value.
    exact: the deviation, (sample,).
    terms: (sample, width); their mean over the neurons is the linear part, whose mean is 0.
    """

    limit: float
    exact: Tensor
    terms: Tensor

    @property
    def entry(self) -> Tensor:
        """The entry without the linear part of its deviation: the mean is the same; (sample,)."""
        return self.limit + self.exact - self.terms.mean(-1)


def covariance(first: Deviation, second: Deviation) -> Tensor:
    """Values of every network, (sample,), whose mean is width times the covariance of two deviations."""
    x, y = (d.exact - d.exact.mean() for d in (first, second))
    linear = first.terms.mean(-1) * second.terms.mean(-1)
    seen = (first.terms * second.terms).mean(-1)
    return seen + first.terms.shape[-1] * (x * y * (len(x) / max(1, len(x) - 1)) - linear)


@dataclass(frozen=True)
class Seen:
    """Networks, taken apart.

    theory: their kernels at infinite width.
    weight: σ_w².
    slope: ∂F/∂K of F = E φφ, (depth + 1, entry, entry).
    hidden, alone: states, and those of independent neurons on the same random numbers, (sample,
        depth + 1, input, width).
    branch: C, (sample, depth + 1, input, input).
    source: what products φφ of independent neurons deviate by from F, (sample, depth + 1, entry, width).
    moved: by which the sources before it move the conditional kernel of a layer, the same shape.
    """

    theory: FiniteSize
    weight: float
    slope: Tensor
    hidden: Tensor
    alone: Tensor
    branch: Tensor
    source: Tensor
    moved: Tensor

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """The two inputs of each entry."""
        return PAIRS if self.source.shape[2] == 3 else ((0, 0),)

    def c(self, entry: int = 0, layer: int = -1) -> Deviation:
        """Of C = σ_w² ⟨φ(h_l), φ(h_l)⟩ / N + σ_b²; at the last layer that of the readout."""
        (a, b), limit = self.pairs[entry], float(self.theory.branch[layer, entry])
        moved = torch.einsum("q,sqn->sn", self.slope[layer, entry], self.moved[:, layer])
        terms = self.weight * (moved + self.source[:, layer, entry])
        return Deviation(limit, self.branch[:, layer, a, b] - limit, terms)

    def q(self, entry: int = 0, layer: int = -1) -> Deviation:
        """Of Q = ⟨h_l, h_l⟩ / N."""
        (a, b), limit = self.pairs[entry], float(self.theory.kernel[layer, entry])
        h, alone = self.hidden[:, layer], self.alone[:, layer]
        terms = alone[:, a] * alone[:, b] - limit + self.moved[:, layer, entry]
        return Deviation(limit, (h[:, a] * h[:, b]).mean(-1) - limit, terms)


Statistic = Callable[[Seen], Tensor]
"""Of every network, (sample,)."""

_HELD = 2**21  # numbers in the states of a batch of networks


@observable(every_layer=True)
def every_state(t: Trajectory) -> Tensor:
    """Shape: (sample, depth + 1, input, width)."""
    return torch.stack([t.hidden.natural(layer) for layer in range(len(t.hidden.scaled))], 1)


@observable()
def last_state(t: Trajectory) -> Tensor:
    """Shape: (sample, input, width)."""
    return t.hidden.natural(-1)


def states(lab: Lab, case: Case, observe: Observable, method: str = "auto") -> Tensor:
    """States of networks; h_0 = A x has the kernel x xᵀ / n_in."""
    k0 = square(case.start)
    x = torch.linalg.cholesky(k0) * math.sqrt(len(k0))
    model = case.off(lab.variance).model
    (only,) = lab.without_error.simulate(model, x, observe, depth=case.depth, method=method).values()
    return only


def readout_kernels(lab: Lab, case: Case) -> Tensor:
    """C of the readout, (sample, input, input); the same random numbers for every start of the networks."""
    block = check_model(case.off(lab.variance).model)
    y = block.activation(states(lab, case, last_state))
    return block.sigma_w2 / case.model.width * y @ y.mT + block.sigma_b2


def look(lab: Lab, case: Case, method: str = "auto") -> Seen:
    """Simulate networks and take them apart."""
    h, case = states(lab, case, every_state, method), case.off(lab.variance)
    theory, block = case.theory, check_model(case.model)
    phi, pairs = block.activation, PAIRS if len(case.start) == 3 else ((0, 0),)
    y = phi(h)
    branch = block.sigma_w2 / case.model.width * y @ y.mT + block.sigma_b2
    alone = _alone(case, h, branch, theory)
    y = phi(alone)
    moments = second_moments(phi, theory.kernel) if len(pairs) == 3 else phi.second_moment(theory.kernel)
    source = torch.stack([y[:, :, a] * y[:, :, b] for a, b in pairs], 2) - moments[..., None]
    s = case.model.alpha(case.depth) ** 2 * block.sigma_w2
    moved = torch.zeros_like(source)
    for layer in range(case.depth):
        moved[:, layer + 1] = theory.growth[layer] @ moved[:, layer] + s * source[:, layer]
    slope = (theory.growth - case.model.skip**2 * torch.eye(len(pairs))) / s
    return Seen(theory, block.sigma_w2, slope, h, alone, branch, source, moved)


def collect(lab: Lab, case: Case, *statistics: Statistic) -> list[Tensor]:
    """Statistics of networks, each (sample,), from batches that fit into memory."""
    held = case.model.width * (case.depth + 1) * len(case.start)
    batches = -(-lab.samples * held // _HELD)
    parts = []
    for batch in range(batches):
        count = lab.samples // batches + (batch < lab.samples % batches)
        seen = look(replace(lab.again("networks", batch), samples=count), case)
        parts.append([statistic(seen) for statistic in statistics])
    return [torch.cat(columns) for columns in zip(*parts, strict=True)]


def _alone(case: Case, h: Tensor, branch: Tensor, theory: FiniteSize) -> Tensor:
    """Independent neurons that the random numbers of networks drive; shape of h."""
    skip, found = case.model.skip, h.clone()
    for layer in range(case.depth):
        added = h[:, layer + 1] - skip * h[:, layer]
        root = torch.linalg.cholesky(square(theory.branch[layer]))
        back = torch.linalg.solve_triangular(torch.linalg.cholesky(branch[:, layer]), added, upper=False)
        found[:, layer + 1] = skip * found[:, layer] + root @ back
    return found
