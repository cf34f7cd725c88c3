"""Monte Carlo over independent random networks.

Networks are computed in chunks. A chunk has a random stream of its own, named by the model, the depth, the
method and its number, and a size that depends on these (and on the number of inputs) alone; its arithmetic
runs on one thread. So no result can depend on how chunks are spread over batches and workers.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from resnet_sde._observed import SHOWN, asks, check_observables, check_parts, observed
from resnet_sde.blocks import Layer
from resnet_sde.checks import check_memory, flag, positive_integer
from resnet_sde.contracts.inputs import check_inputs
from resnet_sde.contracts.matrices import check_preactivations
from resnet_sde.contracts.revealed import check_revealed, looks_once
from resnet_sde.jacobians import input_jacobian, jacobian_numbers
from resnet_sde.matrices import Deferred, Dense
from resnet_sde.model import Model, WeightPaths
from resnet_sde.propagate import Trajectory, Workspace, one_thread, trajectory
from resnet_sde.streams import Stream, check_seed, stream

METHODS = ("auto", "dense", "deferred")
# Numbers held by one chunk, half a gigabyte and one gigabyte in float32. Deferred networks reach theirs only
# when they are deep, and need many networks at once for the cost of a layer not to be that of calling torch.
_CHUNK_ELEMENTS = {"dense": 2**27, "deferred": 2**28}
_CHUNK_STATE = 2**15  # numbers in the states of one layer: they stay in cache
_CHUNK_NETWORKS = 512
_LAYER_BYTES = 4096  # of the objects that describe one layer which is kept, whatever its width
_RESULT_BYTES = 16  # of a number that is kept: itself, and its copy when the parts are joined
_LARGEST_FACTOR = 1e12  # of one layer; a float32 state stays in its range until it is rescaled
_SMALLEST_FLOAT32_ALPHA = 2e-6  # below it the updates of a float32 state are lost in its rounding


@dataclass(frozen=True)
class Ensemble:
    """What is simulated: `samples` independent networks of one model and depth.

    inputs, n_in: number of inputs each network sees and their dimension.
    method: "dense" or "deferred"; see `choose_method`.
    """

    model: Model
    depth: int
    samples: int
    inputs: int
    n_in: int
    gradients: bool
    every_layer: bool
    method: str
    seed: int
    shown: tuple[str, ...] = field(default=(), repr=False)  # beside states; no number depends on it

    @property
    def stores_layers(self) -> bool:
        """Whether a pass needs the memory of all layers at once."""
        return self.gradients or self.every_layer or "jacobian" in self.shown

    @property
    def held(self) -> int:
        """Numbers that one network holds at once."""
        shapes = self.model.block.shapes(self.model.width).values()
        layers = self.depth if self.stores_layers else 1
        if self.method == "deferred":
            vectors = self.inputs * self.model.block.sharing
            return layers * vectors * 2 * sum(fan_out for _, fan_out in shapes)
        layers = layers if self.model.law.filler is not None else self.depth
        return layers * sum(fan_in * fan_out for fan_in, fan_out in shapes)

    @property
    def chunk(self) -> int:
        """Networks in a chunk."""
        states = self.inputs * self.model.width
        return max(1, min(_CHUNK_NETWORKS, _CHUNK_STATE // states, _CHUNK_ELEMENTS[self.method] // self.held))

    @property
    def chunks(self) -> int:
        """Number of chunks, the last of which may be smaller."""
        return -(-self.samples // self.chunk)

    def networks(self, chunk: int) -> slice:
        """Which networks a chunk holds."""
        return slice(chunk * self.chunk, min((chunk + 1) * self.chunk, self.samples))


def simulate(
    model: Model,
    x: Tensor,
    *,
    depth: int,
    samples: int,
    observe: Sequence[object],
    gradients: bool = False,
    method: str = "auto",
    seed: int = 0,
) -> dict[str, Tensor]:
    """Per-network statistics of independent networks, by name of the observable.

    A network starts from h_0 = A x with A_ij ~ N(0, 1/n_in), drawn afresh with the network; its top gradient
    is p_L ~ N(0, I), independent of everything else and shared by the inputs.

    Args:
        model: the law of the networks.
        x: inputs, (input, n_in) shared by all networks or (samples, input, n_in); its dtype (float32 or
            float64) and device are those of the computation, which autograd does not follow.
        depth: number of layers.
        samples: number of networks.
        observe: observables, functions Trajectory → (sample, ...), with one entry for each network they see,
            which what they are shown decides; random numbers come from a torch.Generator, if at all.
        gradients: run the backward pass too; it is run anyway if an observable asks for it.
        method: "dense" draws weight matrices; "deferred" reveals Gaussian white ones where they are looked
            at, exact in law and cheaper by a factor of the width; "auto" takes deferred where that holds,
            inputs are few, and the block looks at a matrix once forward and once back.
        seed: a non-negative integer. Asking for gradients, Jacobians or observables of every layer makes
            other chunks, and so draws other networks of the same law.

    Returns:
        Tensors on the CPU, shape (samples, ...).

    Raises:
        ValueError: an argument is out of range, the method cannot serve the law, or an observable does not
            return one entry for each network, or other ones each time.

    Example:
        >>> from resnet_sde import RELU, Model, TwoLayer, WhiteNoise, observables
        >>> model = Model(TwoLayer(RELU), WhiteNoise(), width=20)
        >>> out = simulate(model, torch.ones(1, 8), depth=50, samples=30, observe=[observables.displacement])
        >>> out["displacement"].shape
        torch.Size([30, 1])
    """
    check_request(x, samples, observe)
    ensemble = plan(
        model, x, depth=depth, samples=samples, observe=observe, gradients=gradients, method=method, seed=seed
    )
    warn_of_rounding(ensemble, x)
    parts: list[dict[str, Tensor]] = []
    for part in simulate_chunks(ensemble, x, observe, range(ensemble.chunks), in_turn=True):
        if not parts:
            check_results(ensemble, part)
        parts.append(part)
    return gather(parts)


def check_request(x: Tensor, samples: int, observe: Sequence[object]) -> None:
    """Check what the ensembles of a study have in common. Raises ValueError as `simulate` does."""
    check_inputs(x, positive_integer("samples", samples, "give for example 100"))
    check_observables(observe)


def plan(
    model: Model,
    x: Tensor,
    *,
    depth: int,
    samples: int,
    observe: Sequence[object],
    gradients: bool,
    method: str,
    seed: int,
) -> Ensemble:
    """Settle the method of a checked request. Raises ValueError as `simulate` does."""
    if not isinstance(model, Model):
        raise ValueError(
            f"model must be a Model, got {model!r}; give for example Model(SingleLayer(RELU), …)"
        )
    depth = positive_integer("depth", depth, "give for example 100")
    _check_scale(model, depth)
    shown = tuple(what for what in SHOWN if any(asks(o, what) for o in observe))
    back = flag("gradients", gradients) or any(asks(o, "gradients") for o in observe)
    back = back or bool({"parameters", "tangents"} & {*shown})
    every_layer = any(getattr(o, "every_layer", True) for o in observe)
    if "preactivations" in shown:
        check_preactivations(model.block)
    ensemble = Ensemble(
        model=model,
        depth=depth,
        samples=positive_integer("samples", samples, "give for example 100"),
        inputs=x.shape[-2],
        n_in=x.shape[-1],
        gradients=back,
        every_layer=every_layer or bool({"preactivations", "weights"} & {*shown}),
        method=choose_method(
            model, x.shape[-2], method, gradients=back, weights=bool({"weights", "jacobian"} & {*shown})
        ),
        seed=check_seed(seed),
        shown=shown,
    )
    check_memory_of([ensemble], x, observe)
    return ensemble


def warn_of_rounding(ensemble: Ensemble, x: Tensor) -> None:
    """Say if the updates of the states are too small for the dtype of the computation."""
    alpha = ensemble.model.alpha(ensemble.depth)
    if x.dtype == torch.float32 and 0 < alpha < _SMALLEST_FLOAT32_ALPHA:
        warnings.warn(
            f"the residual scale {alpha:.1e} is lost in rounding; give float64 inputs", stacklevel=3
        )


def choose_method(
    model: Model, inputs: int, method: str = "auto", *, gradients: bool = False, weights: bool = False
) -> str:
    """The method that runs for this model and number of inputs, "dense" or "deferred".

    Raises:
        ValueError: the method is unknown, or deferred was asked for weights that are not white and Gaussian,
            or that are looked at.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; give one of {', '.join(METHODS)}")
    gaussian = model.law.independent and model.law.gaussian
    if method == "deferred" and not gaussian:
        raise ValueError(f"deferred matrices need white Gaussian weights, not {model.law}; give method dense")
    if method == "deferred" and weights:
        raise ValueError("an observable looks at weights, and deferred matrices hold none; give method dense")
    if method == "deferred":
        check_revealed(model.block, model.width, gradients=gradients)
    if method != "auto" or weights:
        return "dense" if weights else method
    # What is drawn as a path, such as fractional noise of H = 1/2, keeps the numbers of its paths.
    vectors, size = inputs * model.block.sharing, model.width // model.block.sharing
    deferred = gaussian and model.law.filler is not None and (vectors == 1 or 4 * vectors <= size)
    return "deferred" if deferred and looks_once(model.block, model.width, gradients=gradients) else "dense"


