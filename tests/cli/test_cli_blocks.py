"""Gated, normalized and expanded branches on the command line."""

import json

import pytest
from command_line import run

import resnet_sde as rs
from resnet_sde.cli.options import make_model, model_axes
from resnet_sde.cli.study import study_command

SILU = rs.activation("silu")
MODELS = {
    "--block glu --activation silu --su2 0.5 --expansion 4": rs.GatedLinearUnit(SILU, 1.0, 0.5, 1.0, 4.0),
    "--block glu --pre-norm layer": rs.PreNorm(rs.GatedLinearUnit(rs.RELU), "layer"),
    "--expansion 0.5": rs.TwoLayer(rs.RELU, expansion=0.5),
    "--block res-1 --activation tanh --sb2 2 --pre-norm rms": rs.PreNorm(rs.SingleLayer(rs.TANH, 1.0, 2.0)),
}


@pytest.mark.parametrize("words", MODELS)
def test_options_make_the_block_and_records_show_it(words: str) -> None:
    context = study_command.make_context("study", words.split(), resilient_parsing=False)
    with context:
        point = {option: values[0] for option, values in model_axes(context.params).items()}
        assert make_model(point).block == MODELS[words]
    status, output, errors = run(*words.split(), "--json", command="limit")
    assert status == 0, errors
    shown = json.loads(output)["model"]
    given = dict(zip(words.split()[::2], words.split()[1::2], strict=True))
    for option, value in given.items():
        name = option.removeprefix("--").replace("-", "_")
        assert str(shown[name]).removesuffix(".0") == value
    assert ("expansion" in shown, "pre_norm" in shown) == ("--expansion" in given, "--pre-norm" in given)


def test_normalized_streams() -> None:
    """Words reach the model; a verb that knows nothing of a norm says so, in each command about formulas."""
    words = "--block res-1 --activation tanh --post-norm layer"
    context = study_command.make_context("study", words.split())
    with context:
        point = {option: values[0] for option, values in model_axes(context.params).items()}
        assert make_model(point) == rs.Model(rs.SingleLayer(rs.TANH), rs.WhiteNoise(), 40, norm="layer")
    status, output, errors = run(*words.split(), "--json", command="limit")
    shown = json.loads(output)
    assert (status, shown["model"]["post_norm"], shown["strong_order"]) == (0, "layer", 0.5), errors
    for command, more in (
        ("phase", "--block feed-forward"),
        ("finite-width", "--block res-1 --depth 4"),
        ("kernel", "--law smooth --depth 4"),
    ):
        status, output, errors = run(*more.split(), "--post-norm", "rms", command=command)
        assert (status, output) == (2, "")
        assert "streams without a normalization, and the model has norm rms" in errors
    plain, normed = (run(*f"--depth 4 --json {w}".split(), command="kernel") for w in ("", "--post-norm rms"))
    assert json.loads(plain[1])["displacement2"] != json.loads(normed[1])["displacement2"]


def test_grids_over_them() -> None:
    words = "--pre-norm rms --pre-norm layer --block glu --expansion 1 --expansion 2 --depth 4 --samples 20"
    status, output, errors = run(*words.split(), "--width", "8", "--json", command="study")
    assert status == 0, errors
    cells = json.loads(output)["cells"]
    assert {(c["expansion"], c["pre_norm"]) for c in cells} == {
        (m, n) for m in (1, 2) for n in ("rms", "layer")
    }
    assert len({c["displacement"]["mean"] for c in cells}) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--block res-1 --expansion 2", "block res-1 has one matrix"),
        ("--block glu --sb2 1", "block glu has three matrices; give its variances as --sw2 and --su2 and"),
        ("--expansion 0", "is not a number from 1e-06 to"),
        ("--pre-norm batch", "is not one of"),
        ("--pre-norm rms --pre-norm layer", "one model; give it once"),
    ],
)
def test_refusals(words: str, message: str) -> None:
    status, output, errors = run(*words.split(), command="limit")
    assert (status, output) == (2, "")
    assert message in errors
