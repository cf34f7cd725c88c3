"""The verdicts as one HTML page, which needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from urllib.parse import quote

from resnet_sde.claims import Claim
from resnet_sde.estimate import Estimate, Outcome
from resnet_sde.theorems.core import Verdict, find
from resnet_sde.theorems.report.shell import whole_page
from resnet_sde.theorems.report.strip import strip
from resnet_sde.theorems.report.typeset import typeset
from resnet_sde.theorems.report.words import badge, circumstances, claimed, measured
from resnet_sde.theorems.results import Result, grouped, plural, tally

_LEGEND = {
    "holds: the whole interval is in the band": (1.0, 0.5),
    "fails: no part of it is": (5.0, 0.8),
    "undecided: some of it is": (2.2, 0.9),
}


def page(verdicts: Sequence[Verdict], *, versions: Mapping[str, str]) -> str:
    """A page with a part for each theorem: its statement, its claims drawn, its controls.

    Args:
        verdicts: theorems, each followed by its controls.
        versions: of the packages, by name.

    Raises:
        ValueError: a theorem is not registered, or a control does not follow its theorem.
    """
    results = grouped(verdicts)
    script = files(__package__).joinpath("page.js").read_text(encoding="utf-8")
    body = f"""{_header(results, verdicts, versions)}
{_filter(results)}
<main>
{"".join(_catalogues(results))}
</main>
<script>
{script}</script>"""
    return whole_page("Theorems, checked", body)


def _header(results: Sequence[Result], verdicts: Sequence[Verdict], versions: Mapping[str, str]) -> str:
    controls = [control for result in results for control in result.controls]
    facts = {
        **circumstances(verdicts),
        "time of all checks": _seconds(sum(verdict.seconds for verdict in verdicts)),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
    rows = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items()
    )
    others = f"{tally('control', controls)} (none should hold)" if controls else "Controls were not checked"
    return f"""<header>
<h1>Theorems, checked</h1>
<p class="counts">{tally("theorem", [result.verdict for result in results])}.
{others}.</p>
{_attention(results)}
<dl class="facts">{rows}</dl>
{_legend()}
</header>"""


def _attention(results: Sequence[Result]) -> str:
    """Links to the theorems that are not as they should be, and to those in doubt."""
    wrong = [result.verdict.id for result in results if result.failed]
    open_ = [result.verdict.id for result in results if result.open and not result.failed]
    paragraphs = {"Not as it should be": wrong, "Undecided, or with a control that is": open_}
    return "\n".join(
        f'<p class="attention"><strong>{words}:</strong> {", ".join(map(_link, ids))}.</p>'
        for words, ids in paragraphs.items()
        if ids
    )


def _link(id: str) -> str:
    return f'<a href="#{quote(id)}">{escape(id)}</a>'


def _legend() -> str:
    examples = "".join(
        f"<li>{strip(Claim('example', Estimate(x, x - half, x + half), 1.0, 1.0))} <span>{words}</span></li>"
        for words, (x, half) in _LEGEND.items()
    )
    return f"""<details class="legend" open><summary>How to read a picture</summary>
<p>The band is what the theorem claims, up to the tolerance; the dashed line is the predicted value. The
bar is the confidence interval of what was measured. Every picture has a scale of its own. A control is a
false neighbour of a theorem, with an error planted in it: none should hold.</p>
<ul>{examples}</ul></details>"""


def _filter(results: Sequence[Result]) -> str:
    """Shown by the script, as it does nothing without."""
    counts = {outcome.value: sum(r.verdict.outcome is outcome for r in results) for outcome in Outcome}
    options = [("", f"all ({len(results)})"), *((word, f"{word} ({n})") for word, n in counts.items())]
    doubtful = sum(_controls_open(result) for result in results)
    options.append(("controls", f"a control that does not fail ({doubtful})"))
    choices = "".join(f'<option value="{value}">{words}</option>' for value, words in options)
    return f"""<form id="filter" role="search" aria-label="Theorems to show" hidden>
