"""`resnet-sde study`: ensembles of networks over a grid."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import resnet_sde as rs
from resnet_sde._json import json_number
from resnet_sde.checks import check_memory
from resnet_sde.cli.options import (
    MODEL_OPTIONS,
    NUMBERS_OF_LAWS,
    RUN_OPTIONS,
    ChosenLaw,
    Command,
    Number,
    coordinates,
    device_of,
    emit,
    in_table,
    make_model,
    model_axes,
    names_of,
    with_options,
)
from resnet_sde.cli.places import Folder
from resnet_sde.parts import LAWS, choices
from resnet_sde.runs.cluster import engine

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

log = logging.getLogger("resnet_sde")

GAUSSIAN_INPUT = 64  # dimension of the Gaussian input
RATIOS = ("displacement", "growth", "gradient_displacement", "gradient_growth")


@click.command("study", cls=Command)
@with_options(MODEL_OPTIONS)
@click.option(
    "--depth",
    type=Number(int, 1, 10**7, "100"),
    multiple=True,
    default=[10, 100, 1000],
    show_default=True,
    help="Number of layers. Repeatable.",
)
@click.option(
    "--input",
    "source",
    default="digits",
    show_default=True,
    help="digits[:i], fashion-mnist:DIR[:i], mnist:DIR[:i], cifar10:DIR[:i] or gaussian; with i that image, "
    "without it each network takes the next one.",
)
@click.option("--out", type=Folder(), help="Folder for the dataset and the figure; resumes.")
@with_options(RUN_OPTIONS)
def study_command(**given: Any) -> None:
    """Growth of states and gradients over a grid of models.

    Prints ‖h_L − h_0‖ / ‖h_0‖ and ‖p_0 − p_L‖ / ‖p_L‖ over random networks, one row for each model and one
    column for each depth. A repeatable option that is given several times makes a grid with all others.
    """
    import torch

    device = device_of(given["device"])
    out: Path | None = given["out"]
    axes = {**model_axes(given), "depth": list(dict.fromkeys(given["depth"]))}
    fixed = {name: values[0] for name, values in axes.items() if len(values) == 1 and name not in _ALWAYS}
    over = {name: values for name, values in axes.items() if name not in fixed}
    x = inputs(given["source"], given["samples"], given["seed"])
    made: list[tuple[ChosenLaw, rs.Model]] = []

    def build(**point: Any) -> rs.Model:
        made.append((point["law"], make_model({**fixed, **point})))
        return made[-1][1]

    with engine(given["cluster"], given["workers"]) as how:
        dataset = rs.study(
            build,
            x.to(dtype=getattr(torch, given["dtype"]), device=device),
            over=over,
            samples=given["samples"],
            observe=rs.observables.LOG_RATIOS,
            method=given["method"],
            seed=given["seed"],
            store=out,
            progress=True,
            **how,
        )
    dataset.attrs["input"] = given["source"]
    labels = {"block": fixed.get("block"), "activation": fixed.get("activation")}
    cells = _cells(dataset, made, {name: label for name, label in labels.items() if label is not None})
    table = "\n".join(_tables(cells, list(over["depth"])))
    if not given["as_json"]:
        emit(table)  # before anything else can go wrong
    lost: Exception | None = None
    files: dict[str, str | None] = {}
    if out is not None:
        try:
            files["dataset"] = _write(dataset, out)
        except OSError as error:
            lost = error
        files["figure"] = _draw(cells, [model for _, model in made], out, given)
    if given["as_json"]:
        emit(json.dumps({**_header(dataset, cells), **files, "cells": cells}, allow_nan=False))
    for name, path in files.items() if not given["as_json"] else ():
        if path is not None:
            emit(f"{name}: {path}")
    if lost is not None:
        raise lost


_DEEPEST_WHITE, _DEEPEST = 10**5, 2000  # of the theory in a figure, linear and quadratic in depth
_ALWAYS = ("law", "beta", "depth")


def inputs(source: str, samples: int, seed: int) -> Tensor:
    """(1, n_in) for one chosen image, else (samples, 1, n_in)."""
    import torch

    from resnet_sde.datasets import parse_input

    needed = 8 * samples * GAUSSIAN_INPUT  # of the smallest inputs that there are
    if not source.rpartition(":")[2].isdecimal():
        check_memory(f"inputs of {samples} networks", needed, "give fewer --samples, or one image for all")
    if source == "gaussian":
        return torch.randn(
            samples, 1, GAUSSIAN_INPUT, generator=rs.generator(seed, "input"), dtype=torch.float64
        )
    try:
        images = parse_input(source, at_most=samples)
    except OSError as error:
        raise click.UsageError(
            f"--input {source}: {error.strerror}; give a folder that can be read."
        ) from None
    tail = source.rpartition(":")[2]
    if len(images) == 1 and tail.isdecimal():
        return images
    return images[torch.arange(samples) % len(images)][:, None]


def _cells(
    dataset: Any, made: list[tuple[ChosenLaw, rs.Model]], labels: dict[str, str]
) -> list[dict[str, Any]]:
    """One record a cell, in the order of the grid."""
    import numpy as np

    axes = dataset["model"].dims
    cells = []
    for (law, model), index in zip(made, np.ndindex(dataset["model"].shape), strict=True):
        point = dataset.isel(dict(zip(axes, index, strict=True)))
        own = {name: point[name].item() for name in axes if name != "law"}
        cell: dict[str, Any] = {
            **labels,
            **dict(coordinates(law, model)),
            **own,
            "method": point["method"].item(),
        }
        cell.update(names_of(cell))
        for ratio in RATIOS:
            cell[ratio] = _statistics(point[f"log10_{ratio}"].values.ravel())
        exact = _exact(model, cell["depth"])
        for ratio, value in exact.items():
            cell[ratio]["exact_mean_square"] = value
        cells.append(cell)
    return cells


def _statistics(log10: np.ndarray) -> dict[str, float | str | None]:
    """Statistics over networks of a ratio, given in logarithms."""
    import numpy as np

    with np.errstate(all="ignore"):
        ratio = 10.0**log10
        square = ratio**2
        root = math.sqrt(len(log10))
        spread = [np.std(v, ddof=1) / root if len(v) > 1 else math.nan for v in (ratio, square)]
        low, median, high = _quantiles(log10, [0.05, 0.5, 0.95])
        values = {
            "mean": ratio.mean(),
            "se": spread[0],
            "mean_square": square.mean(),
            "mean_square_se": spread[1],
            "median": median,
            "q05": low,
            "q95": high,
            "log10_mean": log10.mean(),
        }
    return {name: json_number(value) for name, value in values.items()}


def _quantiles(log10: np.ndarray, levels: list[float]) -> np.ndarray:
    """Quantiles of a ratio; between two values that both overflow, of its logarithm."""
    import numpy as np

    quantiles = np.quantile(10.0**log10, levels)
    return np.where(np.isnan(quantiles), 10.0 ** np.quantile(log10, levels), quantiles)


def _exact(model: rs.Model, depth: int) -> dict[str, float | str | None]:
    """Exact mean squares, where the theory of Marion et al. gives them."""
    try:
        moments = rs.finite_width.homogeneous_moments(model, depth)
    except (ValueError, NotImplementedError):
        return {}
    displacement, growth = moments.mean_square_displacement, moments.mean_square_growth
    values = dict(zip(RATIOS, (displacement, growth, displacement, growth), strict=True))
    return {name: json_number(value) for name, value in values.items()}


def _header(dataset: Any, cells: list[dict[str, Any]]) -> dict[str, Any]:
    """What the cells have in common."""
    shared = {name: value for name, value in cells[0].items() if all(c.get(name) == value for c in cells)}
    model = {name: value for name, value in shared.items() if name not in (*RATIOS, "method", "depth")}
    versions = json.loads(dataset.attrs["versions"])
    return {
        "model": model,
        "seed": int(dataset.attrs["seed"]),
        "versions": versions,
        "method": dataset.attrs["method"],
    }


def _write(dataset: Any, out: Path) -> str:
    """Leave the dataset in the folder; its path."""
    from resnet_sde.runs.store import write_whole

    path = out / "study.nc"
    plain = dataset.assign_attrs(seed=str(dataset.attrs["seed"]))
    write_whole(path, bytes(plain.to_netcdf(engine="scipy")))
    return str(path)


def _draw(
    cells: list[dict[str, Any]], models: list[rs.Model], out: Path, given: Mapping[str, Any]
) -> str | None:
    """Leave the figure in the folder; its path, or None and a warning where it cannot be drawn."""
    path = out / "study.png"
    try:
        from resnet_sde.plots import draw_ratios, figure_bytes
        from resnet_sde.runs.store import write_whole

        shown = [_with_theory(cell, model) for cell, model in zip(cells, models, strict=True)]
        figure = draw_ratios(shown, samples=given["samples"], seed=given["seed"])
        write_whole(path, figure_bytes(figure))
    except Exception as error:  # fonts, LaTeX, styles, disks: nothing of a picture may cost the numbers
        what = " ".join(str(error).split())
        if path.is_file():
            path.unlink()
            what += "; the picture of an earlier study was removed"
        log.warning("%s could not be drawn, the numbers are not affected: %s", path, what)
        return None
    return str(path)


def _with_theory(cell: dict[str, Any], model: rs.Model) -> dict[str, Any]:
    """The cell with its mean squares at infinite width, where they are known and cost seconds at most."""
    from resnet_sde import meanfield

    ratios = ("displacement", "gradient_displacement")
    if cell["depth"] > (_DEEPEST_WHITE if model.law.independent else _DEEPEST):
        return cell
    try:
        found = meanfield.displacement(model, depth=cell["depth"], every_layer=False)
    except (ValueError, NotImplementedError):
        return cell
    theory = zip(ratios, (float(found.forward[-1]), float(found.gradient[0])), strict=True)
    return {**cell, **{name: {**cell[name], "mean_field_mean_square": square} for name, square in theory}}


def _tables(cells: list[dict[str, Any]], depths: list[int]) -> Iterator[str]:
    """Two tables, forward and backward: a row for each model, a column for each depth."""
    titles = {"displacement": "‖h_L − h_0‖ / ‖h_0‖", "gradient_displacement": "‖p_0 − p_L‖ / ‖p_L‖"}
    names = _row_names(cells)
    for ratio, title in titles.items():
        yield f"{title}, mean over networks ± standard error"
        table = [[*names, *(f"L = {depth}" for depth in depths)]]
        for start in range(0, len(cells), len(depths)):
            row = cells[start : start + len(depths)]
            table.append(
                [in_table(row[0].get(name)) for name in names] + [_plus_minus(c[ratio]) for c in row]
            )
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for line in table:
            yield "  ".join(entry.rjust(width) for entry, width in zip(line, widths, strict=True))
        yield ""


def _row_names(cells: list[dict[str, Any]]) -> list[str]:
    """Coordinates that tell the rows of the table apart, and law and beta always."""
    names = dict.fromkeys(n for c in cells for n, v in c.items() if not isinstance(v, dict))
    values = {n: {c[n] for c in cells if n in c} for n in names if n not in ("depth", "method")}
    one_law = all(n in c for c in cells for n in NUMBERS_OF_LAWS if n in names)
    return [
        n
        for n in sorted(values, key=lambda n: n not in ("block", "activation", "law", *choices(LAWS)))
        if n in ("law", "beta") or len(values[n]) > 1 or (n in NUMBERS_OF_LAWS and not one_law)
    ]


def _plus_minus(statistics: dict[str, Any]) -> str:
    mean, se = statistics["mean"], statistics["se"]
    if not isinstance(mean, float):
        size = statistics["log10_mean"]
        return f"10^{size:.1f}" if isinstance(size, float) else "undefined"
    parts = [f"{mean:.3g}"] if not isinstance(se, float) else [f"{mean:.3g}", f"{se:.1g}"]
    return " ± ".join(f"{float(part):g}" for part in parts)
