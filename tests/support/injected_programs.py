"""The programs that faults are injected into, each with a request that takes a moment.

What they give is plain bytes, without the seconds that something took: equal if and only if every bit is.
"""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import small_training
import tqdm
import xarray as xr
from small_study import DISPLACEMENT, X, white

import resnet_sde as rs
from experiments.schoenholz import poole_lengths
from paper_figs import program as figures_program
from resnet_sde.runs.store import PART, unsealed
from resnet_sde.theorems.suite import plan, record_of, run_suite
from resnet_sde.training import fitting, train

OVER = {"beta": [0.5, 1.0], "depth": [2, 5]}
NETWORKS = 1200  # in a cell, which is kept in two parts
THEOREMS = ("length-depth-scale", "one-path-many-depths")
FIGURE = "schoenholz/poole_lengths"
tqdm.tqdm.monitor_interval = 0  # no thread, which no copy would have
REMOVED = b"the folder is gone, and the only result with it"
TINY = poole_lengths.Poole(samples=3, width=10, cells=3)


def study(out: Path, **how: Any) -> bytes:
    ds = rs.study(white, X, over=OVER, samples=NETWORKS, observe=DISPLACEMENT, seed=1, store=out, **how)
    assert ds.sizes["sample"] == NETWORKS
    return bytes(ds.to_netcdf(engine="scipy"))


def training(out: Path, **how: Any) -> bytes:
    """Two stacks of two networks, with a checkpoint after every step."""
    fitting.fit.__kwdefaults__["checkpoint_every"] = 0.0
    jobs = [small_training.job(lr, seed, depth=3) for lr in (0.01, 0.02) for seed in (0, 1)]
    config, data = replace(small_training.CONFIG, batch_size=30), small_training.data()
    outcomes = train(jobs, config, data, store=out, stack=2, keep_networks=True, **how)
    return json.dumps([outcome.to_json() for outcome in outcomes]).encode()


def verification(out: Path, **how: Any) -> bytes:
    tasks = plan(THEOREMS, budget="quick", seed=0, controls=True)
    found = dict(run_suite(tasks, store=out, **how))
    assert len(found) == len(tasks)
    return json.dumps([_without_times(record_of(found[task])) for task in tasks]).encode()


def figures(out: Path, **how: Any) -> bytes:
    """One figure, its pictures and the gallery."""
    poole_lengths.BUDGETS["smoke"] = TINY
    words = [FIGURE, "--budget", "smoke", "--out", str(out), "--training", str(out.with_name("training"))]
    if figures_program.main(words):
        raise SystemExit(2)
    dataset = out / f"{FIGURE}.nc.gz"
    return plain(dataset) if dataset.exists() else REMOVED


@dataclass(frozen=True)
class Program:
    """What is run, and what is believed of the files that it leaves.

    records: pattern of the files that each hold one result.
    believed: patterns of all files that the next run goes on from.
    """

    run: Callable[..., bytes]
    records: str
    believed: tuple[str, ...]


PROGRAMS = {
    "study": Program(study, "cells/*.npz", ("cells/*.npz",)),
    "train": Program(training, "*/outcome.json", ("*/outcome.json", "*/network.npz", "*/checkpoint.npz")),
    "verify": Program(verification, "verdicts/*.json", ("verdicts/*.json",)),
    "figures": Program(figures, "*/*.nc.gz", ("*/*.nc.gz",)),
}


def files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by its name in it."""
    return {path.relative_to(folder).as_posix(): plain(path) for path in files(folder)}


def records(folder: Path, program: Program) -> dict[str, bytes]:
    """Every file that holds a result; of a network in training with the network that it names."""
    found = {
        path.relative_to(folder).as_posix(): plain(path) for path in sorted(folder.glob(program.records))
    }
    for name in found:
        network = (folder / name).with_name("network.npz")
        if network.exists():
            found[name] += network.read_bytes()
    return found


def plain(path: Path) -> bytes:
    """The content of a file without the times in it; as it is, where it is damaged."""
    content = path.read_bytes()
    try:
        if path.name.endswith(".nc.gz"):
            unsealed(content, 10)
            ds = xr.load_dataset(io.BytesIO(gzip.decompress(content)), engine="scipy")
            return bytes(
                ds.drop_attrs(deep=False).assign_attrs(_without_times(ds.attrs)).to_netcdf(engine="scipy")
            )
        if path.suffix == ".json" and path.name != "outcome.json":
            if path.parent.name == "verdicts":
                content = unsealed(content, 12)
                return json.dumps(_without_times(json.loads(content)["content"])).encode() + _identity(
                    content
                )
            return json.dumps(_without_times(json.loads(content))).encode()
    except Exception:  # whatever a damaged file raises
        return content
    if path.suffix == ".html":
        return re.sub(rb"[0-9.]+ s\b|stored before", b"", content)
    return b"" if path.name.endswith(PART) else content


def _identity(content: bytes) -> bytes:
    found = json.loads(content)
    return json.dumps([found["format"], found["identity"]]).encode()


def _without_times(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in ("seconds", "taken")}


def of_another_package() -> bytes:
    """An archive of arrays of somebody else."""
    buffer = io.BytesIO()
    np.savez(buffer, values=np.arange(4.0))
    return buffer.getvalue()
