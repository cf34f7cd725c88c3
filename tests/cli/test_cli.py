"""The program `resnet-sde study`, held to its contract: words in, tables, JSON and exit status out."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from command_line import TINY, cells, idx_folder, run
from scipy.stats import norm
from waiting import PATIENCE

import resnet_sde as rs
from resnet_sde import observables as ob
from resnet_sde.cli import main
from resnet_sde.datasets import parse_input
from resnet_sde.plots import draw_ratios, figure_bytes

RATIOS = ("displacement", "growth", "gradient_displacement", "gradient_growth")
STATISTICS = {"mean", "se", "mean_square", "mean_square_se", "median", "q05", "q95", "log10_mean"}
# With other seeds, one run of this file in a thousand would fail: its 54 comparisons share that level.
QUANTILE = norm.isf(1e-3 / 54 / 2)

# What is printed


def test_json_has_the_keys_of_the_contract() -> None:
    words = ("--beta", 0.5, "--beta", 1, "--law", "white", "--law", "fractional", "--hurst", 0.3)
    status, output, errors = run(*TINY, *words, "--seed", 4, "--json")
    assert (status, errors) == (0, "")
    assert output.count("\n") == 1
    answer = json.loads(output)
    assert answer["seed"] == 4
    assert answer["versions"] == {
        **{"resnet_sde": rs.__version__, "torch": torch.__version__, "numpy": np.__version__}
    }
    assert answer["model"] == {
        **{"block": "res-3", "activation": "relu", "width": 3, "gain": 1.0, "skip": 1.0},
        **{"sw2": 1.0, "sb2": 0.0, "sv2": 1.0, "sa2": 0.0},
    }
    white = {"law": "white", "entries": "gaussian", "depth": 2, "method": "deferred"}
    fractional = {"law": "fractional", "hurst": 0.3, "depth": 2, "method": "dense"}
    expected = [{**law, "beta": beta} for law in (white, fractional) for beta in (0.5, 1.0)]
    assert [
        {name: cell.get(name) for name in e} for cell, e in zip(answer["cells"], expected, strict=True)
    ] == expected
    for cell in answer["cells"]:
        assert "hurst" not in cell or "entries" not in cell
        for ratio in RATIOS:
            assert STATISTICS <= cell[ratio].keys() <= STATISTICS | {"exact_mean_square"}


def test_defaults() -> None:
    found = cells("--samples", 1, "--width", 2)
    assert [cell["depth"] for cell in found] == [10, 100, 1000]
    for cell in found:
        assert (cell["block"], cell["activation"], cell["law"], cell["beta"]) == (
            "res-3",
            "relu",
            "white",
            0.5,
        )
        for ratio in RATIOS:
            assert cell[ratio]["se"] is cell[ratio]["mean_square_se"] is None
            assert cell[ratio]["median"] == pytest.approx(cell[ratio]["mean"], rel=1e-12)


@pytest.mark.parametrize("samples", [10, 11])
def test_statistics_are_those_of_the_ratios(samples: int) -> None:
    words = ("--samples", samples, "--depth", 5, "--width", 4, "--seed", 2, "--dtype", "float64")
    (cell,) = cells(*words, "--input", "digits")
    model = rs.Model(rs.TwoLayer(rs.RELU), rs.WhiteNoise(), 4)
    x = parse_input("digits")[:samples, None]
    observe = [ob.displacement, ob.growth, ob.gradient_displacement, ob.gradient_growth]
    own = rs.simulate(model, x, depth=5, samples=samples, observe=observe, seed=2)
    for ratio in RATIOS:
        values = own[ratio].numpy().ravel()
        root = math.sqrt(samples)
        expected = {
            "mean": values.mean(),
            "se": values.std(ddof=1) / root,
            "mean_square": (values**2).mean(),
            "mean_square_se": (values**2).std(ddof=1) / root,
            "median": np.median(values),
            "q05": np.quantile(values, 0.05),
            "q95": np.quantile(values, 0.95),
            "log10_mean": np.log10(values).mean(),
        }
        assert {name: cell[ratio][name] for name in expected} == pytest.approx(expected, rel=1e-12)


def test_the_table() -> None:
    laws = ("--law", "fractional", "--hurst", 0.3, "--hurst", 0.7, "--law", "white")
    status, output, errors = run(*TINY, *laws, "--depth", 4, "--beta", 1, "--width", 2)
    assert (status, errors) == (0, "")
    forward, backward = output.strip().split("\n\n")
    for table, title in ((forward, "‖h_L − h_0‖ / ‖h_0‖"), (backward, "‖p_0 − p_L‖ / ‖p_L‖")):
        first, head, *rows = table.splitlines()
        assert first == f"{title}, mean over networks ± standard error"
        assert head.replace("L = ", "L=").split() == ["law", "hurst", "width", "beta", "L=2", "L=4"]
        starts = [row.split()[:4] for row in rows]
        assert starts[:4] == [["fractional", h, d, "1"] for h in ("0.3", "0.7") for d in ("3", "2")]
        assert [start[:2] for start in starts[4:]] == [["white", "3"], ["white", "2"]]
        assert all(row.count("±") == 2 and len(row) == len(head) for row in rows)


def test_python_m_and_the_program_are_the_same() -> None:
    words = ["study", "--help"]
    program = Path(sys.executable).with_name("resnet-sde")
    runs = [
        subprocess.run([*start, *words], capture_output=True, text=True, check=True, cwd="/")
        for start in ([sys.executable, "-m", "resnet_sde"], [program])
        if start[0] is not program or program.exists()
    ]
    assert all(run.stdout == runs[0].stdout and not run.stderr for run in runs)
    assert runs[0].stdout.startswith("Usage: resnet-sde study ")


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = [sys.executable, "-m", "resnet_sde", "study", *map(str, TINY)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE) == 0


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["-h"], ["study", "--help"], ["--version"]):
        with pytest.raises(SystemExit) as left:
            main(words)
        seen = capsys.readouterr()
        assert (left.value.code, seen.err) == (0, "")
        assert "resnet-sde" in seen.out
        assert max(map(len, seen.out.splitlines())) <= 110
    with pytest.raises(SystemExit) as left:
        main([])
    seen = capsys.readouterr()
    assert (left.value.code, seen.out) == (2, "")
    assert "study" in seen.err


# What is computed


@pytest.mark.parametrize("entries", ["gaussian", "uniform", "rademacher"])
def test_exact_means_on_digits(entries: str) -> None:
    """Flat at β = 1/2 and decaying at β = 1 with (1 + L^{−2β}/2)^L − 1; growing at β = 1/4."""
    words = ("--input", "digits", "--width", 20, "--samples", 1000, "--depth", 10, "--depth", 40)
    found = cells(*words, "--entries", entries, "--beta", 0.5, "--beta", 1, "--beta", 0.25)
    for cell in found[:4]:  # at β = 1/4 the mean square is that of a few networks, so no interval holds it
        exact = (1 + cell["depth"] ** (-2 * cell["beta"]) / 2) ** cell["depth"]
        for ratio in RATIOS:
            mean_square = exact - 1 if ratio.endswith("displacement") else exact
            assert cell[ratio]["exact_mean_square"] == pytest.approx(mean_square, rel=1e-12)
            z = (cell[ratio]["mean_square"] - mean_square) / cell[ratio]["mean_square_se"]
            assert abs(z) < QUANTILE
    medians = np.array([cell["displacement"]["median"] for cell in found]).reshape(3, 2)
    flat, decay, explosion = medians[:, 1] / medians[:, 0]
    assert 0.8 < flat < 1.25
    assert 0.4 < decay < 0.65  # 1/2 in the limit
    assert explosion > 1.5


@pytest.mark.parametrize(
    ("words", "strength"),
    [
        (("--block", "res-1", "--activation", "linear", "--sw2", 2), 2.0),
        (("--block", "res-2", "--activation", "leaky-relu:0.5", "--sw2", 2, "--sv2", 0.5), 0.625),
        (("--block", "full", "--activation", "linear", "--gain", 0.5), 0.25),
    ],
    ids=str,
)
def test_exact_means_with_variances_and_gain(words: tuple[object, ...], strength: float) -> None:
    (cell,) = cells(*words, "--samples", 200, "--width", 16, "--depth", 20, "--input", "gaussian")
    mean_square = (1 + strength / 20) ** 20 - 1
    for ratio in ("displacement", "gradient_displacement"):
        assert cell[ratio]["exact_mean_square"] == pytest.approx(mean_square, rel=1e-12)
        z = (cell[ratio]["mean_square"] - mean_square) / cell[ratio]["mean_square_se"]
        assert abs(z) < QUANTILE


@pytest.mark.parametrize(
    "block", ["res-1", "feed-forward", "reduced", "res-2", "full", "res-3"], ids="of {}".format
)
def test_variances_are_those_of_the_contract(block: str) -> None:
    two = block in ("res-2", "res-3", "full")
    variances = {"sw2": 2.0, "sb2": 0.5, **({"sv2": 3.0, "sa2": 0.25} if two else {})}
    words = [word for name, value in variances.items() for word in (f"--{name}", value)]
    (cell,) = cells(*TINY, "--block", block, *words, "--dtype", "float64")
    assert {name: cell[name] for name in variances} == variances
    assert two or not {"sv2", "sa2"} & cell.keys()
    fields = {f"sigma_{name[1:]}": value for name, value in variances.items()}
    kind = {"res-1": rs.SingleLayer, "feed-forward": rs.SingleLayer, "reduced": rs.Reduced}
    beta, skip = (0.0 if block in ("reduced", "feed-forward") else 0.5), float(block != "feed-forward")
    model = rs.Model(kind.get(block, rs.TwoLayer)(rs.RELU, **fields), rs.WhiteNoise(), 3, beta, skip=skip)
    assert (cell["beta"], cell["skip"]) == (beta, skip)
    own = rs.simulate(
        model, parse_input("digits:0"), depth=2, samples=3, observe=[ob.growth, ob.gradient_growth]
    )
    for ratio in ("growth", "gradient_growth"):
        assert cell[ratio]["mean"] == pytest.approx(own[ratio].mean().item(), rel=1e-12)


@pytest.mark.parametrize(
    "name", ["linear", "relu", "leaky-relu:0.3", "tanh", "erf", "gelu", "sigmoid", "alpha-relu:0.75"]
)
def test_every_activation(name: str) -> None:
    blocks = [word for block in ("res-1", "res-2", "full") for word in ("--block", block)]
    for cell in cells(*TINY, *blocks, "--activation", name):
        assert cell["activation"] == name
        assert all(math.isfinite(cell[ratio]["mean"]) for ratio in RATIOS)
    assert all(
        math.isfinite(c["growth"]["mean"]) for c in cells(*TINY, "--block", "reduced", "--activation", name)
    )


def test_omitted_beta_is_critical() -> None:
    laws = ("--law", "white", "--law", "smooth", "--law", "constant", "--law", "fractional", "--hurst", 0.8)
    assert [c["beta"] for c in cells(*TINY, *laws)] == [0.5, 1.0, 1.0, 0.8]
    assert [
        c["beta"] for c in cells(*TINY, *laws, "--block", "res-2", "--activation", "tanh")
    ] == pytest.approx([0.5, 1.0, 1.0, 0.6])
    assert [c["beta"] for c in cells(*TINY, *laws, "--block", "feed-forward")] == [0.0] * 4
    assert [c["beta"] for c in cells(*TINY, *laws, "--block", "reduced")] == [0.0] * 4
    assert [c["beta"] for c in cells(*TINY, "--block", "reduced", "--beta", 1)] == [1.0]


def test_options_of_a_law_multiply_its_cells_only() -> None:
    words = ("--law", "white", "--law", "fractional", "--law", "smooth", "--law", "constant")
    options = ("--hurst", 0.3, "--hurst", 0.7, "--length-scale", 0.1, "--length-scale", 0.5)
    found = cells(*TINY, *words, *options, "--entries", "uniform", "--entries", "gaussian", "--beta", 1)
    names = ("law", "entries", "hurst", "length_scale")
    assert [tuple(cell[name] for name in names if name in cell) for cell in found] == [
        *(("white", "uniform"), ("white", "gaussian"), ("fractional", 0.3), ("fractional", 0.7)),
        *(("smooth", 0.1), ("smooth", 0.5), ("constant",)),
    ]
    repeated = cells(*TINY, *("--law", "white") * 2, *("--beta", 1, "--beta", 1.0), *("--width", 3) * 2)
    assert len(repeated) == 1
    (smooth,) = cells(*TINY, "--law", "smooth")
    assert smooth["length_scale"] == 0.1


def test_all_other_options_multiply_all_cells() -> None:
    names = {"block": ["res-2", "full"], "activation": ["relu", "tanh"], "width": [2, 3], "beta": [0.5, 1.0]}
    more = {"gain": [1.0, 2.0], "sb2": [0.0, 0.1], "depth": [2, 3]}
    axes = {**names, **more}
    words = [word for name, values in axes.items() for value in values for word in (f"--{name}", value)]
    found = cells("--samples", 1, "--input", "digits:0", *words)
    assert len(found) == 2 ** len(axes) == len({tuple(cell[name] for name in axes) for cell in found})


def test_explosion_is_a_number() -> None:
    words = ("--samples", 4, "--width", 4, "--depth", 500, "--beta", -2, "--input", "digits:0")
    (cell,) = cells(*words)
    for ratio in RATIOS:
        assert cell[ratio]["mean"] == cell[ratio]["mean_square"] == cell[ratio]["q95"] == "inf"
        assert cell[ratio]["se"] is None
        assert 1000 < cell[ratio]["log10_mean"] < 10_000
    assert f"10^{cell['displacement']['log10_mean']:.1f}" in run(*words)[1]


def test_undefined_is_null() -> None:
    """The states of a branch that is not homogeneous leave their range: their difference has no size."""
    words = ("--block", "res-2", "--activation", "gelu", "--beta", -2, "--depth", 300)
    (cell,) = cells("--samples", 2, "--width", 4, "--input", "digits:0", *words)
    assert cell["displacement"]["mean"] is cell["displacement"]["log10_mean"] is None
    assert "undefined" in run("--samples", 2, "--width", 4, "--input", "digits:0", *words)[1]


def test_nothing_moves_without_gain() -> None:
    (cell,) = cells(*TINY, "--gain", 0)
    assert cell["displacement"]["mean"] == cell["displacement"]["median"] == 0.0
    assert cell["displacement"]["log10_mean"] == "-inf"
    assert cell["growth"]["mean"] == 1.0


def test_skip_and_seed_and_method_and_dtype() -> None:
    variants = [
        (),
        ("--seed", 1),
        ("--method", "dense"),
        ("--dtype", "float64"),
        ("--skip", 0.5, "--beta", 0.5),
    ]
    means = [cells(*TINY, *words)[0]["growth"]["mean"] for words in variants]
    assert len(set(means)) == len(variants)
    assert means[0] == cells(*TINY)[0]["growth"]["mean"]


# Inputs


def inputs_of(monkeypatch: pytest.MonkeyPatch, *words: object) -> torch.Tensor:
    """What the verb is given as inputs."""
    seen = []
    real = rs.study
    monkeypatch.setattr(rs, "study", lambda build, x, **rest: seen.append(x) or real(build, x, **rest))
    status, _, errors = run(*words)
    assert status == 0, errors
    return seen[0]


def test_images_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 4), dtype=np.uint8)
    folder = idx_folder(tmp_path / "images", pixels)
    flat = pixels.reshape(3, 1, 16).astype(float)
    standard = (flat - flat.mean(-1, keepdims=True)) / flat.std(-1, keepdims=True)
    words = ("--samples", 5, "--depth", 2, "--width", 3, "--dtype", "float64", "--input")
    x = inputs_of(monkeypatch, *words, f"mnist:{folder}")
    np.testing.assert_allclose(x, standard[[0, 1, 2, 0, 1]], rtol=1e-12)
    x = inputs_of(monkeypatch, *words, f"fashion-mnist:{folder}:2")
    np.testing.assert_allclose(x, standard[2], rtol=1e-12)


def test_one_image_for_all_networks_or_the_next_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    assert inputs_of(monkeypatch, *TINY[:-2], "--input", "digits:5").shape == (1, 64)
    x = inputs_of(monkeypatch, *TINY[:-2], "--input", "digits")
    torch.testing.assert_close(x, parse_input("digits")[:3, None].float())
    x = inputs_of(monkeypatch, *TINY[:-2], "--input", "gaussian")
    assert (x.shape, x.dtype) == ((3, 1, 64), torch.float32)
    assert len({row.sum().item() for row in x}) == 3


# Files


def test_the_folder_holds_the_dataset_and_the_figure(tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    words = (*TINY, "--law", "white", "--law", "smooth", "--depth", 3, "--seed", 2**63, "--out", out)
    status, output, errors = run(*words, "--json")
    assert (status, errors) == (0, "")
    answer = json.loads(output)
    assert (answer["dataset"], answer["figure"]) == (str(out / "study.nc"), str(out / "study.png"))
    assert (out / "study.png").read_bytes().startswith(b"\x89PNG")
    ds = xr.load_dataset(out / "study.nc")
    assert ds.log10_displacement.dims == ("law", "depth", "sample", "input")
    assert ds.attrs["seed"] == str(2**63)
    assert ds.attrs["input"] == "digits:0"
    mean = (10.0 ** ds.log10_growth.sel(law="white", depth=3)).mean().item()
    assert mean == pytest.approx(answer["cells"][1]["growth"]["mean"], rel=1e-12)

    before = (out / "study.nc").read_bytes()
    status, output, errors = run(*words)
    assert errors == "resnet-sde: 12 of 12 networks were there already\n"
    assert output.endswith(f"dataset: {out / 'study.nc'}\nfigure: {out / 'study.png'}\n")
    assert (out / "study.nc").read_bytes() == before


def test_figures_of_every_kind_of_study() -> None:
    one = draw_ratios(cells(*TINY), samples=3, seed=0)
    assert [text.get_text() for text in one.legends[0].get_texts()] == ["networks", "exact r.m.s."]
    laws = ("--law", "white", "--law", "fractional", "--hurst", 0.3, "--beta", 0.5, "--beta", 1)
    grid = draw_ratios(cells(*TINY, *laws, "--depth", 3), samples=3, seed=0)
    labels = [text.get_text() for text in grid.legends[0].get_texts()]
    assert labels[0] == r"white, $\beta = 0.5$"
    assert labels[3] == r"fractional, $H = 0.3$, $\beta = 1$"
    assert labels[4:] == ["5 % to 95 % of networks", "exact r.m.s."]
    widths = [word for width in range(1, 60) for word in ("--width", width)]
    many = draw_ratios(cells(*TINY, *widths), samples=3, seed=0)
    assert len(many.legends[0].get_texts()) == 60
    for words in (("--gain", 0), ("--beta", -2, "--depth", 500), ("--samples", 1)):
        base = TINY[2:] if "--samples" in words else TINY
        figure = draw_ratios(cells(*base, *words), samples=3, seed=0)
        assert len(figure.axes) == 2
        assert figure_bytes(figure, dpi=20).startswith(b"\x89PNG")
