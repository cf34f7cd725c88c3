"""The depth check on stock models of `transformers`: random configurations, nothing is downloaded.

What each model should give is read off its code, and stands in `experiments.own.architectures`. All of them:
``python -m pytest --full tests/practice/test_practice_stock.py``.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from experiments.own.architectures import STOCK
from experiments.own.stock_models import MODELS, WIDTH, tokens
from resnet_sde.practice import DepthCheck, DepthMismatch, NotAStream, depth_check

pytest.importorskip("transformers")

REFUSED = [name for name, row in STOCK.items() if row.refused]


@pytest.fixture(autouse=True)
def float32_by_default(float64_by_default: None) -> Iterator[None]:
    """Some of the models have kernels for float32 alone."""
    torch.set_default_dtype(torch.float32)
    return


def checked(name: str, **options: Any) -> DepthCheck:
    row = STOCK[name]
    return depth_check(row.factory, row.batch(4), **{"depths": (8, 24), **options})


def test_the_initialization_of_gpt2_knows_the_depth() -> None:
    """It was lost between two versions of the library, and came back."""
    check = checked("GPT2")
    assert check.beta.value == pytest.approx(0.5, abs=0.1)
    laws = {role.role: role.depth_exponent for role in check.roles if role.role.endswith("c_proj.weight")}
    assert len(laws) == 2
    assert list(laws.values()) == pytest.approx([0.5, 0.5], abs=0.03)
    assert check.expect(0.5) is check


def test_the_factor_of_clip_is_on_the_wrong_matrices() -> None:
    check = checked("CLIP")
    with pytest.raises(DepthMismatch) as wrong:
        check.expect(0.5)
    for name in "qkv":
        sentence = (
            rf"layers\.\*\.self_attn\.{name}_proj\.weight falls like L\^-0\.\d+ though it does not write"
        )
        assert re.search(sentence, str(wrong.value))
    assert "self_attn.out_proj.weight, which does, does not" in str(wrong.value)


def test_llama_does_not_know_the_depth() -> None:
    check = checked("Llama")
    assert check.expect(0.0) is check
    with pytest.raises(DepthMismatch, match=r"model\.layers\.\*\.mlp\.down_proj falls like"):
        check.expect(0.5)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_single_stream_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(NotAStream, match=re.escape(STOCK[name].refused)):
        checked(name, seeds=1)


def test_there_is_a_row_for_every_model() -> None:
    assert {id(row.factory) for row in STOCK.values()} >= {id(stock) for stock in MODELS.values()}
    assert len(MODELS) == 57


@pytest.mark.full
@pytest.mark.parametrize("name", [name for name in STOCK if name not in REFUSED])
def test_every_model_as_its_code_says(name: str) -> None:
    row, check = STOCK[name], checked(name)
    assert (check.kind, check.prefix, check.copies) == (row.kind, row.stream, row.copies)
    assert check.beta.value == pytest.approx(row.beta, abs=0.12)
    assert {w.name: pytest.approx(w.coefficient, rel=1e-4) for w in check.writers} == row.writers
    assert (check.coherence.value > 0.9) == row.coherent
    if row.kind == "residual":
        assert check.profiles[-1][0].skip == pytest.approx(1.0, abs=0.05)
        assert check.growth[-1] == pytest.approx(check.predicted_growth[-1], rel=0.06)


@pytest.mark.full
def test_a_step_changes_its_own_rows_more_than_others() -> None:
    """Where branches are large, the rate law needs two halves: on equal rows another exponent is read."""
    llama = MODELS["Llama"]
    stock = replace(llama, settings={**llama.settings, "initializer_range": WIDTH**-0.5})
    rows = tokens(16)

    def exponent(batch: Any) -> float:
        check = depth_check(
            stock,
            batch,
            depths=(4, 12),
            seeds=1,
            optimizer=lambda module: torch.optim.AdamW(module.parameters(), lr=3e-4),
            rate_depths=(4, 12, 36),
        )
        (law,) = (law for law in check.rates if law.group == "blocks")
        assert law.exponent is not None
        return law.exponent.value

    half = {name: value[:8] for name, value in rows.items()}
    assert -0.6 <= exponent(rows) <= -0.4
    assert exponent(lambda source: half) < -0.65
