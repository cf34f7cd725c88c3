r"""The layer loop: states forward, gradients backward, of many networks at once.

States are carried as 2^e h with h of moderate size wherever that is exact: forward where the branch is
homogeneous, backward always, because the adjoint recursion is linear. The factors are powers of two, so
carrying them changes no bit of a state that would have fitted anyway, and explosion is a number instead of an
infinity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from resnet_sde._threads import default_dtype as default_dtype
from resnet_sde._threads import one_thread as one_thread
from resnet_sde.blocks import Block, Layer, check_norm, normalize, normalize_back
from resnet_sde.checks import finite_number, flag, is_truth
from resnet_sde.contracts.blocks import check_adjoint, check_block, check_company, unchanged
from resnet_sde.contracts.matrices import (
    LAYERS,
    check_dropout,
    check_layer,
    check_parameters,
    check_preactivations,
)
from resnet_sde.matrices import Dense, Masked, NotDrawn
from resnet_sde.states import States as States
from resnet_sde.states import Trajectory as Trajectory
from resnet_sde.streams import Stream, as_stream
from resnet_sde.watched import along_depth, watched


@dataclass(frozen=True)
class Dropout:
    """Masks on what the outer matrix of a layer multiplies, φ(…), anew in every layer and network.

    keep_rate: the probability that a number is kept; it is then divided by this rate.
    source: the random stream, drawn from as layers are met; a torch.Generator seeds one.
    shared: all inputs of a network meet the same mask, not each its own.

    Raises:
        ValueError: the rate is no number above 0, up to 1, or the source is none.
    """

    keep_rate: float
    source: Stream
    shared: bool = False

    def __post_init__(self) -> None:
        rate = math.nan if is_truth(self.keep_rate) else finite_number("keep_rate", self.keep_rate)
        if not 0 < rate <= 1:
            raise ValueError(
                f"keep_rate must lie above 0, up to 1, got {self.keep_rate!r}; give for example 0.9"
            )
        if not isinstance(self.source, (Stream, torch.Generator)):
            raise ValueError(
                f"source must be a random stream, got {self.source!r}; give for example torch.Generator()"
            )
        values = rate, as_stream(self.source, self.source.device), flag("shared", self.shared)
        for name, value in zip(("keep_rate", "source", "shared"), values, strict=True):
            object.__setattr__(self, name, value)

    def on(self, layer: Layer, h: Tensor) -> Layer:
        """The layer with a mask for states like these."""
        samples, inputs, width = h.shape
        uniform = torch.empty(samples, 1 if self.shared else inputs, width, dtype=h.dtype, device=h.device)
        kept = uniform.uniform_(generator=self.source.torch) < self.keep_rate
        return layer.replaced("outer", Masked(layer.get("outer"), kept.to(h.dtype) / self.keep_rate))


@dataclass
class Workspace:
    """Memory for states, reused from one call to the next: fresh memory is ten times slower to fill."""

    buffers: dict[str, Tensor] = field(default_factory=dict)

    def take(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A tensor of this name, shape, dtype and device; its content is arbitrary."""
        held = self.buffers.get(name)
        if held is None or held.shape != shape or held.dtype != like.dtype or held.device != like.device:
            held = self.buffers[name] = torch.empty(shape, dtype=like.dtype, device=like.device)
        return held


def forward(
    block: Block,
    h: Tensor,
    layers: Iterable[Layer],
    alpha: float | Tensor,
    skip: float = 1.0,
    *,
    norm: str | None = None,
    dropout: Dropout | None = None,
) -> Tensor:
    """States h_0 … h_L of h ← N(skip · h + α V g(h)), differentiable in h, in the weights and in α.

    norm: "rms" or "layer", the normalization N, as `Model` has it; None for none.

    Shape: h (sample, input, width); alpha a number, or one for every input, (input, 1) or (sample, input, 1);
    result (depth + 1, sample, input, width).

    Raises:
        ValueError: states or alpha have another shape, a number is not finite, there are no layers, or a
            block of one's own is not what it says.

    Example:
        >>> from resnet_sde import RELU, Model, SingleLayer, WhiteNoise
        >>> model = Model(SingleLayer(RELU), WhiteNoise(), width=4)
        >>> layers = model.draw(8, samples=2, seed=0).layers(8)
        >>> forward(model.block, torch.ones(2, 1, 4), layers, model.alpha(8)).shape
        torch.Size([9, 2, 1, 4])
    """
    _check_states(block, h, dropout)
    loop = _Loop(block, _factor(alpha, h), finite_number("skip", skip), period=None, norm=norm)
    with torch.autocast(h.device.type, enabled=False), unchanged(block, h.shape[-1]):
        return torch.stack(loop.up(h, _met(block, h, layers, dropout), keep=True)[0])


