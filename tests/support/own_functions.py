"""Functions that someone may want as an activation: those that work, and those that are refused."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def snake(x: Tensor) -> Tensor:
    return x + torch.sin(x).square()


def unknown_kink(x: Tensor) -> Tensor:
    return torch.relu(x - 0.3712) + 0.1 * x


def two_kinks(x: Tensor) -> Tensor:
    return x.clamp(-0.71, 2.3)


def weak_kink(x: Tensor) -> Tensor:
    return torch.tanh(x) + 1e-4 * torch.relu(x - 0.35)


def single_constant(x: Tensor) -> Tensor:
    return torch.tensor(0.3, dtype=torch.float32) * torch.tanh(x)


def step(x: Tensor) -> Tensor:
    return (x > 0.2).to(x.dtype)


def small_step(x: Tensor) -> Tensor:
    return torch.tanh(x) + 1e-6 * (x > 0.4)


def nowhere(x: Tensor) -> Tensor:
    return torch.sqrt(x)


def nan_far_out(x: Tensor) -> Tensor:
    return torch.where(x > 40, math.nan, torch.tanh(x))


def grows(x: Tensor) -> Tensor:
    return torch.exp(x.square())


def exponential(x: Tensor) -> Tensor:
    return torch.exp(x)


def wiggle(x: Tensor) -> Tensor:
    return torch.sin(300 * x)


def softmax(x: Tensor) -> Tensor:
    return torch.softmax(x, -1)


def centred(x: Tensor) -> Tensor:
    return x - x.mean(-1, keepdim=True)


def transposed(x: Tensor) -> Tensor:
    return x.mT


def drawn_and_single(x: Tensor) -> Tensor:
    return torch.rand(x.shape, dtype=torch.float32)


def dropout(x: Tensor) -> Tensor:
    return functional.dropout(x, 0.3)


def in_place(x: Tensor) -> Tensor:
    return x.mul_(2.0).tanh()


def complex_(x: Tensor) -> Tensor:
    return torch.exp(1j * x)


def single(x: Tensor) -> Tensor:
    return torch.tanh(x.float())


def rounded_to_single(x: Tensor) -> Tensor:
    return torch.tanh(x.float()).double()


def partly_rounded_to_single(x: Tensor) -> Tensor:
    return x + torch.sin(x.float()).double()


def by_numpy(x: Tensor) -> Tensor:
    return torch.from_numpy(np.sin(x.detach().numpy()))


def detached(x: Tensor) -> Tensor:
    return torch.tanh(x.detach())


def number(x: Tensor) -> float:
    return 1.0


def constant(x: Tensor) -> Tensor:
    return torch.ones_like(x)


def slope(x: Tensor) -> Tensor:
    return 1.0 - torch.tanh(x).square()


def slope_off_by_1e_8(x: Tensor) -> Tensor:
    return (1.0 + 1e-8) * slope(x)


def sine_off_by_1e_8(x: Tensor) -> Tensor:
    """Whose derivative by autograd is that of another function."""
    return torch.sin(x) + 1e-8 * torch.sin(x.detach())
