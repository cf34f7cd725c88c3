"""The catalogue of theorems: each holds, none of its false neighbours does; and what the framework promises.

Seeds are fixed. The level of the suite is that of the package: at the quick budget one seed in twenty may
show a wrong answer, somewhere.
"""

import math
import textwrap
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from first_failure import until_a_claim_fails, verify_false

import resnet_sde.theorems as catalogue
from resnet_sde import (
    LINEAR,
    RELU,
    TANH,
    FractionalNoise,
    Model,
    SingleLayer,
    SmoothNoise,
    TwoLayer,
    WhiteNoise,
)
from resnet_sde.estimate import Estimate, quantile
from resnet_sde.theorems import (
    Claim,
    Lab,
    Outcome,
    Theorem,
    Verdict,
    assert_holds,
    confidence,
    registry,
    verify,
)
from resnet_sde.theorems.core import FAMILY, ROOM

THEOREMS = [t for t in registry.values() if t.check.__module__.startswith("resnet_sde.")]
BY_ID = pytest.mark.parametrize("id", [t.id for t in THEOREMS])
CONTROLS = [pytest.param(t.id, name, id=f"{t.id}, {name}") for t in THEOREMS for name in t.controls]


# The catalogue


@BY_ID
def test_theorems_hold(id: str) -> None:
    verdict = verify(id)
    assert verdict.holds, f"\n{verdict}"
    assert len(verdict.claims) == len({claim.name for claim in verdict.claims}) == registry[id].claims


@pytest.mark.parametrize(("id", "control"), CONTROLS)
def test_controls_do_not_hold(id: str, control: str) -> None:
    """A check that cannot fail proves nothing."""
    verdict = verify_false(id, control)
    assert not verdict.holds, f"\n{verdict}"


@pytest.mark.full
@BY_ID
def test_theorems_hold_and_controls_fail_at_the_full_budget(id: str) -> None:
    assert_holds(id, budget="full")
    for control in registry[id].controls:
        verdict = verify(until_a_claim_fails(id), budget="full", control=control)
        assert verdict.status == "fails", f"\n{verdict}"


@BY_ID
def test_theorems_say_what_they_are(id: str) -> None:
    theorem = registry[id]
    assert theorem.controls
    assert theorem.assumptions
    assert theorem.source
    assert theorem.words.endswith(".")
    assert theorem.statement.count("{") == theorem.statement.count("}")


def small(theorem: Theorem) -> dict[str, int]:
    """Settings that make a check fast and its verdict worthless."""
    return {name: 20 for name in theorem.budgets["quick"] if name == "samples"}


@pytest.mark.parametrize("id", ["gradient-invariant", "identity", "rough-contraction", "norm-chain"])
def test_the_seed_decides_and_nothing_else_does(id: str) -> None:
    options = small(registry[id])
    first = verify(id, **options)
    torch.set_default_dtype(torch.float32)  # the fixture of conftest.py sets it back
    again = verify(id, **options)
    assert first.claims == again.claims
    assert torch.get_default_dtype() == torch.float32
    assert verify(id, seed=1, **options).claims != first.claims


# Models of other people


