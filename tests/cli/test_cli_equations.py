"""The equation that `resnet-sde limit` prints, with its coefficients, and the model it was asked about."""

import math

import pytest
import scipy.integrate
from command_line import run

ITO, LAW = ("--block", "res-1"), ("--law", "fractional", "--hurst")


def printed(*words: object) -> list[str]:
    """What stands below the paragraph."""
    status, output, errors = run(*words, command="limit")
    assert (status, errors) == (0, "")
    assert max(map(len, output.splitlines())) <= 110
    return output.partition("\n\n")[2].splitlines()


@pytest.mark.parametrize(
    ("words", "formula"),
    [
        (ITO, "dH = ρ [(σ_w/√d) dB φ(H)]"),
        ((*ITO, "--sb2", 0.1), "dH = ρ [(σ_w/√d) dB φ(H) + σ_b db]"),
        ((*ITO, *LAW, 0.8), "dH = ρ [(σ_w/√d) dX φ(H)]"),
        ((*ITO, "--entries", "uniform"), "dH = √A dB"),
        ((), "dH = √A dB"),
        ((*LAW, 0.3), "dH = √A dB + b H dt"),
        (("--block", "reduced", "--activation", "tanh", "--beta", 0.5), "dH = √A dB"),
        ((*LAW, 0.8, "--sa2", 1), "dH = ρ [(σ_v/√d) m(q) dX 1 + σ_a dx]"),
        (("--activation", "tanh", *LAW, 0.9), "dH = ρ (σ_v/√d) χ(q) [(σ_w/√d) dZ H]"),
        ((*ITO, "--law", "constant"), "dH/dt = ρ [(σ_w/√d) V_t φ(H)]"),
        (("--law", "smooth", "--sb2", 1), "dH/dt = ρ [(σ_v/√d) V_t φ((σ_w/√d) W_t H + σ_b b_t)]"),
    ],
    ids=str,
)
def test_the_formula(words: tuple[object, ...], formula: str) -> None:
    assert f"Equation: {formula}" in printed(*words)


def gaussian(function: object) -> float:
    """E f(z)."""
    density = lambda z: function(z) * math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)  # type: ignore[operator]  # noqa: E731
    return scipy.integrate.quad(density, -12, 12)[0]


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ((), "A", 0.5),
        (("--gain", 2, "--sw2", 3, "--sb2", 1, "--sv2", 2, "--sa2", 0.1), "A", 4 * (2 * 4 / 2 + 0.1)),
        (("--activation", "tanh"), "A", gaussian(lambda z: math.tanh(z) ** 2)),
        ((*ITO, "--entries", "rademacher", "--sw2", 0.3, "--sb2", 0.2), "A", 0.5),
        ((*LAW, 0.8, "--sw2", 4), "m", math.sqrt(4 / (2 * math.pi))),
        (("--activation", "tanh", *LAW, 0.9), "χ", gaussian(lambda z: 1 - math.tanh(z) ** 2)),
        (("--activation", "linear", *LAW, 0.9, "--sw2", 7), "χ", 1.0),
    ],
    ids=str,
)
def test_coefficients(words: tuple[object, ...], name: str, value: float) -> None:
    (line,) = (line for line in printed(*words) if line.startswith(f"  {name} = ") and " at " in line)
    assert float(line.split()[2]) == pytest.approx(value, rel=2e-4)


def test_the_model_that_was_asked_about() -> None:
    lines = printed("--law", "smooth", "--width", 7, "--activation", "tanh")
    assert lines[0].startswith(
        "Model: block res-2, activation tanh, law smooth, length-scale 0.1, width 7, beta 1"
    )
    assert lines[-1] == "  with d = 7, ρ = 1, σ_w² = 1, σ_b² = 0, σ_v² = 1, σ_a² = 0"
    for words in (("--block", "feed-forward"), ("--beta", 3)):
        lines = printed(*words)
        assert lines[0].startswith("Model: block ")
        assert not any("Equation" in line for line in lines)
