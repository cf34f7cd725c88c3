"""A figure from its dataset, which is computed, or taken from what is stored of the same request."""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from inspect import cleandoc, signature
from pathlib import Path
from types import ModuleType
from typing import Any

import xarray as xr
from threadpoolctl import threadpool_limits

from experiments.execution import HERE, Execution
from paper_figs._style import save
from paper_figs.catalogue import figure as module_of
from paper_figs.controls import verify
from paper_figs.stored import KEPT, SUFFIX, load, store
from resnet_sde.claims import Claim
from resnet_sde.runs.execute import execute
from resnet_sde.runs.identity import digests, environment
from resnet_sde.runs.store import key_of, write_whole
from resnet_sde.runs.versions import current_versions
from resnet_sde.theorems.core import Verdict
from resnet_sde.theorems.suite import record_of, verdict_of

log = logging.getLogger("resnet_sde")
_DRAWING = threading.Lock()  # settings of matplotlib are those of the whole process


@dataclass(frozen=True)
class Request:
    """What is asked of every figure.

    out: folder of datasets, figures and records.
    training: folder of trained networks, that of ``python -m experiments``.
    redraw: compute nothing; draw what is stored in `out`, or else with the code.
    keep: store datasets with the code too.
    controls: ask the claims about planted violations too.
    """

    budget: str
    seed: int
    out: Path
    training: Path
    redraw: bool = False
    keep: bool = False
    controls: bool = False


@dataclass(frozen=True)
class Record:
    """What is known of a figure that was made.

    title, caption: of its module.
    dataset_of: the first of the figures that shared its dataset when it was made.
    seconds: that the dataset took; None where that was not noted.
    taken: whether the dataset had been stored before.
    trained: whether it holds networks that were trained.
    controls: verdicts of planted violations, if they were asked for.
    """

    name: str
    title: str
    caption: str
    dataset_of: str
    budget: str
    seed: int
    seconds: float | None
    versions: dict[str, str]
    taken: bool
    claims: tuple[Claim, ...]
    trained: bool = False
    controls: tuple[Verdict, ...] = ()

    @property
    def wrong(self) -> bool:
        """Whether a claim fails for no known reason (tiny datasets are no evidence), or a control holds."""
        failed = self.budget != "smoke" and any(not c.holds and not c.known for c in self.claims)
        return failed or any(control.holds for control in self.controls)

    def save(self, folder: Path) -> None:
        """Write it as JSON."""
        claims = [claim.to_json() for claim in self.claims]
        plain = vars(self) | {"claims": claims, "controls": [*map(record_of, self.controls)]}
        text = json.dumps(plain, ensure_ascii=False, indent=1)
        write_whole(folder / f"{self.name}.json", text.encode())

    @classmethod
    def load(cls, folder: Path, name: str) -> Record | None:
        """The record of a figure; None if there is none, it cannot be read, or it is that of another."""
        try:
            plain = json.loads((folder / f"{name}.json").read_bytes())
            controls = tuple(map(verdict_of, plain.get("controls", ())))
            claims = tuple(map(Claim.from_json, plain["claims"]))
            found = cls(**{**plain, "claims": claims, "controls": controls})
            return found if found.name == name else None
        except (OSError, TypeError, ValueError, KeyError):
            return None


def make_all(names: Sequence[str], request: Request, how: Execution = HERE) -> Iterator[list[Record]]:
    """Make figures, and give the records of those that share a dataset, as they are finished.

    Workers write into the folder of the request, so it has to be one that all of them can reach.

    Raises:
        ValueError: the request cannot be served.
        RuntimeError: a worker process died, and what was finished is stored; or a worker wrote elsewhere.
        OSError: the folder cannot be written to.
    """
    groups = _groups(names)
    with threadpool_limits(1):  # for threads that work here, of which one may be done before another
        if len(groups) == 1:  # what is made alone has all workers for its dataset
            yield make(groups[0], request, how)
            return
        for _, records in execute(groups, make, request, workers=how.workers, executor=how.executor):
            for record in records:
                if Record.load(request.out, record.name) is None:
                    raise RuntimeError(
                        f"{record.name} was not written into {request.out.absolute()}; give an --out that "
                        "all workers can reach"
                    )
            yield records


def _groups(names: Sequence[str]) -> list[tuple[str, ...]]:
    """The names of figures that share their computation, together."""
    found: dict[Callable[..., xr.Dataset], list[str]] = {}
    for name in names:
        found.setdefault(module_of(name).compute, []).append(name)
    return [tuple(group) for group in found.values()]


