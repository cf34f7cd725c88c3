"""Stock models of `transformers` from random configurations, small: nothing is downloaded.

Width 64, four heads, a vocabulary of 97, images of 32 × 32; everything else is the library's default.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

VOCABULARY, WIDTH, HEADS = 97, 64, 4
TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "num_attention_heads": HEADS,
    "intermediate_size": 4 * WIDTH,
}
GROUPED = {**TEXT, "num_key_value_heads": HEADS, "max_position_embeddings": 64}
HEADS_OF_16 = {**GROUPED, "head_dim": 16}
PICTURE = {
    "hidden_size": WIDTH,
    "num_attention_heads": HEADS,
    "intermediate_size": 4 * WIDTH,
    "image_size": 32,
    "patch_size": 8,
}
FOUR_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
BOTH_STACKS = {
    "encoder_attention_heads": HEADS,
    "decoder_attention_heads": HEADS,
    "encoder_ffn_dim": 4 * WIDTH,
    "decoder_ffn_dim": 4 * WIDTH,
}
Batch = Mapping[str, Tensor]


def library() -> ModuleType:
    """transformers, which is never asked for a file.

    Raises:
        RuntimeError: it is not installed.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        import transformers
    except ImportError:
        raise RuntimeError(
            "stock models need transformers; install it with pip install 'resnet_sde[transformers]'"
        ) from None
    transformers.logging.set_verbosity_error()
    return transformers


def tokens(rows: int = 4) -> Batch:
    """Random tokens, (rows, 16)."""
    source = torch.Generator().manual_seed(1)
    return {"input_ids": torch.randint(0, VOCABULARY, (rows, 16), generator=source)}


def _noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float32)


def pixels(rows: int = 4) -> Batch:
    """Random images of 32 × 32."""
    return {"pixel_values": _noise(rows, 3, 32, 32)}


def large_pixels(rows: int = 4) -> Batch:
    """Random images of 64 × 64."""
    return {"pixel_values": _noise(rows, 3, 64, 64)}


def double_pixels(rows: int = 4) -> Batch:
    """Random images of 64 × 64 in float64."""
    return {"pixel_values": _noise(rows, 3, 64, 64).double()}


def both_tokens(rows: int = 4) -> Batch:
    """Random tokens for an encoder and for its decoder."""
    return {**tokens(rows), "decoder_input_ids": tokens(rows)["input_ids"]}


def spectrogram(rows: int = 4) -> Batch:
    """Noise in 80 bands, (rows, 80, 64)."""
    return {"input_features": _noise(rows, 80, 64)}


def sound(rows: int = 4) -> Batch:
    """White noise, (rows, 3000)."""
    return {"input_values": _noise(rows, 3000)}


@dataclass(frozen=True)
class Stock:
    """A factory: the model of a depth.

    Attributes:
        config, model: names of classes of transformers.
        settings: of the configuration.
        axes: settings that hold the depth.
        batch: makes what it is called with, of a number of rows.
        stages: the depth of every stage where the configuration has a list, 0 for the one that grows.
        double: whether its weights are float64.
        module: of transformers.models, for a class that the library does not export.
    """

    config: str
    model: str
    settings: Mapping[str, Any]
    axes: tuple[str, ...] = ("num_hidden_layers",)
    batch: Callable[[int], Batch] = tokens
    stages: tuple[int, ...] = ()
    double: bool = False
    module: str = ""

    def __call__(self, depth: int) -> nn.Module:
        """The model, drawn from the global random state."""
        source = library()
        if self.module:
            source = import_module(f"transformers.models.{self.module}")
        held = [n or depth for n in self.stages] if self.stages else depth
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = getattr(library(), self.config)(**self.settings, **dict.fromkeys(self.axes, held))
            net = getattr(source, self.model)(config)
        return net.double() if self.double else net


