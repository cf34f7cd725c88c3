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

A theorem of your own is one function, which is handed a lab and yields claims:

    import torch
    from resnet_sde import generator
    from resnet_sde.theorems import theorem

    @theorem(
        "fair-coin", words="A coin shows heads half of the time.", claims=1,
        budgets={"quick": 10_000, "full": 100_000},
        controls={"a loaded coin": {"heads": 0.55}},
    )
    def fair_coin(lab, *, heads=0.5):
        up = torch.rand(lab.samples, generator=generator(lab.seed, "coin")) < heads
        yield lab.equal("share of heads", up, 0.5, within=0.03)

Rules of the house for a check. Random numbers come from streams named by the seed of the lab. Exact oracles
are better than finer grids. A tolerance is larger than the bias at hand and smaller than the distance to the
controls. Estimates are total (`estimators`): what diverges fails. A control plants an error (β off by 0.15 or
less, a variance off by 5 %, another law of increments, noise that is not shared, a missing factor); it does
not hold at the quick budget and fails at the full one. A check of a model that the statement does not speak
of raises `AssumptionNotMet`; a single claim that does not apply says why in `unmet`. Quick budgets take a
second or two of one core, full ones less than twenty.

A `Lab` has a seed, a level, a number of samples, the planted error of a control, and a caller's own model
if the theorem takes one (`own_models`). It draws networks with that error in them (`lab.log_ratios`,
`lab.simulate`, `lab.on_paths`) and makes claims about independent values at its level (`lab.equal`,
`lab.ratio`, `lab.at_most`, `lab.at_least`); numbers without chance are claimed by the functions of
`resnet_sde.claims`. What a check takes by keyword, beside the lab, are settings of its own.

A catalogue is a module, or a package of modules of 400 lines at most, of such functions; importing it
here registers it, and the tests, the command line (`resnet-sde list`, `resnet-sde verify`) and the
plugin of pytest (`pytest --theorems`) find it.
"""

from resnet_sde.claims import Claim
from resnet_sde.estimate import Outcome
from resnet_sde.theorems import fischer, foundations, kernels, marion, schoenholz, yang
from resnet_sde.theorems.core import (
    Theorem,
    Verdict,
    assert_holds,
    confidence,
    find,
    registry,
    theorem,
    verify,
)
from resnet_sde.theorems.lab import AssumptionNotMet, Lab

__all__ = [
    "AssumptionNotMet",
    "Claim",
    "Lab",
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
