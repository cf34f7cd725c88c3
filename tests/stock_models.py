"""Stock models of `transformers` from random configurations, small: nothing is downloaded."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

TEXT = {"vocab_size": 97, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 256}
GROUPED = {**TEXT, "num_key_value_heads": 4, "max_position_embeddings": 64}
HEADS_OF_16 = {**GROUPED, "head_dim": 16}
PICTURE = {
    "hidden_size": 64,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "image_size": 32,
    "patch_size": 8,
}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}


def tokens() -> dict[str, Tensor]:
    return {"input_ids": torch.randint(0, 97, (4, 16), generator=torch.Generator().manual_seed(1))}


def pixels(size: int = 32) -> dict[str, Tensor]:
    return {"pixel_values": torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1))}


def encoder_tokens() -> dict[str, Tensor]:
    return {**tokens(), "decoder_input_ids": tokens()["input_ids"]}


# By name: class of the configuration, of the model, fixed settings, the settings that hold the depth, batch.
MODELS: dict[str, tuple[str, str, dict[str, Any], tuple[str, ...], Callable[[], dict[str, Tensor]]]] = {
    "GPT2": (
        "GPT2Config",
        "GPT2LMHeadModel",
        {"vocab_size": 97, "n_embd": 64, "n_head": 4, "n_positions": 64},
        ("n_layer",),
        tokens,
    ),
    "Llama": ("LlamaConfig", "LlamaForCausalLM", GROUPED, ("num_hidden_layers",), tokens),
    "Mistral": ("MistralConfig", "MistralForCausalLM", GROUPED, ("num_hidden_layers",), tokens),
    "Qwen2": ("Qwen2Config", "Qwen2ForCausalLM", GROUPED, ("num_hidden_layers",), tokens),
    "Qwen3": ("Qwen3Config", "Qwen3ForCausalLM", HEADS_OF_16, ("num_hidden_layers",), tokens),
    "Gemma2": ("Gemma2Config", "Gemma2ForCausalLM", HEADS_OF_16, ("num_hidden_layers",), tokens),
    "OLMo2": ("Olmo2Config", "Olmo2ForCausalLM", GROUPED, ("num_hidden_layers",), tokens),
    "Phi": ("PhiConfig", "PhiForCausalLM", GROUPED, ("num_hidden_layers",), tokens),
    "GPTNeoX": ("GPTNeoXConfig", "GPTNeoXForCausalLM", TEXT, ("num_hidden_layers",), tokens),
    "OPT": (
        "OPTConfig",
        "OPTForCausalLM",
        {
            "vocab_size": 97,
            "hidden_size": 64,
            "num_attention_heads": 4,
            "ffn_dim": 256,
            "word_embed_proj_dim": 64,
        },
        ("num_hidden_layers",),
        tokens,
    ),
    "Granite": (
        "GraniteConfig",
        "GraniteForCausalLM",
        {**GROUPED, "residual_multiplier": 0.22},
        ("num_hidden_layers",),
        tokens,
    ),
    "Mixtral": (
        "MixtralConfig",
        "MixtralForCausalLM",
        {**GROUPED, **EXPERTS},
        ("num_hidden_layers",),
        tokens,
    ),
    "BERT": ("BertConfig", "BertModel", TEXT, ("num_hidden_layers",), tokens),
    "ALBERT": (
        "AlbertConfig",
        "AlbertModel",
        {**TEXT, "embedding_size": 64},
        ("num_hidden_layers",),
        tokens,
    ),
    "ModernBERT": (
        "ModernBertConfig",
        "ModernBertModel",
        TEXT | {"pad_token_id": 0},
        ("num_hidden_layers",),
        tokens,
    ),
    "T5 encoder": (
        "T5Config",
        "T5EncoderModel",
        {"vocab_size": 97, "d_model": 64, "d_kv": 16, "d_ff": 256, "num_heads": 4},
        ("num_layers",),
        tokens,
    ),
    "BART": (
        "BartConfig",
        "BartModel",
        {
            "vocab_size": 97,
            "d_model": 64,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 256,
            "decoder_ffn_dim": 256,
        },
        ("encoder_layers", "decoder_layers"),
        encoder_tokens,
    ),
    "Mamba": (
        "MambaConfig",
        "MambaModel",
        {"vocab_size": 97, "hidden_size": 64, "state_size": 8},
        ("num_hidden_layers",),
        tokens,
    ),
    "ViT": ("ViTConfig", "ViTModel", PICTURE, ("num_hidden_layers",), pixels),
    "BEiT": ("BeitConfig", "BeitModel", PICTURE, ("num_hidden_layers",), pixels),
    "CLIP": ("CLIPVisionConfig", "CLIPVisionModel", PICTURE, ("num_hidden_layers",), pixels),
    "SigLIP": ("SiglipVisionConfig", "SiglipVisionModel", PICTURE, ("num_hidden_layers",), pixels),
}


def stock(name: str) -> tuple[Callable[[int], nn.Module], dict[str, Tensor]]:
    """A factory of the depth, and a batch."""
    import transformers

    config_class, model_class, settings, axes, batch = MODELS[name]

    def factory(depth: int) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = getattr(transformers, config_class)(**settings, **dict.fromkeys(axes, depth))
            return getattr(transformers, model_class)(config)

    return factory, batch()