MODELS: dict[str, Stock] = {
    "GPT2": Stock(
        "GPT2Config",
        "GPT2LMHeadModel",
        {"vocab_size": VOCABULARY, "n_embd": WIDTH, "n_head": HEADS, "n_positions": 64},
        ("n_layer",),
    ),
    "Llama": Stock("LlamaConfig", "LlamaForCausalLM", GROUPED),
    "Mistral": Stock("MistralConfig", "MistralForCausalLM", GROUPED),
    "Qwen2": Stock("Qwen2Config", "Qwen2ForCausalLM", GROUPED),
    "Qwen3": Stock("Qwen3Config", "Qwen3ForCausalLM", HEADS_OF_16),
    "Gemma2": Stock("Gemma2Config", "Gemma2ForCausalLM", HEADS_OF_16),
    "Gemma3": Stock("Gemma3TextConfig", "Gemma3ForCausalLM", HEADS_OF_16),
    "OLMo": Stock("OlmoConfig", "OlmoForCausalLM", GROUPED),
    "OLMo2": Stock("Olmo2Config", "Olmo2ForCausalLM", GROUPED),
    "Cohere": Stock("CohereConfig", "CohereForCausalLM", GROUPED),
    "Phi": Stock("PhiConfig", "PhiForCausalLM", GROUPED),
    "GPTNeoX": Stock("GPTNeoXConfig", "GPTNeoXForCausalLM", TEXT),
    "GPTJ": Stock(
        "GPTJConfig",
        "GPTJForCausalLM",
        {"vocab_size": VOCABULARY, "n_embd": WIDTH, "n_head": HEADS, "n_positions": 64, "rotary_dim": 8},
        ("n_layer",),
    ),
    "Falcon": Stock(
        "FalconConfig",
        "FalconForCausalLM",
        {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_attention_heads": HEADS},
    ),
    "Bloom": Stock(
        "BloomConfig",
        "BloomForCausalLM",
        {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "n_head": HEADS},
        ("n_layer",),
    ),
    "OPT": Stock(
        "OPTConfig",
        "OPTForCausalLM",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": WIDTH,
            "num_attention_heads": HEADS,
            "ffn_dim": 4 * WIDTH,
            "word_embed_proj_dim": WIDTH,
        },
    ),
    "Granite": Stock("GraniteConfig", "GraniteForCausalLM", {**GROUPED, "residual_multiplier": 0.22}),
    "Mixtral": Stock("MixtralConfig", "MixtralForCausalLM", {**GROUPED, **FOUR_EXPERTS}),
    "Qwen3Moe": Stock(
        "Qwen3MoeConfig",
        "Qwen3MoeForCausalLM",
        {**HEADS_OF_16, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 4 * WIDTH},
    ),
    "DeepseekV3": Stock(
        "DeepseekV3Config",
        "DeepseekV3ForCausalLM",
        {
            **GROUPED,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_group": 1,
            "topk_group": 1,
            "first_k_dense_replace": 1,
            "moe_intermediate_size": WIDTH,
            "q_lora_rank": 32,
            "kv_lora_rank": 32,
            "qk_nope_head_dim": 16,
            "qk_rope_head_dim": 8,
            "v_head_dim": 16,
        },
    ),
    "GptOss": Stock("GptOssConfig", "GptOssForCausalLM", {**HEADS_OF_16, **FOUR_EXPERTS}),
    "BERT": Stock("BertConfig", "BertModel", TEXT),
    "RoBERTa": Stock("RobertaConfig", "RobertaModel", TEXT),
    "ELECTRA": Stock("ElectraConfig", "ElectraModel", {**TEXT, "embedding_size": WIDTH}),
    "DebertaV2": Stock("DebertaV2Config", "DebertaV2Model", TEXT),
    "DistilBERT": Stock(
        "DistilBertConfig",
        "DistilBertModel",
        {"vocab_size": VOCABULARY, "dim": WIDTH, "n_heads": HEADS, "hidden_dim": 4 * WIDTH},
        ("n_layers",),
    ),
    "ALBERT": Stock("AlbertConfig", "AlbertModel", {**TEXT, "embedding_size": WIDTH}),
    "ModernBERT": Stock("ModernBertConfig", "ModernBertModel", {**TEXT, "pad_token_id": 0}),
    "T5 encoder": Stock(
        "T5Config",
        "T5EncoderModel",
        {"vocab_size": VOCABULARY, "d_model": WIDTH, "d_kv": 16, "d_ff": 4 * WIDTH, "num_heads": HEADS},
        ("num_layers",),
    ),
    "BART": Stock(
        "BartConfig",
        "BartModel",
        {"vocab_size": VOCABULARY, "d_model": WIDTH, **BOTH_STACKS},
        ("encoder_layers", "decoder_layers"),
        both_tokens,
    ),
    "Mamba": Stock(
        "MambaConfig", "MambaModel", {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "state_size": 8}
    ),
    "Mamba2": Stock(
        "Mamba2Config",
        "Mamba2Model",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": WIDTH,
            "state_size": 8,
            "num_heads": 8,
            "head_dim": 16,
            "chunk_size": 8,
            "n_groups": 1,
        },
    ),
    "RWKV": Stock(
        "RwkvConfig", "RwkvModel", {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "rescale_every": 0}
    ),
    "ViT": Stock("ViTConfig", "ViTModel", PICTURE, batch=pixels),
    "DINOv2": Stock("Dinov2Config", "Dinov2Model", PICTURE, batch=pixels),
    "BEiT": Stock("BeitConfig", "BeitModel", PICTURE, batch=pixels),
    "CLIP": Stock("CLIPVisionConfig", "CLIPVisionModel", PICTURE, batch=pixels),
    "SigLIP": Stock("SiglipVisionConfig", "SiglipVisionModel", PICTURE, batch=pixels),
    "Whisper encoder": Stock(
        "WhisperConfig",
        "WhisperEncoder",
        {"d_model": WIDTH, **BOTH_STACKS, "max_source_positions": 32, "vocab_size": VOCABULARY}
        | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1},
        ("encoder_layers",),
        spectrogram,
        module="whisper.modeling_whisper",
    ),
    "Wav2Vec2": Stock("Wav2Vec2Config", "Wav2Vec2Model", {**TEXT, "conv_dim": (WIDTH,) * 7}, batch=sound),
    "ConvNext": Stock(
        "ConvNextConfig",
        "ConvNextModel",
        {"hidden_sizes": (16, 32, 64, 128)},
        ("depths",),
        double_pixels,
        (3, 3, 0, 3),
        double=True,
    ),
    "Swin": Stock(
        "SwinConfig",
        "SwinModel",
        {"image_size": 64, "patch_size": 4, "embed_dim": 16, "num_heads": (1, 2, 4, 4), "window_size": 2},
        ("depths",),
        large_pixels,
        (2, 2, 0, 2),
    ),
    "Gemma3n": Stock(
        "Gemma3nTextConfig",
        "Gemma3nForCausalLM",
        {**HEADS_OF_16, "vocab_size_per_layer_input": VOCABULARY, "hidden_size_per_layer_input": 8}
        | {"num_kv_shared_layers": 0, "laurel_rank": 8},
    ),
    "Starcoder2": Stock("Starcoder2Config", "Starcoder2ForCausalLM", GROUPED),
    "GPTBigCode": Stock(
        "GPTBigCodeConfig",
        "GPTBigCodeForCausalLM",
        {"vocab_size": VOCABULARY, "n_embd": WIDTH, "n_head": HEADS, "n_positions": 64},
        ("n_layer",),
    ),
    "ModernBERT decoder": Stock(
        "ModernBertDecoderConfig", "ModernBertDecoderForCausalLM", {**TEXT, "pad_token_id": 0}
    ),
    "MiniMax": Stock("MiniMaxConfig", "MiniMaxForCausalLM", {**HEADS_OF_16, **FOUR_EXPERTS}),
    "Qwen3Next": Stock(
        "Qwen3NextConfig",
        "Qwen3NextForCausalLM",
        {**HEADS_OF_16, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": WIDTH}
        | {"shared_expert_intermediate_size": WIDTH, "linear_num_key_heads": 2, "linear_num_value_heads": 4}
        | {"linear_key_head_dim": 16, "linear_value_head_dim": 16},
    ),
    "Jamba": Stock(
        "JambaConfig",
        "JambaModel",
        {**GROUPED, "num_experts": 4, "mamba_d_state": 8, "use_mamba_kernels": False},
    ),
    "FalconMamba": Stock(
        "FalconMambaConfig",
        "FalconMambaModel",
        {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "state_size": 8},
    ),
    "XLNet": Stock(
        "XLNetConfig",
        "XLNetModel",
        {"vocab_size": VOCABULARY, "d_model": WIDTH, "n_head": HEADS, "d_inner": 4 * WIDTH},
        ("n_layer",),
    ),
    "Funnel": Stock(
        "FunnelConfig",
        "FunnelBaseModel",
        {"vocab_size": VOCABULARY, "d_model": WIDTH, "n_head": HEADS, "d_head": 16, "d_inner": 4 * WIDTH},
        ("block_sizes",),
        stages=(2, 0),
    ),
    "T5": Stock(
        "T5Config",
        "T5Model",
        {"vocab_size": VOCABULARY, "d_model": WIDTH, "d_kv": 16, "d_ff": 4 * WIDTH, "num_heads": HEADS},
        ("num_layers", "num_decoder_layers"),
        both_tokens,
    ),
    "HuBERT": Stock(
        "HubertConfig",
        "HubertModel",
        {**TEXT, "conv_dim": (WIDTH,) * 7, "do_stable_layer_norm": True},
        batch=sound,
    ),
    "ResNet": Stock(
        "ResNetConfig",
        "ResNetModel",
        {"hidden_sizes": (16, 32, 64, 128), "embedding_size": 16, "layer_type": "basic"},
        ("depths",),
        large_pixels,
        (2, 2, 0, 2),
    ),
    "ConvNextV2": Stock(
        "ConvNextV2Config",
        "ConvNextV2Model",
        {"hidden_sizes": (16, 32, 64, 128)},
        ("depths",),
        large_pixels,
        (3, 3, 0, 3),
    ),
    "PoolFormer": Stock(
        "PoolFormerConfig",
        "PoolFormerModel",
        {"hidden_sizes": (16, 32, 64, 128)},
        ("depths",),
        double_pixels,
        (2, 2, 0, 2),
        double=True,
    ),
}