<label>Verdict <select name="status">{choices}</select></label>
<label>Text <input type="search" name="text" autocomplete="off"></label>
<output name="shown" aria-live="polite"></output>
</form>"""


def _controls_open(result: Result) -> bool:
    return result.control_status not in (None, Outcome.FAILS.value)


def _catalogues(results: Sequence[Result]) -> Iterator[str]:
    for catalogue in dict.fromkeys(find(result.verdict.id).catalogue for result in results):
        name = escape(catalogue)
        yield f'<section aria-label="Catalogue {name}">\n<h2>{name}</h2>\n'
        yield from (_article(result) for result in results if find(result.verdict.id).catalogue == catalogue)
        yield "</section>\n"


def _article(result: Result) -> str:
    verdict, theorem = result.verdict, find(result.verdict.id)
    assumptions = "".join(f"<li>{escape(text)}</li>" for text in theorem.assumptions)
    notes = f"<h4>Assumes</h4><ul>{assumptions}</ul>" if assumptions else ""
    if theorem.source:
        notes += f"<h4>Source</h4><p>{escape(theorem.source)}</p>"
    tags = [verdict.status, *(["controls"] if _controls_open(result) else [])]
    return f"""<article id="{escape(verdict.id)}" data-tags="{"|".join(tags)}">
<h3>{badge(verdict.outcome)} {_link(verdict.id)}</h3>
<p class="words">{escape(theorem.words)}</p>
{_statement(theorem.statement)}
<div class="body">
<div class="notes">{notes}<h4>Checked</h4><p>{_run(verdict)}</p></div>
<div class="evidence">
{_claims(verdict)}
{_controls(result.controls)}</div>
</div>
</article>
"""


def _statement(latex: str) -> str:
    """Typeset, or as it was written where that is not possible."""
    formula = typeset(latex)
    if formula is None and latex.strip():
        formula = f"<code>{escape(latex)}</code>"
    return f'<div class="statement">{formula}</div>' if formula else ""


def _run(verdict: Verdict) -> str:
    changed = "".join(f", {name} = {value}" for name, value in verdict.settings.items())
    return escape(f"budget {verdict.budget}{changed}, seed {verdict.seed}, {_seconds(verdict.seconds)}")


def _claims(verdict: Verdict) -> str:
    rows = "".join(map(_claim, verdict.claims))
    return f"""<table>
<caption>{plural(len(verdict.claims), "claim")}</caption>
<thead><tr><th scope="col" class="verdict">verdict</th><th scope="col">quantity</th>
<th scope="col" class="drawn">drawn</th><th scope="col" class="measured">measured</th>
<th scope="col" class="claimed">claimed</th></tr></thead>
<tbody>{rows}</tbody>
</table>"""


def _claim(claim: Claim) -> str:
    unmet = "" if claim.unmet is None else f"<small>{escape(claim.unmet)}</small>"
    picture = strip(claim)
    cells = (
        f'<td class="verdict">{badge(claim.outcome)}</td>'
        f'<th scope="row">{escape(claim.name)}{unmet}</th><td class="drawn">{picture}</td>'
    )
    found, target = (measured(claim), claimed(claim)) if picture else ("", "")
    return f'<tr>{cells}<td class="measured">{found}</td><td class="claimed">{target}</td></tr>\n'


def _controls(controls: Sequence[Verdict]) -> str:
    if not controls:
        return ""
    parts = "".join(
        f'<section class="control"><h4>{badge(control.outcome)} {escape(control.control or "")}</h4>\n'
        f"<p>{_run(control)}</p>\n{_claims(control)}\n</section>\n"
        for control in controls
    )
    note = ""
    if any(control.holds for control in controls):
        note = "; <strong>none should hold</strong>"
    elif all(control.outcome is Outcome.FAILS for control in controls):
        note = ", as it should be"
    return f"<details><summary>{tally('control', controls)}{note}</summary>\n{parts}</details>"


def _seconds(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
