"""The programs `resnet-sde limit` and `resnet-sde converge`: words in, answers and refusals out."""

import json
import math
from typing import Any

import pytest
import torch
from command_line import run
from hypothesis import given
from hypothesis import strategies as st

import resnet_sde as rs
from resnet_sde.cli import converge as converge_module
from resnet_sde.cli.limit import describe
from resnet_sde.estimate import Estimate

HEADER = ["model", "seed", "versions"]
LIMIT_KEYS = [*HEADER, "regime", "critical_beta", "limit", "coupled", "strong_order", "reason"]
CONVERGE_KEYS = {
    *(*HEADER, "depths", "strong_errors", "strong_order", "weak_order", "expected", "sup_errors"),
    *("weak_errors", "gradient_errors", "gradient_order", "expected_gradient", "status", "reference"),
    *("input", "samples", "dtype", "method", "intervals", "verdicts"),
}
TINY = ("--block", "res-1", "--activation", "tanh", "--width", 2, "--depth", 4, "--depth", 8, "--samples", 20)


def answer(command: str, *words: object) -> dict[str, Any]:
    """The JSON object that a command prints."""
    status, output, errors = run(*words, "--json", command=command)
    assert (status, errors) == (0, "")
    assert output.count("\n") == 1
    return json.loads(output)


def refusal(command: str, *words: object) -> str:
    """The one sentence with which a command refuses."""
    status, output, errors = run(*words, command=command)
    assert (status, output) == (2, "")
    assert errors.startswith("resnet-sde: ")
    assert errors.count("\n") == 1
    return errors


# The command `limit`


def fractional(hurst: float, *words: object) -> tuple[object, ...]:
    return ("--law", "fractional", "--hurst", hurst, *words)


RES1 = ("--block", "res-1")
ODD = ("--block", "res-2", "--activation", "tanh")
ITO, YOUNG, ODE = "ito-sde", "young-ode", "random-ode"
# Words, critical beta, limit, whether it is coupled, strong order, words of the reason.
CARD = [
    (RES1, 0.5, ITO, True, 0.5, "driven by the Brownian motion that its own weights sum to"),
    ((*RES1, "--entries", "uniform"), 0.5, ITO, False, None, "not Gaussian"),
    ((), 0.5, ITO, False, None, "without drift"),
    ((*RES1, *fractional(0.5)), 0.5, ITO, True, 0.5, "Euler scheme of the Itô equation"),
    ((*RES1, *fractional(0.75)), 0.75, YOUNG, True, 0.5, "fractional Brownian motion X"),
    (fractional(0.75), 0.75, YOUNG, True, 0.25, "row sums of its own outer weights"),
    ((*ODD, *fractional(0.75), "--sa2", 1), 0.75, YOUNG, True, 0.25, "row sums"),
    ((*ODD, *fractional(0.6)), 0.5, ITO, False, None, "a drift of size 1/width"),
    ((*ODD, *fractional(0.75)), 0.5, None, None, None, "√(L log L)"),
    ((*ODD, *fractional(0.9)), 0.8, YOUNG, True, 0.2, "sums of the products"),
    (fractional(0.3), 0.5, ITO, False, None, "a drift of size 1/width"),
    ((*RES1, *fractional(0.3)), 0.3, None, None, None, "the network collapses instead"),
    ((*RES1, *fractional(0.1)), 0.25, None, None, None, "the Euler scheme does not converge"),
    ((*RES1, "--law", "smooth"), 1.0, ODE, True, 1.0, "gain f(H, V), f being its residual branch"),
    (("--law", "smooth", "--length-scale", 0.3), 1.0, ODE, True, 1.0, "gain f(H, V, W)"),
    ((*RES1, "--law", "constant"), 1.0, ODE, True, 1.0, "one constant matrix"),
]


@pytest.mark.parametrize(("words", "beta", "kind", "coupled", "order", "phrase"), CARD, ids=str)
def test_every_row_of_the_card(
    words: tuple[object, ...],
    beta: float,
    kind: str | None,
    coupled: bool | None,
    order: float | None,
    phrase: str,
) -> None:
    found = answer("limit", *words)
    assert list(found) == LIMIT_KEYS
    assert (found["regime"], found["limit"], found["coupled"]) == ("critical", kind, coupled)
    assert found["critical_beta"] == pytest.approx(beta)
    assert found["strong_order"] == (None if order is None else pytest.approx(order))
    assert phrase in found["reason"]
    assert found["model"]["beta"] == pytest.approx(beta)


