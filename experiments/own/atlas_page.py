"""The page of the depth atlas, written from its dataset alone."""

from __future__ import annotations

import json
import math
from typing import Any

import xarray as xr

from experiments.own.depth_atlas import ALL

_HEAD = """\
# The depth atlas

<!-- written by python -m experiments own/depth_atlas --page docs/depth-atlas.md; not to be edited -->

How residual branches and learning rates depend on the number L of blocks: what the code of an
architecture prescribes, and what [`depth_check`](depth-check.md) measures at initialization.

{counts}

    python -m experiments own/depth_atlas --workers 2 --page docs/depth-atlas.md

writes this page, and its data beside it (`depth-atlas.nc`, which xarray opens); a stock model takes about
seven seconds of one core. Each architecture is kept when it is finished: the same command goes on from
there, and one that fails costs no other. Nothing is downloaded: stock models are made from random
configurations of width 64, and need `pip install 'resnet_sde[transformers]'`.

{settings}
"""

_COLUMNS = """
- **prescribed**: the exponent that follows from the code, and what the code says.
- **β**: branches fall like L^-β in the first eight blocks; **all**: the same over all blocks, where
  later ones feel what earlier ones added. β* is 1/2 for independent layers and 1 for coherent ones.
- **S**: the action of the deepest network; **growth** of the norm of its stream, predicted from S for
  independent layers, and measured. A post-norm stream keeps its norm.
- **Ĥ**: coherence, near 1/2 for layers that are drawn independently, near 1 for copies, for loops, and
  for branches without weights.
- **writers**: what is added to the stream, with its coefficient in the deepest network if it is not 1.
- **AdamW**: exponents of the rate with which one step changes the stream by the same share at all
  depths, of all blocks, of what writes, and of what does not. With a question mark the interval is wider
  than ± .3; "no law" is no power of the depth, or nothing to be moved.
"""

_TABLE = (
    "| architecture | prescribed | β | all | S | growth | Ĥ | writers | AdamW: blocks, writers, inner |",
    "|---|---|---|---|---|---|---|---|---|",
)
_ORIGINS = {
    "transformers": "Stock models of transformers",
    "torch": "Modules of torch",
    "written here": "Networks as people write them",
}


def page(ds: xr.Dataset) -> str:
    """The page as Markdown."""
    rows = [_row_of(ds, name) for name in ds.architecture.values]
    measured = [row for row in rows if row["outcome"] == "measured"]
    parts = [_head(ds, rows), _COLUMNS]
    for origin, title in _ORIGINS.items():
        some = [row for row in measured if row["origin"] == origin]
        if some:
            parts.append("\n".join(["", f"## {title}", "", *_TABLE, *map(_line, some), ""]))
    parts += [_refused(rows), _disagreements(rows), _missing(rows)]
    return "\n".join(part.strip("\n") + "\n" for part in parts if part)


def _row_of(ds: xr.Dataset, name: str) -> dict[str, Any]:
    of = ds.sel(architecture=name)
    row = {key: of[key].values.tolist() for key in of.data_vars}
    return row | {"name": str(name)}


def _head(ds: xr.Dataset, rows: list[dict[str, Any]]) -> str:
    counts = {what: sum(row["outcome"] == what for row in rows) for what in ("measured", "refused", "failed")}
    agree = sum(row["differs"] == "" for row in rows)
    words = (
        f"Of {len(rows)} architectures {counts['measured']} are measured and {counts['refused']} refused;\n"
        f"{agree} are as their code says: kind of the stream, writers, coherence, β within .12 (.06 for\n"
        "networks that are written here), and the growth of residual stock models within 6 %."
    )
    if counts["failed"]:
        words += f" {counts['failed']} failed."
    versions = json.loads(ds.attrs["versions"])
    named = ", ".join(f"{n} {versions[n]}" for n in ("transformers", "torch") if n in versions)
    asked = json.loads(ds.attrs["asked"])
    depths, rate_depths = (", ".join(map(str, asked[key])) for key in ("depths", "rate_depths"))
    settings = (
        f"With {named}. β: depths {depths}, {asked['seeds']} seeds; rates: depths {rate_depths},\n"
        f"{asked['rate_seeds']} seeds; batches of {asked['rows']} rows; intervals of level 95 %."
    )
    return _HEAD.format(counts=words, settings=settings)


def _line(row: dict[str, Any]) -> str:
    beta = "zero branches" if row["fate"] == "zero" else _estimate(row["beta"], 3)
    grows = row["kind"] != "post-norm"
    growth = f"{row['predicted_growth']:.3g} / {row['growth']:.3g}" if grows else "post-norm"
    kind = f", {row['kind']}" if row["kind"] == "post-activation" else ""
    cells = [
        row["name"],
        f"{_exponent(row['prescribed'])}: {row['says']}",
        beta,
        _decimals(row["beta_all"], 2),
        f"{row['action']:.2g}",
        growth + kind,
        _decimals(row["coherence"], 2),
        _writers(json.loads(row["writers"])),
        ", ".join(_rate(three) for three in row["rate"]),
    ]
    return f"| {' | '.join(cells)} |"


def _writers(found: dict[str, float]) -> str:
    words = [name if abs(c - 1) < 5e-3 else f"{c:.3g} {name}" for name, c in found.items()]
    return ", ".join(f"`{w}`" for w in words) or "–"


def _exponent(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:g}"


def _decimals(value: float, digits: int) -> str:
    return "–" if not math.isfinite(value) else f"{round(value, digits) + 0.0:.{digits}f}"


def _estimate(three: list[float], digits: int) -> str:
    value, low, high = three
    half = (high - low) / 2
    return _decimals(value, digits) if math.isnan(half) else f"{_decimals(value, digits)} ± {half:.{digits}f}"


def _rate(three: list[float]) -> str:
    value, low, high = three
    if math.isnan(value):
        return "no law"
    return f"{_decimals(value, 2)}{'?' if (high - low) / 2 > 0.3 else ''}"


def _refused(rows: list[dict[str, Any]]) -> str:
    some = [row for row in rows if row["outcome"] != "measured"]
    lines = [f"| {row['name']} | {row['says']} | {row['sentence']} |" for row in some]
    table = ["| architecture | its code | sentence |", "|---|---|---|", *lines]
    return "\n".join(["## Refused", "", "The check says why it has no exponent for them.", "", *table])


def _disagreements(rows: list[dict[str, Any]]) -> str:
    some = [f"- {row['name']}: {row['differs']}" for row in rows if row["differs"]]
    return "\n".join(["## Not as the code says", "", *(some or ["Nothing."])])


def _missing(rows: list[dict[str, Any]]) -> str:
    some = [name for name in ALL if name not in {row["name"] for row in rows}]
    words = f"{len(some)} more that the command goes through: {', '.join(some)}."
    return "\n".join(["## Not in this run", "", words]) if some else ""
