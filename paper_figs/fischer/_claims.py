"""Claims of the figures of finite width."""

from functools import partial

from paper_figs import _claims

Z = 4.0  # standard errors that a claim grants to chance: two-sided false alarm 6e-5
agrees = partial(_claims.agrees, z=Z)
