r"""The residual layers of many trained networks at once, with gradients by the explicit adjoint recursion.

A layer is h ← λh + α V φ(W h + b) + α c in every network; W and b, or V and c, may be absent, and a
normalization may follow. Backward, with
p the gradient at the output of a layer, a = φ(pre) and D = φ'(pre):

    ∂V = α a pᵀ,    ∂c = α p,    q = D Vᵀ α p,    ∂W = h qᵀ,    ∂b = q,    p ← λp + Wᵀ q.

Autograd would record five operations a layer, and would keep a copy of each result. Here the states that a
layer starts from are kept, and φ is computed again on the way back; every product is one batched call for all
networks. States are (member, width, input): with the inputs last, of which a batch has many, products with
small matrices run at 1.5 times the speed of those with the width last. Weights are (member, depth, in, out).

That is for plain tensors and one derivative. Whatever else follows a network, a second derivative, the
transforms of torch.func, forward mode, autocast or a compiler, sees the layers operation by operation; so
does everything where there is a normalization.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual

from resnet_sde.activations import Activation, Tanh
from resnet_sde.blocks import normalize


class Weights(NamedTuple):
    """The weights of all layers; None for a matrix or a bias that the block does not have.

    Shape: matrices (member, depth, in, out), biases (member, depth, out).
    """

    inner: Tensor | None
    inner_bias: Tensor | None
    outer: Tensor | None
    outer_bias: Tensor | None

    def layers(self) -> Iterator[Weights]:
        """The weights of one layer after another, biases as (member, out, 1)."""
        columns: list[Sequence[Tensor | None]] = []
        for name, values in zip(self._fields, self, strict=True):
            if values is None:
                columns.append([None] * self.depth)
            else:
                columns.append((values[..., None] if name.endswith("bias") else values).unbind(1))
        return (Weights(*layer) for layer in zip(*columns, strict=True))

    def each(self) -> list[Weights]:
        """The weights of one layer after another as weights of a network of one layer."""
        columns = [[None] * self.depth if w is None else w.split(1, dim=1) for w in self]
        return [Weights(*layer) for layer in zip(*columns, strict=True)]

    @property
    def depth(self) -> int:
        """Number of layers."""
        return next(values.shape[1] for values in self if values is not None)


@dataclass
class Pool:
    """Memory of earlier steps, to be used again: fresh memory is ten times slower to fill."""

    free: dict[tuple[object, ...], list[Tensor]] = field(default_factory=dict)

    def take(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A tensor of this shape with arbitrary content, which is the caller's until it is given back."""
        try:
            return self.free[_place(shape, like)].pop()
        except (KeyError, IndexError):
            return torch.empty(shape, dtype=like.dtype, device=like.device)

    def give(self, tensor: Tensor, place: tuple[object, ...] | None = None) -> None:
        """Take memory back that nothing refers to any more, for where it was used."""
        self.free.setdefault(place or _place(tensor.shape, tensor), []).append(tensor)

    def __reduce__(self) -> tuple[type[Pool], tuple[()]]:
        return Pool, ()  # copies of a network, in memory and on disk, leave this behind


