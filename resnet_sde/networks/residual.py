r"""The residual layers of many trained networks at once, with gradients by the explicit adjoint recursion.

A layer is h ← λh + α V φ(W h + b) + α c in every network; W and b, or V and c, may be absent. Backward, with
p the gradient at the output of a layer, a = φ(pre) and D = φ'(pre):

    ∂V = α a pᵀ,    ∂c = α p,    q = D Vᵀ α p,    ∂W = h qᵀ,    ∂b = q,    p ← λp + Wᵀ q.

Autograd would record five operations a layer, and would keep a copy of each result. Here the states that a
layer starts from are kept, and φ is computed again on the way back; every product is one batched call for all
networks. States are (member, width, input): with the inputs last, of which a batch has many, products with
small matrices run at 1.5 times the speed of those with the width last. Weights are (member, depth, in, out).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from resnet_sde.activations import Activation, Tanh


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
        held = self.free.get((tuple(shape), like.dtype, like.device))
        return held.pop() if held else torch.empty(shape, dtype=like.dtype, device=like.device)

    def give(self, tensor: Tensor) -> None:
        """Take memory back that nothing refers to any more."""
        self.free.setdefault((tuple(tensor.shape), tensor.dtype, tensor.device), []).append(tensor)

    def __reduce__(self) -> tuple[type[Pool], tuple[()]]:
        return Pool, ()  # copies of a network, in memory and on disk, leave this behind


@dataclass(frozen=True)
class Layers:
    """What all networks of a stack have in common, and where their states are kept."""

    activation: Activation
    skip: float
    pool: Pool = field(default_factory=Pool, compare=False)

    def __call__(self, h: Tensor, alpha: Tensor, weights: Weights, masks: Tensor | None = None) -> Tensor:
        """h_L from h_0, differentiable in h_0 and in the weights, once.

        Args:
            h: states, (member, width, input).
            alpha: α_L of every network, (member,).
            weights: of all layers.
            masks: factors on φ in every layer, (depth, member, width, input); None for 1.
        """
        alpha = alpha[:, None, None]
        if torch.is_grad_enabled():
            result: Tensor = _Residual.apply(h, alpha, masks, self, *weights)
            return result
        return self.up(h, alpha, weights, masks, None)

    def up(
        self, h: Tensor, alpha: Tensor, weights: Weights, masks: Tensor | None, kept: Kept | None
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
        self, p: Tensor, alpha: Tensor, weights: Weights, masks: Tensor | None, kept: Kept
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
        if isinstance(self.activation, Tanh):
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


class Kept(NamedTuple):
    """What the way back needs: the state that each layer starts from, and its pre-activations.

    Shape: (depth, member, width, input); without an inner matrix pre-activations are the states themselves.
    """

    hidden: Tensor
    pre: Tensor


def _affine(h: Tensor, matrix: Tensor, bias: Tensor | None, out: Tensor | None) -> Tensor:
    if bias is None:
        return torch.bmm(matrix.mT, h, out=out)
    return torch.baddbmm(bias, matrix.mT, h, out=out)


class _Residual(torch.autograd.Function):
    """The layers as one operation of autograd."""

    @staticmethod
    def forward(
        ctx: Any, h: Tensor, alpha: Tensor, masks: Tensor | None, layers: Layers, *weights: Tensor | None
    ) -> Tensor:
        w = Weights(*weights)
        shape = (w.depth, *h.shape)
        hidden = layers.pool.take(shape, h)
        ctx.kept = Kept(hidden, hidden if w.inner is None else layers.pool.take(shape, h))
        ctx.layers = layers
        ctx.save_for_backward(alpha, masks, *weights)
        return layers.up(h, alpha, w, masks, ctx.kept)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, p: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.kept is None:
            raise RuntimeError("the states of this pass were given up; run the network forward again")
        alpha, masks, *weights = ctx.saved_tensors
        kept, ctx.kept = ctx.kept, None
        p, found = ctx.layers.down(p, alpha, Weights(*weights), masks, kept)
        for buffer in {id(b): b for b in kept}.values():
            ctx.layers.pool.give(buffer)
        return (p, None, None, None, *found)
