"""Run experiments: ``python -m experiments marion/accuracy_plane --budget cpu --workers 2``.

Each stack of networks in training is kept when it is finished, and has a checkpoint before that; so is each
architecture of the depth atlas. The same command goes on from what is there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments import command
from experiments.command import chosen, module, names_in
from experiments.execution import Execution
from resnet_sde.runs.store import write_whole

EXPERIMENTS = tuple(
    name for name in names_in("experiments") if hasattr(module("experiments", name), "report")
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 2 if the request cannot be served."""
    return command.served("experiments", _serve, parser().parse_args(arguments))


def _serve(options: argparse.Namespace) -> int:
    asked = {name: _asked(name, options) for name in chosen(options, EXPERIMENTS)}  # nothing runs before
    with command.execution(options) as how:
        how = replace(how, store=options.out / "stacks", stack=options.stack, progress=True)
        for name, (experiment, label) in asked.items():
            _run(name, experiment, label, options, how)
    return 0


def _asked(name: str, options: argparse.Namespace) -> tuple[Any, str]:
    """The declaration of one experiment, and a label of it."""
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
    return experiment, label


def _run(name: str, experiment: Any, label: str, options: argparse.Namespace, how: Execution) -> None:
    """Run one experiment, store its dataset and print its report."""
    stem = options.out / f"{name}-{label}-{options.seed}"
    started, found = time.perf_counter(), module("experiments", name)
    ds = experiment.run(seed=options.seed, how=how)
    write_whole(stem.with_name(f"{stem.name}.nc"), bytes(ds.to_netcdf(engine="scipy")))
    lines = [f"  {line}" for line in found.report(ds)]
    write_whole(stem.with_name(f"{stem.name}.txt"), "".join(f"{line[2:]}\n" for line in lines).encode())
    if options.page is not None:
        found.write_page(ds, options.page)
    print(f"{name}: {time.perf_counter() - started:.1f} s", *lines, sep="\n", flush=True)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = command.parser("experiments", str(__doc__), EXPERIMENTS, "results/training")
    result.add_argument("--budget", default="cpu", help="smoke, cpu, cpu-fashion or paper (default: cpu)")
    result.add_argument(
        "--data",
        help="images in place of the budget's: digits, fashion-mnist:DIR, mnist:DIR or cifar10:DIR",
    )
    result.add_argument(
        "--page", type=Path, help="also write this page, with its data beside it (own/depth_atlas)"
    )
    result.add_argument("--stack", type=int, default=16, help="networks trained at once (default: 16)")
    return result
