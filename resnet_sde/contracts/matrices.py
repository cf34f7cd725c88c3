"""The matrices that a block meets, and what one of one's own does with them, checked first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from resnet_sde.blocks import Block, Layer
from resnet_sde.contracts.asked import Broken, close, gradient_of, numbers, once, ours
from resnet_sde.contracts.blocks import SCALES, narrowed, probe, way_back
from resnet_sde.matrices import Dense, Masked, NotDrawn
from resnet_sde.streams import stream
from resnet_sde.watched import gradients, watched

LAYERS = "give for example model.draw(8).layers(8)"


def check_layer(block: Block, h: Tensor, layer: object) -> None:
    """Raise ValueError where a layer has no matrix for a block and its states.

    What shapes and numbers blocks of one's own take they see to themselves.
    """
    if not isinstance(layer, Layer):
        raise ValueError(f"layers must be a list of layers, and one is a {type(layer).__name__}; {LAYERS}")
    if not ours(block):
        return
    remedy = "give layers drawn for this block, width and number of networks"
    for name, shape in block.shapes(h.shape[-1]).items():
        matrix = layer.matrices.get(name)
        if matrix is None:
            raise ValueError(f"a layer has no {name} matrix, and the block takes one; {remedy}")
        if not isinstance(matrix, Dense):
            continue
        entries = matrix.entries
        if entries.shape != (len(h), *shape):
            raise ValueError(
                f"the {name} matrix of a layer has shape {tuple(entries.shape)}, and states of shape "
                f"{tuple(h.shape)} take {(len(h), *shape)}; {remedy}"
            )
        if (entries.dtype, entries.device) != (h.dtype, h.device):
            raise ValueError(
                f"the {name} matrix of a layer has numbers of {entries.dtype} on {entries.device}, and "
                f"states of {h.dtype} on {h.device}; convert one of them"
            )


def check_dropout(block: Block, width: int) -> None:
    """Check that masks of dropout fit a block, and reach one of one's own. Raises ValueError otherwise."""
    if block.sharing > 1:
        raise ValueError(
            f"dropout stands before a matrix that meets one vector of each input, and those of {block} meet "
            f"{block.sharing}; leave it out"
        )
    met = block._weights(width).get("outer", width) if ours(block) else width
    if met != width:
        raise ValueError(
            f"dropout acts on as many numbers as a state has, {width}, and the outer matrix of "
            f"{type(block).__name__} multiplies {met}; leave it out, or give as many"
        )
    if not ours(block):
        once(try_dropout, block, narrowed(block, width))


def check_parameters(block: Block, width: int) -> None:
    """Check that gradients of the matrices of a block of one's own are seen. Raises ValueError otherwise."""
    if not ours(block):
        once(try_parameters, block, narrowed(block, width))


class NotSeen(Broken):
    """A block goes past what is put on its matrices to see them."""


@contextmanager
def _refused(block: Block) -> Iterator[None]:
    """Before anything is computed."""
    try:
        yield
    except NotDrawn as error:
        raise NotSeen(f"block {type(block).__name__}: {error}") from None


@torch.no_grad()
def try_dropout(block: Block, width: int) -> None:
    """Raise Broken where masks do not reach the outer matrix of a block, be it of the package or not."""
    h, layer = probe(block, width)
    source = stream(0, "contract", "dropout", width)
    masks, p = 2.0 * (numbers(source, len(h), 1, width) > 0), numbers(source, *h.shape)
    outer = layer.get("outer")
    masked = layer.replaced("outer", Masked(outer, masks))
    with _refused(block):
        found = block.branch(h, masked).clone()
    past = Broken(
        f"block {type(block).__name__} goes past its outer matrix, before which dropout acts on as many "
        "numbers as a state has; let branch call matvec of the one that shapes names outer, and adjoint its "
        "rmatvec"
    )
    if close(found, block.branch(h, layer)):
        raise past
    if isinstance(outer, Dense):
        entries = outer.entries.clone()
        entries[:, :width] *= masks.mT
        expected = block.branch(h, layer.replaced("outer", Dense(entries)))
        if entries.shape[1] not in (width, width + 1):
            raise past
    else:
        expected = masks * block.branch(h, layer)
    if not close(found, expected):
        raise past
    back = gradient_of(lambda start: block.branch(start, masked), h, p)
    if back is not None and not close(way_back(block, h, p, masked), back):
        raise past


@torch.no_grad()
def try_parameters(block: Block, width: int) -> None:
    """Raise Broken where gradients of matrices are not those of autograd, likewise."""
    h, layer = probe(block, width)
    p = numbers(stream(0, "contract", "parameters", width), *h.shape)
    for c in (1.0, *SCALES):
        eyed = watched(layer, block._weights(width), sharing=block.sharing)
        with _refused(block):
            way_back(block, c * h, p, eyed)
            found = gradients(eyed)
        for part, expected in _of_autograd(block, c * h, layer, p).items():
            if not close(found[part][..., 0], expected):
                raise Broken(
                    f"block {type(block).__name__} gives something else to rmatvec than the gradient of what "
                    f"matvec gave, so that gradients of {part} are not those of autograd; mend adjoint, or "
                    "leave parameters out"
                )


def _of_autograd(block: Block, h: Tensor, layer: Layer, p: Tensor) -> dict[str, Tensor]:
    """Norms of gradients of weights and biases, (sample, input); none where autograd cannot follow."""
    entries = {
        n: m.entries.clone().requires_grad_() for n, m in layer.matrices.items() if isinstance(m, Dense)
    }
    found: dict[str, list[Tensor]] = {}
    weights = block._weights(h.shape[-1])
    for i in range(h.shape[1]):
        try:
            with torch.enable_grad():
                branch = block.branch(h, Layer({n: Dense(m) for n, m in entries.items()}))
                got = torch.autograd.grad(branch[:, i], tuple(entries.values()), p[:, i], allow_unused=True)
        except RuntimeError:
            return {}
        for (name, matrix), gradient in zip(entries.items(), got, strict=True):
            whole = torch.zeros_like(matrix) if gradient is None else gradient
            rows = min(weights.get(name, whole.shape[1]), whole.shape[1])
            found.setdefault(name, []).append(whole[:, :rows].norm(dim=(1, 2)))
            if rows < whole.shape[1]:
                found.setdefault(f"{name}_bias", []).append(whole[:, rows:].norm(dim=(1, 2)))
    return {name: torch.stack(norms, 1) for name, norms in found.items()}


def check_preactivations(block: Block) -> None:
    """Raises ValueError unless the layer loop can show what φ meets in this block."""
    if not block._keeps_pre:
        raise ValueError(
            "pre-activations are shown of branches V φ(W h + b) + a that the package computes, and "
            f"{type(block).__name__} is none; leave preactivations out, or take them of states and weights, "
            "which observable(weights=True) shows"
        )