@pytest.mark.parametrize("words", [RES1, (), fractional(0.8), ("--law", "smooth"), fractional(0.2)], ids=str)
def test_a_scaling_that_is_not_critical(words: tuple[object, ...]) -> None:
    for shift, regime, fate in ((0.2, "identity", "tends to the identity"), (-0.2, "explosion", "explodes")):
        critical = answer("limit", *words)["critical_beta"]
        found = answer("limit", *words, "--beta", critical + shift)
        assert (found["regime"], found["critical_beta"]) == (regime, critical)
        assert found["limit"] is found["coupled"] is found["strong_order"] is None
        assert fate in found["reason"]


@pytest.mark.parametrize(
    ("words", "regime", "critical", "phrase"),
    [
        (("--block", "feed-forward"), None, None, "without the identity branch"),
        ((*RES1, "--skip", 0, "--beta", 0), None, None, "without the identity branch"),
        (("--block", "reduced"), "explosion", 1.0, "Give --beta 1."),
        (("--block", "reduced", "--activation", "tanh"), "explosion", 0.5, "Give --beta 0.5."),
        (("--block", "reduced", *fractional(0.3)), None, None, "no outer matrix"),
    ],
)
def test_networks_without_a_limit(
    words: tuple[object, ...], regime: str | None, critical: float | None, phrase: str
) -> None:
    found = answer("limit", *words)
    assert (found["regime"], found["critical_beta"], found["limit"]) == (regime, critical, None)
    assert phrase in found["reason"]


def test_a_reduced_block_at_its_critical_scaling() -> None:
    found = answer("limit", "--block", "reduced", "--activation", "tanh", "--beta", 0.5)
    assert (found["regime"], found["limit"], found["coupled"]) == ("critical", ITO, False)


@pytest.mark.parametrize(
    ("words", "collapses"),
    [
        ((*RES1, *fractional(0.3), "--beta", 0.4), True),
        ((*RES1, *fractional(0.3), "--beta", 0.2), True),
        ((*RES1, *fractional(0.3), "--beta", 0.5), False),
        ((*RES1, "--width", 1, "--beta", 0.25), True),
        ((*RES1, "--width", 1, "--beta", 0.25, "--sb2", 1), False),
        ((*RES1, "--width", 1, "--beta", 0.25, "--activation", "sigmoid"), False),
        ((*RES1, "--width", 2, "--beta", 0.25), False),
    ],
)
def test_finite_width(words: tuple[object, ...], collapses: bool) -> None:
    reason = answer("limit", *words)["reason"]
    assert ("The regime is that of infinite width; at width" in reason) == collapses
    assert ("collapses" in reason) == collapses


@pytest.mark.parametrize("activation", ["linear", "tanh"])
def test_width_1_collapses_as_the_reason_says(activation: str) -> None:
    """The state falls below 1e-5 of its start in most networks, while its mean square grows."""
    model = rs.Model(rs.SingleLayer(rs.activation(activation)), rs.WhiteNoise(), 1, beta=0.25)
    assert describe(model)["regime"] == "explosion"
    seen = [rs.observables.log10_growth]
    found = rs.simulate(model, torch.ones(1, 1), depth=4096, samples=200, observe=seen)["log10_growth"]
    assert found.median() < -5


def test_the_answer_for_people() -> None:
    status, output, errors = run(*RES1, "--law", "smooth", command="limit")
    assert (status, errors) == (0, "")
    text = " ".join(output.split())
    assert text.startswith(
        "Regime: critical (beta = 1, the critical value). Limit: a random ODE, on the weight"
    )
    assert "with strong order 1" in text
    status, output, _ = run("--block", "feed-forward", command="limit")
    assert status == 0
    assert output.startswith("No scaling is critical for this model. Limit: none.")
    assert "above the critical 0.5" in run("--beta", 1, command="limit")[1]


def test_help_does_not_offer_grids() -> None:
    assert "Repeatable" not in run("--help", command="limit")[1]
    page = run("--help", command="converge")[1]
    assert page.count("Repeatable") == 1
    assert "[default: float64]" in page
    assert "Repeatable" in run("--help", command="study")[1].partition("--hurst")[2]


# The command `converge`


def test_json_has_the_keys_of_the_contract() -> None:
    found = answer("converge", *TINY, "--seed", 7)
    assert found.keys() == CONVERGE_KEYS
    assert (found["seed"], found["depths"], found["reference"], found["samples"]) == (7, [4, 8], 64, 20)
    assert (found["model"]["block"], found["model"]["beta"], found["dtype"]) == ("res-1", 0.5, "float64")
    assert found["expected"] == 0.5
    assert found["gradient_errors"] is found["gradient_order"] is found["expected_gradient"] is None
    for errors in ("strong_errors", "sup_errors", "weak_errors"):
        assert len(found[errors]) == 2
        assert all(math.isfinite(error) for error in found[errors])
    for order in ("strong_order", "weak_order"):
        assert found[order].keys() == {"value", "low", "high"}