@torch.no_grad()
def trajectory(
    block: Block,
    h: Tensor,
    layers: Iterable[Layer],
    alpha: float | Tensor,
    skip: float = 1.0,
    *,
    norm: str | None = None,
    top: Tensor | Callable[[Tensor], Tensor] | None = None,
    parameters: bool = False,
    preactivations: bool = False,
    weights: bool = False,
    tangents: bool = False,
    dropout: Dropout | None = None,
    every_layer: bool = True,
    workspace: Workspace | None = None,
) -> Trajectory:
    """States, and adjoint states p ← skip · p + α (∂g/∂h)ᵀ Vᵀ p when `top` gives p_L.

    Behind a normalization p first goes back through that. Autograd does not follow it.

    Args:
        block: the residual branch.
        h: input states.
        layers: the layers, in order; dense or deferred.
        alpha: factor on the branch; a tensor gives networks of several scalings on the same weights.
        skip: weight of the identity branch.
        norm: normalization of the sum of both, as `Model` has it; None for none.
        top: gradient with respect to h_L, or a function of h_L that gives it; None leaves the backward pass
            out.
        parameters: norms of the gradients of the matrices too; a block of one's own must call `matvec` and
            `rmatvec` of each of its matrices once.
        preactivations: keep what φ meets in every layer, of blocks V φ(W h + b) + a.
        tangents: products of the same gradients for all pairs of inputs too, likewise.
        weights: keep the matrices of every layer, as they are without dropout; they must be dense.
        dropout: masks, if any; a block of one's own must multiply by its outer matrix with `matvec`.
        every_layer: keep all states, not only those of the two ends.
        workspace: memory to reuse; the states of an earlier call with the same workspace are overwritten.

    Shape: h and top (sample, input, width); alpha a number, or one for every input, (input, 1) or (sample,
    input, 1).

    Raises:
        ValueError: as in `forward`.
    """
    _check_states(block, h, dropout)
    asked = ((False, flag("parameters", parameters)), (True, flag("tangents", tangents)))
    watch = [pairs for pairs, wanted in asked if wanted]
    _check_gradients(block, h, top, bool(watch))
    if flag("preactivations", preactivations):
        check_preactivations(block)
    h = h.clone()  # what is returned is the caller's alone
    skip = finite_number("skip", skip)
    period = _rescaling_period(block, alpha, skip, 1.0 if dropout is None else dropout.keep_rate)
    loop = _Loop(block, _factor(alpha, h), skip, period if norm is None else 1, norm)
    keep = every_layer or preactivations or top is not None
    seen: list[Layer] | None = None if top is None else []
    drawn: list[Layer] | None = [] if flag("weights", weights) else None
    met = _met(block, h, layers, dropout, seen, watch, drawn)
    with torch.autocast(h.device.type, enabled=False), unchanged(block, h.shape[-1]):
        states, exponents, pre = loop.up(h, met, keep=keep, workspace=workspace)
    hidden = States(states, exponents)
    shown = States(pre, exponents[:-1]) if preactivations else None
    matrices = None if drawn is None else _entries(drawn)
    if top is None or seen is None:
        return Trajectory(hidden if every_layer else hidden.ends(), None, None, shown, matrices)
    with torch.autocast(h.device.type, enabled=False):
        states, exponents = loop.down(_top(top, hidden), seen, pre, keep=every_layer or bool(watch))
    adjoint = States(states, exponents)
    noted = {pairs: loop.noted(seen, hidden, adjoint, pairs=pairs) for pairs in watch}
    if not every_layer:
        hidden, adjoint = hidden.ends(), adjoint.ends()
    return Trajectory(hidden, adjoint, noted.get(False), shown, matrices, noted.get(True))


