"""Architectures written here, as many people write them, and what their code says about the depth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from experiments.own import depth_networks as nets
from experiments.own import further_networks as further
from experiments.own.architectures import Architecture
from experiments.own.further_networks import Factory, stacked


def vectors(rows: int) -> Tensor:
    """Gaussian inputs, four for every row that others have: they have no tokens."""
    return nets.vectors(4 * rows)


def memory_and_tokens(rows: int) -> tuple[Tensor, Tensor]:
    """States of a decoder, and those of an encoder that it looks at, both (rows, 16, 64)."""
    source = torch.Generator().manual_seed(1)
    return tuple(torch.randn(rows, 16, nets.WIDTH, generator=source) for _ in range(2))  # type: ignore[return-value]


def _is(
    factory: Factory,
    batch: Callable[[int], Any],
    stream: str,
    writers: str,
    says: str,
    *,
    coefficient: float | None = 1.0,
    origin: str = "written here",
    **more: Any,
) -> Architecture:
    named: Mapping[str, float | None] = dict.fromkeys(writers.split(), coefficient)
    return Architecture(factory, batch, says, stream=stream, writers=named, origin=origin, **more)


def _refused(factory: Factory, batch: Callable[[int], Any], says: str, sentence: str) -> Architecture:
    return Architecture(factory, batch, says, refused=sentence, origin="written here")


_ENCODER = "linear2 self_attn"
_GPT = "attention.o down"
_UNSCALED = "every matrix by its inputs"
_COPIES = "one layer, copied by the constructor"

OWN: dict[str, Architecture] = {
    "MLP-ResNet, He": _is(nets.perceptron(0.0), vectors, "1.*", "v", _UNSCALED),
    "MLP-ResNet, torch's initialization": _is(further.perceptron_of_torch, vectors, "1.*", "v", _UNSCALED),
    "MLP-ResNet, 1/√L": _is(
        nets.perceptron(0.5, multiplier=True),
        vectors,
        "1.*",
        "v",
        "branches times L^-1/2",
        coefficient=None,
        beta=0.5,
    ),
    "MLP-ResNet, 1/L": _is(
        nets.perceptron(1.0, multiplier=True),
        vectors,
        "1.*",
        "v",
        "branches times 1/L",
        coefficient=None,
        beta=1.0,
    ),
    "MLP-ResNet, pre-norm": _is(nets.perceptron(0.0, norm=True), vectors, "1.*", "v", _UNSCALED),
    "MLP-ResNet, k-th branch over √k": _is(
        further.ByPosition,
        vectors,
        "blocks.*",
        "v",
        "a factor of the position, not of the depth",
        coefficient=None,
    ),
    "DeepNorm": _is(
        nets.deep_norm,
        vectors,
        "1.*",
        "w",
        "both matrices of a branch times (8L)^-1/4, the skip (2L)^1/4",
        coefficient=None,
        kind="post-norm",
        beta=0.75,
    ),
    "conv ResNet, pre-activation": _is(
        nets.convolutional(0.0), nets.images, "1.*", "conv_2", "batch norm before every convolution"
    ),
    "conv ResNet, pre-activation, 1/√L": _is(
        nets.convolutional(0.5), nets.images, "1.*", "conv_2", "last convolutions times L^-1/2", beta=0.5
    ),
    "conv ResNet, post-activation": _is(
        nets.convolutional(0.0, after=True),
        nets.images,
        "1.*",
        "norm_2",
        "batch norm behind every convolution",
        kind="post-activation",
    ),
    "conv ResNet, post-activation, 1/√L": _is(
        nets.convolutional(0.5, after=True),
        nets.images,
        "1.*",
        "norm_2",
        "last batch norms L^-1/2",
        kind="post-activation",
        beta=0.5,
    ),
    "conv ResNet, last norm zero": _is(
        further.zeroed_convolutions,
        nets.images,
        "1.*",
        "",
        "branches begin at zero",
        kind="post-activation",
        beta=math.nan,
    ),
    "TransformerEncoder, pre-norm": _is(
        nets.encoder(0.0, redrawn=False),
        nets.tokens,
        "encoder.layers.*",
        _ENCODER,
        _COPIES,
        copies="copies",
        coherent=True,
        origin="torch",
    ),
    "TransformerEncoder, post-norm": _is(
        nets.encoder(0.0, redrawn=False, norm_first=False),
        nets.tokens,
        "encoder.layers.*",
        _ENCODER,
        _COPIES,
        kind="post-norm",
        copies="copies",
        coherent=True,
        origin="torch",
    ),
    "TransformerEncoder, pre-norm, drawn anew": _is(
        nets.encoder(0.0), nets.tokens, "encoder.layers.*", _ENCODER, _UNSCALED, origin="torch"
    ),
    "TransformerEncoder, post-norm, drawn anew": _is(
        nets.encoder(0.0, norm_first=False),
        nets.tokens,
        "encoder.layers.*",
        _ENCODER,
        _UNSCALED,
        kind="post-norm",
        origin="torch",
    ),
    "TransformerEncoder, pre-norm, drawn anew, 1/√L": _is(
        nets.encoder(0.5),
        nets.tokens,
        "encoder.layers.*",
        _ENCODER,
        "out_proj and linear2 times L^-1/2",
        beta=0.5,
        origin="torch",
    ),
    "TransformerDecoder": _is(
        further.TorchDecoder,
        memory_and_tokens,
        "decoder.layers.*",
        f"{_ENCODER} multihead_attn",
        _COPIES,
        kind="post-norm",
        copies="copies",
        coherent=True,
        origin="torch",
    ),
    "GPT": _is(nets.gpt(0.0), nets.tokens, "h.*", _GPT, _UNSCALED),
    "GPT, (2L)^-1/2 in weights": _is(
        nets.gpt(0.5), nets.tokens, "h.*", _GPT, "output projections times (2L)^-1/2", beta=0.5
    ),
    "GPT, multiplier 1/√L": _is(
        further.scaled_gpt(0.5),
        nets.tokens,
        "h.*",
        "body.attention.o body.down",
        "branches times L^-1/2",
        coefficient=None,
        beta=0.5,
    ),
    "GPT, multiplier 1/L": _is(
        further.scaled_gpt(1.0),
        nets.tokens,
        "h.*",
        "body.attention.o body.down",
        "branches times 1/L",
        coefficient=None,
        beta=1.0,
    ),
    "GPT, output projections zero": _is(
        further.zeroed_gpt, nets.tokens, "h.*", "", "branches begin at zero", beta=math.nan
    ),
    "SwiGLU GPT, (2L)^-1/2 in weights": _is(
        nets.swiglu(), nets.tokens, "h.*", "wo w2", "wo and w2 times (2L)^-1/2", beta=0.5
    ),
    "SwiGLU GPT, (2k)^-1/2 in weights": _is(
        nets.swiglu("position"), nets.tokens, "h.*", "wo w2", "wo and w2 of the k-th block times (2k)^-1/2"
    ),
    "looped GPT": _is(
        nets.loop_gpt(0.0), nets.tokens, "block", _GPT, "one block for all", copies="loop", coherent=True
    ),
    "looped GPT, 1/L": _is(
        nets.loop_gpt(1.0),
        nets.tokens,
        "block",
        _GPT,
        "one block for all, output projections over 2L",
        copies="loop",
        coherent=True,
        beta=1.0,
    ),
    "hybrid of attention and MLP": _is(further.hybrid, nets.tokens, "h.*", f"{_GPT} v", _UNSCALED),
    "MLP-Mixer": _is(
        stacked(further.Patches, lambda depth: further.Mixer()),
        nets.images,
        "1.*",
        "tokens.2 channels.2",
        _UNSCALED,
    ),
    "vision transformer": _is(
        stacked(further.Patches, lambda depth: nets.GPTBlock()), nets.images, "1.*", _GPT, _UNSCALED
    ),
    "vision transformer, layer scale 1e-2": _is(
        stacked(further.Patches, lambda depth: further.Scaled(1e-2, learned=True)),
        nets.images,
        "1.*",
        "body.attention.o body.down",
        "a learned factor per channel, first .01",
        coefficient=0.01,
    ),
    "feed-forward network": _refused(
        stacked(lambda: nn.Linear(20, 64), lambda depth: nn.Sequential(nn.Linear(64, 64), nn.Tanh())),
        vectors,
        "no skip connections",
        "the blocks have no skip connection",
    ),
    "DenseNet-like": _refused(
        lambda depth: nn.Sequential(*[further.Dense(20 + 8 * k) for k in range(depth)]),
        vectors,
        "features are appended",
        "the stream changes shape",
    ),
    "highway network": _refused(
        stacked(lambda: nn.Linear(20, nets.WIDTH), lambda depth: further.Highway()),
        vectors,
        "gates weigh the skip",
        "they mix several streams or scale the skip",
    ),
    "reversible network": _refused(further.Reversible, vectors, "two streams", "streams"),
    "stacked LSTM": _refused(
        lambda depth: nn.LSTM(nets.WIDTH, nets.WIDTH, depth),
        lambda rows: memory_and_tokens(rows)[0],
        "no modules within",
        "no block is repeated three times",
    ),
}