def test_the_numbers_are_those_of_couple() -> None:
    words = (*TINY, "--input", "digits:3", "--gradients", "--seed", 2)
    found = answer("converge", *words)
    x = converge_module._embed(rs.datasets.parse_input("digits:3"), 2, 20, 2)
    model = rs.Model(rs.SingleLayer(rs.TANH), rs.WhiteNoise(), 2)
    direct = rs.couple(model, x, depths=(4, 8), samples=20, reference=64, gradients=True, seed=2)
    for name in ("strong_errors", "sup_errors", "weak_errors", "gradient_errors"):
        assert found[name] == list(getattr(direct, name))
    assert found["strong_order"]["value"] == direct.strong_order.value
    assert found["gradient_order"]["low"] == direct.gradient_order.low
    assert found["expected_gradient"] == 0.5


def test_the_embedding_keeps_the_scale() -> None:
    """E‖A x‖² / width = ‖x‖² / n_in: 4.5 standard errors of the mean of 10,000 squares are 0.064."""
    x = rs.datasets.parse_input("digits:0")
    h = converge_module._embed(x, 10_000, 1, 0)
    assert abs(h.square().mean() / x.square().mean() - 1) < 0.064
    assert not torch.equal(h, converge_module._embed(x, 10_000, 1, 1))


def test_an_exact_order() -> None:
    words = (*RES1, "--activation", "tanh", "--width", 1, *fractional(0.75), "--reference", "exact")
    deep = [word for depth in (64, 128, 256, 512) for word in ("--depth", depth)]
    found = answer("converge", *words, *deep, "--input", "digits:0", "--samples", 1000)
    assert found["expected"] == pytest.approx(0.5)
    assert found["status"] == "holds"
    assert 0.4 < found["strong_order"]["low"] < found["strong_order"]["high"] < 0.6
    assert found["sup_errors"] is None  # only the end of the solution is known


def test_a_limit_in_law_has_no_strong_order() -> None:
    words = ("--block", "res-3", "--width", 3, "--depth", 4, "--depth", 8, "--samples", 20)
    found = answer("converge", *words)
    assert found["strong_errors"] is found["sup_errors"] is found["strong_order"] is found["expected"] is None
    assert found["status"] == "undecided"
    assert "holds in law only" in run(*words, command="converge")[1]


def test_smooth_weights_are_compared_with_a_solver() -> None:
    found = answer("converge", *TINY, "--law", "smooth", "--length-scale", 0.5)
    assert (found["reference"], found["expected"]) == ("solver", 1.0)
    assert found["strong_order"]["value"] == pytest.approx(1, abs=0.2)


def test_what_is_not_finite() -> None:
    """No error at all has no order, and what JSON cannot write is a string or null."""
    found = answer("converge", *TINY, "--gain", 0)
    assert found["strong_errors"] == [0, 0]
    assert found["strong_order"]["value"] == "inf"
    odd = converge_module._interval(Estimate(math.nan, -math.inf, math.inf))
    assert odd == {"value": None, "low": "-inf", "high": "inf"}


def test_the_table() -> None:
    status, output, errors = run(*TINY, "--depth", 4, "--gradients", command="converge")
    assert (status, errors) == (0, "")
    lines = output.splitlines()
    assert lines[0].startswith("Errors against a network of 64 layers on the same weights")
    assert lines[1].split("  ")[0] == "depth"
    assert [line.split()[0] for line in lines[2:4]] == ["4", "8"]
    assert "Strong order" in output
    assert "theory 0.5" in output
    assert "Order of the gradient" in output
    words = (*RES1, "--law", "constant", "--activation", "linear", "--width", 2, "--reference", "exact")
    exact = run(*words, command="converge")[1]
    assert exact.startswith("Errors against the exact solution")
    assert "largest error" not in exact


# Refusals