@dataclass(frozen=True)
class Layers:
    """What all networks of a stack have in common, and where their states are kept."""

    activation: Activation
    skip: float
    norm: str | None = None
    pool: Pool = field(default_factory=Pool, compare=False)

    def __call__(self, h: Tensor, alpha: Tensor, weights: Weights, masks: Tensor | None = None) -> Tensor:
        """h_L from h_0.

        Args:
            h: states, (member, width, input).
            alpha: α_L of every network, (member,).
            weights: of all layers.
            masks: factors on φ in every layer, (depth, member, width, input); None for 1.
        """
        alpha = alpha[:, None, None]
        constant = [t for t in (alpha, masks) if t is not None]
        plain = self.norm is not None or any(t.requires_grad for t in constant)
        if plain or not _ordinary(h, *constant, *weights):
            return self.plain(h, alpha, weights, masks)
        if torch.is_grad_enabled():
            result: Tensor = _Residual.apply(h, alpha, masks, self, *weights)
            return result
        return self.up(h, alpha, weights, masks, None)

    def plain(self, h: Tensor, alpha: Tensor, weights: Weights, masks: Tensor | None) -> Tensor:
        """h_L in operations that anything can follow; states keep their dtype under autocast."""
        for k, layer in enumerate(weights.layers()):
            pre = h if layer.inner is None else layer.inner.mT @ h
            a = self.activation(pre if layer.inner_bias is None else pre + layer.inner_bias)
            a = a if masks is None else a * masks[k]
            branch = a if layer.outer is None else layer.outer.mT @ a
            branch = alpha * (branch if layer.outer_bias is None else branch + layer.outer_bias)
            h = branch if self.skip == 0.0 else self.skip * h + branch
            h = h if self.norm is None else normalize(h, self.norm, -2)[0]
        return h

    def gradients(
        self, p: Tensor, h: Tensor, alpha: Tensor, weights: Weights, masks: Tensor | None
    ) -> list[Tensor | None]:
        """The gradients at h_0 and at the weights, which can be differentiated again."""
        with torch.enable_grad():
            # Aliases, because weights may be functions of h_0 or of each other.
            inputs = [None if t is None else t.view_as(t) for t in (h, *weights)]
            end = self.plain(inputs[0], alpha, Weights(*inputs[1:]), masks)  # type: ignore[arg-type]
            wanted = [t for t in inputs if t is not None and t.requires_grad]
            found = iter(torch.autograd.grad(end, wanted, p, create_graph=True))
        return [None if t is None or not t.requires_grad else next(found) for t in inputs]

    def up(
        self, h: Tensor, alpha: Tensor, weights: Weights, masks: Tensor | None, kept: KeptStates | None
    ) -> Tensor:
        """h_L; what each layer starts from and its pre-activations are left in `kept`."""
        for k, layer in enumerate(weights.layers()):
            if kept is not None and k == 0:
                kept.hidden[0].copy_(h)
            out = kept.hidden[k + 1] if kept is not None and k + 1 < len(kept.hidden) else None
            pre = h
            if layer.inner is not None:
                pre = _affine(h, layer.inner, layer.inner_bias, None if kept is None else kept.pre[k])
            a = self.activation(pre)
            if masks is not None:
                a = a * masks[k]
            h = self._step(h, a, alpha, layer, out)
        return h

    def _step(self, h: Tensor, a: Tensor, alpha: Tensor, layer: Weights, out: Tensor | None) -> Tensor:
        if layer.outer is None:
            return torch.addcmul(h if self.skip == 1.0 else self.skip * h, a, alpha, out=out)
        skip = self.skip
        if layer.outer_bias is not None:
            h = torch.addcmul(h if skip == 1.0 else skip * h, layer.outer_bias, alpha)
            skip = 1.0
        return torch.baddbmm(h, (layer.outer * alpha).mT, a, beta=skip, out=out)

    def down(
        self, p: Tensor, alpha: Tensor, weights: Weights, masks: Tensor | None, kept: KeptStates
    ) -> tuple[Tensor, Weights]:
        """The gradient at h_0, and those of the weights."""
        found = Weights(*(None if w is None else self.pool.take(w.shape, w) for w in weights))
        layers, gradients = list(weights.layers()), list(found.layers())
        for k in range(len(layers) - 1, -1, -1):
            pre = kept.hidden[k] if layers[k].inner is None else kept.pre[k]
            mask = None if masks is None else masks[k]
            q = self._through_outer(p, alpha, layers[k], gradients[k], pre, mask)
            p = self._through_inner(p, q, layers[k], gradients[k], kept.hidden[k])
        return p, found

    def _through_outer(
        self, p: Tensor, alpha: Tensor, layer: Weights, gradient: Weights, pre: Tensor, mask: Tensor | None
    ) -> Tensor:
        """The gradient at the pre-activations, from that at the output of the layer."""
        raw = self.activation(pre)
        a = raw if mask is None else raw * mask
        if layer.outer is None:
            q = p * alpha
        else:
            assert gradient.outer is not None
            torch.mul(torch.bmm(a, p.mT), alpha, out=gradient.outer)
            if gradient.outer_bias is not None:
                torch.mul(p.sum(-1, keepdim=True), alpha, out=gradient.outer_bias)
            q = torch.bmm(layer.outer * alpha, p)
        if mask is not None:
            q = q.mul_(mask)
        if type(self.activation) is Tanh:
            return torch.ops.aten.tanh_backward(q, raw)
        return self.activation.pullback(pre, q)

    def _through_inner(self, p: Tensor, q: Tensor, layer: Weights, gradient: Weights, h: Tensor) -> Tensor:
        """The gradient at the input of the layer, from those at its pre-activations and at its output."""
        if layer.inner is None:
            return q if self.skip == 0.0 else q.add_(p, alpha=self.skip)
        assert gradient.inner is not None
        torch.bmm(h, q.mT, out=gradient.inner)
        if gradient.inner_bias is not None:
            torch.sum(q, -1, keepdim=True, out=gradient.inner_bias)
        return torch.baddbmm(p, layer.inner, q, beta=self.skip)