def make(names: Sequence[str], request: Request, how: Execution = HERE) -> list[Record]:
    """Make the figures of one dataset."""
    shared: xr.Dataset | None = None
    records = []
    for name in names:
        figure = module_of(name)
        ds, taken = _stored(name, figure, request), True
        if ds is None:
            taken = False
            shared = ds = compute(name, figure, request, how) if shared is None else shared
        if not request.redraw:
            for folder in [request.out, *([KEPT] if request.keep else [])]:
                store(ds, folder, name)
            shutil.rmtree(_parts(name, request), ignore_errors=True)
        with _DRAWING:
            save(figure.draw(ds), request.out / name)
        if hasattr(figure, "table"):
            write_whole(request.out / f"{name}.md", figure.table(ds).encode())
        controls = figure.CONTROLS if request.controls else ()
        verdicts = tuple(verify(name, control, ds) for control in controls)
        record = replace(_record(name, figure, ds, names[0], taken), controls=verdicts)
        record.save(request.out)
        records.append(record)
    return records


def _record(name: str, figure: ModuleType, ds: xr.Dataset, dataset_of: str, taken: bool) -> Record:
    """What is known of the figure, with the numbers of its claims."""
    title, _, caption = cleandoc(figure.__doc__ or "").partition("\n\n")
    return Record(
        name=name,
        title=" ".join(title.split()),
        caption=caption,
        dataset_of=dataset_of,
        budget=ds.attrs["budget"],
        seed=int(ds.attrs["seed"]),
        seconds=float(ds.attrs["seconds"]) if "seconds" in ds.attrs else None,
        versions=json.loads(ds.attrs["versions"]),
        taken=taken,
        claims=tuple(figure.check(ds)),
        trained=trained(figure),
    )


def _stored(name: str, figure: ModuleType, request: Request) -> xr.Dataset | None:
    """The dataset to redraw, or one of the same request.

    Networks are trained for hours in all: those of the checkout do whatever the versions are.
    """
    if request.redraw:
        there = (request.out / f"{name}{SUFFIX}").exists() or not (KEPT / f"{name}{SUFFIX}").exists()
        return load(request.out if there else KEPT, name)
    wanted = {"budget": budget_of(figure, request), "seed": str(request.seed)}
    wanted["experiment"] = repr(figure.BUDGETS[wanted["budget"]])
    made = {"versions": json.dumps(current_versions()), "made_by": _made_by(figure)}
    for folder, more in ((request.out, made), (KEPT, {})):
        if (folder is request.out or trained(figure)) and (folder / f"{name}{SUFFIX}").exists():
            try:
                ds = load(folder, name)
            except ValueError as error:
                log.warning("%s", error)
                continue
            if all(str(ds.attrs.get(key)) == value != "" for key, value in (wanted | more).items()):
                return ds
    return None


def trained(figure: ModuleType) -> bool:
    """Whether its dataset holds networks that were trained."""
    return getattr(figure, "TRAINED", False)


def compute(name: str, figure: ModuleType, request: Request, how: Execution) -> xr.Dataset:
    """The dataset of a figure; one that was interrupted goes on."""
    more: dict[str, Any] = {}
    if "how" in signature(figure.compute).parameters:
        store = request.training / "stacks" if trained(figure) else _parts(name, request)
        more["how"] = replace(how, store=store)
    started = time.perf_counter()
    with threadpool_limits(1):  # NumPy's sums depend on how many threads there are
        ds = figure.compute(budget_of(figure, request), request.seed, **more)
    seconds = round(time.perf_counter() - started, 1)
    return ds.assign_attrs(seconds=seconds, made_by=_made_by(figure))


def _made_by(figure: ModuleType) -> str:
    """A digest of what makes the dataset, besides the request: code, versions and arithmetic."""
    (code,) = digests([figure.compute])
    return "" if code is None else key_of({"code": code, "environment": environment()})


def budget_of(figure: ModuleType, request: Request) -> str:
    """The budget that is asked for; figures without a budget cpu take paper."""
    return request.budget if request.budget in figure.BUDGETS else "paper"


def _parts(name: str, request: Request) -> Path:
    """Where a figure keeps what is finished of its dataset, until all of it is."""
    return request.out / f"{name}-{request.budget}-{request.seed}.parts"
