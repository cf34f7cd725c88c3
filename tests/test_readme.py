"""The code of the README runs, in order, as one session."""

import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text()


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
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    for target in re.findall(r"^\$ make (\w+)", README, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
