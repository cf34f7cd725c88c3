"""HTML pages from the templates of this package; they need nothing but a browser."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from resnet_sde.report.interval_svg import interval_svg
from resnet_sde.report.typeset import typeset
from resnet_sde.report.words import claimed, duration, measured
from resnet_sde.theorems.results import plural, tally


def render(template: str, **given: object) -> str:
    """A page. Texts are escaped wherever they stand, except what is `Markup`."""
    return _environment().get_template(template).render(given)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("resnet_sde.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters |= {
        "anchor": lambda name: quote(name),
        "claimed": claimed,
        "duration": duration,
        "measured": measured,
        "picture": interval_svg,
        "plural": plural,
        "prose": _prose,
        "statement": _statement,
        "tally": lambda verdicts, what: tally(what, verdicts),
    }
    return found


def _prose(text: str) -> Markup:
    """Text of a docstring, with `code` as such."""
    return Markup(re.sub(r"``?([^`]+)``?", r"<code>\1</code>", escape(" ".join(text.split()))))


def _statement(latex: str) -> Markup:
    """Typeset, or as it was written where that is not possible."""
    formula = typeset(latex)
    if formula is None:
        return Markup("<code>{}</code>").format(latex) if latex.strip() else Markup()
    return Markup(formula)
