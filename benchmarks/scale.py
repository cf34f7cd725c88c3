"""Many tasks and many cells: what the work costs alone, and what it costs to hand it out and gather it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

import resnet_sde as rs
from benchmarks.measure import Row, peak_memory
from resnet_sde.monte_carlo import simulate
from resnet_sde.observables import displacement
from resnet_sde.runs.cluster import engine
from resnet_sde.runs.execute import execute

WIDTH = 16


def busy(seconds: float, _shared: None) -> float:
    """Products of matrices for so long, by the clock of the thread."""
    stop, a = time.thread_time() + seconds, torch.ones(256, 256)
    while time.thread_time() < stop:
        a = a @ a / 256
    return seconds


def small(task: int, _shared: None) -> dict[str, np.ndarray]:
    """A result of the size of a cell's statistics."""
    return {"displacement": np.full((10, 1), float(task))}


@dataclass(frozen=True)
class Cells:
    """A study of so many cells, which differ in their scaling alone."""

    cells: int
    samples: int
    depth: int = 20

    def x(self) -> torch.Tensor:
        return torch.ones(1, WIDTH)

    def beta(self, cell: int) -> float:
        return cell / self.cells

    def study(self, store: str | None, workers: int) -> float:
        """Seconds a cell of the whole study, from its start to the labelled dataset."""
        start = time.perf_counter()
        over = {"beta": [self.beta(cell) for cell in range(self.cells)]}
        request: dict[str, Any] = {"depth": self.depth, "samples": self.samples, "observe": [displacement]}
        found = rs.study(build, self.x(), over=over, store=store, workers=workers, **request)
        assert found.displacement.shape[0] == self.cells
        return (time.perf_counter() - start) / self.cells

    def alone(self, timed: int) -> float:
        """Seconds a cell of some of the cells, by the verb that knows of no others, on one thread."""
        start = time.perf_counter()
        for cell in range(timed):
            model = build(self.beta(cell))
            simulate(model, self.x(), depth=self.depth, samples=self.samples, observe=[displacement])
        return (time.perf_counter() - start) / timed


def build(beta: float) -> rs.Model:
    return rs.Model(rs.TwoLayer(rs.RELU), rs.WhiteNoise(), width=WIDTH, beta=beta)


ENGINES = {"local processes": partial(engine, None), "workers of a Dask cluster": partial(engine, "local")}


@dataclass(frozen=True)
class Tasks:
    """Equal tasks, handed to an engine.

    engine: one of ENGINES.
    """

    count: int
    work: Any
    task: float
    engine: str
    workers: int

    def seconds(self) -> float:
        """From handing out the tasks to the last result; local processes start in this time."""
        with ENGINES[self.engine](self.workers) as by:
            if "executor" in by:  # its workers are there, and import here what they need
                list(execute([0] * 2 * self.workers, small, None, **by))
            start = time.perf_counter()
            count = sum(1 for _ in execute([self.task] * self.count, self.work, None, **by))
            assert count == self.count
            return time.perf_counter() - start

    @property
    def where(self) -> str:
        return f"{self.workers} {self.engine}"


def long_tasks(count: int, seconds: float, name: str, workers: int) -> Row:
    """Long tasks beside their own time on as many cores."""
    tasks = Tasks(count, busy, seconds, name, workers)
    label = f"{count} tasks of {seconds:g} s on {tasks.where}"
    return Row(label, "all tasks", tasks.seconds(), floor=count * seconds / workers, floors=1.05)


def gathered(count: int, name: str, workers: int) -> Row:
    """Results of the size of statistics, from tasks that take no time."""
    tasks = Tasks(count, small, 1, name, workers)
    return Row(f"{count} results gathered from {tasks.where}", "all results", tasks.seconds(), seconds=60.0)


def cells(work: Cells, timed: int, workers: int) -> Iterator[Row]:
    """A study of many small cells beside `simulate` alone on as many cores; then read back from its store.

    What stands alone is timed before and after each study, for machines change their speed within a minute.
    """
    label = f"study of {work.cells} cells on {workers} local processes"
    with tempfile.TemporaryDirectory() as folder:
        before = work.alone(timed)
        for store in (None, folder):
            ours = work.study(store, workers)
            after = work.alone(timed)
            floor = (before + after) / 2 / workers
            yield Row(f"{label}, kept in a store" if store else label, "cell", ours, floor=floor, floors=1.3)
            before = after
        yield Row("the same read back from its store", "cell", work.study(folder, workers))


def overhead(work: Cells, timed: int) -> Row:
    """A study of cells that are hardly any work, in this process: what a cell costs whoever asks."""
    floor = work.alone(timed)
    ours = work.study(None, workers=1)
    memory = peak_memory(partial(work.study, None, workers=1))
    return Row(f"study of {work.cells} cells of one network of one layer", "cell", ours, floor, memory=memory)
