"""The depth atlas: how branches and rates of many architectures depend on the depth, beside their code.

Every architecture goes through `depth_check` at a few depths, at initialization and small, with AdamW for the
rates. What its code prescribes is in `architectures` and `own_architectures`; an architecture that is refused
has its sentence, and one that fails costs no other.
"""

from __future__ import annotations

import json
import math
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from experiments.execution import HERE, Execution
from experiments.own import architectures, depth_networks, further_networks, own_architectures, stock_models
from experiments.own.architectures import STOCK, Architecture
from experiments.own.own_architectures import OWN
from experiments.own.stock_models import library
from resnet_sde.checks import positive_integer
from resnet_sde.practice import DepthCheck, NoStream, NotAStream, depth_check
from resnet_sde.practice.coherence import COHERENT_ABOVE
from resnet_sde.propagate import default_dtype, one_thread
from resnet_sde.runs.execute import execute
from resnet_sde.runs.identity import digest, environment
from resnet_sde.runs.progress import progress_bar
from resnet_sde.runs.store import Identity, Record, Store, write_whole
from resnet_sde.runs.versions import current_versions
from resnet_sde.streams import check_seed

ALL: dict[str, Architecture] = OWN | STOCK
STOCK_WITHIN, OWN_WITHIN, GROWTH_WITHIN = 0.12, 0.06, 0.06
GROUPS = ("blocks", "writers", "inner")
ENDS = ("value", "low", "high")
_MODULES = (architectures, depth_networks, further_networks, own_architectures, stock_models)
_SOURCES = (__file__, *(str(module.__file__) for module in _MODULES))
TEXTS = ("outcome", "sentence", "kind", "stream", "copies", "fate", "writers", "differs")
_ASKED = ("depths", "seeds", "rate_depths", "rate_seeds", "rows")
NUMBERS = ("beta_all", "coherence", "action", "predicted_growth", "growth", "skip", "degree")


@dataclass(frozen=True)
class DepthAtlas:
    """Which architectures are measured, and where.

    depths, seeds: of the networks for β.
    rate_depths, rate_seeds: of those for rates.
    rows: of the batch, half of them for the gradient of the step.
    """

    architectures: tuple[str, ...] = tuple(ALL)
    depths: tuple[int, ...] = (8, 24)
    seeds: int = 3
    rate_depths: tuple[int, ...] = (4, 12, 36)
    rate_seeds: int = 4
    rows: int = 8

    def run(self, *, seed: int = 0, how: Execution = HERE) -> xr.Dataset:
        """What is measured, and what is prescribed; axis architecture.

        outcome: "measured", "refused" or "failed"; sentence: why.
        beta, rate: with the axis end, value, low and high at level 95 %; rate is the exponent of AdamW's rate
            and has the axis group.
        prescribed, says, origin: of the code. differs: what is not as prescribed, "" if everything is.

        Raises:
            ValueError: seed or workers are out of range.
            OSError: the store cannot be written to.
        """
        seed = check_seed(seed)
        workers = positive_integer("workers", how.workers, "give for example 1")
        found = self._found(seed, workers, how)
        rows = [found[name] for name in self.architectures]
        variables: dict[str, Any] = {name: ("architecture", [row[name] for row in rows]) for name in TEXTS}
        variables |= {name: ("architecture", _numbers(rows, name)) for name in NUMBERS}
        variables["beta"] = (("architecture", "end"), _numbers(rows, "beta", len(ENDS)))
        variables["rate"] = (
            ("architecture", "group", "end"),
            np.stack([_numbers(rows, f"rate of {group}", len(ENDS)) for group in GROUPS], axis=1),
        )
        kept = [ALL[name] for name in self.architectures]
        variables["prescribed"] = ("architecture", [math.nan if a.refused else a.beta for a in kept])
        variables |= {
            "says": ("architecture", [a.says for a in kept]),
            "origin": ("architecture", [a.origin for a in kept]),
            "agrees": ("architecture", [float(row["differs"] == "") for row in rows]),
        }
        axes = {"architecture": list(self.architectures), "group": list(GROUPS), "end": list(ENDS)}
        attributes = {
            "experiment": repr(self),
            "data": json.dumps({"name": "random tokens, images, sound and vectors", "rows": self.rows}),
            "asked": json.dumps({n: getattr(self, n) for n in _ASKED}),
            "seed": seed,
            "versions": json.dumps(_versions(kept)),
        }
        return xr.Dataset(variables, axes, attributes)

    def _found(self, seed: int, workers: int, how: Execution) -> dict[str, dict[str, Any]]:
        """What is kept of every architecture; those that failed are tried again next time."""
        kept = None if how.store is None else Store(how.store, "{key}.json", manifest={"atlas": repr(self)})
        known = {name: self._identity(name, seed) for name in self.architectures} if kept else {}
        found: dict[str, dict[str, Any]] = {}
        for name, identity in known.items():
            record = kept.load(identity) if kept else None
            if record is not None:
                found[name] = record.content
        missing = [name for name in self.architectures if name not in found]
        total = len(self.architectures)
        with (
            closing(
                execute(missing, _measure, (self, seed), workers=workers, executor=how.executor)
            ) as finished,
            progress_bar(total=total, initial=len(found), desc="depth-atlas", shown=how.progress) as bar,
        ):
            for name, row in finished:
                found[name] = row
                bar.update()
                if kept is not None and row["outcome"] != "failed":
                    kept.save(known[name], Record(content=row))
        return found

    def _identity(self, name: str, seed: int) -> Identity:
        """What decides the results of one architecture.

        Factories draw from global random states, which the check seeds; so they count by their source.
        """
        asked = replace(self, architectures=(name,))
        sources = [Path(file).read_bytes() for file in _SOURCES]
        versions = environment() | _versions([ALL[name]])
        return {"atlas": repr(asked), "seed": seed, "code": digest(sources), "environment": versions}