@pytest.mark.parametrize(
    ("id", "model"),
    [
        ("sde-limit", Model(SingleLayer(TANH, 0.8, 0.1), WhiteNoise(), 6, gain=0.9)),
        ("ode-limit", Model(SingleLayer(TANH, 1.2), SmoothNoise(0.4), 3)),
        ("young-limit", Model(SingleLayer(TANH), FractionalNoise(0.8), 1, gain=0.9)),
        ("mean-variation", Model(TwoLayer(RELU, 1.1), WhiteNoise("uniform"), 15, 0.6)),
        ("identity", Model(SingleLayer(RELU, 1.5), FractionalNoise(0.6), 8)),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_theorems_hold_for_models_of_your_own(id: str, model: Model) -> None:
    verdict = assert_holds(id, model=model)
    assert verdict.settings == {"model": str(model)}


@pytest.mark.parametrize(
    ("id", "model"),
    [
        ("sde-limit", Model(SingleLayer(TANH), SmoothNoise(0.3), 4)),
        ("sde-limit", Model(TwoLayer(TANH), WhiteNoise(), 4)),
        ("sde-limit", Model(SingleLayer(TANH), FractionalNoise(0.3), 4)),
        ("weak-limit", Model(SingleLayer(TANH), WhiteNoise(), 4)),
        ("ode-limit", Model(SingleLayer(TANH), WhiteNoise(), 4)),
        ("young-limit", Model(SingleLayer(RELU), FractionalNoise(0.8), 4)),
        ("mean-variation", Model(SingleLayer(TANH), WhiteNoise(), 4)),
        ("log-normal-limit", Model(TwoLayer(RELU), WhiteNoise("uniform"), 4)),
        ("stability", Model(TwoLayer(RELU), FractionalNoise(0.8), 4)),
        ("probability-bound", Model(SingleLayer(LINEAR), WhiteNoise(), 4, 0.3)),
    ],
)
def test_models_that_a_theorem_does_not_speak_of(id: str, model: Model) -> None:
    verdict = verify(id, model=model, samples=20)
    assert verdict.status == "assumption not met"
    assert verdict.claims[0].unmet
    with pytest.raises(AssertionError, match="assumption not met"):
        assert_holds(id, model=model, samples=20)


def test_a_wrong_scaling_fails_for_models_of_your_own() -> None:
    model = Model(SingleLayer(TANH), WhiteNoise(), 8, beta=0.35)
    assert verify("sde-limit", model=model).status == "fails"


def test_lower_bounds_are_not_asserted_where_they_need_not_hold() -> None:
    """The branch of tanh keeps less than half of long states, and the lower bound is then broken."""
    verdict = verify("mean-bounds", samples=5000)
    unmet = {claim.name: claim for claim in verdict.claims if claim.outcome is Outcome.NOT_MET}
    assert len(unmet) == 3
    assert all("lower bound" in name for name in unmet)
    assert unmet["mean square displacement / lower bound, tanh res-1"].measured.high < 0.8
    assert verdict.outcome is not Outcome.NOT_MET


# Claims and verdicts


@pytest.mark.parametrize(
    ("relation", "low", "high", "outcome"),
    [
        ("=", 0.95, 1.05, "holds"),
        ("=", 0.85, 1.05, "undecided"),
        ("=", 1.15, 1.25, "fails"),
        ("<=", -9.0, 1.05, "holds"),
        ("<=", 0.0, 1.2, "undecided"),
        ("<=", 1.15, 1.2, "fails"),
        (">=", 0.95, 9.0, "holds"),
        (">=", 0.8, 2.0, "undecided"),
        (">=", 0.5, 0.85, "fails"),
        ("<=", -math.inf, -math.inf, "holds"),
        (">=", -math.inf, -math.inf, "fails"),
        ("=", math.inf, math.inf, "fails"),
        ("<=", math.nan, math.nan, "fails"),
        ("=", math.nan, math.nan, "fails"),
    ],
)
def test_claims_follow_their_intervals(relation: str, low: float, high: float, outcome: str) -> None:
    claim = Claim("x", Estimate(0.5 * (low + high), low, high), 1.0, 0.1, relation)
    assert claim.outcome.value == outcome


def test_unknown_relations_are_refused() -> None:
    with pytest.raises(ValueError, match="give one of =, <=, >="):
        Claim("x", Estimate(0, 0, 0), 0.0, relation="<")


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ([1.0], "holds"),
        ([1.0, 5.0], "fails"),
        ([1.0, None], "holds"),
        ([None], "assumption not met"),
        ([5.0, None], "fails"),
    ],
)
def test_a_verdict_sums_its_claims_up(values: list[float | None], status: str) -> None:
    claims = tuple(
        Claim("x", Estimate(v or 0, v or 0, v or 0), 1.0, 0.1, unmet="no" if v is None else None)
        for v in values
    )
    verdict = Verdict("x", claims, "quick", 0, 0.0)
    assert (verdict.status, verdict.holds) == (status, status == "holds")
    assert str(verdict).startswith(f"x: {status} (quick, seed 0, 0.0 s)\n")


# The framework


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Theorem]]:
    """The registry, which is as it was when the test is over."""
    before = dict(registry)
    yield registry
    registry.clear()
    registry.update(before)


BUDGETS = {"quick": {"samples": 5}, "full": {"samples": 50}}


def register(id: str = "toy", claims: int = 1, **changes: object) -> None:
    """A theorem whose check makes three claims."""

    def check(lab: Lab, *, value: float = 0.0) -> Iterator[Claim]:
        for number in range(3):
            yield Claim(str(number), Estimate(value, value, value), 0.0, 0.1)

    arguments = {"words": "Toy.", "budgets": BUDGETS, "controls": {"one": {"value": 1.0}}, **changes}
    catalogue.theorem(id, claims=claims, **arguments)(check)


