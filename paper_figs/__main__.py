"""Compute, store, draw and check the figures: ``python -m paper_figs fig1 fig2 --budget paper``."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from inspect import signature
from pathlib import Path
from types import ModuleType

import xarray as xr

from paper_figs.criteria import Criterion
from paper_figs.style import save

FIGURES = ("fig1", "fig2", "fig3", "fig4", "fig5", "fig6", "fig7")
THEORY = (  # of wide networks
    "poole_correlations",
    "poole_lengths",
    "schoenholz_dropout",
    "schoenholz_gradients",
    "schoenholz_phases",
    "schoenholz_scales",
)
RESIDUAL = (  # of deep residual networks of large width
    "yang_alpha",
    "yang_cosines",
    "yang_gradients",
    "yang_growth",
    "yang_lengths",
    "yang_limit",
    "yang_relu",
    "yang_variances",
)
FINITE = (  # of finite width, and of the residual scale
    "fischer_exponents",
    "fischer_fluctuations",
    "fischer_kernels",
    "fischer_optimum",
    "fischer_pairs",
    "fischer_posterior",
    "fischer_regression",
    "fischer_response",
    "fischer_separation",
)
PICTURES = (*FIGURES, "trajectories", *THEORY, *RESIDUAL, *FINITE)
LARGEST_INTEGER = 2**31 - 1  # of a netCDF 3 file


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 1 if a criterion fails beyond the smoke budget, 2 if the request cannot be served."""
    options = parser().parse_args(arguments)
    names = PICTURES if "all" in options.figures else tuple(dict.fromkeys(options.figures))
    memo: dict[Callable[..., xr.Dataset], xr.Dataset] = {}
    wrong = False
    try:
        if not options.redraw:
            options.out.mkdir(parents=True, exist_ok=True)
        for name in names:
            figure = import_module(f"paper_figs.{name}")
            started = time.perf_counter()
            ds = load(options, name) if options.redraw else obtain(options, name, figure, memo)
            if not options.redraw:
                store(ds, options.out / f"{name}.nc")
                shutil.rmtree(parts(options, name), ignore_errors=True)
            paths = save(figure.draw(ds), options.out / name)
            if hasattr(figure, "table"):
                (options.out / f"{name}.md").write_text(figure.table(ds), encoding="utf-8")
            criteria = figure.check(ds)
            print(f"{name}: {time.perf_counter() - started:.1f} s, {paths[0]}, {paths[1]}")
            print(*(f"  {criterion}" for criterion in criteria), report(criteria), sep="\n", flush=True)
            wrong |= ds.attrs["budget"] != "smoke" and not all(c.passed for c in criteria)
    except (OSError, ValueError) as error:
        print(f"paper_figs: {error}", file=sys.stderr)
        return 2
    return int(wrong)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m paper_figs", description=__doc__)
    result.add_argument(
        "figures",
        nargs="+",
        choices=[*PICTURES, "all"],
        metavar="FIGURE",
        help=f"one or more of {', '.join(PICTURES)}, or all",
    )
    result.add_argument(
        "--budget",
        choices=["smoke", "cpu", "paper"],
        default="paper",
        help="how much to compute; figures without a budget cpu take paper (default: paper)",
    )
    result.add_argument("--seed", type=int, default=0, help="a non-negative integer (default: 0)")
    result.add_argument("--workers", type=int, default=1, help="local processes (default: 1)")
    result.add_argument(
        "--out",
        type=Path,
        default=Path("results/figures"),
        help="folder of the results (default: results/figures)",
    )
    result.add_argument(
        "--redraw", action="store_true", help="draw and check what is stored, whatever its budget"
    )
    return result


def obtain(
    options: argparse.Namespace,
    name: str,
    figure: ModuleType,
    memo: dict[Callable[..., xr.Dataset], xr.Dataset],
) -> xr.Dataset:
    """The dataset of a figure, once for figures that share it; one that was interrupted goes on."""
    if figure.compute not in memo:
        budget = options.budget if options.budget in figure.BUDGETS else "paper"
        resumes = "store" in signature(figure.compute).parameters
        more = {"store": parts(options, name)} if resumes else {}
        memo[figure.compute] = figure.compute(budget, options.seed, workers=options.workers, **more)
    return memo[figure.compute]


def parts(options: argparse.Namespace, name: str) -> Path:
    """Where a figure keeps what is finished of its dataset, until all of it is."""
    return options.out / f"{name}-{options.budget}-{options.seed}.parts"


def store(ds: xr.Dataset, path: Path) -> None:
    """Write a netCDF 3 file, whose integers have 32 bits."""
    attributes = {
        name: str(value) if isinstance(value, int) and value > LARGEST_INTEGER else value
        for name, value in ds.attrs.items()
    }
    ds.assign_attrs(attributes).to_netcdf(path, engine="scipy")


def load(options: argparse.Namespace, name: str) -> xr.Dataset:
    """The stored dataset of a figure, of any budget and seed.

    Raises:
        ValueError: there is none, or it cannot be read.
    """
    path = options.out / f"{name}.nc"
    if not path.is_file():
        raise ValueError(
            f"{path} does not exist, so there is nothing to redraw; run {name} without --redraw first"
        )
    try:
        return xr.load_dataset(path, engine="scipy")
    except (
        TypeError,
        ValueError,
        EOFError,
        IndexError,
    ) as error:  # what scipy raises on other and on cut files
        raise ValueError(
            f"{path} is no whole netCDF 3 file; run {name} without --redraw to make it anew"
        ) from error


def report(criteria: Sequence[Criterion]) -> str:
    """How many criteria passed."""
    return f"  {sum(c.passed for c in criteria)} of {len(criteria)} criteria passed"


if __name__ == "__main__":
    sys.exit(main())
