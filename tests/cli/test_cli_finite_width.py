"""The program `resnet-sde finite-width`: words in, answers and refusals out."""

import json
import math
import subprocess
import sys
from typing import Any

import pytest
from command_line import run
from finite_width_cases import LAYERS, ORACLES

KEYS = [
    *("model", "seed", "versions"),
    *("K_L", "C_out", "NVar_C_out", "mean_shift_C_out", "response_out", "rho_star"),
]
BASE = ("--activation", "erf", "--sb2", 0.05, "--k0", 0.05, "--depth", 20)
COVERED = [name for name in LAYERS if LAYERS[name]["skip"] != 0]


def answer(*words: object) -> dict[str, Any]:
    status, output, errors = run(*words, "--json", command="finite-width")
    assert (status, errors) == (0, "")
    assert output.count("\n") == 1
    return json.loads(output)


def refusal(*words: object) -> str:
    status, output, errors = run(*words, command="finite-width")
    assert (status, output) == (2, "")
    assert errors.startswith("resnet-sde: ")
    assert errors.count("\n") == 1
    return errors


@pytest.mark.parametrize("name", LAYERS)
def test_tabulated_networks(name: str) -> None:
    case = LAYERS[name]
    words = ["--activation", case["act"], "--sw2", case["sw2"], "--sb2", case["sb2"], "--depth", case["L"]]
    if case["skip"] == 0:
        words += ["--block", "feed-forward", "--q0", case["K0"]]
    else:
        words += ["--p0", case["K0"], "--gain", case["rho"], "--skip", case["skip"]]
    found = answer(*words)
    assert list(found) == KEYS
    expected = {
        "K_L": case["K"][-1],
        "C_out": case["C"][-1],
        "NVar_C_out": case["NVarC"][-1],
        "mean_shift_C_out": case["mean_corr_C"][-1],
        "response_out": case["branch_response_to_input"][-1],
    }
    for key, value in expected.items():
        assert math.isclose(found[key], value, rel_tol=5e-12, abs_tol=1e-13), key
    assert found["model"]["beta"] == 0.0


def test_optimal_scales() -> None:
    row = next(r for r in ORACLES["rho_star"] if (r["L"], r["sw2"], r["sb2"], r["K0"]) == (20, 1, 0.05, 0.05))
    found = answer(*BASE, "--rho", 0.3, "--c0", 0, "--k-sat", 0.5)["rho_star"]
    assert list(found) == ["diag", "branch", "offdiag", "saturation"]
    assert all(entry["reason"] is None for entry in found.values())
    assert math.isclose(found["diag"]["value"], row["rho_exact"], rel_tol=2e-7)
    assert math.isclose(found["branch"]["value"], row["rho_branch"], rel_tol=2e-7)
    assert abs(found["offdiag"]["value"] - 0.6037864) < 1e-7
    # K_L is then what was asked for.
    again = answer(*BASE, "--rho", found["saturation"]["value"])
    assert math.isclose(again["K_L"], 0.5, rel_tol=1e-12)


def test_an_optimum_that_is_not_there_has_a_sentence() -> None:
    found = answer(*BASE[:4], "--depth", 20, "--k0", 1)["rho_star"]
    assert {name: entry["value"] for name, entry in found.items()} == dict.fromkeys(found)
    assert "no room before saturation" in found["diag"]["reason"]
    assert found["offdiag"]["reason"].endswith("give --c0.")
    assert found["saturation"]["reason"].endswith("give --k-sat.")
    feed_forward = answer("--block", "feed-forward", "--activation", "erf", "--c0", 0.5, "--k-sat", 2)
    assert all("no skip branch" in entry["reason"] for entry in feed_forward["rho_star"].values())


def test_synonyms_and_defaults() -> None:
    one = answer(*BASE, "--rho", 0.2, "--e0", 0.5)
    other = answer(*BASE, "--block", "res-1", "--gain", 0.2, "--beta", 0, "--c0", 0.5, "--seed", 3)
    assert other.pop("seed") == 3
    assert one.pop("seed") == 0
    assert one == other
    scaled = answer(*BASE, "--beta", 0.5, "--gain", 0.2 * math.sqrt(20))
    assert math.isclose(scaled["NVar_C_out"], one["NVar_C_out"], rel_tol=1e-12)
    own = answer(*BASE, "--rho", 0.2, "--out-sw2", 2, "--out-sb2", 0)
    assert math.isclose(own["NVar_C_out"], 4 * one["NVar_C_out"], rel_tol=1e-12)
    assert math.isclose(own["C_out"], 2 * (one["C_out"] - 0.05), rel_tol=1e-12)


def test_the_table_for_people() -> None:
    status, output, errors = run(*BASE, "--rho", 0.2365, command="finite-width")
    assert (status, errors) == (0, "")
    assert "0.2499635" in output
    assert "0.2364991" in output
    assert "none" in output
    assert "give --c0." in output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--block", "res-3"), "--block res-3: the 1/width theory is known for one matrix"),
        (("--block", "reduced"), "--block reduced: the 1/width theory is known for one matrix"),
        (("--block", "full", "--activation", "erf"), "--block full: the 1/width theory"),
        (("--law", "fractional", "--hurst", 0.7), "known for white Gaussian weights; give --law white"),
        (("--entries", "uniform"), "known for white Gaussian weights"),
        (("--activation", "alpha-relu:0.7"), "AlphaReLU(alpha=0.7) is not known; give erf"),
        (("--rho", 0.2, "--gain", 0.2), "--rho is the same as --gain; give one of them"),
        (("--block", "feed-forward", "--rho", 0.2), "leave out --beta, --gain and --skip"),
        (("--block", "feed-forward", "--beta", 0), "leave out --beta, --gain and --skip"),
        (("--sv2", 1), "--sv2: block res-1 has one matrix"),
        (("--depth", 10_000), "is not an integer from 1 to 3000"),
        (("--c0", 2), "is not a number from -1 to 1"),
        (("--activation", "linear", "--rho", 100, "--depth", 100), "leaves the range"),
    ],
    ids=lambda x: "-".join(map(str, x)).replace("--", "") if isinstance(x, tuple) else None,
)
def test_refusals(words: tuple[object, ...], sentence: str) -> None:
    assert sentence in refusal(*words)


def test_the_help_page_is_light() -> None:
    words = ["finite-width", "--help"]
    code = (
        "import sys; from resnet_sde.cli import main\n"
        f"try: main({words})\n"
        "finally: print('torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "Kernels of wide networks to order 1/width" in shown
    assert "[default: res-1]" in shown
    assert shown.endswith("False\n")
