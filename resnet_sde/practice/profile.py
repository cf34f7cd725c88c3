r"""One network at one depth: the sizes of its branches, and what they do to the stream.

The branch of block k at the initial norm of the stream is a_k = ρ_k (|h_k|/|h_0|)^{1−η}, with η the degree
of the branch. For independent branches the action S = Σ a_k² gives the growth of the stream,

.. math:: |h_L|² / |h_0|² = [1 + (1 − η) S]^{1/(1 − η)},

which is e^S for homogeneous branches and 1 + S for normalized ones; these run in logarithmic time
τ = log(1 + S). A normalized output ("post-norm") keeps the norm, and η counts as 1. Where layers are coherent
the prediction is a lower estimate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from resnet_sde._json import json_number
from resnet_sde.practice.calling import Call, calling, preserved, unwrapped
from resnet_sde.practice.coherence import Dependence, Pairs, coherence, how_layers_add
from resnet_sde.practice.errors import NotAStream, mixed
from resnet_sde.practice.find_stream import (
    CANDIDATES,
    LOOPS,
    BlockChoice,
    Blocks,
    candidates,
    loops,
    named,
    nothing_repeated,
)
from resnet_sde.practice.instrument import watch
from resnet_sde.practice.record import StreamRecord
from resnet_sde.practice.replay import Replay, Secants, replays, secant_places, secants
from resnet_sde.practice.writers import Writer, class_name, decompose, head_blocks, writers_of
from resnet_sde.streams import check_seed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_POST_NORM = 0.1
_NO_SKIP = 0.2
_HOMOGENEOUS = 0.5


@dataclass(frozen=True, repr=False)
class Profile:
    """The stream of one network, as it runs through L blocks.

    Attributes:
        names: of the L blocks.
        container: of what holds the blocks, "" for the module itself.
        mode: "block" where blocks add to the stream themselves, "branch" where the module adds their outputs,
            "loop" where one block is called again and again.
        kind: "residual", "post-activation", "post-norm"; "unknown" without replays.
        norms: |h_k|, (L + 1,), float64 as all of these.
        displacements: |h_k − h_0| / |h_0|, (L + 1,).
        gradients: norms of the gradients with respect to h_k, (L + 1,); NaN where there are none.
        updates: |h_{k+1} − h_k|, (L,).
        turning: tangents of the angles between h_k and h_{k+1}, (L,).
        alignment: cosines between updates and stream, (L,).
        sizes: a_k, the branches at the initial norm of the stream, (L,).
        skip: weight with which a block carries its input on.
        degree: η of the branch, 1 homogeneous and 0 normalized.
        out_degree: degree of the whole block.
        mixing: share of what a block does to a large input beside carrying it on.
        coherence: Ĥ, near 1/2 for independent blocks and near 1 for copies; NaN below nine blocks.
        sums: by number m of consecutive blocks, the mean of |Σ u/|h||² over groups of m.
        pairs: what pairs of branches have in common.
        action: S = Σ a_k².
        logarithmic_time: τ = log(1 + S).
        predicted_growth: of the norm of the stream, for independent blocks.
        writers: what writes to the stream, in the block in the middle (and in one of every other class).
        first_nonfinite: the first boundary whose state is not finite, else None.
        notes: what else a reader should know.
    """

    names: tuple[str, ...]
    container: str
    mode: str
    kind: str
    norms: Tensor
    displacements: Tensor
    gradients: Tensor
    updates: Tensor
    turning: Tensor
    alignment: Tensor
    sizes: Tensor
    skip: float
    degree: float
    out_degree: float
    mixing: float
    coherence: float
    sums: dict[int, float]
    pairs: Pairs
    action: float
    logarithmic_time: float
    predicted_growth: float
    writers: tuple[Writer, ...] = ()
    first_nonfinite: int | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return (
            f"<Profile of {self.names[0]} … {self.names[-1]}: {self.kind}, S {self.action:.3g}, growth "
            f"{self.growth:.3g}, coherence {self.coherence:.2f}>"
        )

    @property
    def growth(self) -> float:
        """|h_L| / |h_0|, as measured."""
        return float(self.norms[-1] / self.norms[0])

    @property
    def layers(self) -> Dependence:
        """How branches add up; of one network, a common part needs some sixteen blocks to be seen."""
        return how_layers_add(self.coherence, [self.pairs])

    def document(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        numbers = ("skip", "degree", "out_degree", "mixing", "coherence", "action", "logarithmic_time")
        lists = ("norms", "displacements", "gradients", "updates", "turning", "alignment", "sizes")
        return {
            **{name: getattr(self, name) for name in ("container", "mode", "kind", "first_nonfinite")},
            "names": list(self.names),
            **{name: json_number(getattr(self, name)) for name in (*numbers, "predicted_growth", "growth")},
            **{name: [json_number(v) for v in getattr(self, name).tolist()] for name in lists},
            **self.layers.document(),
            "sums": [[m, json_number(v)] for m, v in self.sums.items()],
            "writers": [writer.document() for writer in self.writers],
            "notes": list(self.notes),
        }

    def figure(self) -> Figure:
        """The norms of the stream beside their prediction."""
        from resnet_sde.plots import draw_stream

        return draw_stream([self.document()])


def probe(
    module: nn.Module,
    batch: Any,
    *,
    blocks: BlockChoice = None,
    call: Callable[[nn.Module, Any], Any] | None = None,
    loss: Callable[[Any, Any], Tensor] | None = None,
    gradients: bool = True,
    replays: bool = True,
    seed: int = 0,
) -> Profile:
    """Follow the residual stream of a module: its norms, gradients, turning angles, writers and coherence.

    Nothing is trained or edited: parameters, buffers, gradients, modes, hooks and random states are
    afterwards as they were before, also after an error. Modes of training are left as they are found.

    Args:
        module: any network with a residual stream.
        batch: a tensor; a tuple or list of arguments; or a mapping of keywords.
        blocks: where the stream runs, if it is not to be found: a pattern such as "encoder.layers.*", a class
            of modules, or names.
        call: how to call the module, as ``call(module, batch)``.
        loss: of ``(output, batch)``, to be differentiated; None for ⟨h_L, c⟩ with a fixed Gaussian c.
        gradients: whether to differentiate at all.
        replays: whether to run blocks again, for the kind of the stream and for what writes to it.
        seed: of c.

    Raises:
        NoStream: no block is repeated.
        NotAStream: blocks are repeated, but they carry no residual stream of one shape.
        ValueError: the arguments do not fit the module.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(*[torch.nn.TransformerEncoderLayer(16, 2, 32, 0.0) for _ in range(4)])
        >>> probe(net, torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(0))).kind
        'post-norm'
    """
    check_seed(seed)
    module = unwrapped(module)
    forward = calling(batch, call)
    objective = None if loss is None else lambda output: loss(output, batch)
    with preserved(module):
        record = follow(
            module, forward, tried(module, forward, blocks), loss=objective, gradients=gradients, seed=seed
        )
        profile = measured(record, again=replays)
    dropping = [n for n, m in module.named_modules() if isinstance(m, nn.Dropout) and m.training and m.p > 0]
    if dropping:
        note = f"dropout is active ({dropping[0]}): call eval() first to see the network without it"
        profile = replace(profile, notes=(*profile.notes, note))
    return profile


def tried(module: nn.Module, call: Call, blocks: BlockChoice) -> Iterable[Blocks]:
    """The blocks a user names, or what is worth trying, in order.

    Raises:
        NoStream: nothing is repeated.
    """
    if blocks is not None:
        yield named(module, blocks, call)
        return
    found = candidates(module)[:CANDIDATES]
    for candidate in found:
        yield candidate
        yield candidate.trimmed()
    again = loops(module, call)[:LOOPS]
    yield from again
    if not found and not again:
        raise nothing_repeated()


def follow(
    module: nn.Module,
    call: Call,
    choices: Iterable[Blocks],
    *,
    fewest: int = 2,
    loss: Callable[[Any], Tensor] | None = None,
    gradients: bool = True,
    seed: int = 0,
) -> StreamRecord:
    """The run on the first candidate that carries a residual stream.

    Raises:
        NotAStream: why the first candidate carries none, where no other does either.
    """
    refusal: NotAStream | None = None
    for blocks in choices:
        if len(blocks.modules) < fewest:
            continue
        try:
            record = watch(
                module, call, blocks, loss=loss, gradients=gradients, keep=worth_keeping(blocks), seed=seed
            )
        except NotAStream as error:
            refusal = refusal or error
        else:
            return record
    raise refusal or nothing_repeated()


def worth_keeping(blocks: Blocks) -> set[int]:
    """The blocks whose arguments are needed: for secants, for sizes at the head, and one of every class."""
    length = len(blocks.modules)
    last = {class_name(m): k for k, m in enumerate(blocks.modules)}
    head = {k for at in head_blocks(blocks.modules).values() for k in at}
    return {*secant_places(length), *head, length // 2, *last.values()}


def measured(record: StreamRecord, *, again: bool = True, writers: bool = True) -> Profile:
    """The profile of a run.

    Raises:
        NotAStream: the blocks have no skip connection, or mix several streams.
    """
    found = secants(record) if again else Secants(*(math.nan,) * 4)
    kind = kind_of(record, found)
    degree = 1.0 if kind == "post-norm" else found.degree
    sizes = branch_sizes(record, degree)
    action = float(np.nansum(sizes**2)) if not np.isnan(sizes).all() else math.nan
    notes = list(record.notes)
    parts: tuple[Writer, ...] = ()
    if again and writers:
        parts, remarks = writers_of(record, kind, degree)
        notes += remarks
    if record.first_nonfinite is not None:
        notes.append(f"the stream is not finite from boundary {record.first_nonfinite} on")
    return Profile(
        names=record.blocks.names,
        container=record.blocks.container,
        mode=record.mode,
        kind=kind,
        **{name: torch.from_numpy(getattr(record, name)) for name in _LISTS},
        sizes=torch.from_numpy(sizes),
        skip=found.skip,
        degree=found.degree,
        out_degree=found.out_degree,
        mixing=found.mixing,
        coherence=coherence(record.sums),
        sums=record.sums,
        pairs=record.pairs,
        action=action,
        logarithmic_time=math.log1p(action),
        predicted_growth=1.0 if kind == "post-norm" else predicted_growth(action, degree),
        writers=parts,
        first_nonfinite=record.first_nonfinite,
        notes=tuple(notes),
    )


_LISTS = ("norms", "displacements", "gradients", "updates", "turning", "alignment")


def kind_of(record: StreamRecord, found: Secants) -> str:
    """What kind of stream it is, tested in this order.

    Raises:
        NotAStream: feed-forward or mixed.
    """
    if math.isnan(found.skip):
        return "unknown"
    if found.out_degree < _POST_NORM:
        return "post-norm"
    # The secant of a homogeneous branch is only near 1; its writers show the weight itself.
    homogeneous = found.degree >= _HOMOGENEOUS and not record.rectified
    if homogeneous and (abs(found.skip - 1) <= 0.1 or _carries_on(record)):
        return "residual"
    if record.rectified and abs(found.skip) >= _NO_SKIP:
        return "post-activation"
    seen = abs(found.skip - 1) <= 0.1 and found.mixing <= 0.05
    # A branch along the stream, of no degree, or far larger hides the skip: without the branch it is seen.
    if not record.rectified and (seen or _middle(record).is_identity_without_parameters()):
        return "residual"
    if abs(found.skip) < _NO_SKIP:
        raise NotAStream(
            f"the blocks have no skip connection (skip {found.skip:.2f})",
            "there is no residual exponent",
            "Ask `meanfield` for feed-forward networks",
        )
    raise mixed(found.skip)


def _carries_on(record: StreamRecord) -> bool:
    """Whether a block in the middle of those that were kept is its input plus outputs of submodules."""
    return decompose(_middle(record), "residual").carries


def _middle(record: StreamRecord) -> Replay:
    (found,) = replays(record, [sorted(record.kept)[len(record.kept) // 2]])
    return found


def branch_sizes(record: StreamRecord, degree: float) -> np.ndarray:
    """The branches a_k at the initial norm of the stream."""
    if math.isnan(degree):  # no branch is seen, or none was asked for
        degree = 0.0 if not np.nansum(record.turning) else math.nan
    grown = record.norms[:-1] / record.norms[0]
    return record.turning * grown ** (1.0 - degree)


def predicted_growth(action: float, degree: float) -> float:
    """|h_L| / |h_0| for independent branches."""
    rest = 1.0 if math.isnan(degree) else 1.0 - degree
    if not math.isfinite(action):
        return action
    if rest < 1e-9:
        return float(np.exp(np.float64(action) / 2)) if action < 1400 else math.inf
    return float((1.0 + rest * action) ** (0.5 / rest))
