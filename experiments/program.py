"""Run experiments: ``python -m experiments marion/accuracy_plane --budget cpu --workers 2``.

Each stack of networks in training is kept when it is finished, and has a checkpoint before that; so is each
architecture of the depth atlas. The same command goes on from what is there.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from experiments.execution import Execution
from experiments.papers import PAPERS, chosen, module, names_in
from resnet_sde.runs.cluster import CLUSTER, engine
from resnet_sde.runs.store import write_whole

EXPERIMENTS = tuple(
    name for name in names_in("experiments") if hasattr(module("experiments", name), "report")
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 2 if the request cannot be served."""
    options = parser().parse_args(arguments)
    try:
        with engine(options.cluster, options.workers) as workers:
            how = Execution(**workers, store=options.out / "stacks", stack=options.stack, progress=True)
            for name in chosen(options.experiments, EXPERIMENTS):
                run(name, options, how)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"experiments: {error}", file=sys.stderr)
        return 2
    return 0


def run(name: str, options: argparse.Namespace, how: Execution) -> None:
    """Run one experiment, store its dataset and print its report."""
    found = module("experiments", name)
    if options.budget not in found.BUDGETS:
        raise ValueError(f"{name} has no budget {options.budget!r}; give one of {', '.join(found.BUDGETS)}")
    experiment, label = found.BUDGETS[options.budget], options.budget
    if options.data is not None:
        if not hasattr(experiment, "images"):
            raise ValueError(f"{name} is not trained on images; leave out --data")
        experiment = replace(experiment, images=replace(experiment.images, source=options.data))
        label = f"{label}-{options.data.partition(':')[0]}"
    if options.page is not None and not hasattr(found, "write_page"):
        raise ValueError(f"{name} has no page; leave out --page")
    stem = options.out / f"{name}-{label}-{options.seed}"
    started = time.perf_counter()
    ds = experiment.run(seed=options.seed, how=how)
    write_whole(stem.with_name(f"{stem.name}.nc"), bytes(ds.to_netcdf(engine="scipy")))
    lines = found.report(ds)
    write_whole(stem.with_name(f"{stem.name}.txt"), ("\n".join(lines) + "\n").encode())
    if options.page is not None:
        found.write_page(ds, options.page)
    print(
        f"{name}: {time.perf_counter() - started:.1f} s",
        *(f"  {line}" for line in lines),
        sep="\n",
        flush=True,
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    result.add_argument(
        "experiments",
        nargs="+",
        choices=[*EXPERIMENTS, *PAPERS, "all"],
        metavar="NAME",
        help=f"one or more of {', '.join(EXPERIMENTS)}; a paper, which is one of {', '.join(PAPERS)}; or all",
    )
    result.add_argument("--budget", default="cpu", help="smoke, cpu, cpu-fashion or paper (default: cpu)")
    result.add_argument(
        "--data",
        help="images in place of the budget's: digits, fashion-mnist:DIR, mnist:DIR or cifar10:DIR",
    )
    result.add_argument(
        "--page", type=Path, help="also write this page, with its data beside it (own/depth_atlas)"
    )
    result.add_argument("--seed", type=int, default=0, help="a non-negative integer (default: 0)")
    result.add_argument("--workers", type=int, default=1, help="local processes (default: 1)")
    result.add_argument("--cluster", help=CLUSTER)
    result.add_argument("--stack", type=int, default=16, help="networks trained at once (default: 16)")
    result.add_argument(
        "--out", type=Path, default=Path("results/training"), help="folder (default: results/training)"
    )
    return result
