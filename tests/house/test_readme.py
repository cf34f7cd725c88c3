"""The code of the README runs, in order, as one session, and its commands print what it shows."""

import importlib.util
import re
import shlex

import click
import pytest
from command_line import run
from places import DOCS, ROOT
from readme import Example, examples, unlike

from resnet_sde.cli import program

README = (ROOT / "README.md").read_text()


def test_python_examples(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) == 4
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    medians = names["ds"].displacement.squeeze().median("sample").sel(beta=0.5)
    white, fractional, smooth = (
        medians.sel(law=law).values for law in ("white", "fractional:0.8", "smooth:0.3")
    )
    # Medians of 50 networks have a relative error below 0.1 here; the claims of the text are factors.
    assert max(white) / min(white) < 1.5
    assert fractional[-1] > 3 * fractional[0]
    assert smooth[-1] > 100 * smooth[0]
    moments = names["exact"]
    se = moments.std_square_displacement / 400**0.5
    measured = names["out"]["displacement"].square().mean().item()
    assert abs(measured - moments.mean_square_displacement) < 4.42 * se  # false alarm 1e-5
    wide = names["networks"]["growth"].square()
    assert abs(wide.mean() - names["theory"]) < 5 * wide.std() / 20**0.5 + 0.01  # and 1/width
    assert "displacement" not in capsys.readouterr().err


def test_commands_are_targets_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^\$ make (\w+)", README, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


def words_of(command: str) -> list[str]:
    return shlex.split(command)[1:]


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(e, id=e.command[:40], marks=pytest.mark.full if "minutes" in e.comment else ())
        for e in examples(README)
        if e.command.startswith("resnet-sde ") and e.lines
    ],
)
def test_commands_print_what_is_shown(example: Example) -> None:
    command, *words = words_of(example.command)
    status, output, errors = run(*words, command=command)
    assert status == 0, errors
    assert unlike(example.lines, output) == []


def test_commands_without_output_are_right() -> None:
    bare = [e.command for e in examples(README) if not e.lines]
    assert len(bare) >= 5
    for command in bare:
        if command.startswith("resnet-sde "):
            name, *words = words_of(command)
            found = program.get_command(click.Context(program), name)
            assert found is not None
            found.make_context(name, words)
        elif command.startswith("python -m "):
            assert importlib.util.find_spec(words_of(command)[1]) is not None
        else:
            assert command.startswith("make ")


SHOWN = ("white  0.25    1.74 ± 0.02   2270 ± 100", "…", "holds  x  (2 claims, … s)")


@pytest.mark.parametrize(
    ("output", "wrong"),
    [
        ("white  0.25  1.74 ± 0.02  2270 ± 100\nmore\nmore\nholds x  (2 claims, 7.1 s)\n", []),
        ("white  0.25  1.75 ± 0.03  2280 ± 100\nholds x  (2 claims, 9 s)", []),
        ("white  0.25  1.76 ± 0.02  2270 ± 100\nholds x  (2 claims, 7.1 s)", [0]),
        ("white  0.25  1.8 ± 0.03  2.1e+03 ± 8e+01\nholds x  (2 claims, 7.1 s)", [0]),
        ("white  0.25  1.74 ± 0.02  2290 ± 100\nholds x  (2 claims, 7.1 s)", [0]),
        ("white  0.25  1.74 ± 0.02  2270 ± 100\nholds x  (3 claims, 7.1 s)", [2]),
        ("white  0.25  1.74 ± 0.02  2270 ± 100\nfails x  (2 claims, 7.1 s)", [2]),
        ("smooth  0.25  1.74 ± 0.02  2270 ± 100\nholds x  (2 claims, 7.1 s)", [0]),
        ("white  0.26  1.74 ± 0.02  2270 ± 100\nholds x  (2 claims, 7.1 s)", []),
        ("", [0, 2]),
    ],
)
def test_what_is_shown_and_what_is_printed(output: str, wrong: list[int]) -> None:
    assert unlike(SHOWN, output) == [SHOWN[k] for k in wrong]


def test_more_than_is_shown_is_noticed() -> None:
    assert unlike(SHOWN[:1], f"{SHOWN[0]}\nmore") == ["(more was printed)"]
    assert unlike(SHOWN[:2], f"{SHOWN[0]}\nmore") == []


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_the_code_of_every_page_is_code(page: str) -> None:
    for block in re.findall(
        r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL
    ):
        compile(block, page, "exec")