def _versions(kept: list[Architecture]) -> dict[str, str]:
    stock = any(a.origin == "transformers" for a in kept)
    try:
        return current_versions() | ({"transformers": library().__version__} if stock else {})
    except RuntimeError:  # it is not there, and every row says so
        return current_versions()


def _measure(name: str, shared: tuple[DepthAtlas, int]) -> dict[str, Any]:
    """The row of one architecture, whatever happens; its numbers as JSON holds them."""
    atlas, seed = shared
    row: dict[str, Any] = dict.fromkeys(TEXTS, "") | dict.fromkeys(NUMBERS)
    row |= {key: [None] * len(ENDS) for key in ("beta", *(f"rate of {group}" for group in GROUPS))}
    try:
        row |= _measured(ALL[name], atlas, seed)
    except (NoStream, NotAStream) as error:
        expected = ALL[name].refused
        differs = "" if expected and expected in str(error) else "it is refused"
        return row | {"outcome": "refused", "sentence": str(error), "differs": differs}
    except Exception as error:  # of code that is not ours: it must not cost what others have found
        text = f"{type(error).__name__}: {error}"
        return row | {"outcome": "failed", "sentence": text, "differs": "it fails"}
    return row | {"outcome": "measured", "differs": "; ".join(_differs(row, ALL[name]))}


def _measured(architecture: Architecture, atlas: DepthAtlas, seed: int) -> dict[str, Any]:
    with one_thread(), default_dtype(torch.float32):
        check = depth_check(
            architecture.factory,
            architecture.batch(atlas.rows),
            depths=atlas.depths,
            seeds=atlas.seeds,
            optimizer=_adamw,
            rate_depths=atlas.rate_depths,
            rate_seeds=atlas.rate_seeds,
            seed=seed,
        )
    return _row(check)


