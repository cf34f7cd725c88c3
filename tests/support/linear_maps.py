"""The exact linear map from the numbers of a stream to what is made of them: no sampling, no statistics."""

from collections.abc import Callable

import torch
from torch import Tensor

from resnet_sde.streams import Stream


class OneHot(Stream):
    """A stream whose normal numbers are all 0, except that number `hot` of them is 1."""

    def __init__(self, hot: int | None = None) -> None:
        self.device = torch.device("cpu")
        self.hot, self.drawn = hot, 0

    def normal_(self, out: Tensor) -> Tensor:
        assert out.is_contiguous()
        out.zero_()
        if self.hot is not None and self.drawn <= self.hot < self.drawn + out.numel():
            out.view(-1)[self.hot - self.drawn] = 1
        self.drawn += out.numel()
        return out


def linear_map(draw: Callable[[Stream], Tensor]) -> Tensor:
    """The matrix A of draw(stream) = A · normals, flattened; shape (numbers drawn, results), float64."""
    silent = OneHot()
    assert not draw(silent).any()  # linear, with nothing added
    return torch.stack([draw(OneHot(hot)).flatten().double() for hot in range(silent.drawn)])


def covariance(draw: Callable[[Stream], Tensor]) -> Tensor:
    """The exact covariance of draw(stream), flattened."""
    a = linear_map(draw)
    return a.mT @ a
