"""The figures that were made, as one page with their captions and claims."""

from __future__ import annotations

import base64
import io
import logging
import re
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from PIL import Image

from paper_figs.catalogue import PICTURES, sections
from paper_figs.making import Record
from paper_figs.stored import SUFFIX
from resnet_sde.claims import Claim
from resnet_sde.estimate import Outcome
from resnet_sde.runs.store import write_whole
from resnet_sde.theorems.report.shell import whole_page
from resnet_sde.theorems.report.words import badge, claimed, measured

log = logging.getLogger("resnet_sde")

THUMBNAIL = 960  # pixels wide, twice what is shown on a wide page


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
    body = f"""{_header(records)}
<main>
{"".join(_sections(records, folder))}
</main>"""
    style = Path(__file__).with_name("gallery.css").read_text(encoding="utf-8")
    return whole_page("Figures, checked", body, style=style)


def _header(records: Sequence[Record]) -> str:
    claims = [claim for record in records for claim in record.claims]
    failed = sum(not c.holds for c in claims)
    seconds = {r.dataset_of: r.seconds or 0.0 for r in records if not r.trained}
    versions = dict(item for record in records for item in record.versions.items())
    facts = {
        "time of all datasets but those of trained networks": _time(sum(seconds.values())),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
    rows = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items()
    )
    wrong = [record for record in records if not all(c.holds for c in record.claims)]
    links = ", ".join(f'<a href="#{escape(r.name)}">{escape(r.name)}</a>' for r in wrong)
    attention = f'<p class="attention"><strong>A claim fails:</strong> {links}.</p>' if wrong else ""
    return f"""<header>
<h1>Figures, checked</h1>
<p class="counts">{len(records)} figures. {len(claims) - failed} of {len(claims)} claims hold.</p>
<p class="words">Every figure is drawn from numbers that resnet_sde computed, and judged by them: a
claim is a number and what it must be. Where one fails for a known reason, the reason
stands beside it.</p>
{attention}
<dl class="facts">{rows}</dl>
</header>"""


def _sections(records: Sequence[Record], folder: Path) -> Iterator[str]:
    for title, names in sections().items():
        some = [record for record in records if record.name in names]
        if some:
            yield f'<section aria-label="{escape(title)}">\n<h2>{escape(title)}</h2>\n'
            yield from (_article(record, folder) for record in some)
            yield "</section>\n"


def _article(record: Record, folder: Path) -> str:
    name = escape(record.name)  # one of ours, see Record.load
    paragraphs = "".join(f"<p>{_prose(text)}</p>\n" for text in record.caption.split("\n\n") if text)
    made = f"budget {record.budget}, seed {record.seed}"
    if record.trained:
        made += ", from trained networks"
    elif record.seconds is not None:
        made += f", {_time(record.seconds)}"
    kinds = {"PNG": ".png", "PDF": ".pdf", "data": SUFFIX, "table": ".md"}
    links = "".join(
        f'<a href="{name}{suffix}">{kind}</a>'
        for kind, suffix in kinds.items()
        if (folder / f"{name}{suffix}").exists()
    )
    command = f"python -m paper_figs {name} --budget {record.budget} --seed {record.seed}"
    command, made = escape(command), escape(made)
    return f"""<article id="{name}">
<div class="figure">
{_picture(record, folder)}
<div>
<h3>{_prose(record.title)}</h3>
{paragraphs}<p class="links">{links}</p>
<p class="command"><code>{command}</code><br>{made}</p>
</div>
</div>
{_claims(record.claims)}
</article>
"""


def _claims(claims: Sequence[Claim]) -> str:
    failed = [c for c in claims if not c.holds]
    words = f"{len(claims) - len(failed)} of {len(claims)} claims hold"
    sign = badge(Outcome.FAILS if failed else Outcome.HOLDS)
    rows = "".join(map(_row, [*failed, *(c for c in claims if c.holds)]))
    return f"""<details{" open" if failed else ""}><summary>{sign} {words}</summary>
<table class="claims">
<thead><tr><th scope="col" class="verdict">verdict</th><th scope="col">quantity</th>
<th scope="col" class="measured">measured</th><th scope="col" class="claimed">claimed</th></tr></thead>
<tbody>{rows}</tbody>
</table></details>"""


def _row(c: Claim) -> str:
    known = f"<small>{_prose(c.known)}</small>" if c.known and not c.holds else ""
    return (
        f'<tr><td class="verdict">{badge(c.outcome)}</td><th scope="row">{escape(c.name)}{known}</th>'
        f'<td class="measured">{measured(c)}</td><td class="claimed">{claimed(c)}</td></tr>\n'
    )


def _prose(text: str) -> str:
    """Text of a docstring, with `code` as such."""
    return re.sub(r"``?([^`]+)``?", r"<code>\1</code>", escape(" ".join(text.split())))


def _picture(record: Record, folder: Path) -> str:
    """The picture, as a link to the whole of it; words where it cannot be read."""
    path = folder / f"{record.name}.png"
    try:
        name = escape(record.name)
        return f'<a href="{name}.png"><img src="{_thumbnail(path)}" alt="{escape(record.title)}"></a>'
    except OSError as error:
        log.warning("%s cannot be shown (%s); run the figure again to draw it", path, error)
        return f"<p>There is no picture of {escape(record.name)}; run it again to draw it.</p>"


def _thumbnail(path: Path) -> str:
    """A smaller picture, as the address of its own content."""
    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL * 4))
    content = io.BytesIO()
    small.save(content, "WEBP", quality=82)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
