"""Optimizers of `torch.optim` on stacked parameters, with a learning rate for every job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from resnet_sde.networks import StackedResNets
from resnet_sde.training.config import TrainingConfig


class StackOptimizer:
    """One parameter group for each job, made of views of the stacked parameters.

    So every job has a learning rate and a state of its own, and one without gradients stays as it is.
    """

    def __init__(self, stack: StackedResNets, config: TrainingConfig) -> None:
        self._parameters = list(stack.parameters())
        self._views = [[p.detach()[i] for p in self._parameters] for i in range(len(stack))]
        self._torch = _make(config, [{"params": views} for views in self._views])

    def step(self, rates: Sequence[float], moving: Sequence[bool]) -> None:
        """Move the jobs that are to move, by the gradients of the stack and their rates."""
        gradients: list[Tensor] = []
        for parameter in self._parameters:
            assert parameter.grad is not None
            gradients.append(parameter.grad)
        for i, (views, group) in enumerate(zip(self._views, self._torch.param_groups, strict=True)):
            group["lr"] = rates[i]
            for view, gradient in zip(views, gradients, strict=True):
                view.grad = gradient[i] if moving[i] else None
        if any(moving):
            self._torch.step()
        for views in self._views:
            for view in views:
                view.grad = None

    def member_state(self, i: int) -> dict[str, Tensor]:
        """What is known of one job, by number of the parameter and name."""
        known = [self._torch.state.get(view, {}) for view in self._views[i]]
        return {
            f"{at} {name}": value
            for at, state in enumerate(known)
            for name, value in state.items()
            if isinstance(value, Tensor)
        }

    def load_member_state(self, i: int, state: Mapping[str, Tensor]) -> None:
        """Go on with one job from there."""
        whole = self._torch.state_dict()
        for name, value in state.items():
            at, _, part = name.partition(" ")
            whole["state"].setdefault(i * len(self._parameters) + int(at), {})[part] = value
        self._torch.load_state_dict(whole)


def _make(config: TrainingConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    if config.optimizer == "adam":
        return torch.optim.Adam(groups, fused=True)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=config.momentum, fused=True)
    return torch.optim.RMSprop(groups, foreach=True)
