"""The page of verdicts in a real browser, Chromium without a window."""

from pathlib import Path

import pytest
from browser import BROWSER, REASON, browse
from reported import FAILS, HOLDS, UNDECIDED, VERSIONS, everything, verdict

from resnet_sde.report import page
from resnet_sde.theorems import registry

FAILING, OPEN = "mean-bounds", "sde-limit"

pytestmark = pytest.mark.skipif(BROWSER is None, reason=REASON)

# A page with the report in a frame, as windows have a least width. When it is there, the script uses the
# filter as a reader would, and leaves what it saw for the dump.
HARNESS = """<!doctype html>
<iframe id="frame" style="border: 0; width: WIDTHpx; height: 900px" srcdoc="REPORT"></iframe>
<pre id="found"></pre>
<script>
document.getElementById("frame").onload = (event) => {
  const inside = event.target.contentDocument;
  const all = (selector, test) => [...inside.querySelectorAll(selector)].filter(test);
  const form = inside.getElementById("filter");
  const shown = (status, text) => {
    form.elements.status.value = status;
    form.elements.text.value = text;
    form.elements.text.dispatchEvent(new Event("input", { bubbles: true }));
    return all("article", (article) => article.offsetHeight > 0).map((article) => article.id);
  };
  for (const details of inside.querySelectorAll("details")) details.open = true;
  const width = inside.documentElement.clientWidth;
  const found = {
    frame: event.target.contentWindow.innerWidth,
    width: width,
    page: inside.documentElement.scrollWidth,
    wide: all(".statement", (box) => box.scrollWidth > box.clientWidth).length,
    cut: all("td, th, h3, h4, p, li, dd", (e) => e.getBoundingClientRect().right > width + 1).length,
    flat: all("math", (formula) => formula.getBoundingClientRect().height < 10).length,
    all: shown("", ""),
    fails: shown("fails", ""),
    undecided: shown("undecided", ""),
    controls: shown("controls", ""),
    word: shown("", "YOUNG-drift"),
    both: shown("fails", "young-drift"),
    headings: all("h2", (heading) => heading.offsetHeight > 0).length,
    count: form.elements.shown.value,
  };
  document.getElementById("found").textContent = JSON.stringify(found);
};
</script>
"""


def text() -> str:
    """A page of everything, where one theorem fails and one has a control that is undecided."""
    verdicts = []
    for made in everything():
        if made.control is None:
            made = verdict(HOLDS if made.id != FAILING else FAILS, HOLDS, id=made.id)
        elif made.id == OPEN:
            made = verdict(UNDECIDED, id=made.id, control=made.control)
        verdicts.append(made)
    return page(verdicts, versions=VERSIONS)


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_in_a_browser(width: int, tmp_path: Path) -> None:
    seen, console = browse(HARNESS, text(), width, tmp_path)
    assert console == []
    assert seen["frame"] == width
    assert seen["page"] <= seen["width"], "the page does not scroll sideways"
    assert seen["cut"] == 0
    assert seen["flat"] == 0, "formulas are typeset"
    assert width > 400 or seen["wide"] > 0, "wide formulas scroll in boxes of their own"
    assert seen["all"] == list(registry)
    assert seen["fails"] == [FAILING]
    assert seen["undecided"] == []
    assert seen["controls"] == [OPEN]
    assert seen["word"] == ["young-drift"]
    assert (seen["both"], seen["headings"]) == ([], 0)
    assert seen["count"] == f"0 of {len(registry)} shown"


def test_faults_are_noticed(tmp_path: Path) -> None:
    fault = (
        '<div style="width: 2000px">x</div><img src="https://example.org/x.png"><script>nothing();</script>'
    )
    broken = text().replace("<main>", f"<main>{fault}")
    broken = broken.replace("article.hidden = ", "article.lost = ")
    seen, console = browse(HARNESS, broken, 400, tmp_path)
    assert any("nothing is not defined" in line for line in console)
    assert any("Content Security Policy" in line for line in console)
    assert seen["page"] >= 2000
    assert seen["fails"] != [FAILING]