class KeptStates(NamedTuple):
    """What the way back needs: the state that each layer starts from, and its pre-activations.

    Shape: (depth, member, width, input), of pre-activations with the number that φ meets for the width;
    without an inner matrix they are the states themselves.
    """

    hidden: Tensor
    pre: Tensor


def _affine(h: Tensor, matrix: Tensor, bias: Tensor | None, out: Tensor | None) -> Tensor:
    if bias is None:
        return torch.bmm(matrix.mT, h, out=out)
    return torch.baddbmm(bias, matrix.mT, h, out=out)


class _Held:
    """Memory of one pass, given back when nothing can run backward through that pass any more."""

    def __init__(self, pool: Pool, kept: KeptStates) -> None:
        self._pool, self.kept = pool, kept
        self._places = {id(buffer): (buffer, _place(buffer.shape, buffer)) for buffer in kept}

    def __del__(self) -> None:
        for buffer, place in self._places.values():
            self._pool.give(buffer, place)


class _Residual(torch.autograd.Function):
    """The layers as one operation of autograd."""

    @staticmethod
    def forward(
        ctx: Any, h: Tensor, alpha: Tensor, masks: Tensor | None, layers: Layers, *weights: Tensor | None
    ) -> Tensor:
        w = Weights(*weights)
        shape = (w.depth, *h.shape)
        hidden = layers.pool.take(shape, h)
        met = shape if w.inner is None else (*shape[:2], w.inner.shape[-1], shape[-1])
        kept = KeptStates(hidden, hidden if w.inner is None else layers.pool.take(met, h))
        ctx.layers, ctx.held = layers, _Held(layers.pool, kept)
        ctx.save_for_backward(h, alpha, masks, *weights)
        return layers.up(h, alpha, w, masks, kept)

    @staticmethod
    def backward(ctx: Any, p: Tensor) -> tuple[Tensor | None, ...]:
        h, alpha, masks, *weights = ctx.saved_tensors
        w = Weights(*weights)
        if torch.is_grad_enabled() or not _ordinary(p, h):
            at_h, *found = ctx.layers.gradients(p, h, alpha, w, masks)
        else:
            at_h, found = ctx.layers.down(p, alpha, w, masks, ctx.held.kept)
        return (at_h, None, None, None, *found)


def _place(shape: Sequence[int], like: Tensor) -> tuple[object, ...]:
    """Which memory can stand for which: on a GPU that of one stream, whose work is done in order."""
    stream = torch.cuda.current_stream(like.device).cuda_stream if like.is_cuda else 0
    return (tuple(shape), like.dtype, like.device, stream)


def _ordinary(*tensors: Tensor | None) -> bool:
    """Whether these are numbers in memory, of one type, that nothing follows but reverse mode."""
    given = [t for t in tensors if t is not None]
    first = given[0]
    return first.device.type in ("cpu", "cuda") and not (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()  # as torch.autograd.Function itself asks
        or torch.jit.is_tracing()  # type: ignore[attr-defined]
        or torch.is_inference_mode_enabled()
        or torch.is_autocast_enabled(first.device.type)
        or any(type(t) not in (Tensor, nn.Parameter) or t.dtype != first.dtype for t in given)
        or any(torch._C._functorch.is_legacy_batchedtensor(t) for t in given)  # of is_grads_batched
        or any(unpack_dual(t).tangent is not None for t in given)
    )
