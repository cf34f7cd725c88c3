r"""Exact moments of residual networks with white weights whose branch keeps a fixed share of the norm.

Where E‖g(h)‖² = c ‖h‖² for every h, each layer multiplies the mean square of the state by 1 + c α²,
and h_L − h_0 is centred, so that E‖h_L − h_0‖² / ‖h_0‖² = (1 + c α²)^L − 1 at every width. The
gradient obeys the same law whenever p_L is independent of the weights. This holds for one linear
matrix, c = σ_w², and for two matrices with a symmetric inner law and a leaky ReLU of slope s, c =
σ_v² σ_w² (1 + s²) / 2. For Gaussian weights the layers multiply ‖h‖² by i.i.d. factors, whose
moments give the rest (means: Marion et al., 2025; second moments derived here).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from resnet_sde.activations import AlphaReLU, LeakyReLU, Linear, ReLU
from resnet_sde.blocks import SingleLayer, TwoLayer
from resnet_sde.checks import positive_integer
from resnet_sde.model import Model


@dataclass(frozen=True)
class HomogeneousMoments:
    """Moments of D = ‖h_L − h_0‖² / ‖h_0‖² and R = ‖h_L‖² / ‖h_0‖², or of the same ratios of the gradient.

    The means hold for every law of the entries; the deviation and the logarithms for Gaussian ones.

    q1, q2: first two moments of Q = ‖g(h)‖² / ‖h‖², with the variances of the block.
    """

    width: int
    depth: int
    alpha: float
    q1: float
    q2: float

    @property
    def mean_square_growth(self) -> float:
        """E R = (1 + c α²)^L; infinite where it overflows."""
        return _exp(self.depth * math.log1p(self.q1 * self.alpha**2))

    @property
    def mean_square_displacement(self) -> float:
        """E D = (1 + c α²)^L − 1; infinite where it overflows."""
        exponent = self.depth * math.log1p(self.q1 * self.alpha**2)
        return math.expm1(exponent) if exponent < 700 else math.inf

    @property
    def std_square_displacement(self) -> float:
        """Standard deviation of D over networks with Gaussian weights."""
        a2, d = self.alpha**2, self.width
        m1 = _exp(self.depth * math.log1p(self.q1 * a2))
        m2 = _exp(
            self.depth * math.log1p(a2 * (2 * self.q1 + 4 * self.q1 / d) + a2**2 * self.q2 * (1 + 2 / d))
        )
        m3 = _exp(self.depth * math.log1p(self.q1 * a2 + 2 * self.q1 * a2 / d))
        second = m2 + 1 + 4 * (1 + (m1 - 1) / d) + 2 * m1 - 4 * m3 - 4
        return math.sqrt(second - (m1 - 1) ** 2) if math.isfinite(second) else math.inf

    @property
    def mean_log_growth(self) -> float:
        """E log R up to O(L α⁶), Gaussian weights."""
        a2, d = self.alpha**2, self.width
        drift = self.q1 * a2 * (1 - 2 / d) + a2**2 * self.q2 * (-0.5 + 3 / d - 4 / d**2)
        return self.depth * drift

    @property
    def std_log_growth(self) -> float:
        """Standard deviation of log R up to O(L α⁴), Gaussian weights."""
        return math.sqrt(4 * self.q1 * self.alpha**2 * self.depth / self.width)


def homogeneous_moments(model: Model, depth: int) -> HomogeneousMoments:
    """The exact moments of this model at this depth.

    Raises:
        ValueError: the block, its biases, the law or the skip weight take the model out of the exact class,
            or the depth is no positive integer.

    Example:
        >>> from resnet_sde import RELU, Model, TwoLayer, WhiteNoise
        >>> moments = homogeneous_moments(Model(TwoLayer(RELU), WhiteNoise(), 40), 1000)
        >>> round(moments.mean_square_displacement, 5)
        0.64852
    """
    depth = positive_integer("depth", depth, "give for example 100")
    model.check_plain()
    block = model.block
    known = model.law.noise == "white" and model.skip == 1.0
    q1 = q2 = 0.0
    if type(block) is SingleLayer and type(block.activation) is Linear and block.sigma_b2 == 0:
        q1, q2 = block.sigma_w2, block.sigma_w2**2
    elif type(block) is TwoLayer and block.sigma_b2 == block.sigma_a2 == 0 and _slope(block) is not None:
        slope = _slope(block)
        assert slope is not None
        mean = (1 + slope**2) / 2
        strength = block.sigma_w2 * block.sigma_v2
        q1 = mean * strength
        known = known and model.law.symmetric
        met = block.shapes(model.width)["outer"][0]  # numbers, over which a branch averages
        q2 = (mean**2 + (1.5 * (1 + slope**4) - mean**2) / met) * strength**2
    else:
        known = False
    if not known:
        raise ValueError(
            "exact moments need white weights, skip 1, no biases, and a linear SingleLayer or a TwoLayer "
            f"with a linear, ReLU or leaky activation, not {model}; use simulate for this model, or "
            "finite_width.random_walk for branches behind PreNorm"
        )
    return HomogeneousMoments(model.width, depth, model.alpha(depth), q1, q2)


def _slope(block: TwoLayer) -> float | None:
    """Slope on the negative side of an activation that is linear on both."""
    phi = block.activation
    if type(phi) is LeakyReLU:
        return phi.slope
    if type(phi) is Linear:
        return 1.0
    return 0.0 if type(phi) is ReLU or phi == AlphaReLU(1.0) else None


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf
