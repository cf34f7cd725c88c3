r"""One forward and one backward pass of a module, watched at the boundaries of its blocks.

The stream h_0 … h_L is what leaves one block and enters the next; u_k = h_{k+1} − h_k. All norms are taken in
float64, over the whole tensor, and inside the hooks that run before a block, since a block may write on its
input. From the part u⊥ of u orthogonal to h

.. math:: ρ_k = |u⊥| / (|h_k| |1 + ⟨u, h_k⟩ / |h_k|²|) = \tan ∠(h_k, h_{k+1}).

Block 0 is given a copy of a leaf: gradients then need no parameters, the embedding is cut off, and the block
may write on its input. Gradients are those of ⟨h_L, c⟩ with a fixed Gaussian c, or of a loss; they are seen
by hooks on the tensors, which hold values from before a write in place. Of the stream no more is kept than
h_0, h_{k−1}, 2 + log₂ L partial sums (for the coherence) and the arguments of a few blocks, for replays.

Some modules add the branch outside of their blocks, ``x = x + a * block(x)``: a is then found by least
squares. Such a module is run again without the copy at block 0, which its own sum would not see.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resnet_sde.practice.calling import (
    Call,
    Reentrant,
    autocast_of,
    backward_pass,
    first_tensor,
    scalar,
    stream_argument,
    with_stream,
)
from resnet_sde.practice.coherence import Directions, Groups
from resnet_sde.practice.errors import NotAStream, behind_another, changed_shape, no_tensor, not_a_chain
from resnet_sde.practice.find_stream import Blocks
from resnet_sde.practice.record import Arguments, KeptCall, StreamRecord
from resnet_sde.streams import stream

_ONE_BRANCH = 1e-3
_AN_UPDATE = 1e-9


class _WrittenInPlace(Exception):
    """The module writes on the leaf of its gradients, which autograd forbids."""


class _AddedOutside(Exception):
    """The module itself adds the outputs of its blocks to the stream, times a factor."""

    def __init__(self, scale: float) -> None:
        self.scale = scale


def watch(
    module: nn.Module,
    call: Call,
    blocks: Blocks,
    *,
    loss: Callable[[Any], Tensor] | None = None,
    gradients: bool = True,
    keep: Iterable[int] = (),
    seed: int = 0,
) -> StreamRecord:
    """Run the module once, forward and backward, and follow its stream through the blocks.

    Raises:
        NotAStream: the blocks carry no stream of one shape.
        ValueError: the input of the stream is not finite, or gradients do not pass.
    """
    kept = set(keep)
    try:
        return _watch(_Watch(blocks, None, gradients, kept, seed), module, call, loss)
    except _AddedOutside as found:
        scale = found.scale
    try:
        return _watch(_Watch(blocks, scale, gradients, kept, seed), module, call, loss)
    except _WrittenInPlace:
        record = _watch(_Watch(blocks, scale, False, kept, seed), module, call, loss)
    record.notes.append(
        "the module writes on its stream in place before anything learns: no gradients are seen"
    )
    return record


def _watch(
    watching: _Watch, module: nn.Module, call: Call, loss: Callable[[Any], Tensor] | None
) -> StreamRecord:
    handles = []
    try:
        for block in dict.fromkeys(watching.blocks.modules):
            handles += [
                block.register_forward_pre_hook(watching.enter, with_kwargs=True),
                block.register_forward_hook(watching.leave, with_kwargs=True),
            ]
        output = watching.run(call, module)
        watching.close()
        if watching.gradients:
            watching.differentiate(scalar(loss(output)) if loss is not None else None)
    finally:
        watching.open = False
        watching.restore()
        for handle in handles:
            handle.remove()
    return watching.record


class _Watch:
    """The hooks of one run."""

    def __init__(
        self, blocks: Blocks, scale: float | None, gradients: bool, keep: set[int], seed: int
    ) -> None:
        length = len(blocks.modules)
        self.blocks, self.scale, self.gradients, self.keep, self.seed = blocks, scale, gradients, keep, seed
        self.record = StreamRecord(
            blocks,
            norms=np.full(length + 1, np.nan),
            displacements=np.full(length + 1, np.nan),
            gradients=np.full(length + 1, np.nan),
            updates=np.full(length, np.nan),
            turning=np.full(length, np.nan),
            alignment=np.full(length, np.nan),
        )
        self.open = True
        self.entered = self.inside = 0
        self.first: Tensor | None = None
        self.before = self.left = self.leaving = self.entering = torch.empty(0)
        self.leaf: Tensor | None = None
        self.given: Tensor | None = None
        self.borrowed: Tensor | None = None
        self.looks: list[Any] = []
        self.parts: list[Tensor] = []
        self.others: list[Tensor] = []
        self.ending: Tensor | None = None
        self.direction: Tensor | None = None
        self.groups, self.directions = Groups((length - 1) // 4), Directions(length - 1)

    def run(self, call: Call, module: nn.Module) -> Any:
        """The forward pass."""
        try:
            return call(module)
        except RuntimeError as error:
            if self.borrowed is not None and "leaf" in str(error):
                raise _WrittenInPlace from error
            raise

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | None:
        """Before a block: what enters it is a boundary of the stream."""
        if not self.open:
            return self._enter_again(args, kwargs)
        self.inside += 1
        if self.inside > 1:
            return None
        k = self.entered
        self._expect(module, k)
        found = stream_argument(args, kwargs)
        if found is None:
            raise no_tensor(f"{self.blocks.names[k]} is given")
        place, x = found
        if k:
            given = (*args, *kwargs.values())
            self._link(k, x, given)
            self._alone(given)
        self.boundary(k, x)
        self.entering = x
        if k in self.keep and self.record.first_nonfinite is None:
            self.record.kept[k] = KeptCall((args, kwargs), place, self.before, autocast_of(x))
        self.entered += 1
        if not self.gradients:
            return None
        return self._follow_gradient(k, x, args, kwargs, place)

    def _expect(self, module: nn.Module, k: int) -> None:
        names, modules = self.blocks.names, self.blocks.modules
        if k < len(names) and module is modules[k]:
            return
        name = next(n for n, m in zip(names, modules, strict=True) if m is module)
        where = "again after all blocks have run" if k == len(names) else f"where {names[k]} should"
        raise not_a_chain(f"{name} runs {where}")

    def _link(self, k: int, x: Tensor, given: tuple[Any, ...]) -> None:
        """What enters a block left the one before, or is what entered that one plus a times its output."""
        left = self.leaving
        if self.scale is None and (x is self.left or (x.shape == left.shape and torch.equal(x, left))):
            return
        before, after = self.blocks.names[k - 1], self.blocks.names[k]
        if any(x is part for part in self.parts):
            raise behind_another(before, "returns")
        if any(value is self.left for value in given):
            raise behind_another(after, "is given")
        if x.shape != self.before.shape or left.shape != x.shape:
            raise changed_shape(k, self.before.shape, x.shape)
        entering, leaving = x.detach().double(), left.double()
        if self.scale is not None or k == 1:
            increment = entering - self.before
            scale, residual = _least_squares(increment, leaving)
            moves = float(increment.norm()) > _AN_UPDATE * float(entering.norm())
            if moves and residual < _ONE_BRANCH:
                if self.scale is None:
                    raise _AddedOutside(scale)
                self.record.scales.append(scale)
                return
        factor, residual = _least_squares(entering, leaving)
        if residual < 1e-5 and abs(factor) > 1e-9:
            raise NotAStream(
                f"what leaves {before} enters {after} times {factor:.3g}",
                "the stream is scaled between blocks",
                "Switch that off (rescale_every=0 in RWKV), or name the blocks in between",
            )
        raise not_a_chain(f"what leaves {before} is not what enters {after} (residual {residual:.2g})")

    def _alone(self, given: tuple[Any, ...]) -> None:
        """No second tensor of the stream's shape may be handed on beside it, as reversible networks do."""
        if any(value is other for value in given for other in self.others):
            raise NotAStream(
                f"the blocks hand on {1 + len(self.others)} tensors of one shape",
                "they carry several streams",
                "Nothing here holds for them",
            )

    def leave(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """After a block: remember what left it; after the last one, the stream ends."""
        if not self.open:
            return
        self.inside -= 1
        if self.inside:
            return
        k, y = self.entered - 1, first_tensor(output)
        if y is None:
            raise no_tensor(f"{self.blocks.names[k]} returns")
        parts = list(output.values()) if isinstance(output, Mapping) else output
        tensors = parts if isinstance(parts, (tuple, list)) else ()
        self.parts = [part for part in tensors if isinstance(part, Tensor) and part is not y]
        if y.shape != self.before.shape:
            if any(part.shape == self.before.shape for part in self.parts):
                raise behind_another(self.blocks.names[k], "returns")
            given = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
            if any(value.shape == y.shape for value in given):
                raise behind_another(self.blocks.names[k], "is given")
            raise changed_shape(k, self.before.shape, y.shape)
        # An output that the module adds may be written on before the next block begins.
        self.left, self.leaving = y, y.detach().clone() if k == 0 or self.scale is not None else y.detach()
        self.others = [part for part in self.parts if part.shape == y.shape]
        if k == len(self.blocks.names) - 1:
            scales = self.record.scales
            last = y
            if self.scale is not None:
                last = torch.add(self.entering, y, alpha=scales[-1] if scales else self.scale)
            self.boundary(k + 1, last)
            if self.gradients:
                self._end(last)

    def boundary(self, k: int, h: Tensor) -> None:
        """Take the norms at boundary k."""
        if h.is_meta:
            raise ValueError(
                "the module is on the meta device, without numbers; give it weights (to_empty, init)"
            )
        state = h.detach().to(torch.float64, copy=True)
        record = self.record
        norm = float(state.norm())
        if record.first_nonfinite is not None or not math.isfinite(norm):
            if k == 0:
                raise ValueError(
                    f"what enters {self.blocks.names[0]} is not finite; give a batch of finite numbers"
                )
            if record.first_nonfinite is None:
                record.first_nonfinite = k
            self.before = state
            return
        if norm == 0.0:
            raise NotAStream(
                f"the stream is zero at boundary {k}",
                "no update can be told beside it",
                "Give a batch that is neither empty nor zero, or name other blocks",
            )
        record.norms[k] = norm
        if self.first is None:
            self.first, record.displacements[0] = state, 0.0
        else:
            record.negative = record.negative or bool((state < 0).any())
            record.zero = record.zero or bool((state == 0).any())
            record.displacements[k] = _ratio(float((state - self.first).norm()), record.norms[0])
            self._update(k - 1, state - self.before)
        self.before = state

    def _update(self, k: int, update: Tensor) -> None:
        record, norm = self.record, float(self.record.norms[k])
        record.updates[k] = size = float(update.norm())
        along = float((update * self.before).sum()) / norm**2
        across = float((update - along * self.before).norm())
        record.turning[k] = _ratio(across, norm * abs(1.0 + along))
        record.alignment[k] = along * norm / size if size else 0.0
        if k:
            self.groups.add(update / norm)
            self.directions.add(update)

    def _follow_gradient(
        self, k: int, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any], place: int | str
    ) -> Arguments | None:
        if k:
            if x.requires_grad:
                x.register_hook(self._see(k))
            return None
        if self.scale is not None:  # the sum outside must see the leaf
            if not x.requires_grad:
                x.requires_grad_(True)
                self.borrowed = x
            self.leaf = x
            self.looks.append(x.register_hook(self._see(0)))
            return None
        self.leaf = x.detach().clone().requires_grad_(True)
        self.leaf.register_hook(self._see(0))
        self.given = x
        entering = self.entering = self.leaf.clone()
        return with_stream(args, kwargs, place, entering)

    def _enter_again(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | None:
        """Checkpointing repeats block 0 in the backward pass, and must find it as it was."""
        found = stream_argument(args, kwargs)
        if self.given is None or self.leaf is None or found is None:
            return None
        place, x = found
        same = x.data_ptr() == self.given.data_ptr() and x.shape == self.given.shape
        return with_stream(args, kwargs, place, self.leaf.clone()) if same else None

    def _see(self, k: int) -> Callable[[Tensor], None]:
        found = self.record.gradients  # and not self: that holds the graph, which holds this hook

        def look(gradient: Tensor) -> None:
            found[k] = float(gradient.detach().double().norm())

        return look

    def _end(self, last: Tensor) -> None:
        if last.requires_grad:
            last.register_hook(self._see(len(self.blocks.names)))
        direction = torch.empty(last.shape, dtype=torch.float64)
        stream(self.seed, "probe", "cotangent").normal_(direction)
        # A copy, which no later write changes; it saves no tensor, as checkpointing would count.
        self.ending = last.clone()
        self.direction = direction.to(last.device, last.dtype)

    def close(self) -> None:
        """The forward pass has returned."""
        self.open = False
        names = self.blocks.names
        if self.entered < len(names):
            raise not_a_chain(f"only {self.entered} of {len(names)} blocks run")
        self.record.sums, self.record.pairs = self.groups.means(), self.directions.pairs()
        scales = self.record.scales
        if scales:
            scales.append(scales[-1])
            if max(scales) - min(scales) > 1e-3 * abs(max(scales, key=abs)):
                self.record.notes.append(
                    "the module adds its blocks with factors that differ; that of the last block is not seen "
                    "and taken as that of the one before"
                )

    def differentiate(self, loss: Tensor | None) -> None:
        """Gradients of the loss, or of ⟨h_L, c⟩, at all boundaries."""
        end, direction = (self.ending, self.direction) if loss is None else (loss, None)
        found = None
        if end is not None and self.leaf is not None and end.requires_grad:
            with contextlib.suppress(Reentrant), backward_pass("give gradients=False"):
                (found,) = torch.autograd.grad(end, [self.leaf], direction, allow_unused=True)
        if found is not None and not bool(torch.isfinite(found).all()):
            self.record.notes.append("gradients overflow on their way through the blocks")
        elif found is None or (np.isnan(self.record.gradients[1:-1]).all() and len(self.blocks.names) > 1):
            raise ValueError(
                "the blocks ran without gradients (reentrant checkpointing or no_grad inside): there is "
                "nothing to differentiate; give use_reentrant=False or gradients=False"
            )

    def restore(self) -> None:
        """What was set on the tensors of the module's own."""
        for look in self.looks:
            look.remove()
        if self.borrowed is not None:
            self.borrowed.requires_grad_(False)


def _ratio(above: float, below: float) -> float:
    return above / below if below else math.inf if above else math.nan


def _least_squares(target: Tensor, vector: Tensor) -> tuple[float, float]:
    """The factor of the vector, and what it leaves of the target, as a share."""
    square, norm = float(vector.square().sum()), float(target.norm())
    if not square or not norm:
        return 0.0, 1.0
    factor = float((vector * target).sum()) / square
    return factor, float((target - factor * vector).norm()) / norm
