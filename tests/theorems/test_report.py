"""The page and the table that `resnet-sde verify` writes, as texts."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from command_line import run
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape
from reported import FAILS, HOLDS, ODD, ODD_ID, UNDECIDED, VERSIONS, everything, register_odd, verdict

from resnet_sde.estimate import Estimate
from resnet_sde.report import markdown, page
from resnet_sde.report.interval_svg import WIDTH, interval_svg
from resnet_sde.report.typeset import typeset
from resnet_sde.report.words import claimed, measured
from resnet_sde.theorems import Claim, Outcome, Verdict, registry
from resnet_sde.theorems.results import grouped

FAST = ("one-path-many-depths", "gradient-invariant")
EMPTY_TAGS = {"meta", "link", "input"}


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    before = dict(registry)
    yield
    registry.clear()
    registry.update(before)


class Document(HTMLParser):
    """The text of a page and the attributes of its elements; refuses tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.elements, self._open = "", [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in EMPTY_TAGS:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of a kind."""
        return [attributes for found, attributes in self.elements if found == tag]


def test_a_tag_that_is_not_closed_is_noticed() -> None:
    with pytest.raises(AssertionError):
        Document("<p><b>x</p>")


# The page


def test_every_theorem_and_every_claim_appears() -> None:
    verdicts = everything()
    found = Document(page(verdicts, versions=VERSIONS))
    assert [attributes["id"] for attributes in found.all("article")] == list(registry)
    claims = sum(len(verdict.claims) for verdict in verdicts)
    assert len(found.all("svg")) == claims + 3, "three are in the legend"
    assert len(found.all("math")) == sum(bool(entry.statement) for entry in registry.values())
    for entry in registry.values():
        for text in (entry.words, entry.source, *entry.assumptions, *entry.controls):
            assert text in found.text


def test_the_head_says_how_it_was_made() -> None:
    register_odd()
    verdicts = [verdict(HOLDS), verdict(FAILS, control="x<y", seconds=80.0), verdict(UNDECIDED)]
    text = Document(page(verdicts, versions=VERSIONS)).text
    for words in (
        "2 theorems: 1 holds, 1 undecided.",
        "1 control: 1 fails (none should hold).",
        "0.05 or less",
        "99.9902 %",
        "1 min 22 s",
        "resnet_sde 0.1.0, torch <2>",
    ):
        assert words in text
    assert "Controls were not checked." in page([verdict(HOLDS)], versions=VERSIONS)


def test_what_is_wrong_is_named_at_the_top() -> None:
    register_odd()
    assert 'class="attention"' not in page([verdict(HOLDS), verdict(FAILS, control="x")], versions={})
    for verdicts, words in (
        ([verdict(FAILS)], "Not as it should be"),
        ([verdict(HOLDS), verdict(HOLDS, control="x")], "Not as it should be"),
        ([verdict(UNDECIDED)], "Undecided"),
        ([verdict(HOLDS), verdict(UNDECIDED, control="x")], "Undecided"),
    ):
        top = page(verdicts, versions={}).split("<main>")[0]
        assert f"<strong>{words}" in top
        assert ('href="#a%3Cb%20%26%20%22c%22"') in top


def test_rows_and_controls_have_verdicts_in_words() -> None:
    register_odd()
    unmet = next(claim for claim in ODD if claim.unmet)
    found = page([verdict(HOLDS, FAILS, UNDECIDED, unmet), verdict(HOLDS, control="x<y")], versions=VERSIONS)
    rows = re.findall(r"<tr><td.*?</tr>", found, re.DOTALL)
    badges = [re.search(r'class="badge .*?</span> (.*?)</span>', row)[1] for row in rows]
    assert badges == ["holds", "fails", "undecided", "assumption not met", "holds"]
    assert "1 control: 1 holds; <strong>none should hold</strong>" in found
    assert "model = &lt;a model&gt;, seed 3, 1.2 s" in found


def test_texts_are_escaped() -> None:
    register_odd()
    made = page([verdict(*ODD), verdict(HOLDS, control="x<y")], versions=VERSIONS)
    found = Document(made)
    assert found.all("article") == [{"id": ODD_ID, "data-tags": "fails|controls"}]
    for tag in ("b", "i", "such", "width", "matrices"):
        assert found.all(tag) == []
    for text in (registry[ODD_ID].words, "<i>nobody</i>", "x < y & y > z", "<at most> & so on", "x<y"):
        assert text in found.text
    assert escape("a <width> below & 64") in made


def test_a_page_of_nothing() -> None:
    found = Document(page([], versions=VERSIONS))
    assert "no theorems." in found.text
    assert found.all("article") == []
    assert "no theorems" in markdown([], versions=VERSIONS)
    assert r"- versions: a\_b 1.0, c 2\*" in markdown([], versions={"a_b": "1.0", "c": "2*"})


def test_nothing_is_fetched() -> None:
    made = page(everything(), versions=VERSIONS)
    addresses = re.findall(r'(?:src|href|srcset|action|data)="(.*?)"', made)
    assert addresses
    assert all(address.startswith("#") or address == "data:," for address in addresses)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest", made)
    assert "default-src 'none'" in made


# Statements


@pytest.mark.parametrize("id", list(registry))
def test_every_statement_is_typeset(id: str) -> None:
    statement = registry[id].statement
    assert not statement or typeset(statement) is not None


@pytest.mark.parametrize(
    "latex",
    [
        *("", "  ", r"\nosuchcommand x", r"x_", r"\text{a < b}", r"\text{<script/>}"),
        *(r"\href{javascript:alert(1)}{x}", r"\href{https://a.b}{x}", r"\style{background:url(//a.b)}{x}"),
        *(r"\class{badge}{x}", r"\text{<mi onclick='a()'>x</mi>}", r"\text{<mtext id='filter'/>}"),
        r"\text{<mi href='data:text/html,x'>x</mi>}",
    ],
)
def test_what_cannot_be_typeset_is_shown_as_it_is(latex: str) -> None:
    assert typeset(latex) is None
    register_odd(latex)
    made = page([verdict(HOLDS)], versions={})
    assert "<math" not in made
    assert (f"<code>{escape(latex)}</code>" in made) == bool(latex.strip())


@pytest.mark.parametrize(
    ("latex", "mathml"),
    [
        (r"x \sim y", "<mo>∼</mo>"),
        (r"x \implies y", "<mo>⟹</mo>"),
        (r"x \to \infty", "<mi>∞</mi>"),
        (r"a/b", '<mo lspace="0" rspace="0">/</mo>'),
        (r"\mathbb{E} \log x", '<mi>log</mi><mspace width="0.17em" /><mi>x</mi>'),
        (r"\varphi''^2", "<mrow><msup><mi>φ</mi><mi>″</mi></msup></mrow><mn>2</mn>"),
        (r"\log(x)", '<mi>log</mi><mo stretchy="false">(</mo>'),
        (r"\log \left(x\right)", "<mi>log</mi><mrow>"),
        (r"\langle p, h \rangle", 'form="prefix" stretchy="false" lspace="0" rspace="0">⟨</mo>'),
    ],
)
def test_signs_and_functions_have_their_spaces(latex: str, mathml: str) -> None:
    assert mathml in typeset(latex)


# Pictures


def shapes(claim: Claim) -> dict[str, ElementTree.Element]:
    """The parts of a picture by their classes."""
    return {part.get("class", part.tag): part for part in ElementTree.fromstring(interval_svg(claim))}


def bar(parts: dict[str, ElementTree.Element]) -> tuple[float, float]:
    """Where the interval begins and ends."""
    left, right = re.match(r"M(\S+) \S+H([\d.]+)", parts["interval"].get("d")).groups()
    return float(left), float(right)


def band(parts: dict[str, ElementTree.Element]) -> tuple[float, float]:
    """Where the band begins and ends."""
    left, width = (float(parts["band"].get(name)) for name in ("x", "width"))
    return left, left + width


@pytest.mark.parametrize("claim", ODD, ids=[claim.name for claim in ODD])
def test_every_number_can_be_drawn(claim: Claim) -> None:
    drawn = interval_svg(claim)
    if claim.name == "assumptions":
        assert drawn == "", "there is nothing to draw"
        return
    assert not re.search(r"M-|nan|inf\b", re.sub("<title>.*</title>", "", drawn))
    parts = shapes(claim)
    assert parts["title"].text.endswith(f"claimed {claimed(claim)}: {claim.outcome.value}")
    assert -2 <= band(parts)[0] < band(parts)[1] <= WIDTH + 4
    assert 0 <= float(parts["target"].get("x1")) <= WIDTH
    assert ("text" in parts) == (claim.name == "no number")


numbers = st.floats(-1e3, 1e3).map(lambda x: round(x, 3))


@given(numbers, st.floats(0.01, 100), st.floats(0.01, 100), numbers, st.sampled_from(["=", "<=", ">="]))
def test_the_picture_says_what_the_verdict_says(
    value: float, half: float, tolerance: float, predicted: float, relation: str
) -> None:
    claim = Claim("x", Estimate(value, value - half, value + half), predicted, tolerance, relation)
    parts = shapes(claim)
    (left, right), (begin, end) = bar(parts), band(parts)
    rounding = 2.1  # what is thinner than two pixels is drawn two pixels wide
    inside = begin - rounding <= left and right <= end + rounding
    outside = right <= begin + rounding or left >= end - rounding
    assert {Outcome.HOLDS: inside, Outcome.FAILS: outside, Outcome.UNDECIDED: True}[claim.outcome]
    apart = min(abs(a - b) for a in (left, right) for b in (begin, end)) > rounding
    if claim.outcome is Outcome.UNDECIDED and apart:
        assert not inside
        assert not outside


def test_marks_differ_in_shape() -> None:
    marks = {
        claim.outcome: interval_svg(claim).split('class="mark')[1] for claim in (HOLDS, FAILS, UNDECIDED)
    }
    assert "r=" in marks[Outcome.HOLDS]
    assert "m0-8" in marks[Outcome.FAILS]
    assert "z" in marks[Outcome.UNDECIDED]


def test_claims_in_words() -> None:
    assert (measured(HOLDS), claimed(HOLDS)) == ("1 [0.9, 1.1]", "= 1 ± 0.2")
    by_name = {claim.name: claim for claim in ODD}
    assert claimed(by_name["<at most> & so on"]) == "≤ 1 + 0.5"
    assert claimed(by_name["at least"]) == "≥ 1"
    assert measured(by_name["no bounds"]) == "1 [−∞, ∞]"
    assert measured(by_name["no number"]) == "not a number"
    assert measured(by_name["exact"]) == "1e−16"


# Results and the table


def test_controls_follow_their_theorems() -> None:
    (result,) = grouped([verdict(HOLDS), verdict(FAILS, control="x"), verdict(UNDECIDED, control="y")])
    assert [control.control for control in result.controls] == ["x", "y"]
    for verdicts in ([verdict(HOLDS, control="x")], [verdict(HOLDS), verdict(HOLDS, id="b", control="x")]):
        with pytest.raises(ValueError, match=r"give the verdict of .+ first"):
            grouped(verdicts)


def test_the_table_in_markdown() -> None:
    register_odd()
    text = markdown([verdict(HOLDS), verdict(FAILS, control="x<y"), verdict(UNDECIDED)], versions=VERSIONS)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    words = r'a\<b \& "c" | Not \<b\>bold\</b\> \& no "markup", \|x\| \*y\* z\_1.'
    assert rows[2:] == [
        f"| {words} | holds | x\\<y: fails | 2.5 |",
        f"| {words} | undecided | not checked | 1.2 |",
    ]
    for line in ("- 2 theorems: 1 holds, 1 undecided", "- budget: quick", "- seed: 3"):
        assert line in text.splitlines()


def test_tables_differ_in_seconds_only() -> None:
    def table(seconds: float) -> str:
        made = [Verdict(v.id, v.claims, v.budget, v.seed, seconds, v.control) for v in everything()]
        return markdown(made, versions=VERSIONS)

    assert table(1.0) != table(2.0)
    assert re.sub(r"[\d.]+ \|$", "|", table(1.0), flags=re.M) == re.sub(
        r"[\d.]+ \|$", "|", table(2.0), flags=re.M
    )
    assert all(f"| {id} | " in table(1.0) for id in registry)


# The command


def test_the_command_writes_both(tmp_path: Path) -> None:
    html, md = tmp_path / "page.html", tmp_path / "table.md"
    words = (*FAST, "--controls", "--json", "--report", html, "--table", md)
    status, output, errors = run(*words, command="verify")
    assert (status, errors) == (0, "")
    assert output.startswith("{")
    found = Document(html.read_text(encoding="utf-8"))
    assert [attributes["id"] for attributes in found.all("article")] == list(FAST)
    assert "2 theorems: 2 hold." in found.text
    assert md.read_text(encoding="utf-8").count("\n| ") == 4


def test_places_that_cannot_be_written_are_refused_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnet_sde.theorems.suite.Task.run", None)  # nothing is computed
    for option in ("--report", "--table"):
        for place, reason in (
            (tmp_path / "nowhere" / "file", "needs a file in a folder that is there"),
            ("", "needs a file in a folder that is there"),
            (tmp_path, "is a directory"),
        ):
            status, output, errors = run(FAST[0], option, place, command="verify")
            assert (status, output) == (2, "")
            assert reason in errors
            assert errors.count("\n") == 1
