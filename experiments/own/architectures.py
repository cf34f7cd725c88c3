"""Architectures, and what their code says about the depth: the stock models of `transformers` here.

What a model should give is read off its code: which submodules write to the stream, with what factor, whether
something normalizes after the sum, and whether its initialization knows the number of blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from experiments.own.stock_models import MODELS, Stock


@dataclass(frozen=True)
class Architecture:
    """A family of networks of all depths, and what its code prescribes.

    Attributes:
        factory: builds the network with this many blocks.
        batch: makes its input, of a number of rows.
        says: what the initialization and the blocks say, in words.
        beta: exponent that follows; NaN where branches are zero.
        kind: of the stream.
        stream: names of the blocks, with a star for the index.
        writers: what writes to the stream, with its coefficient; None where that depends on the depth.
        copies: "none", "loop" or "copies".
        coherent: whether branches add up in one direction.
        refused: a part of the sentence with which the check refuses it, "" where it does not.
        origin: where the code is from.
    """

    factory: Callable[[int], nn.Module]
    batch: Callable[[int], Any]
    says: str
    beta: float = 0.0
    kind: str = "residual"
    stream: str = ""
    writers: Mapping[str, float | None] = field(default_factory=dict)
    copies: str = "none"
    coherent: bool = False
    refused: str = ""
    origin: str = "transformers"


def _is(
    name: str,
    stream: str,
    writers: Mapping[str, float | None] | str,
    says: str = "every matrix with one std",
    **more: Any,
) -> Architecture:
    """A stock model; writers without coefficients have 1."""
    named = dict.fromkeys(writers.split(), 1.0) if isinstance(writers, str) else writers
    return Architecture(MODELS[name], MODELS[name].batch, says, stream=stream, writers=named, **more)


_GATED = "self_attn.o_proj mlp.down_proj"
_EXPERTS = "self_attn.o_proj mlp.experts"
_AFTER_NORMS = "post_attention_layernorm post_feedforward_layernorm"
_BERT = "output.dense attention.output.dense"
_PICTURE = "mlp.fc2 attention.o_proj"
_NORMED = "every matrix with one std, and a norm behind every branch"

STOCK: dict[str, Architecture] = {
    "GPT2": _is(
        "GPT2",
        "transformer.h.*",
        "attn.c_proj mlp.c_proj",
        "c_proj with std .02 (2L)^-1/2",
        beta=0.5,
    ),
    **{name: _is(name, "model.layers.*", _GATED) for name in ("Llama", "Mistral", "Qwen2", "Qwen3")},
    **{name: _is(name, "model.layers.*", _AFTER_NORMS, _NORMED) for name in ("Gemma2", "Gemma3", "OLMo2")},
    **{name: _is(name, "model.layers.*", _GATED) for name in ("OLMo", "Cohere")},
    "Phi": _is("Phi", "model.layers.*", "mlp.fc2 self_attn.dense"),
    "GPTNeoX": _is("GPTNeoX", "gpt_neox.layers.*", "mlp.dense_4h_to_h attention.dense"),
    "GPTJ": _is("GPTJ", "transformer.h.*", "mlp.fc_out attn.out_proj"),
    **{
        name: _is(name, "transformer.h.*", "mlp.dense_4h_to_h self_attention.dense")
        for name in ("Falcon", "Bloom")
    },
    "OPT": _is("OPT", "model.decoder.layers.*", "fc2 self_attn.out_proj"),
    "Granite": _is(
        "Granite",
        "model.layers.*",
        dict.fromkeys(_GATED.split(), 0.22),
        "every matrix with one std, branches times .22",
    ),
    **{name: _is(name, "model.layers.*", _EXPERTS) for name in ("Mixtral", "Qwen3Moe", "GptOss")},
    "DeepseekV3": _is("DeepseekV3", "model.layers.*", "self_attn.o_proj mlp mlp.down_proj"),
    **{
        name: _is(name, "encoder.layer.*", _BERT, kind="post-norm")
        for name in ("BERT", "RoBERTa", "ELECTRA", "DebertaV2")
    },
    "DistilBERT": _is("DistilBERT", "transformer.layer.*", "ffn.lin2 attention.out_lin", kind="post-norm"),
    "ALBERT": _is(
        "ALBERT",
        "encoder.albert_layer_groups.0",
        "albert_layers.0.ffn_output albert_layers.0.attention.dense",
        "one block for all, with one std",
        kind="post-norm",
        copies="loop",
        coherent=True,
    ),
    "ModernBERT": _is("ModernBERT", "layers.*", "attn.Wo mlp.Wo", "Wo with std .02 (2L)^-1/2", beta=0.5),
    "T5 encoder": _is(
        "T5 encoder",
        "encoder.block.*",
        "layer.1.DenseReluDense.wo layer.0.SelfAttention.o",
        "stds by the inputs of each matrix",
    ),
    "BART": _is("BART", "decoder.layers.*", "fc2 self_attn.out_proj encoder_attn.out_proj", kind="post-norm"),
    "Mamba": _is("Mamba", "layers.*", "mixer.out_proj", "stds by the inputs of each matrix"),
    "Mamba2": _is("Mamba2", "layers.*", "mixer.out_proj", "stds by the inputs of each matrix"),
    "RWKV": _is("RWKV", "blocks.*", "feed_forward attention.output", "torch's own initialization"),
    **{
        name: _is(name, stream, writers)
        for name, stream, writers in (
            ("ViT", "layers.*", _PICTURE),
            ("DINOv2", "encoder.layer.*", _PICTURE),
            ("SigLIP", "encoder.layers.*", "mlp.fc2 self_attn.out_proj"),
            ("Whisper encoder", "layers.*", "fc2 self_attn.out_proj"),
        )
    },
    "BEiT": _is(
        "BEiT",
        "layers.*",
        dict.fromkeys(_PICTURE.split(), 0.1),
        "every matrix with one std, layer scale .1",
    ),
    "CLIP": _is(
        "CLIP",
        "encoder.layers.*",
        "mlp.fc2 self_attn.out_proj",
        "q, k, v and fc2 times (2L)^-1/2, out_proj not",
        beta=0.5,
    ),
    "Wav2Vec2": _is(
        "Wav2Vec2",
        "encoder.layers.*",
        "feed_forward.output_dense attention.out_proj",
        kind="post-norm",
    ),
    "ConvNext": _is(
        "ConvNext",
        "encoder.stages.2.layers.*",
        {"pwconv2": 1e-6},
        "every matrix with one std, layer scale 1e-6",
    ),
    "Swin": _is("Swin", "encoder.layers.2.blocks.*", "mlp.fc2 drop_path"),
    "Starcoder2": _is("Starcoder2", "model.layers.*", "self_attn.o_proj mlp.c_proj"),
    "GPTBigCode": _is(
        "GPTBigCode", "transformer.h.*", "attn.c_proj mlp.c_proj", "c_proj with std .02 (2L)^-1/2", beta=0.5
    ),
    "ModernBERT decoder": _is(
        "ModernBERT decoder", "model.layers.*", "attn.Wo mlp.Wo", "Wo with std .02 (2L)^-1/2", beta=0.5
    ),
    "MiniMax": _is(
        "MiniMax",
        "model.layers.*",
        "self_attn.o_proj self_attn.out_proj mlp.experts",
        "every matrix with one std, and a norm first of all",
        kind="post-norm",
    ),
    "Qwen3Next": _is("Qwen3Next", "model.layers.*", "self_attn.o_proj linear_attn.out_proj mlp"),
    "Jamba": _is(
        "Jamba",
        "layers.*",
        "self_attn.o_proj mamba.out_proj feed_forward.down_proj feed_forward.experts",
    ),
    "FalconMamba": _is("FalconMamba", "layers.*", "mixer.out_proj", "stds by the inputs of each matrix"),
    "XLNet": _is("XLNet", "layer.*", "ff.layer_2 rel_attn.dropout", kind="post-norm"),
    "Funnel": _is(
        "Funnel",
        "encoder.blocks.1.*",
        "attention.post_proj ffn.linear_2",
        "stds by the sizes of each matrix",
        kind="post-norm",
    ),
    "T5": _is(
        "T5",
        "decoder.block.*",
        "layer.0.SelfAttention.o layer.1.EncDecAttention.o layer.2.DenseReluDense.wo",
        "stds by the inputs of each matrix",
    ),
    "HuBERT": _is("HuBERT", "encoder.layers.*", "feed_forward.output_dense attention.out_proj"),
    "ResNet": _is(
        "ResNet",
        "encoder.stages.2.layers.*",
        "layer.1.normalization",
        "batch norm behind every convolution",
        kind="post-activation",
    ),
    "ConvNextV2": _is("ConvNextV2", "encoder.stages.2.layers.*", "pwconv2"),
    "PoolFormer": _is(
        "PoolFormer",
        "encoder.block.2.*",
        dict.fromkeys(("pooling", "output.conv2"), 1e-5),
        "every matrix with one std, layer scale 1e-5; pooling has no weights",
        coherent=True,
    ),
    "Gemma3n": _is(
        "Gemma3n",
        "",
        "",
        "four streams that mix",
        refused="carry their input on with weight 0.71: they mix several streams or scale the skip",
    ),
}


def _without(stock: Stock, setting: str) -> Stock:
    return replace(stock, settings={n: v for n, v in stock.settings.items() if n != setting})


STOCK["RWKV, as configured"] = replace(
    STOCK["RWKV"],
    factory=_without(MODELS["RWKV"], "rescale_every"),
    says="the stream is halved every six blocks",
    refused="enters blocks.6 times 0.5: the stream is scaled between blocks. Switch that off "
    "(rescale_every=0",
)