def test_a_theorem_of_your_own_takes_ten_lines(own_registry: dict[str, Theorem]) -> None:
    """The example of the documentation, as it is printed there."""
    start = catalogue.__doc__.index("    import torch\n")
    code = catalogue.__doc__[start : catalogue.__doc__.index("Rules of the house")]
    exec(textwrap.dedent(code), {"__name__": "fair"})
    assert own_registry["fair-coin"].catalogue == "fair"
    assert verify("fair-coin").holds
    assert verify("fair-coin", control="a loaded coin").status != "holds"
    assert verify("fair-coin", budget="full", control="a loaded coin").status == "fails"
    assert verify("fair-coin", heads=0.7).status == "fails"


def test_claims_are_counted_before_anything_runs(own_registry: dict[str, Theorem]) -> None:
    assert sum(theorem.claims for theorem in registry.values()) <= ROOM
    with pytest.raises(ValueError, match="more than the 512 that the level of the suite is made for"):
        register(claims=ROOM)
    register(claims=2)
    with pytest.raises(RuntimeError, match="declares 2 claims and makes 3"):
        verify("toy")
    register(claims=3)  # the same function again is the same theorem
    assert verify("toy").holds
    assert confidence("quick") == 1 - 0.05 / ROOM
    assert confidence("full") == 1 - 1e-3 / ROOM


def test_what_cannot_be_registered(own_registry: dict[str, Theorem]) -> None:
    with pytest.raises(ValueError, match="budgets named quick and full"):
        register(budgets={"quick": {}})
    with pytest.raises(ValueError, match="has no setting 'size'; its settings are: samples, value"):
        register(controls={"one": {"size": 1}})
    with pytest.raises(ValueError, match="give a positive integer"):
        register(claims=0)
    with pytest.raises(ValueError, match="there is a theorem 'identity' already"):
        register("identity")


@pytest.mark.parametrize(
    "parameters",
    ["*, seed, level", "*, lab", "lab, /, *, level", "lab, *values", "samples", "lab, value, /", ""],
)
def test_a_check_of_another_shape_is_told_what_to_write(
    parameters: str, own_registry: dict[str, Theorem]
) -> None:
    space: dict[str, object] = {"__name__": "mine"}
    exec(f"def coin({parameters}): return []", space)
    what = {"words": ".", "claims": 1, "budgets": {"quick": 5, "full": 50}, "controls": {}}
    with pytest.raises(ValueError, match=r"theorem toy must take a lab.* write def coin\(lab, \*, …\)"):
        catalogue.theorem("toy", **what)(space["coin"])


def test_settings_go_to_the_check_or_to_its_lab(own_registry: dict[str, Theorem]) -> None:
    seen = []

    def check(lab: Lab, *, beta: float = 0.5, size: int = 1) -> Iterator[Claim]:
        seen.append((lab.samples, lab.variance, lab.beta, beta, size))
        yield Claim("x", Estimate(0, 0, 0), 0.0)

    what = {"words": ".", "claims": 1, "budgets": {"quick": 5, "full": 50}}
    catalogue.theorem("toy", **what, controls={"wrong": {"variance": 1.05}})(check)
    verify("toy", budget="full", control="wrong", beta=0.3)
    verify("toy", samples=7, size=2)
    assert seen == [(50, 1.05, None, 0.3, 1), (7, 1.0, None, 0.5, 2)]
    with pytest.raises(ValueError, match="no setting 'law'; its settings are: samples, variance, beta, size"):
        verify("toy", law=WhiteNoise())
    with pytest.raises(ValueError, match="no setting 'model'"):
        verify("toy", model=Model(SingleLayer(TANH), WhiteNoise(), 4))


def test_a_lab_plants_the_error_in_every_network_and_in_no_statement() -> None:
    model = Model(SingleLayer(TANH), WhiteNoise(), 4)
    wrong = Lab(0, 0.99, 50, beta_off=-0.15, variance=1.05)
    seen = wrong.with_error(model)
    assert (seen.beta, seen.gain) == (0.35, math.sqrt(1.05))
    assert Lab(0, 0.99, 50).with_error(model) == model
    planted = Lab(0, 0.99, 50).log_ratios(seen, depth=3)
    for found, expected in zip(wrong.log_ratios(model, depth=3), planted, strict=True):
        assert torch.equal(found, expected)


