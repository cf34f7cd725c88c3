"""The program `resnet-sde phase`: words in, fixed points, depth scales and refusals out."""

import json
import math
from typing import Any

import pytest
from command_line import run
from feed_forward import ORACLES, row_id
from hypothesis import given
from hypothesis import strategies as st
from test_cli_limits import MODEL_VALUES, check_any, lines

KEYS = {"q_star", "chi_1", "chi_q", "c_star", "one_minus_c_star", "chi_c", "xi_q", "xi_c", "xi_grad", "phase"}
TANH = ("--activation", "tanh")
ROWS = [
    row
    for row in ORACLES["fixed_points"]
    if row["phase"] not in ("ordered", "chaotic", "dropout") or row["sw2"] in ("1.3", "2.5", "1.5")
]


def answer(*words: object) -> dict[str, Any]:
    """What a request prints with --json."""
    status, output, errors = run(*words, "--json", command="phase")
    assert (status, errors) == (0, "")
    return json.loads(output, parse_constant=pytest.fail)


def refusal(*words: object) -> str:
    """The one sentence with which a request is refused."""
    status, output, errors = run(*words, command="phase")
    assert (status, output) == (2, "")
    assert errors.startswith("resnet-sde: ")
    assert errors.count("\n") == 1
    return errors


@pytest.mark.parametrize("row", ROWS, ids=row_id)
def test_the_table(row: dict) -> None:
    options = {"activation": "activation", "sw2": "sw2", "sb2": "sb2", "keep-rate": "rho"}
    found = answer(*(word for option, key in options.items() for word in (f"--{option}", row[key])))
    assert found["phase"] == row["phase"]
    for key in KEYS - {"phase"}:
        expected = None if row[key] is None else float(row[key])
        if expected is None or math.isinf(expected):
            assert found[key] == ("inf" if expected else None)
        else:
            assert found[key] == pytest.approx(expected, rel=1e-11)


def test_the_keys_of_the_contract() -> None:
    found = answer(*TANH, "--sw2", 2.5, "--sb2", 0.05, "--seed", 3)
    assert found.keys() >= KEYS | {"model", "seed", "versions"}
    assert (found["seed"], found["keep_rate"], found["k0"], found["c0"]) == (3, 1, 1, None)
    model = found["model"]
    assert (model["block"], model["activation"], model["sw2"], model["sb2"]) == (
        "feed-forward",
        "tanh",
        2.5,
        0.05,
    )
    assert (model["skip"], model["beta"]) == (0, 0)
    assert found == answer("--block", "feed-forward", *TANH, "--sw2", 2.5, "--sb2", 0.05, "--seed", 3)


def test_the_start() -> None:
    """It matters where a GELU network has two fixed points, and for c* where every one is marginal."""
    gelu = ("--activation", "gelu", "--sw2", 2.5)
    assert answer(*gelu, "--q0", 0.01)["phase"] == "degenerate"
    assert answer(*gelu, "--k0", 100)["q_star"] == "inf"
    vanishing = (*TANH, "--sw2", 0.5)
    assert answer(*vanishing)["c_star"] is None
    assert answer(*vanishing, "--c0", 0.5)["c_star"] == pytest.approx(0.467130461324, abs=3e-12)
    assert answer(*vanishing, "--c0", 0.5, "--q0", 4)["c_star"] == pytest.approx(0.422718690994, abs=3e-12)
    assert answer(*TANH, "--c0", 0.5)["c_star"] is None  # critical: it takes for ever
    settled = answer(*TANH, "--sw2", 2.5, "--sb2", 0.05)["c_star"]
    assert answer(*TANH, "--sw2", 2.5, "--sb2", 0.05, "--c0", 0.99)["c_star"] == settled


def test_the_answer_for_people() -> None:
    status, output, errors = run(*TANH, "--sw2", 2.5, "--sb2", 0.05, command="phase")
    assert (status, errors) == (0, "")
    first, _, *rest = output.splitlines()
    assert first.startswith("Chaotic: ")
    table = {line.split("  ")[1]: line.split() for line in rest}
    assert "1.063958" in table["q*"]
    assert "0.4468042" in table["c*"]
    assert "11.7956" in table["ξ_c"]
    assert "-7.979315" in table["ξ_∇"]
    text = run(*TANH, "--sw2", 0.5, command="phase")[1]
    assert "undefined" in text
    assert text.splitlines()[-1] == "c* depends on the inputs; give --c0 to see what it is for two of them."
    assert run("--sw2", 2, command="phase")[1].splitlines()[-1] == "Every q* is a fixed point."


@pytest.mark.parametrize("row", ROWS, ids=row_id)
def test_every_phase_has_a_sentence(row: dict) -> None:
    words = ("--activation", row["activation"], "--sw2", row["sw2"], "--sb2", row["sb2"])
    status, output, _ = run(*words, "--keep-rate", row["rho"], command="phase")
    assert status == 0
    assert output.lower().startswith(row["phase"].partition("-")[0])


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (("--block", "res-1"), "give --block feed-forward"),
        (("--block", "full", "--sv2", 2), "give --block feed-forward"),
        (("--law", "smooth"), "give --law white"),
        (("--law", "fractional", "--hurst", 0.7), "give --law white"),
        (("--sv2", 1), "give its variances as --sw2 and --sb2"),
        (("--beta", 1), "leave out --beta, --gain and --skip"),
        (("--skip", 1), "leave out --beta, --gain and --skip"),
        (("--sw2", 1, "--sw2", 2), "--sw2 was given 2 times"),
        (("--sw2", -1), "give for example 1"),
        (("--keep-rate", 0), "give for example 0.9"),
        (("--keep-rate", 1.1), "give for example 0.9"),
        (("--c0", 2), "give for example 0.5"),
        (("--q0", 0), "give for example 1"),
        (("--activation", "swish"), "unknown activation"),
        (("--activation", "alpha-relu:0.999", "--sw2", 1e6), "give smaller variances"),
        (("--samples", 3), "No such option"),
    ],
    ids=str,
)
def test_refusals(words: tuple[object, ...], advice: str) -> None:
    assert advice in refusal(*words)
    assert advice in refusal("--json", *words)


VALUES: dict[str, st.SearchStrategy[object]] = {
    **{name: values for name, values in MODEL_VALUES.items() if name not in ("block", "law")},
    "block": st.sampled_from(["feed-forward", "feed-forward", "res-1"]),
    "law": st.sampled_from(["white", "white", "smooth"]),
    "keep-rate": st.one_of(st.floats(0, 1), st.floats(-1, 2)),
    "q0": st.floats(1e-9, 1e9),
    "k0": st.floats(-1, 10),
    "c0": st.floats(-1.1, 1.1),
}


@given(words=lines(VALUES, 5), json_too=st.booleans())
def test_answers_or_refuses(words: list[str], json_too: bool) -> None:
    check_any("phase", "phase", words, json_too)