def _adamw(module: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(module.parameters(), lr=1e-3)


def _row(check: DepthCheck) -> dict[str, Any]:
    document = check.document()
    row = {key: document[key] for key in ("kind", "copies", "fate", "skip", "degree")}
    row |= {key: document[key][-1] for key in ("action", "predicted_growth", "growth")}
    row["beta"] = _three(document["beta"])
    row["beta_all"], row["coherence"] = document["beta_all"]["value"], document["coherence"]["value"]
    row |= {"stream": check.prefix, "sentence": "; ".join(check.notes)}
    row["writers"] = json.dumps({w.name: w.coefficient for w in check.writers})
    laws = {law["group"]: law for law in document["rates"]}
    for group in GROUPS:
        law = laws.get(group)
        usable = law is not None and law["exponent"] is not None and law["power_law"]
        row[f"rate of {group}"] = _three(law["exponent"]) if law and usable else [None] * len(ENDS)
    return row


def _three(estimate: dict[str, Any]) -> list[float | None]:
    return [v if isinstance(v := estimate[end], float) and math.isfinite(v) else None for end in ENDS]


def _differs(row: dict[str, Any], architecture: Architecture) -> list[str]:
    """What of a measured row is not as the code says."""
    if architecture.refused:
        return ["it is not refused"]
    found = [
        f"the {what} is {row[what]}, not {getattr(architecture, what)}"
        for what in ("kind", "stream", "copies")
        if row[what] != getattr(architecture, what)
    ]
    coherence = row["coherence"]
    if coherence is not None and (coherence > COHERENT_ABOVE) != architecture.coherent:
        found.append(f"the coherence is {coherence:.2f}")
    zero = math.isnan(architecture.beta)
    within = STOCK_WITHIN if architecture.origin == "transformers" else OWN_WITHIN
    beta = row["beta"][0]
    if zero != (row["fate"] == "zero") or (
        not zero and (beta is None or abs(beta - architecture.beta) > within)
    ):
        found.append(f"β is {beta}, not {architecture.beta}")
    writers = json.loads(row["writers"])
    if writers.keys() != architecture.writers.keys() or any(
        c is not None and not math.isclose(writers[name], c, rel_tol=1e-3)
        for name, c in architecture.writers.items()
    ):
        found.append(f"writers are {row['writers']}, not {json.dumps(dict(architecture.writers))}")
    if architecture.origin == "transformers" and row["kind"] == "residual":
        if not math.isclose(row["growth"], row["predicted_growth"], rel_tol=GROWTH_WITHIN):
            found.append(f"the growth is {row['growth']:.3g}, predicted {row['predicted_growth']:.3g}")
    return found


def _numbers(rows: list[dict[str, Any]], name: str, count: int = 0) -> np.ndarray:
    """float64, NaN where a row has none."""
    return np.array([row[name] for row in rows], dtype=float).reshape(len(rows), *([count] if count else []))


def report(ds: xr.Dataset) -> list[str]:
    """A line for each architecture, and one for all."""
    lines = []
    for name in ds.architecture.values:
        of = ds.sel(architecture=name)
        if of.outcome != "measured":
            lines.append(f"{name}: {of.outcome.item()}; {of.sentence.item()}")
            continue
        value, low, high = of.beta.values
        rates = ", ".join(f"{g} {x:.2f}" for g, x in zip(GROUPS, of.rate.values[:, 0], strict=True))
        wrong = f"; DIFFERS: {of.differs.item()}" if of.differs != "" else ""
        lines.append(
            f"{name}: beta {value:.3f} ({low:.3f} to {high:.3f}), prescribed {of.prescribed.item():.2f}; "
            f"S {of.action.item():.2g}; coherence {of.coherence.item():.2f}; AdamW {rates}{wrong}"
        )
    counts = {what: int((ds.outcome == what).sum()) for what in ("measured", "refused", "failed")}
    words = ", ".join(f"{n} {what}" for what, n in counts.items())
    return [
        *lines,
        f"{words}; {int((ds.agrees == 1).sum())} of {ds.sizes['architecture']} as their code says",
    ]


def write_page(ds: xr.Dataset, path: Path) -> None:
    """The page of a run, and its data beside it."""
    from experiments.own.atlas_page import page

    write_whole(path.with_suffix(".nc"), bytes(ds.to_netcdf(engine="scipy")))
    write_whole(path, page(ds).encode())


BUDGETS = {
    "smoke": DepthAtlas(
        ("MLP-ResNet, pre-norm", "TransformerEncoder, pre-norm", "looped GPT", "feed-forward network"),
        (8, 16),
        2,
        (4, 8),
        2,
    ),
    "cpu": DepthAtlas(),
    "paper": DepthAtlas(depths=(8, 24, 64), seeds=5, rate_seeds=8),
}
