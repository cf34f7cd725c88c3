"""Every theorem an executable check: statements about deep random networks that can be run.

    >>> from resnet_sde.theorems import registry, verify
    >>> verdict = verify("euler-scheme", budget="quick", seed=0)
    >>> verdict.status
    'holds'
    >>> verify("euler-scheme", control="beta off by 0.01").status  # a false neighbour does not hold
    'fails'

A verdict is one of four. *Holds*, *fails* and *undecided* are what confidence intervals say about
claims (see `claims`; `core` says how one level serves the whole suite). *Assumption not met* says
that a statement does not speak of the model it was asked about. Theorems about limits take a model of
your own, ``verify("sde-limit", model=my_model)``; `assert_holds` does the same inside a test.

A theorem of your own is one function, which yields claims:

    import torch
    from resnet_sde import generator
    from resnet_sde.estimate import mean
    from resnet_sde.theorems import Claim, theorem

    @theorem(
        "fair-coin", words="A coin shows heads half of the time.", claims=1,
        budgets={"quick": {"tosses": 10_000}, "full": {"tosses": 100_000}},
        controls={"a loaded coin": {"heads": 0.55}},
    )
    def fair_coin(*, seed, level, tosses, heads=0.5):
        up = torch.rand(tosses, generator=generator(seed, "coin")) < heads
        yield Claim("share of heads", mean(up.double(), level), 0.5, 0.03)

Rules of the house for a check. Intervals have the confidence `level` that it is handed. Random numbers
come from streams named by `seed`. Exact oracles are better than finer grids. A tolerance is larger than
the bias at hand and smaller than the distance to the controls. Estimates are total (`measure`): what
diverges fails. A control plants an error (β off by 0.15 or less, a variance off by 5 %, another law of
increments, noise that is not shared, a missing factor); it does not hold at the quick budget and fails
at the full one. A check of a model that the statement does not speak of raises `AssumptionNotMet`; a
single claim that does not apply says why in `unmet`. Quick budgets take a second or two of one core,
full ones less than twenty.

A catalogue is a module, or a package of modules of 400 lines at most, of such functions; importing it
here registers it, and the tests, the command line (`resnet-sde list`, `resnet-sde verify`) and the
plugin of pytest (`pytest --theorems`) find it.
"""

from resnet_sde.claims import Claim
from resnet_sde.estimate import Outcome
from resnet_sde.theorems import fischer, foundations, kernels, marion, schoenholz, yang
from resnet_sde.theorems.core import (
    AssumptionNotMet,
    Theorem,
    Verdict,
    assert_holds,
    confidence,
    find,
    registry,
    theorem,
    verify,
)

__all__ = [
    "AssumptionNotMet",
    "Claim",
    "Outcome",
    "Theorem",
    "Verdict",
    "assert_holds",
    "confidence",
    "find",
    "fischer",
    "foundations",
    "kernels",
    "marion",
    "registry",
    "schoenholz",
    "theorem",
    "verify",
    "yang",
]