def simulate_chunks(
    ensemble: Ensemble,
    x: Tensor,
    observe: Sequence[object],
    chunks: Sequence[int],
    workspace: Workspace | None = None,
    *,
    in_turn: bool = False,
) -> Iterator[dict[str, Tensor]]:
    """The observables of one chunk after the other, each (networks of the chunk, ...), on the CPU.

    in_turn: whether these are all chunks that there are.
    """
    workspace = Workspace() if workspace is None else workspace
    for chunk in chunks:
        networks = ensemble.networks(chunk)
        own = x[networks] if x.ndim == 3 else x.expand(networks.stop - networks.start, *x.shape)
        with one_thread():
            t = _run_chunk(ensemble, own, chunk, workspace)
            results = observed(observe, t, first=chunk == 0, in_turn=in_turn)
        yield results


def gather(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Results of consecutive chunks, joined along the networks."""
    check_parts(parts)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _run_chunk(ensemble: Ensemble, x: Tensor, chunk: int, workspace: Workspace) -> Trajectory:
    model, depth = ensemble.model, ensemble.depth
    key = (model, depth, ensemble.method, ensemble.inputs, ensemble.n_in, ensemble.stores_layers)
    source = stream(ensemble.seed, "simulate", *key, chunk, device=x.device)
    h = Deferred(source, model.width).matvec(x.detach().contiguous(), ensemble.n_in**-0.5)
    top = None
    if ensemble.gradients:
        top = source.normal_(torch.empty_like(h[:, :1])).expand_as(h).contiguous()
    draw = _deferred_layers if ensemble.method == "deferred" else _dense_layers
    layers: Iterable[Layer] = draw(ensemble, source, workspace, h)
    layers, alpha = list(layers) if "jacobian" in ensemble.shown else layers, model.alpha(depth)
    found = trajectory(
        model.block,
        h,
        layers,
        alpha,
        model.skip,
        norm=model.norm,
        top=top,
        parameters="parameters" in ensemble.shown,
        tangents="tangents" in ensemble.shown,
        preactivations="preactivations" in ensemble.shown,
        weights="weights" in ensemble.shown,
        every_layer=ensemble.every_layer,
        workspace=workspace,
    )
    if "jacobian" not in ensemble.shown:
        return found
    jacobian = input_jacobian(model.block, h, layers, alpha, model.skip, norm=model.norm)
    return replace(found, jacobian=jacobian)


def _deferred_layers(ensemble: Ensemble, source: Stream, workspace: Workspace, h: Tensor) -> Iterator[Layer]:
    shapes = ensemble.model.block.shapes(ensemble.model.width)
    for k in range(ensemble.depth):

        def answers(name: str, fan_out: int, k: int = k) -> Tensor | None:
            shape = (h.shape[0], h.shape[1] * ensemble.model.block.sharing, fan_out)
            return workspace.take(f"{name} {k}", shape, h) if ensemble.stores_layers else None

        yield Layer.revealed(shapes, source, answers)


def _dense_layers(ensemble: Ensemble, source: Stream, workspace: Workspace, h: Tensor) -> Iterator[Layer]:
    model = ensemble.model
    shapes = {name: (h.shape[0], *shape) for name, shape in model.block.shapes(model.width).items()}
    if model.law.filler is None:
        paths = {
            n: model.law.path(ensemble.depth, s, generator=source, dtype=h.dtype) for n, s in shapes.items()
        }
        yield from WeightPaths(paths, model.law, ensemble.depth).layers(ensemble.depth, shared=True)
        return
    fill = model.law.filler(source)
    for k in range(ensemble.depth):
        # Drawn when they are met: they are still in cache when the states meet them.
        slot = k if ensemble.stores_layers else 0
        yield Layer({n: Dense(fill(workspace.take(f"{n} {slot}", s, h))) for n, s in shapes.items()})


def _check_scale(model: Model, depth: int) -> None:
    try:
        alpha = model.alpha(depth)
    except ValueError:  # it overflows
        alpha = math.inf
    if not abs(model.skip) + alpha * max(model.block.strength or 0.0, 1.0) < _LARGEST_FACTOR:
        raise ValueError(
            f"gain {model.gain:g}, beta {model.beta:g} and skip {model.skip:g} at depth {depth} multiply a "
            f"state by more than {_LARGEST_FACTOR:g} in one layer; give a larger beta, or a smaller gain, "
            "skip or variance"
        )


def check_memory_of(ensembles: Sequence[Ensemble], x: Tensor, observe: Sequence[object]) -> None:
    """Refuse ensembles that do not fit into memory: each network alone, and the results of all together.

    Results whose axes are not known count as one number for each network; `check_results` knows more once
    some of them are there.

    Raises:
        ValueError: they do not fit.
    """
    for ensemble in ensembles:
        layers = ensemble.depth if ensemble.stores_layers else 1
        states = len({"parameters", "tangents", "preactivations"} & {*ensemble.shown})  # beside matrices
        shapes = ensemble.model.block.shapes(ensemble.model.width).values()
        vectors = ensemble.inputs * ensemble.model.block.sharing
        also = states * layers * vectors * max(out for _, out in shapes)
        also += 16 * layers * vectors**2 if "tangents" in ensemble.shown else 0
        also += jacobian_numbers(layers, ensemble.model.width) if "jacobian" in ensemble.shown else 0
        check_memory(
            f"the layers of one network of width {ensemble.model.width} and depth {ensemble.depth} with "
            f"{ensemble.method} matrices",
            (ensemble.held + also) * x.element_size() + layers * _LAYER_BYTES,
            "give a smaller width or depth",
            x.device,
        )
    _check_numbers(ensembles, [sum(_numbers(e, o) for o in observe) for e in ensembles])


def check_results(ensemble: Ensemble, part: Mapping[str, Tensor | np.ndarray]) -> None:
    """Refuse an ensemble whose results do not fit into memory, given those of its first networks.

    Raises:
        ValueError: they do not fit.
    """
    _check_numbers([ensemble], [sum(math.prod(values.shape[1:]) for values in part.values())])


def _check_numbers(ensembles: Sequence[Ensemble], each: Sequence[int]) -> None:
    samples = ensembles[0].samples
    check_memory(
        f"the results of {samples} networks in each of {len(ensembles)} cells"
        if len(ensembles) > 1
        else f"the results of {samples} networks",
        _RESULT_BYTES * sum(e.samples * n for e, n in zip(ensembles, each, strict=True)),
        "give fewer samples, cells or layers to observe",
    )


def _numbers(ensemble: Ensemble, observe: object) -> int:
    """Numbers that an observable gives for one network, as far as its axes are known."""
    sizes = {"layer": ensemble.depth + 1, "input": ensemble.inputs, "other_input": ensemble.inputs}
    sizes["singular_value"] = ensemble.model.width
    return math.prod(sizes.get(axis, 1) for axis in getattr(observe, "dims", ()))
