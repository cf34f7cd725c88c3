"""What every page has around its content; it needs nothing but a browser."""

from __future__ import annotations

from html import escape
from importlib.resources import files

# No address is ever fetched, whatever the texts of a page contain.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def whole_page(title: str, body: str, *, style: str = "") -> str:
    """The page as HTML, in the style of the report.

    Args:
        title: plain text.
        body: HTML.
        style: more rules of style.
    """
    common = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>
{common}{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
