"""What came out of checks, for people: a page to open in a browser, and a table for a repository.

    >>> from resnet_sde import theorems
    >>> from resnet_sde.report import markdown, page
    >>> verdicts = [theorems.verify("gradient-invariant")]
    >>> text = page(verdicts, versions={"resnet_sde": "0.1.0"})
    >>> text.startswith("<!doctype html>")
    True

Both are functions of the verdicts alone; nothing is computed, read or fetched.
"""

from resnet_sde.report.markdown import markdown
from resnet_sde.report.page import page

__all__ = ["markdown", "page"]
