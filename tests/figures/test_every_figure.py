"""What holds for every figure at the smoke budget: its claims, where it came from, how it is drawn.

Seeds are fixed, so the checks cannot fail by chance; what a change of the random numbers would do is said
where violations are planted. Numbers are made in torch's default precision, as on the command line: a
constant that is rounded to float32 must fail here.
"""

from functools import lru_cache
from pathlib import Path

import pytest
from drawn_figures import (
    assert_draws_the_same_when_stored,
    assert_says_where_it_came_from,
    drawn,
    failures,
    module,
    smoke,
)
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from paper_figs._style import house_style
from paper_figs.catalogue import PICTURES

# These have tests of their own; what is drawn of any other says itself of how many panels it is.
OF_THEIR_OWN = {*(f"marion/fig{number}" for number in range(1, 8)), "own/trajectories"}


@pytest.fixture(scope="module", params=[name for name in PICTURES if name not in OF_THEIR_OWN])
def name(request: pytest.FixtureRequest) -> str:
    """All tests of a figure run one after the other: they share its dataset and its layout."""
    return request.param


def test_the_numbers_hold(name: str) -> None:
    assert failures(name, smoke(name)) == []


def test_the_dataset_says_where_it_came_from(name: str) -> None:
    assert_says_where_it_came_from(name, smoke(name))
    assert module(name).BUDGETS.keys() & {"cpu", "paper"}


def test_a_stored_dataset_draws_the_same_figure(name: str, tmp_path: Path) -> None:
    assert_draws_the_same_when_stored(name, tmp_path, module(name).PANELS)


@lru_cache(maxsize=1)
def laid_out(name: str) -> Figure:
    """The figure with every word in its place."""
    figure = drawn(name)
    with house_style():
        figure.draw_without_rendering()
    return figure


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of words of one panel, or of the whole figure, that lie upon each other."""

    def words(ax: Axes) -> list:
        legend = ax.get_legend()
        shown = [ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
        shown += legend.get_texts() if legend else []
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            shown += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
        return [text for text in shown if text.get_visible() and text.get_text()]

    texts = [text for ax in figure.axes for text in words(ax)]
    texts += [text for legend in figure.legends for text in legend.get_texts()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    pairs = [(one, other) for number, one in enumerate(boxes) for other in boxes[:number]]
    return [(a[0], b[0]) for a, b in pairs if a[1].padded(-1).overlaps(b[1].padded(-1))]


def test_no_words_lie_upon_each_other(name: str) -> None:
    assert overlapping(laid_out(name)) == []


def test_words_lie_inside_the_picture(name: str) -> None:
    figure = laid_out(name)
    words = [text for legend in figure.legends for text in legend.get_texts()]
    words += [text for ax in figure.axes for text in (ax._left_title, ax.xaxis.label, ax.yaxis.label)]
    page = figure.bbox
    for text in filter(Text.get_text, words):
        box = text.get_window_extent()
        assert page.x0 <= box.x0, text
        assert box.x1 <= page.x1, text


def test_overlaps_are_noticed() -> None:
    figure = module("fischer/separation").draw(smoke("fischer/separation"))
    figure.axes[0].set_title("a title that is much too long for a panel of half the width", loc="left")
    with house_style():
        figure.draw_without_rendering()
    assert overlapping(figure)
