"""`resnet-sde converge`: error bars, theory and verdicts beside every order, and progress."""

import json
import math
from typing import Any

import pytest
import torch
from command_line import run

import resnet_sde as rs
from resnet_sde.cli import converge as converge_module

SMALL = ("--width", 3, "--depth", 4, "--depth", 8, "--depth", 16)


def answer(*words: object) -> dict[str, Any]:
    status, output, errors = run(*words, "--json", command="converge")
    assert (status, errors) == (0, "")
    return json.loads(output)


def lines(*words: object) -> dict[str, str]:
    """The lines about orders, by the first word."""
    status, output, errors = run(*words, command="converge")
    assert (status, errors) == (0, "")
    return {line.split()[0]: line for line in output.splitlines() if "order" in line}


def test_the_default_model_shows_an_order() -> None:
    """At a smaller size than the one that it has, for speed."""
    found = answer("--depth", 16, "--depth", 64, "--width", 16, "--samples", 400)
    assert (found["model"]["block"], found["model"]["law"], found["status"]) == ("res-1", "white", "holds")
    assert found["verdicts"]["strong_order"] == {"expected": 0.5, "status": "holds", "reason": None}
    assert found["strong_order"]["high"] - found["strong_order"]["low"] < 0.2


@pytest.mark.parametrize("block", ["res-1", "res-3"])
def test_noise_is_no_order(block: str) -> None:
    """Few networks: no number is printed as a measurement, neither the bound of the fit nor another."""
    words = (*SMALL, "--block", block, "--samples", 5)
    found = answer(*words)
    verdict = found["verdicts"]["weak_order"]
    assert (verdict["expected"], verdict["status"]) == (1.0, "undecided")
    assert "is not told from 0 by 5 networks; give more --samples" in verdict["reason"]
    line = lines(*words)["Weak"]
    assert line.startswith("Weak order undecided: the weak error at depth")
    assert line.endswith("; theory 1")


def test_an_order_of_weak_errors_that_shows() -> None:
    """Constant weights of linear networks: a large error at all depths, which the same networks share."""
    linear = ("--law", "constant", "--activation", "linear", "--width", 2)
    words = (*linear, "--samples", 1000, "--depth", 64, "--depth", 128)
    found = answer(*words)
    assert found["weak_order"]["value"] == pytest.approx(1.0, abs=0.2)
    assert found["verdicts"]["weak_order"]["expected"] == 1.0
    shown = lines(*words)
    assert shown["Weak"].endswith("; theory 1, holds")
    assert shown["Weak"].startswith(f"Weak order {found['weak_order']['value']:.3f} [")
    assert shown["Strong"].endswith("; theory 1, holds")


def test_the_end_of_the_fit_is_no_measurement() -> None:
    """Five networks, four seeds: weak errors that grow or fall faster than any rate that is tried."""
    for seed in range(4):
        found = answer(*SMALL, "--samples", 5, "--seed", seed)["weak_order"]
        assert found["value"] is None or -1.99 < found["value"] < 3.99


def test_one_network_has_no_interval() -> None:
    found = answer(*SMALL, "--samples", 1)
    assert (found["strong_order"]["low"], found["strong_order"]["high"]) == ("-inf", "inf")
    assert found["verdicts"]["strong_order"]["status"] == "undecided"


def test_an_order_that_is_too_small_is_undecided_with_its_reason() -> None:
    words = (*SMALL, "--activation", "tanh", "--samples", 40)
    verdict = answer(*words)["verdicts"]["strong_order"]
    assert verdict["status"] == "undecided"
    assert "give more --samples" in verdict["reason"]
    assert f"({verdict['reason']})" in lines(*words)["Strong"] or "undecided: " in lines(*words)["Strong"]


def test_bars_are_those_of_the_networks() -> None:
    """Beside every error its interval; that of the mean of the squares, by hand, at the strong error."""
    model = rs.Model(rs.SingleLayer(rs.RELU), rs.WhiteNoise(), 3)
    x = converge_module._embed(rs.datasets.parse_input("digits:3"), 3, 50, 0)
    result = rs.couple(model, x, depths=(4, 8, 16), samples=50, reference=128)
    assert result.intervals.keys() == {"strong_errors", "sup_errors", "weak_errors"}
    for name in ("strong_errors", "sup_errors"):
        for error, bar in zip(getattr(result, name), result.intervals[name], strict=True):
            assert bar.low <= bar.value <= bar.high
            assert bar.value == pytest.approx(error)
    for error, bar in zip(result.weak_errors, result.intervals["weak_errors"], strict=True):
        assert abs(bar.value) == pytest.approx(error)
    found = answer(*SMALL, "--samples", 50, "--input", "digits:3")["intervals"]
    assert [each["high"] for each in found["strong_errors"]] == [
        b.high for b in result.intervals["strong_errors"]
    ]
    status, output, _ = run(*SMALL, "--samples", 50, "--input", "digits:3", command="converge")
    assert status == 0
    assert output.splitlines()[2].count(" ± ") == 3


def test_theory_of_weak_orders() -> None:
    white, rough = rs.WhiteNoise(), rs.FractionalNoise(0.8)
    assert rs.limit(rs.Model(rs.SingleLayer(rs.RELU), white, 2)).weak_order == 1
    assert rs.limit(rs.Model(rs.TwoLayer(rs.TANH, sigma_b2=1.0), white, 2)).weak_order == 1
    assert rs.limit(rs.Model(rs.SingleLayer(rs.RELU, sigma_b2=1.0), white, 2)).weak_order is None
    assert rs.limit(rs.Model(rs.SingleLayer(rs.TANH), rough, 2)).weak_order is None


@pytest.mark.parametrize(
    ("block", "width", "options"),
    [
        (rs.SingleLayer(rs.TANH), 40, {}),
        (rs.SingleLayer(rs.TANH), 4, {"gradients": True}),
        (rs.TwoLayer(rs.RELU), 4, {}),
    ],
    ids=["deferred", "gradients", "dense"],
)
def test_progress_adds_up_and_changes_nothing(block: rs.Block, width: int, options: dict[str, Any]) -> None:
    model, seen = rs.Model(block, rs.WhiteNoise(), width), []
    request: dict[str, Any] = {"depths": (4, 8), "samples": 300, "reference": 16, **options}
    x = torch.ones(1, width)
    told = rs.couple(model, x, done=seen.append, **request)
    assert len(seen) > 2
    assert sum(seen) == pytest.approx(300)
    assert min(seen) > 0
    assert told.weak_errors == rs.couple(model, x, **request).weak_errors


def test_an_error_without_interval() -> None:
    assert converge_module._half(rs.estimate.Estimate(1.0, -math.inf, math.inf)) == ""
