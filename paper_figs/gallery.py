"""The figures that were made, as one page with their captions and claims."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from paper_figs.catalogue import PICTURES, sections
from paper_figs.making import Record
from paper_figs.stored import SUFFIX
from resnet_sde.estimate import Outcome
from resnet_sde.report.render import render
from resnet_sde.report.words import duration
from resnet_sde.runs.store import write_whole

log = logging.getLogger("resnet_sde")

THUMBNAIL = 960  # pixels wide, twice what is shown on a wide page
KINDS = {"PNG": ".png", "PDF": ".pdf", "data": SUFFIX, "table": ".md"}


def write(folder: Path) -> Path:
    """Make the gallery of all figures whose records are in the folder, and return its path.

    Raises:
        OSError: it could not be written.
    """
    records = [record for name in PICTURES if (record := Record.load(folder, name)) is not None]
    path = folder / "index.html"
    write_whole(path, page(records, folder).encode())
    return path


def page(records: Sequence[Record], folder: Path) -> str:
    """The gallery as HTML; the pictures are those of the folder."""
    claims = [claim for record in records for claim in record.claims]
    seconds = {r.dataset_of: r.seconds or 0.0 for r in records if not r.trained}
    versions = dict(item for record in records for item in record.versions.items())
    return render(
        "figures.html",
        title="Figures, checked",
        counts=f"{len(records)} figures. {sum(c.holds for c in claims)} of {len(claims)} claims hold.",
        attention={"A claim fails": [r.name for r in records if not all(c.holds for c in r.claims)]},
        facts={
            "time of all datasets but those of trained networks": duration(sum(seconds.values())),
            "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        },
        sections={
            title: [_shown(record, folder) for record in records if record.name in names]
            for title, names in sections().items()
        },
        holds=Outcome.HOLDS,
        fails=Outcome.FAILS,
    )


def _shown(record: Record, folder: Path) -> dict[str, object]:
    """A figure with what the folder has of it."""
    files = {kind: f"{record.name}{suffix}" for kind, suffix in KINDS.items()}
    links = {kind: file for kind, file in files.items() if (folder / file).exists()}
    return {"record": record, "links": links, "picture": _picture(folder / files["PNG"])}


def _picture(path: Path) -> str:
    """A smaller picture, as the address of its own content; none where it cannot be read."""
    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
    except OSError as error:
        log.warning("%s cannot be shown (%s); run the figure again to draw it", path, error)
        return ""
    small.thumbnail((THUMBNAIL, THUMBNAIL * 4))
    content = io.BytesIO()
    small.save(content, "WEBP", quality=82)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"
