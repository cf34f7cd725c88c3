r"""Networks whose branches have one size whatever the state, as behind `PreNorm`: random walks at any width.

Given the inner weights of all layers, h_L − h_0 has independent Gaussian coordinates of variance
T = α² Σ_k Q_k with independent Q_k of one law, at every depth and width. With S = E T / q0 (d the width, q0
the mean square of h_0) this gives ‖h_L‖² / ‖h_0‖² the mean 1 + S and the variance

    (2 S² + 4 S) / d + (1 + 2/d) Var T / q0²,

and where no inner matrix makes T random, the law of (S/d) times a noncentral χ² of d degrees and
noncentrality d/S; that of ‖h_L − h_0‖² / ‖h_0‖² is (S/d) χ²_d. Derived here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from resnet_sde.checks import positive_integer
from resnet_sde.contracts.coefficients import check_coefficients
from resnet_sde.meanfield.one_time import check_variance
from resnet_sde.model import Model


@dataclass(frozen=True)
class RandomWalk:
    """Growth R = ‖h_L‖² / ‖h_0‖² and displacement D = ‖h_L − h_0‖² / ‖h_0‖² over networks.

    Means and deviations are exact. Gradients are no such walk.

    spread: S, the mean of D.
    spread_variance: Var T / q0², which inner weights make; S² over depth and hidden units, in order.
    """

    width: int
    spread: float
    spread_variance: float

    @property
    def exact(self) -> bool:
        """Whether `growth` and `displacement` are the laws of R and D, or their leading order."""
        return self.spread_variance == 0

    @property
    def growth(self) -> Any:
        """The law of R, of scipy.stats: that of networks whose T is its mean."""
        from scipy.stats import ncx2  # slow to import

        return ncx2(self.width, self.width / self.spread, scale=self.spread / self.width)

    @property
    def displacement(self) -> Any:
        """The law of D, of scipy.stats: that of networks whose T is its mean."""
        from scipy.stats import chi2  # slow to import

        return chi2(self.width, scale=self.spread / self.width)

    @property
    def mean_square_growth(self) -> float:
        """E R = 1 + S."""
        return 1 + self.spread

    @property
    def mean_square_displacement(self) -> float:
        """E D = S."""
        return self.spread

    @property
    def std_square_growth(self) -> float:
        """Standard deviation of R."""
        return math.sqrt(2 * self.spread * (self.spread + 2) / self.width + self._by_size)

    @property
    def std_square_displacement(self) -> float:
        """Standard deviation of D."""
        return math.sqrt(2 * self.spread * self.spread / self.width + self._by_size)

    @property
    def std_log_growth(self) -> float:
        """Standard deviation of log R to leading order in 1/width: at any depth at most √(2/d), and T's."""
        return self.std_square_growth / self.mean_square_growth

    @property
    def _by_size(self) -> float:
        return (1 + 2 / self.width) * self.spread_variance


def random_walk(model: Model, q0: float = 1.0, *, depth: int) -> RandomWalk:
    """The walk that networks of this model are.

    Args:
        model: skip 1, white Gaussian weights, and a branch that does not see the size of a state and has one
            size in all directions: `PreNorm` of TwoLayer, GatedLinearUnit, or a linear SingleLayer.
        q0: mean square per coordinate of h_0.
        depth: number of layers.

    Raises:
        ValueError: the model is another, or a number is out of range.

    Example:
        >>> from resnet_sde import LINEAR, Model, PreNorm, SingleLayer, WhiteNoise
        >>> model = Model(PreNorm(SingleLayer(LINEAR)), WhiteNoise(), 32, beta=0.0)
        >>> walk = random_walk(model, depth=64)
        >>> walk.mean_square_growth, round(32 * walk.std_square_growth**2), walk.exact
        (65.0, 8448, True)
    """
    depth = positive_integer("depth", depth, "give for example 100")
    model.check_plain()
    q0, block = check_variance("q0", q0), model.block
    white = model.law.independent and model.law.gaussian
    if not (block.scale_free and white and model.skip == 1.0 and model.gain > 0):
        raise ValueError(
            "networks are random walks where branches do not see the size of a state, weights are white and "
            f"Gaussian, skip is 1 and the gain is not 0, not {model}; give a PreNorm block, or use simulate"
        )
    check_coefficients(block)
    mean, variance = block.size_moments(q0, model.width)
    step = model.alpha(depth) / math.sqrt(q0)
    if not 0 < (spread := depth * mean * step * step) < math.inf:
        raise ValueError(
            f"the branches of {depth} layers have the mean square {spread:g}, relative to that of h_0; give "
            "another beta, gain or q0"
        )
    return RandomWalk(model.width, spread, depth * variance * step * step * step * step)
