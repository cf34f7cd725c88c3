"""Fractional Gaussian noise in three ways: ours, the package `fbm`, and no more than the floor."""

from __future__ import annotations

from functools import lru_cache

import torch
from fbm import FBM
from torch import Tensor

from resnet_sde.fractional import Circulant, fractional_noise_
from resnet_sde.streams import Stream, stream

HURST = 0.7
PIECE = 2**17  # numbers that the floor draws and transforms at a time: they stay in cache


def noise(depth: int, paths: int, dtype: torch.dtype) -> Tensor:
    return fractional_noise_(_memory((depth, paths), dtype), HURST, _source())


def usual_noise(depth: int, paths: int) -> None:
    process = FBM(n=depth, hurst=HURST, length=depth, method="daviesharte")
    for _ in range(paths):
        process.fgn()


def noise_floor(depth: int, paths: int, dtype: torch.dtype) -> None:
    """Normal numbers and the real transforms of them, nothing else."""
    size = Circulant(HURST, depth, dtype).size
    piece = min(paths, max(1, PIECE // size))
    numbers = _memory((piece, size), dtype)
    for _ in range(-(-paths // piece)):
        _source().normal_(numbers)
        torch.fft.irfft(torch.view_as_complex(numbers.view(piece, -1, 2)))


@lru_cache
def _memory(shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """The same memory in every repetition: fresh memory would be measured otherwise."""
    return torch.empty(shape, dtype=dtype)


@lru_cache
def _source() -> Stream:
    return stream(0, "noise")
