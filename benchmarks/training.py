"""Training steps of many networks: stacked, one after another as plain modules, and the products alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from resnet_sde import RELU, FractionalNoise, Model, SingleLayer
from resnet_sde.streams import generator
from resnet_sde.training import Data, Examples, Run, TrainingConfig, TrainingJob

N_IN, CLASSES, EXAMPLES, BATCH = 64, 10, 1280, 128
LR = 1e-3


@dataclass(frozen=True)
class Work:
    """Steps of Adam on res-1 networks over the plane of Figure 9 of Marion et al. (2025).

    networks: of Hurst indices and scalings of their own.
    device: where ours computes.
    """

    networks: int
    depth: int
    width: int = 30
    device: str = "cpu"

    @cached_property
    def data(self) -> Data:
        g = generator(0, "examples")
        x = torch.randn(EXAMPLES, N_IN, generator=g, dtype=torch.float32)
        y = torch.randint(CLASSES, (EXAMPLES,), generator=g)
        few = Examples(x[:2], y[:2])
        return Data("random", Examples(x, y), few, few, CLASSES)

    @cached_property
    def jobs(self) -> list[TrainingJob]:
        hursts = [0.1 + 0.8 * i / self.networks for i in range(self.networks)]
        models = [Model(SingleLayer(RELU), FractionalNoise(h), self.width, beta=1 - 0.4 * h) for h in hursts]
        return [TrainingJob(model, self.depth, LR, seed) for seed, model in enumerate(models)]

    def run(self) -> Run:
        return Run(self.jobs, TrainingConfig(epochs=10**6, batch_size=BATCH), self.data, device=self.device)


def ours(run: Run, steps: int) -> None:
    for _ in range(steps):
        run.advance()


def ours_from_scratch(work: Work) -> None:
    ours(work.run(), 2)


class Plain(nn.Module):
    """The same network as one writes it with torch.nn."""

    def __init__(self, depth: int, width: int, alpha: float) -> None:
        super().__init__()
        self.embed, self.readout = nn.Linear(N_IN, width), nn.Linear(width, CLASSES)
        self.layers = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        for layer in self.layers:
            h = h + self.alpha * layer(torch.relu(h))
        return self.readout(h)


class Usual:
    """Plain modules, each with its own Adam, trained one after another."""

    def __init__(self, work: Work, networks: int) -> None:
        models = [job.model for job in work.jobs[:networks]]
        self.nets = [Plain(work.depth, work.width, model.alpha(work.depth)).float() for model in models]
        self.optimizers = [torch.optim.Adam(net.parameters(), lr=LR) for net in self.nets]
        self.data = work.data.train

    def __call__(self, steps: int) -> None:
        for net, optimizer in zip(self.nets, self.optimizers, strict=True):
            for step in range(steps):
                rows = slice(step * BATCH, (step + 1) * BATCH)
                optimizer.zero_grad()
                cross_entropy(net(self.data.x[rows]), self.data.y[rows]).backward()
                optimizer.step()


class Floor:
    """The three batched products of each layer, and nothing else, on memory that is in cache."""

    def __init__(self, work: Work) -> None:
        n, d = work.networks, work.width
        self.depth = work.depth
        self.h, self.p, self.weights, self.gradient = (
            torch.ones(n, d, columns, dtype=torch.float32) for columns in (BATCH, BATCH, d, d)
        )

    def __call__(self, steps: int) -> None:
        for _ in range(steps * self.depth):
            torch.bmm(self.weights.mT, self.h, out=self.p)
            torch.bmm(self.weights, self.h, out=self.p)
            torch.bmm(self.h, self.p.mT, out=self.gradient)
