"""The workloads, each in three sizes: full for the table, quick for a look, smoke for the tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch

from benchmarks import finite_width as theories
from benchmarks import infinite_width as wide
from benchmarks import limits as schemes
from benchmarks import scale
from benchmarks import training as trained
from benchmarks.ensembles import DeferredFloor, DenseFloor, Work, ours, ours_in_processes, usual
from benchmarks.measure import Row, best, gpu_time, peak_memory
from benchmarks.noise import noise, noise_floor, usual_noise
from resnet_sde import ERF, TANH

DTYPES = (torch.float32, torch.float64)
WORKERS = 2


def figure2(size: str) -> Iterator[Row]:
    """Figure 2 of Marion et al. (2025): white Gaussian networks, on one core and then on two processes."""
    width, depth, samples, of_usual, total, repeats = {
        "full": (100, 1000, 2616, 7, 10_000, 3),
        "quick": (100, 100, 1024, 5, 2048, 2),
        "smoke": (8, 5, 4, 1, None, 1),
    }[size]
    for dtype in DTYPES:
        work = Work(width, depth, dtype)
        times = best(
            repeats,
            ours=partial(ours, work, samples),
            usual=partial(usual, work, of_usual),
            floor=DeferredFloor(work, samples),
        )
        label = f"white Gaussian, d = {width}, L = {depth}, {_name(dtype)}"
        one = {"usual": times["usual"] / of_usual, "floor": times["floor"] / samples}
        memory = peak_memory(partial(ours, work, samples))
        gpu = _gpu(work, samples, samples)
        yield Row(label, "network", times["ours"] / samples, **one, faster=120.0, memory=memory, gpu=gpu)
        if total is not None:
            yield _on_two_processes(work, total, one, size == "full")


def _on_two_processes(work: Work, total: int, one: dict[str, float], full: bool) -> Row:
    """All networks, from the start of the workers to the labelled results; the floor is that of two cores."""
    start = time.perf_counter()
    ours_in_processes(work, total, WORKERS)
    seconds = time.perf_counter() - start
    return Row(
        f"the same on {WORKERS} processes",
        f"{total} networks",
        seconds,
        usual=one["usual"] * total,
        floor=one["floor"] * total / WORKERS,
        faster=120.0 if full else None,
        floors=None,  # of one core only: here the start of the processes counts too
        seconds=60.0 if full else None,
    )


def explicit(size: str) -> Iterator[Row]:
    """Uniform weights, which have to be drawn in full."""
    repeats = {"full": 3, "quick": 2, "smoke": 1}[size]
    for width, depth, samples, of_usual, faster in {
        "full": [(40, 1000, 123, 7, 20.0), (100, 1000, 18, 7, 5.0)],
        "quick": [(40, 100, 512, 5, 20.0), (100, 100, 128, 5, 5.0)],
        "smoke": [(8, 5, 4, 1, 20.0)],
    }[size]:
        work = Work(width, depth, entries="uniform")
        floor = DenseFloor(work, samples)
        times = best(
            repeats, ours=partial(ours, work, samples), usual=partial(usual, work, of_usual), floor=floor
        )
        yield Row(
            f"uniform entries, d = {width}, L = {depth}, float32",
            "network",
            times["ours"] / samples,
            usual=times["usual"] / of_usual,
            floor=times["floor"] / floor.samples,
            faster=faster,
            memory=peak_memory(partial(ours, work, samples)),
            gpu=_gpu(work, samples, samples),
        )


def fractional(size: str) -> Iterator[Row]:
    """The fractional weights of one network, beside the package `fbm`, which has float64 alone."""
    width, depth, of_usual, repeats = {
        "full": (40, 1000, 40, 10),
        "quick": (40, 1000, 20, 3),
        "smoke": (4, 20, 1, 1),
    }[size]
    paths = 2 * width**2
    for dtype in DTYPES:
        times = best(
            repeats,
            ours=partial(noise, depth, paths, dtype),
            usual=partial(usual_noise, depth, of_usual),
            floor=partial(noise_floor, depth, paths, dtype),
        )
        yield Row(
            f"fractional weights, H = 0.7, d = {width}, L = {depth}, {_name(dtype)}",
            "network",
            times["ours"],
            usual=times["usual"] * paths / of_usual,
            floor=times["floor"],
            faster=250.0 if dtype == torch.float32 else None,
            memory=peak_memory(partial(noise, depth, paths, dtype)),
        )


def scaling(size: str) -> Iterator[Row]:
    """Cost against depth, number of networks and width."""
    repeats = {"full": 3, "quick": 2, "smoke": 1}[size]
    for work, samples in {
        "full": [
            (Work(40, 100), 512),
            (Work(40, 100), 16_384),
            (Work(40, 1000), 4096),
            (Work(40, 10_000), 415),
            (Work(100_000, 100), 4),
            (Work(100_000, 1000, gradients=False), 4),
        ],
        "quick": [(Work(40, 100), 512), (Work(40, 1000), 1024), (Work(100_000, 10), 1)],
        "smoke": [(Work(8, 5), 4), (Work(50, 2, gradients=False), 1)],
    }[size]:
        action = partial(ours, work, samples)
        times = best(repeats, ours=action, floor=DeferredFloor(work, samples))
        passes = "" if work.gradients else ", forward only"
        yield Row(
            f"white Gaussian, d = {work.width}, L = {work.depth}, n = {samples}, float32{passes}",
            "network and layer",
            times["ours"] / samples / work.depth,
            floor=times["floor"] / samples / work.depth,
            memory=peak_memory(action),
            gpu=_gpu(work, samples, samples * work.depth),
        )


def _gpu(work: Work, samples: int, units: int) -> float | None:
    """Time of one unit of ours on a CUDA device; None where there is none."""
    seconds = gpu_time(partial(ours, replace(work, device="cuda"), samples))
    return None if seconds is None else seconds / units


def limits(size: str) -> Iterator[Row]:
    """Networks as schemes for their limits, and networks of six depths on one path."""
    yield from _sde(size)
    yield from _coupling(size)
    width, depth, batch, repeats = {
        "full": (40, 128, 32, 5),
        "quick": (40, 128, 32, 2),
        "smoke": (4, 8, 2, 1),
    }[size]
    case = (width, depth, batch)
    schemes.ode_path(*case)
    times = best(
        repeats, ours=partial(schemes.ode_network, *case), usual=partial(schemes.ode_torchdiffeq, *case)
    )
    yield Row(f"ODE, d = {width}, L = {depth}, Euler, beside torchdiffeq", f"{batch} solutions", **times)


def _sde(size: str) -> Iterator[Row]:
    """One ensemble in two ways of ours, the faster first, and in two of torchsde."""
    width, depth, batch, repeats = {
        "full": (40, 128, 32, 5),
        "quick": (40, 128, 32, 2),
        "smoke": (4, 8, 2, 1),
    }[size]
    ways = {
        "dense": schemes.sde_on_a_path,
        "deferred": schemes.sde_deferred,
        "documented": schemes.torchsde_documented,
        "at_best": schemes.torchsde_at_best,
    }
    times = best(repeats, **{name: partial(way, width, depth, batch) for name, way in ways.items()})
    first, second = sorted(("dense", "deferred"), key=lambda name: times[name])
    label, unit = f"SDE, d = {width}, L = {depth}, Euler, float32", f"{batch} solutions"
    for name in (first, second):
        for peer, faster in (("documented", 15.0), ("at_best", 2.5)):
            yield Row(
                f"{label}, {name}, beside torchsde {peer.replace('_', ' ')}",
                unit,
                times[name],
                usual=times[peer],
                faster=faster if name == first else None,
            )


def _coupling(size: str) -> Iterator[Row]:
    """Six depths on one path: deferred beside dense matrices, and a study on one core."""
    reference = 64 if size == "smoke" else schemes.REFERENCE
    for width, samples, of_dense, repeats, faster in {
        "full": [(400, 128, 2, 2, 20.0), (40, 128, 40, 2, None)],
        "quick": [(400, 64, 2, 1, 20.0), (40, 64, 40, 1, None)],
        "smoke": [(4, 3, 2, 1, None)],
    }[size]:
        times = best(
            repeats,
            ours=partial(schemes.coupled, width, reference, samples, "deferred"),
            usual=partial(schemes.coupled, width, reference, of_dense, "dense"),
        )
        yield Row(
            f"six depths to {reference}, d = {width}, n = {samples}, float32, deferred beside dense",
            "path",
            times["ours"] / samples,
            usual=times["usual"] / of_dense,
            faster=faster,
        )
    width, samples = {"full": (40, 200), "quick": (40, 50), "smoke": (4, 3)}[size]
    times = best(1, ours=partial(schemes.coupled, width, reference, samples, "auto"))
    yield Row(
        f"six depths to {reference}, d = {width}, float32, automatic",
        f"{samples} paths",
        times["ours"],
        seconds=10.0 if size == "full" else None,
    )


def finite_width(size: str) -> Iterator[Row]:
    """The 1/width theory, whose cost grows like the square of the depth; the usual way is for erf alone."""
    depths, of_usual, repeats = {
        "full": ((250, 1000), 40, 3),
        "quick": ((250, 1000), 20, 1),
        "smoke": ((8,), 3, 1),
    }[size]
    for depth in depths:
        for phi in (ERF, TANH):
            ours, usual = (
                partial(theories.theory, phi, depth),
                partial(theories.sources_by_owen, phi, of_usual),
            )
            times = best(repeats, ours=ours, **({"usual": usual} if phi == ERF else {}))
            pairs = (depth + 1) * (depth + 2) / ((of_usual + 1) * (of_usual + 2))
            yield Row(
                f"1/width theory, {type(phi).__name__.lower()}, L = {depth}",
                "network",
                times["ours"],
                usual=times["usual"] * pairs if phi == ERF else None,
                seconds=15.0 if depth == 1000 else None,
                memory=peak_memory(ours),
            )


def infinite_width(size: str) -> Iterator[Row]:
    """Recursions of infinite width beside plain loops: layer by layer, and between all layers."""
    depths, repeats = {
        "full": ((10_000, 100_000, 1_000_000), 3),
        "quick": ((10_000, 100_000), 1),
        "smoke": ((50,), 1),
    }[size]
    for name in ("relu", "tanh"):
        for depth in depths:
            layers = min(depth, 10_000)
            times = best(
                repeats,
                ours=partial(wide.one_time, name, depth),
                usual=partial(wide.one_time_by_quadrature, name, depth, layers),
            )
            usual = times["usual"] * depth / layers
            label = f"lengths at infinite width, {name}: L = {depth}"
            yield Row(label, "network", times["ours"], usual=usual, seconds=10.0 if depth == 10**6 else None)
    yield from _between_layers(size)


def _between_layers(size: str) -> Iterator[Row]:
    """One scaling and seventy at once; the usual way is run for one of them."""
    small, depths, repeats = {
        "full": (100, (250, 1000, 4000), 3),
        "quick": (100, (250, 1000), 1),
        "smoke": (8, (8,), 1),
    }[size]
    label = "kernel between layers, res-3, H = 0.8"
    ours = partial(wide.two_time, small, (0.8,))
    times = best(repeats, ours=ours, usual=partial(wide.two_time_by_entries, small, 0.8))
    yield Row(f"{label}: L = {small}, beside a loop over entries", "scaling", **times)
    for depth in depths:
        rows = partial(wide.two_time_by_rows, depth, 0.8)
        times = best(repeats, ours=partial(wide.two_time, depth, (0.8,)), usual=rows)
        yield Row(f"{label}: L = {depth}, beside a loop over rows", "scaling", **times)
        batch = best(1 if depth > 1000 else repeats, ours=partial(wide.two_time, depth, wide.BETAS))
        count = len(wide.BETAS)
        yield Row(
            f"{label}: L = {depth}, {count} scalings at once",
            f"{count} scalings",
            batch["ours"],
            usual=times["usual"] * count,
            seconds=10.0 if depth == 1000 else None,
        )


def training(size: str) -> Iterator[Row]:
    """Stacks of trained networks beside plain modules one after another, and beside the products alone."""
    for networks, depth, of_usual, steps, repeats in {
        "full": [(16, 200, 4, 5, 3), (16, 1000, 2, 2, 3), (100, 200, 4, 2, 3), (100, 1000, 2, 1, 2)],
        "quick": [(16, 200, 2, 2, 2), (16, 1000, 1, 1, 2)],
        "smoke": [(2, 3, 1, 1, 1)],
    }[size]:
        work = trained.Work(networks, depth)
        run = work.run()
        trained.ours(run, 1)  # fills the memory that later steps use again
        times = best(
            repeats,
            ours=partial(trained.ours, run, steps),
            usual=partial(trained.Usual(work, of_usual), steps),
            floor=partial(trained.Floor(work), steps),
        )
        yield Row(
            f"training, {networks} networks, d = {work.width}, L = {depth}, batch {trained.BATCH}, float32",
            "network and step",
            times["ours"] / networks / steps,
            usual=times["usual"] / of_usual / steps,
            floor=times["floor"] / networks / steps,
            faster=4.0,
            memory=peak_memory(partial(trained.ours_from_scratch, work)),
            gpu=_gpu_training(work, steps),
        )


def _gpu_training(work: trained.Work, steps: int) -> float | None:
    """Time of one network and step on a CUDA device; None where there is none."""
    if not torch.cuda.is_available():
        return None
    run = replace(work, device="cuda").run()
    seconds = gpu_time(partial(trained.ours, run, steps))
    return None if seconds is None else seconds / work.networks / steps


def many(size: str) -> Iterator[Row]:
    """What it costs to hand out many tasks or cells, and to gather them."""
    tasks, seconds, results, empty, cells, samples, timed = {
        "full": (200, 1.0, 100_000, 10_000, 10_000, 900, 200),
        "quick": (20, 0.5, 5_000, 1000, 500, 900, 50),
        "smoke": (4, 0.01, 20, 2, 3, 10, 2),
    }[size]
    workers = 1 if size == "smoke" else WORKERS  # one: no process or cluster is started
    engines = list(scale.ENGINES)[:workers]
    for engine in engines:
        yield scale.long_tasks(tasks, seconds, engine, workers)
    for engine in engines:
        yield scale.gathered(results, engine, workers)
    yield scale.overhead(scale.Cells(empty, samples=1, depth=1), timed)
    yield from scale.cells(scale.Cells(cells, samples), timed, workers)


WORKLOADS: dict[str, Callable[[str], Iterator[Row]]] = {
    "figure2": figure2,
    "explicit": explicit,
    "fractional": fractional,
    "scaling": scaling,
    "limits": limits,
    "finite-width": finite_width,
    "infinite-width": infinite_width,
    "training": training,
    "scale": many,
}


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
