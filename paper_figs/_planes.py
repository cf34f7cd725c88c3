"""What the figures over the plane of H and β share: grids, lines, and known levels of ratio 1."""

from __future__ import annotations

import numpy as np

from paper_figs._ratios import FORWARD, GRADIENT
from paper_figs._style import BLACK

BOUNDARY = {"color": BLACK, "linewidth": 1.5}
LEVEL = {"color": BLACK, "linewidth": 1.1, "linestyle": (0, (4, 2))}
# The beta at which the root mean square at infinite width is 1, for L = 1000 and for gradients of width 40.
LEVELS = {
    FORWARD: [0.466, 0.459, 0.457, 0.477, 0.524, 0.561, 0.603, 0.651, 0.700, 0.754, 0.814, 0.883, 0.913],
    GRADIENT: [0.485, 0.482, 0.478, 0.477, 0.482, 0.491, 0.510, 0.545, 0.594, 0.658, 0.740, 0.839, 0.883],
}
HURSTS_OF_LEVELS = [0.05, 0.2, 0.35, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.97]
INTERPOLATION = 0.005  # of the theory, between the numbers of this table and between those of the grid


def grid(low: float, high: float, count: int) -> tuple[float, ...]:
    """Equally spaced numbers, rounded."""
    return tuple(np.linspace(low, high, count).round(6).tolist())
