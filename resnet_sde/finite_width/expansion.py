r"""The 1/width expansion of a network with one white Gaussian matrix a layer, for any set of kernel entries.

Given the states before it, what a layer adds is Gaussian, with the covariance C = (σ_w²/N) Σ_i φ(h_i) φ(h_i)ᵀ
+ σ_b² between inputs. So a network is N particles that feel each other through C only. Let K^l be the kernel
at infinite width, s = ρ²σ_w², J = ∂F/∂K for F(K) = E φφ, and M = λ² + s J. On independent particles let z^l
be √N times the deviation of the mean of φφ from F(K^l). The conditional kernel K̂^{l+1} = λ² K̂^l + ρ² C^{l+1}
then deviates by k^l / √N with

    k^{l+1} = M^l k^l + s z^l,     k^0 = 0,

and all covariances follow from those of z, the sources. They reach across layers because the skip branch
keeps the states correlated. The mean of C moves by 1/N: through the curvature of F, and because the φφ of a
particle feeds back on its own later steps. (After Fischer, Dahmen & Helias, 2023; derived here.)

The axis "entry" runs over entries of the kernel: one for one input; 11, 22, 12 for two.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Expansion:
    """What the expansion is made of, along layers 0..L.

    pairs: the two inputs of each entry.
    skip, residual: λ, and ρ² as it multiplies a branch.
    weights: σ_w² of the matrix that reads layer l; the last one is the readout.
    kernel: K^l, (depth + 1, entry).
    cross: covariance of a coordinate between layers, (depth + 1, depth + 1, input, input).
    jacobian: J = ∂F_p/∂K_q, (depth + 1, p, q).
    curvature: ∂²F_p/∂K_q∂K_r, (depth + 1, p, q, r).
    sources: covariance of φφ, (depth + 1, depth + 1, p, q).
    feedback: ∂ sources / ∂K_r at the first of the two layers, zero unless it is the later one,
        (depth + 1, depth + 1, p, r, q).
    """

    pairs: tuple[tuple[int, int], ...]
    skip: float
    residual: float
    weights: Tensor
    kernel: Tensor
    cross: Tensor
    jacobian: Tensor
    curvature: Tensor
    sources: Tensor
    feedback: Tensor

    @property
    def strength(self) -> float:
        """ρ² σ_w² of the residual layers."""
        return self.residual * float(self.weights[0])

    @property
    def growth(self) -> Tensor:
        """M = λ² + ρ²σ_w² J, by which a deviation of the kernel is multiplied in a layer."""
        return self.skip**2 * torch.eye(len(self.pairs), dtype=torch.float64) + self.strength * self.jacobian


@dataclass(frozen=True)
class Fluctuations:
    """Leading covariances, times the width.

    state_source: Cov(k^l, z^m), (depth + 1, depth + 1, p, q).
    conditional: Cov(K̂^l, K̂^m) = Cov(k^l, k^m), the same shape.
    """

    state_source: Tensor
    conditional: Tensor


def fluctuations(expansion: Expansion) -> Fluctuations:
    """Covariances of the conditional kernel, from sources at all pairs of layers."""
    sources, growth, s = expansion.sources, expansion.growth, expansion.strength
    state_source, conditional = torch.zeros_like(sources), torch.zeros_like(sources)
    for layer in range(1, len(sources)):
        before = layer - 1
        state_source[layer] = growth[before] @ state_source[before] + s * sources[before]
    for layer in range(1, len(sources)):
        before = layer - 1
        conditional[layer] = growth[before] @ conditional[before] + s * state_source[:, before].mT
    return Fluctuations(state_source, conditional)


def branch_covariance(expansion: Expansion, found: Fluctuations) -> Tensor:
    """N times the covariance of the branch kernels C read at layers l and m."""
    j, p = expansion.jacobian, found.state_source
    mixed = j[:, None] @ p
    deviation = j[:, None] @ found.conditional @ j.mT
    weights = expansion.weights[:, None] * expansion.weights
    return (deviation + mixed + mixed.transpose(0, 1).mT + expansion.sources) * weights[..., None, None]


def kernel_covariance(expansion: Expansion, found: Fluctuations) -> Tensor:
    """N times the covariance of the empirical kernels Q = Σ_i h_i hᵀ_i / N at layers l and m.

    Beside the deviation k of the conditional kernel there is the sampling noise of the states themselves, of
    covariance W, and that noise moves the later kernels.
    """
    noise, growth, s = _products(expansion), expansion.growth, expansion.strength
    to_source = noise @ expansion.jacobian.mT
    mixed = torch.zeros_like(noise)
    for layer in range(1, len(noise)):
        before = layer - 1
        mixed[:, layer] = mixed[:, before] @ growth[before].mT + s * to_source[:, before]
    return noise + mixed + mixed.transpose(0, 1).mT + found.conditional


def _products(expansion: Expansion) -> Tensor:
    """Covariance of the products h_a h_b of one coordinate at layers l and m (Isserlis' theorem)."""
    first, second = (torch.tensor(index) for index in zip(*expansion.pairs, strict=True))
    c = expansion.cross
    straight = c[..., first[:, None], first] * c[..., second[:, None], second]
    return straight + c[..., first[:, None], second] * c[..., second[:, None], first]


def responses(expansion: Expansion) -> Tensor:
    """∂K^l/∂K^m, (depth + 1, depth + 1, p, q), zero for m > l."""
    growth, found = expansion.growth, torch.zeros_like(expansion.sources)
    for layer in range(len(found)):
        if layer > 0:
            found[layer] = growth[layer - 1] @ found[layer - 1]
        found[layer, layer] = torch.eye(len(expansion.pairs), dtype=torch.float64)
    return found


def mean_shifts(expansion: Expansion, found: Fluctuations, response: Tensor) -> tuple[Tensor, Tensor]:
    """N times the shift of the means of K̂ (and Q), and of the branch kernels; both (depth + 1, entry)."""
    size, strength = len(expansion.kernel), expansion.strength
    diagonal = torch.arange(size)
    spread = found.conditional[diagonal, diagonal]
    bent = torch.einsum("lpqr,lqr->lp", expansion.curvature, spread) / 2
    back = torch.zeros_like(expansion.kernel)
    for layer in range(1, size):
        reached = response[layer, 1 : layer + 1]
        back[layer] = strength * torch.einsum("mprq,mrq->p", expansion.feedback[layer, :layer], reached)
    shift = torch.zeros_like(expansion.kernel)
    branch = torch.zeros_like(expansion.kernel)
    for layer in range(size):
        moved = expansion.jacobian[layer] @ shift[layer] + bent[layer] + back[layer]
        branch[layer] = expansion.weights[layer] * moved
        if layer + 1 < size:
            shift[layer + 1] = expansion.skip**2 * shift[layer] + expansion.residual * branch[layer]
    return shift, branch