def test_a_mean_has_no_interval_and_is_no_measurement() -> None:
    values = torch.linspace(0.99, 1.01, 20)
    with pytest.raises(ValueError, match="give the independent values themselves"):
        Lab(0, 0.99).equal("x", values.mean(), 1.0, within=0.1)
    assert Lab(0, 0.99).equal("x", values, 1.0, within=0.1).holds


def test_what_cannot_be_verified() -> None:
    with pytest.raises(ValueError, match="no theorem 'sde-limits'; there are for example sde-limit"):
        verify("sde-limits")
    with pytest.raises(ValueError, match="unknown budget 'slow'; give one of quick, full"):
        verify("sde-limit", budget="slow")
    with pytest.raises(ValueError, match="no control 'x'; its controls are: 'beta off by"):
        verify("sde-limit", control="x")
    with pytest.raises(ValueError, match="sde-limit has no setting 'sample'; its settings are: samples"):
        verify("sde-limit", sample=3)
    with pytest.raises(ValueError, match="seed must be a non-negative integer"):
        verify("gradient-invariant", seed=-1)


def test_a_check_without_claims_is_an_error(own_registry: dict[str, Theorem]) -> None:
    def check(lab: Lab) -> list[Claim]:
        return []

    catalogue.theorem("empty", words=".", claims=1, budgets={"quick": {}, "full": {}}, controls={})(check)
    with pytest.raises(RuntimeError, match="makes no claim"):
        verify("empty")


# The level of the suite


def toy_suite(budget: str, off: float, repeats: int, **settings: bool) -> np.ndarray:
    """Outcomes of whole suites of ROOM claims, (repeat, claim): 1 holds, −1 fails, 0 undecided.

    Every claim says |μ| ≤ 0.1 and sees twenty numbers of mean 0.1 + off. With `forget` its interval has the
    level of a suite of one claim.
    """
    signs = {Outcome.HOLDS: 1, Outcome.FAILS: -1, Outcome.UNDECIDED: 0}

    def check(lab: Lab, *, forget: bool = False) -> Iterator[Claim]:
        count = 20
        values = 0.1 + off + 0.02 * np.random.default_rng(lab.seed).standard_normal((ROOM, count))
        quantile_of_mean = quantile(1 - FAMILY[budget] if forget else lab.level, count) / math.sqrt(count)
        half = quantile_of_mean * values.std(1, ddof=1)
        for centre, error in zip(values.mean(1).tolist(), half.tolist(), strict=True):
            yield Claim("mean", Estimate(centre, centre - error, centre + error), 0.0, 0.1)

    toy = Theorem("toy", "Toy.", "", (), "", ROOM, {"quick": {}, "full": {}}, {}, check)
    verdicts = [verify(toy, budget=budget, seed=seed, **settings) for seed in range(repeats)]
    return np.array([[signs[claim.outcome] for claim in verdict.claims] for verdict in verdicts])


@pytest.fixture(scope="module")
def at_the_edge() -> np.ndarray:
    """Five hundred suites at the worst place, the edge of the tolerance, where true and false claims meet."""
    return toy_suite("quick", 0.0, 500)


@pytest.mark.parametrize("wrong", [-1, 1], ids=["true claims fail", "false claims hold"])
def test_one_suite_in_twenty_has_a_wrong_answer_at_most(wrong: int, at_the_edge: np.ndarray) -> None:
    """One side of an interval of level 1 − 0.05/512 misses with probability 0.05/1024.

    So a suite has a wrong answer with probability 1 − e^{−0.025} = 0.0247: in 500 suites 12 times on average,
    and never, or in 31 or more, with probability below 1e-5.
    """
    assert 1 <= (at_the_edge == wrong).any(1).sum() <= 30


def test_a_level_that_forgets_how_many_claims_there_are_is_caught() -> None:
    outcomes = toy_suite("quick", 0.0, 20, forget=True)
    for wrong in (-1, 1):
        assert (outcomes == wrong).any(1).all()


def test_the_full_budget_is_stricter_and_clear_cases_are_decided() -> None:
    assert FAMILY["full"] < FAMILY["quick"]
    assert (toy_suite("full", 0.0, 40) == 0).all()
    assert (toy_suite("quick", -0.09, 20) == 1).all()
    assert (toy_suite("quick", 0.09, 20) == -1).all()
