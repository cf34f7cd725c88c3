r"""How the kernel of a network of finite width adapts to data (derived here).

At finite width the prior over functions is a mixture of Gaussian processes, with the random kernel C of the
readout. Given targets y with Gaussian noise, kernels that explain them gain weight, and the mean kernel
moves by

    E[C_p | y] − E[C_p] = (1/N) Σ_q V_pq ∂/∂C_q Σ_a ln N(y_a; 0, C + noise) + O(1/N²),

with V = N Cov(C).
The same posterior is the stationary law of Langevin training with weight decay.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from resnet_sde.finite_width.finite_size import FiniteSize
from resnet_sde.finite_width.two_inputs import PAIRS
from resnet_sde.meanfield.devices import computed_on_the_cpu


@computed_on_the_cpu
def posterior_shift(size: FiniteSize, targets: Tensor, *, noise: float) -> Tensor:
    """What data adds to the mean of the readout's kernel C at this width, to order 1/width.

    Args:
        size: of one input or of two, with the readout that the targets are of.
        targets: (input, output), the outputs asked for.
        noise: variance of the observation noise.

    Returns:
        (1,) for one input, (3,) for the entries 11, 22, 12 of two.

    Raises:
        ValueError: the targets are not (input, output), the noise is no variance, or the covariance of the
            targets is singular.

    Example:
        >>> from resnet_sde import ERF, Model, SingleLayer, WhiteNoise
        >>> from resnet_sde.finite_width import finite_size
        >>> model = Model(SingleLayer(ERF, 1.2, 0.05), WhiteNoise(), 64, beta=0.0, gain=0.3)
        >>> size = finite_size(model, 0.3, depth=10)
        >>> bool(posterior_shift(size, torch.tensor([[2.0]], dtype=torch.float64), noise=0.1) > 0)
        True
    """
    mean = torch.atleast_1d(size.branch[-1])
    spread = size.branch_covariance[-1, -1].reshape(len(mean), len(mean))
    pairs = PAIRS if len(mean) == 3 else ((0, 0),)
    inputs = 2 if len(mean) == 3 else 1
    y = torch.as_tensor(targets, dtype=torch.float64)
    if y.ndim != 2 or len(y) != inputs:
        raise ValueError(f"targets must have shape ({inputs} inputs, outputs), got {tuple(y.shape)}")
    if not 0 <= noise < math.inf:
        raise ValueError(f"noise is a variance: it must be finite and not negative, got {noise}")
    kernel = noise * torch.eye(inputs, dtype=torch.float64)
    for (a, b), value in zip(pairs, mean, strict=True):
        kernel[a, b] = kernel[b, a] = value + noise * (a == b)
    if not float(torch.linalg.eigvalsh(kernel).min()) > 0:
        raise ValueError("the covariance of the targets is singular; give noise, or inputs that differ")
    inverse = torch.linalg.inv(kernel)
    weighted = inverse @ y
    score = weighted @ weighted.T - y.shape[1] * inverse
    slopes = torch.stack([score[a, b] * (0.5 if a == b else 1.0) for a, b in pairs])
    return spread @ slopes / size.width
