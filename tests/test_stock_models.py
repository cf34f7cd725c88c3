"""The depth check on stock models of `transformers`: random configurations, nothing is downloaded.

What each model should give stands in its code: which matrices write to the stream, with what factor, and
whether its initialization knows the depth (GPT-2, ModernBERT and CLIP do).
"""

import os
import re

import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"
pytest.importorskip("transformers")

from stock_models import MODELS, stock

from resnet_sde.practice import DepthMismatch, depth_check

EXPERTS = {"self_attn.o_proj": 1.0, "mlp.experts": 1.0}
LLAMA = {"self_attn.o_proj": 1.0, "mlp.down_proj": 1.0}
AFTER_NORMS = {"post_attention_layernorm": 1.0, "post_feedforward_layernorm": 1.0}
# Kind, exponent, writers with their coefficients.
EXPECTED = {
    "GPT2": ("residual", 0.5, {"attn.c_proj": 1.0, "mlp.c_proj": 1.0}),
    "Llama": ("residual", 0.0, LLAMA),
    "Mistral": ("residual", 0.0, LLAMA),
    "Qwen2": ("residual", 0.0, LLAMA),
    "Qwen3": ("residual", 0.0, LLAMA),
    "Gemma2": ("residual", 0.0, AFTER_NORMS),
    "OLMo2": ("residual", 0.0, AFTER_NORMS),
    "Phi": ("residual", 0.0, {"mlp.fc2": 1.0, "self_attn.dense": 1.0}),
    "GPTNeoX": ("residual", 0.0, {"mlp.dense_4h_to_h": 1.0, "attention.dense": 1.0}),
    "OPT": ("residual", 0.0, {"fc2": 1.0, "self_attn.out_proj": 1.0}),
    "Granite": ("residual", 0.0, {"self_attn.o_proj": 0.22, "mlp.down_proj": 0.22}),
    "Mixtral": ("residual", 0.0, EXPERTS),
    "BERT": ("post-norm", 0.0, {"output.dense": 1.0, "attention.output.dense": 1.0}),
    "ALBERT": (
        "post-norm",
        0.0,
        {"albert_layers.0.ffn_output": 1.0, "albert_layers.0.attention.dense": 1.0},
    ),
    "ModernBERT": ("residual", 0.5, {"attn.Wo": 1.0, "mlp.Wo": 1.0}),
    "T5 encoder": (
        "residual",
        0.0,
        {"layer.1.DenseReluDense.wo": 1.0, "layer.0.SelfAttention.o": 1.0},
    ),
    "BART": ("post-norm", 0.0, {"fc2": 1.0, "self_attn.out_proj": 1.0, "encoder_attn.out_proj": 1.0}),
    "Mamba": ("residual", 0.0, {"mixer.out_proj": 1.0}),
    "ViT": ("residual", 0.0, {"mlp.fc2": 1.0, "attention.o_proj": 1.0}),
    "BEiT": ("residual", 0.0, {"mlp.fc2": 0.1, "attention.o_proj": 0.1}),
    "CLIP": ("residual", 0.5, {"mlp.fc2": 1.0, "self_attn.out_proj": 1.0}),
    "SigLIP": ("residual", 0.0, {"mlp.fc2": 1.0, "self_attn.out_proj": 1.0}),
}


@pytest.fixture(autouse=True)
def float32_by_default(float64_by_default: None) -> None:
    """Some of the models have kernels for float32 alone."""
    torch.set_default_dtype(torch.float32)


def test_the_initialization_of_gpt2_knows_the_depth() -> None:
    """It was lost between two versions of the library, and came back."""
    factory, batch = stock("GPT2")
    check = depth_check(factory, batch, depths=(8, 24))
    assert check.beta.value == pytest.approx(0.5, abs=0.1)
    assert {w.name for w in check.writers} == {"attn.c_proj", "mlp.c_proj"}
    laws = {role.role: role.depth_exponent for role in check.roles if role.role.endswith("c_proj.weight")}
    assert len(laws) == 2
    assert list(laws.values()) == pytest.approx([0.5, 0.5], abs=0.03)
    assert check.expect(0.5) is check


def test_the_factor_of_clip_is_on_the_wrong_matrices() -> None:
    factory, batch = stock("CLIP")
    check = depth_check(factory, batch, depths=(8, 24))
    assert check.beta.value == pytest.approx(0.5, abs=0.12)
    with pytest.raises(DepthMismatch) as wrong:
        check.expect(0.5)
    for name in "qkv":
        sentence = (
            rf"layers\.\*\.self_attn\.{name}_proj\.weight falls like L\^-0\.\d+ though it does not write"
        )
        assert re.search(sentence, str(wrong.value))
    assert "self_attn.out_proj.weight, which does, does not" in str(wrong.value)


def test_llama_does_not_know_the_depth() -> None:
    factory, batch = stock("Llama")
    check = depth_check(factory, batch, depths=(8, 24))
    assert check.expect(0.0) is check
    with pytest.raises(DepthMismatch, match=r"model\.layers\.\*\.mlp\.down_proj falls like"):
        check.expect(0.5)


@pytest.mark.full
@pytest.mark.parametrize("name", MODELS)
def test_every_model_as_its_code_says(name: str) -> None:
    kind, beta, writers = EXPECTED[name]
    factory, batch = stock(name)
    check = depth_check(factory, batch, depths=(8, 24))
    assert check.kind == kind
    assert check.beta.value == pytest.approx(beta, abs=0.12)
    assert {w.name: pytest.approx(w.coefficient, rel=1e-4) for w in check.writers} == writers
    assert (check.coherence.value > 0.9) == (name == "ALBERT")
    if kind == "residual":
        assert check.profiles[-1][0].skip == pytest.approx(1.0, abs=0.05)
        assert check.growth[-1] == pytest.approx(check.predicted_growth[-1], rel=0.06)