@pytest.mark.parametrize("command", ["limit", "converge"])
@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (("--width", 2, "--width", 3), "--width was given 2 times"),
        (("--length-scale", 1, "--law", "smooth", "--length-scale", 2), "--length-scale was given 2 times"),
        (("--law", "white", "--law", "smooth"), "give it once"),
        (("--law", "fractional"), "give for example --hurst 0.7"),
        (("--block", "res-1", "--sv2", 1), "give its variances as --sw2 and --sb2"),
        (("--block", "feed-forward", "--beta", 1), "leave out --beta, --gain and --skip"),
        (("--skip", 0), "give beta"),
        (("--seed", -1), "give for example 0"),
        (("--workers", 2), "No such option"),
        (("extra",), "see resnet-sde"),
    ],
    ids=str,
)
def test_wrong_requests(command: str, words: tuple[object, ...], advice: str) -> None:
    assert advice in refusal(command, *words)
    assert advice in refusal(command, "--json", *words)


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ((*RES1, *fractional(0.3)), "Give a TwoLayer block"),
        (("--beta", 1), "Leave beta out, or give the critical value"),
        (("--block", "feed-forward"), "study the network itself with simulate"),
        (("--depth", 16), "two or more increasing"),
        (("--depth", 0), "give for example 64"),
        (("--reference", "best"), "neither exact, solver nor a depth; give for example 1024"),
        (("--reference", "-3"), "from 1 to 10000000; give for example 64"),
        (("--reference", "100"), "give for example 1024"),
        (("--reference", "exact"), "give the depth of a finer network"),
        (("--reference", "solver"), "give the depth of a finer network"),
        (("--reference", "exact", "--gradients"), "give a depth as --reference"),
        (("--method", "deferred", "--block", "res-3"), "give method dense"),
        (("--entries", "uniform"), "use Gaussian entries"),
        (("--input", "digits:1797"), "give an index from 0 to 1796"),
        (("--input", "mnist:" + "x" * 300), "give a folder that can be read"),
    ],
    ids=str,
)
def test_nothing_to_converge_to(words: tuple[object, ...], advice: str) -> None:
    assert advice in refusal("converge", "--width", 3, "--samples", 2, *words)


def test_a_machine_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "give --device cpu" in refusal("converge", *TINY, "--device", "cuda")


# Any words at all

NUMBERS = st.one_of(
    st.integers(-2, 4), st.floats(-25, 25), st.sampled_from(["", "nan", "inf", "1e400", "one", "--", "-0.0"])
)
PHI = ["linear", "relu", "leaky-relu:0.3", "tanh", "erf", "gelu", "sigmoid", "alpha-relu:0.6", "swish"]
MODEL_VALUES: dict[str, st.SearchStrategy[object]] = {
    **{name: NUMBERS for name in ("beta", "gain", "skip", "sw2", "sb2", "sv2", "sa2", "seed")},
    "hurst": st.one_of(st.floats(0, 1), NUMBERS),
    "length-scale": st.one_of(st.floats(0.1, 2), NUMBERS),
    "block": st.sampled_from(["res-1", "res-1", "res-2", "res-3", "full", "reduced", "feed-forward", "res"]),
    "activation": st.sampled_from(PHI),
    "law": st.sampled_from(["white", "fractional", "smooth", "constant", "red"]),
    "entries": st.sampled_from(["gaussian", "uniform", "rademacher", ""]),
    "width": st.integers(-1, 4),
}
RUN_VALUES: dict[str, st.SearchStrategy[object]] = {
    "depth": st.one_of(st.sampled_from([1, 2, 8]), st.integers(-1, 8)),
    "reference": st.sampled_from(["exact", "solver", 16, 24, 3, -1, "", "x"]),
    "input": st.sampled_from(["digits:3", "gaussian", "digits", "digits:x", "mnist:/:1", "\0"]),
    "dtype": st.sampled_from(["float32", "float64", "int8"]),
    "method": st.sampled_from(["auto", "dense", "deferred", "x"]),
    "samples": st.sampled_from([1, 3, 0]),
}


def lines(values: dict[str, st.SearchStrategy[object]], most: int) -> st.SearchStrategy[list[str]]:
    """Up to so many different options with values, in any order."""
    pair = st.sampled_from(sorted(values)).flatmap(
        lambda name: values[name].map(lambda value: (f"--{name}", str(value)))
    )
    pairs = st.lists(pair, max_size=most, unique_by=lambda words: words[0])
    return pairs.map(lambda found: [word for words in found for word in words])


def check_any(command: str, key: str, words: list[str], json_too: bool) -> None:
    status, output, errors = run(*words, *["--json"] * json_too, command=command)
    if status == 0:
        assert errors == ""
        assert not json_too or key in json.loads(output, parse_constant=pytest.fail)
    else:
        assert (status, output) == (2, "")
        assert errors.startswith("resnet-sde: ")
        assert errors.count("\n") == 1


@given(words=lines(MODEL_VALUES, 5), json_too=st.booleans())
def test_limit_answers_or_refuses(words: list[str], json_too: bool) -> None:
    check_any("limit", "regime", words, json_too)


@given(words=lines({**MODEL_VALUES, **RUN_VALUES}, 5), gradients=st.booleans(), json_too=st.booleans())
def test_converge_answers_or_refuses(words: list[str], gradients: bool, json_too: bool) -> None:
    sizes = {"--width": "2", "--samples": "3", "--block": "res-1"}
    base = [word for name, value in sizes.items() if name not in words for word in (name, value)]
    base += ["--depth", "2", "--depth", "4", *["--gradients"] * gradients]
    check_any("converge", "strong_order", [*base, *words], json_too)
