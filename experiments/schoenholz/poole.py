"""Variances of Poole et al. (2016)."""

WEIGHTS = (1.69, 6.25, 16.0)  # σ_w²: σ_w is 1.3, 2.5, 4
BIAS = 0.09  # σ_b²: σ_b is 0.3