@dataclass(frozen=True)
class _Loop:
    """The only two loops over layers: up with the states, down with the gradients.

    period: the carried scale is brought back to 1 every so many layers; None leaves the states in natural
        size.
    """

    block: Block
    alpha: float | Tensor
    skip: float
    period: int | None
    norm: str | None = None
    sizes: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # states, and what they were divided by

    def __post_init__(self) -> None:
        if self.norm is not None:
            check_norm(self.norm)

    def up(
        self, h: Tensor, layers: Iterable[Layer], *, keep: bool, workspace: Workspace | None = None
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """States, their exponents and pre-activations of every layer; of the ends only without `keep`."""
        scaling = self.period is not None and self.block.homogeneous and self.norm is None
        exponent = torch.zeros(*h.shape[:-1], 1, dtype=torch.float64, device=h.device)
        h, exponent = _rescaled(h, exponent) if scaling else (h, exponent)
        unit = torch.exp2(-exponent).to(h.dtype) if scaling else None
        states, exponents, pre = [h], [exponent], []
        for k, layer in enumerate(layers, start=1):
            branch, before = self.block._branch_and_pre(h, layer, unit)
            out = workspace.take(f"hidden {k}", h.shape, h) if keep and workspace is not None else None
            h = self._step(h, branch, out)
            if self.norm is not None:
                h, size = normalize(h, self.norm)
                if keep:
                    self.sizes.append((h, size))
            if scaling and self.period is not None and k % self.period == 0:
                h, exponent = _rescaled(h, exponent)
                unit = torch.exp2(-exponent).to(h.dtype)
            if keep:
                states.append(h)
                exponents.append(exponent)
                pre.append(before)
        if h is states[0]:
            raise ValueError("there are no layers to run; give a list, as what yields them once is used up")
        return (states, exponents, pre) if keep else ([states[0], h], [exponents[0], exponent], pre)

    def down(
        self, p: Tensor, layers: Sequence[Layer], pre: Sequence[Tensor], *, keep: bool
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Adjoint states and their exponents, from layer 0 up; of the two ends only without `keep`."""
        exponent = torch.zeros(*p.shape[:-1], 1, dtype=torch.float64, device=p.device)
        states, exponents = [p], [exponent]
        for k in range(len(layers) - 1, -1, -1):
            if self.norm is not None:
                p = normalize_back(p, *self.sizes[k], self.norm)
            p = self._step(p, self.block._adjoint_at(pre[k], p, layers[k]))
            if self.period is not None and k % self.period == 0:
                p, exponent = _rescaled(p, exponent)
            if keep:
                states.append(p)
                exponents.append(exponent)
        return (states[::-1], exponents[::-1]) if keep else ([p, states[0]], [exponent, exponents[0]])

    def noted(
        self, layers: Sequence[Layer], hidden: States, adjoint: States, *, pairs: bool
    ) -> dict[str, States]:
        """Norms, or products, of the gradients of what was watched on both ways."""
        found = along_depth(layers, self.alpha, hidden.exponent, adjoint.exponent, pairs=pairs)
        return {name: States(*of) for name, of in found.items()}

    def _step(self, x: Tensor, branch: Tensor, out: Tensor | None = None) -> Tensor:
        kept = x if self.skip == 1.0 else self.skip * x
        if isinstance(self.alpha, Tensor):
            return torch.addcmul(kept, branch, self.alpha, out=out)
        return torch.add(kept, branch, alpha=self.alpha, out=out)


def _check_states(block: Block, h: Tensor, dropout: Dropout | None) -> None:
    if not isinstance(h, Tensor) or h.ndim != 3 or h.dtype not in (torch.float32, torch.float64):
        given = f"{tuple(h.shape)} and {h.dtype}" if isinstance(h, Tensor) else type(h).__name__
        raise ValueError(
            f"states must be a float32 or float64 tensor of shape (sample, input, width), got {given}"
        )
    check_block(block, h.shape[-1])
    check_company(block, h.shape[-1], len(h))
    if dropout is not None:
        if not isinstance(dropout, Dropout):
            raise ValueError(
                f"dropout must be a Dropout, got {dropout!r}; give Dropout(0.9, stream(0, 'masks'))"
            )
        check_dropout(block, h.shape[-1])


def _check_gradients(block: Block, h: Tensor, top: object, parameters: bool) -> None:
    if top is not None:
        check_adjoint(block, h.shape[-1])
        check_company(block, h.shape[-1], len(h), gradients=True)
    if parameters:
        if top is None:
            raise ValueError("gradients of parameters come with those of states; give top")
        check_parameters(block, h.shape[-1])


def _top(top: Tensor | Callable[[Tensor], Tensor], hidden: States) -> Tensor:
    """p_L in memory of its own."""
    end = hidden.scaled[-1]
    p = top
    if callable(top):
        h = hidden.natural(-1).to(end.dtype)
        if not bool(h.isfinite().all()) or not torch.equal((h != 0).any(-1), (end != 0).any(-1)):
            raise ValueError(
                f"h_L leaves the range of {end.dtype}, in which top is to see it; give top as a tensor"
            )
        with torch.enable_grad():
            p = top(h)
    if not isinstance(p, Tensor) or p.shape != end.shape:
        given = f"shape {tuple(p.shape)}" if isinstance(p, Tensor) else type(p).__name__
        raise ValueError(f"top must be one number for each of those of h_L, {tuple(end.shape)}; got {given}")
    if (p.dtype, p.device) != (end.dtype, end.device):
        raise ValueError(
            f"top has numbers of {p.dtype} on {p.device}, and h_L of {end.dtype} on {end.device}; convert it"
        )
    if not bool(p.isfinite().all()):
        raise ValueError("top holds numbers that are not finite; give finite ones")
    return p.detach().clone()


def _met(
    block: Block,
    h: Tensor,
    layers: Iterable[Layer],
    dropout: Dropout | None = None,
    seen: list[Layer] | None = None,
    watch: Sequence[bool] = (),
    drawn: list[Layer] | None = None,
) -> Iterator[Layer]:
    """The layers as the loops meet them: checked, watched, with masks; kept in `seen` for the way back.

    In `drawn` they are kept as they come.
    """
    if not isinstance(layers, Iterable):
        raise ValueError(f"layers must be a list of layers, got {type(layers).__name__}; {LAYERS}")
    for layer in layers:
        check_layer(block, h, layer)
        if drawn is not None:
            drawn.append(layer)
        for pairs in watch:
            layer = watched(layer, block._weights(h.shape[-1]), pairs=pairs, sharing=block.sharing)
        if dropout is not None:
            layer = dropout.on(layer, h)
        if seen is not None:
            seen.append(layer)
        yield layer


def _entries(layers: Sequence[Layer]) -> dict[str, States]:
    """The entries of all matrices, by name. Raises NotDrawn if a matrix has none."""
    found: dict[str, States] = {}
    for name in layers[0].matrices:
        matrices = [layer[name] for layer in layers]
        for matrix in matrices:
            if not isinstance(matrix, Dense):
                raise NotDrawn(f"weights are shown of dense matrices, not of {type(matrix).__name__} ones")
        entries = [matrix.entries for matrix in matrices if isinstance(matrix, Dense)]
        found[name] = States(entries, [torch.zeros_like(e[:, :1, :1], dtype=torch.float64) for e in entries])
    return found


def _rescaled(x: Tensor, exponent: Tensor) -> tuple[Tensor, Tensor]:
    """The same states with their largest entry in [1/2, 1)."""
    power = torch.frexp(x.abs().amax(-1, keepdim=True)).exponent
    return torch.ldexp(x, -power), exponent + power


def _factor(alpha: float | Tensor, h: Tensor) -> float | Tensor:
    """α as the loop needs it: of the dtype and device of the states, and the same for all coordinates."""
    if not isinstance(alpha, Tensor):
        return finite_number("alpha", alpha)
    samples, inputs, _ = h.shape
    if alpha.shape not in ((inputs, 1), (samples, inputs, 1)):
        raise ValueError(
            f"alpha of shape {tuple(alpha.shape)} is not one number for every input of states of shape "
            f"{tuple(h.shape)}; give shape {(inputs, 1)}"
        )
    if alpha.is_complex() or not bool(alpha.isfinite().all()):
        raise ValueError("alpha holds numbers that are complex or not finite; give real ones")
    return alpha.to(h)


def _rescaling_period(block: Block, alpha: float | Tensor, skip: float, keep_rate: float = 1.0) -> int:
    """How many layers can pass before a state of size 1 may leave 10^±12.

    One layer multiplies a state by less than |skip| + 25 α strength, for Gaussian matrices of any size.
    """
    if block.strength is None:
        return 1
    sizes = alpha.detach().abs().flatten().tolist() if isinstance(alpha, Tensor) else [abs(alpha)]
    most, least = (25.0 * block.strength * a for a in (max(sizes), min(sizes)))
    grow = math.log(max(abs(skip) + most / keep_rate, 2.0))
    shrink = -math.log(min(max(abs(skip) / 2, least / 625.0, 1e-12), 0.5))
    return max(1, min(64, int(12 * math.log(10) / max(grow, shrink))))
