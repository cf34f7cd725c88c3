"""The training of one stack, step by step; it can be left after any step and taken up again, bit for bit.

Nothing random is carried along: the order of the examples of an epoch and the dropout masks of a step are
named by the seed of the job and the number of the epoch or step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from resnet_sde.checks import check_device
from resnet_sde.networks import StackedResNets, dropout_masks
from resnet_sde.runs.interrupts import held_back
from resnet_sde.streams import stream
from resnet_sde.training.config import TrainingConfig, TrainingJob, check_jobs, kind
from resnet_sde.training.data import Data, Examples
from resnet_sde.training.memory import check_stacks
from resnet_sde.training.optimizers import StackOptimizer
from resnet_sde.training.targets import ready

# Numbers in the states of one layer when networks of a usual stack are evaluated. How examples are put
# together decides how their losses are rounded, and so must not depend on how many networks there are.
_EVALUATED = 2**21
_USUAL_STACK = 16


@contextmanager
def own_arithmetic(device: torch.device | str) -> Iterator[None]:
    """What the caller has set for other work, autocast, no gradients or inference, is not for a run."""
    kind_of_device = torch.device(device).type
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(kind_of_device, enabled=False):
        yield


class Run:
    """Networks that are trained together, each on its own order of the examples.

    A job diverges when its loss is no finite number. From that step on its weights stay as they are; it
    keeps its place, so that its neighbours keep their bits.

    Args:
        jobs: networks of one shape.
        config: how they are trained.
        data: the examples.
        device: where they are trained.

    Raises:
        ValueError: the jobs cannot be stacked, the examples do not fit the config (see
            `training.targets.ready`), there is no such device, or memory does not suffice.
    """

    def __init__(
        self,
        jobs: Sequence[TrainingJob],
        config: TrainingConfig,
        data: Data,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        check_jobs(jobs, config)
        if len({kind(job, config) for job in jobs}) != 1:
            raise ValueError("members of a stack have one depth and one shape; train others apart")
        device, data = check_device(device), ready(data, config)
        check_stacks([jobs], config, data, workers=1, device=str(device), to_the_end=False)
        self.jobs, self.config, self.data = tuple(jobs), config, data.to(device)
        self.dtype: torch.dtype = getattr(torch, config.dtype)
        with own_arithmetic(device):
            self.stack = self.draw(jobs, device)
            self.optimizer = StackOptimizer(self.stack, config)
            self._sums = torch.zeros(2, len(jobs), dtype=torch.float64, device=device)
        self.step = 0
        self.diverged_at: list[int | None] = [None] * len(jobs)
        self.log: list[dict[str, Any]] = []
        self._order = torch.empty(0)
        self._order_of = -1

    def draw(self, jobs: Sequence[TrainingJob], device: torch.device | str = "cpu") -> StackedResNets:
        """Members as they start."""
        read_in_out, biases = self.config.read_in_out, self.config.biases
        sizes = (jobs[0].depth, self.data.n_in, self.data.classes)
        models, seeds = [m.model for m in jobs], [m.seed for m in jobs]
        return StackedResNets(
            models,
            *sizes,
            seeds=seeds,
            read_in_out=read_in_out,
            biases=biases,
            dtype=self.dtype,
            device=device,
        )

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches of an epoch."""
        return len(self.data.train.x) // self.config.batch_size

    @property
    def steps(self) -> int:
        """Steps from beginning to end."""
        given = self.config.steps
        return self.config.epochs * self.steps_per_epoch if given is None else given

    @property
    def alive(self) -> list[bool]:
        """Which jobs have not diverged."""
        return [at is None for at in self.diverged_at]

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or no job is left to move."""
        return self.step >= self.steps or not any(self.alive)

    def advance(self) -> None:
        """One step of every job, and the line of the log at the end of an epoch."""
        with own_arithmetic(self.stack.alpha.device):
            self._advance()

    def _advance(self) -> None:
        epoch, position = divmod(self.step, self.steps_per_epoch)
        x, y = self._batch(epoch, position)
        outputs = self.stack(x, masks=self._masks(x))
        losses = self._losses(outputs, y)
        losses.sum().backward()
        with held_back():  # an interrupt finds each step done, or not begun
            for i, finite in enumerate(losses.isfinite().tolist()):
                if not finite and self.diverged_at[i] is None:
                    self.diverged_at[i] = self.step
            rates = [self.config.rate(job.lr, epoch) for job in self.jobs]
            self.optimizer.step(rates, self.alive)
            self.stack.recycle()
            self._sums += torch.stack([losses.detach().double(), self._hits(outputs, y)])
            self.step += 1
            if position + 1 == self.steps_per_epoch or self.finished:
                self._close_epoch(epoch, position + 1)

    def evaluate(self, examples: Examples, stack: StackedResNets | None = None) -> tuple[Tensor, Tensor]:
        """Mean loss and accuracy of every job, both (job,); outputs that are not finite are wrong."""
        stack = stack or self.stack
        size = max(1, _EVALUATED // (_USUAL_STACK * self.jobs[0].model.width))
        with own_arithmetic(self.stack.alpha.device), torch.no_grad():
            totals = torch.zeros_like(self._sums)
            for x, y in zip(examples.x.split(size), examples.y.split(size), strict=True):
                outputs, targets = stack(x), y.expand(len(stack), *y.shape)
                found = [self._losses(outputs, targets).double(), self._hits(outputs, targets)]
                totals += torch.stack(found) * len(x)
            loss, accuracy = totals / len(examples.x)
        return loss, accuracy

    def running(self) -> tuple[list[float], list[float]]:
        """Mean loss and accuracy of every job over the steps of this epoch."""
        done = (self.step - 1) % self.steps_per_epoch + 1
        loss, accuracy = (self._sums / done).tolist()
        return loss, accuracy

    def member_state(self, i: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that another run needs to go on with a job from here: tensors, and the rest."""
        tensors = {f"network {name}": value for name, value in self.stack.member_state(i).items()}
        tensors |= {f"optimizer {name}": value for name, value in self.optimizer.member_state(i).items()}
        facts = {"step": self.step, "diverged_at": self.diverged_at[i], "log": self.member_log(i)}
        return {**tensors, "sums": self._sums[:, i]}, facts

    def load_member_state(self, i: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Go on with a job from there; jobs of a run go on from the same step."""
        for name, value in self.stack.state_dict().items():
            value[i].copy_(tensors[f"network {name}"])
        start = "optimizer "
        self.optimizer.load_member_state(
            i, {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
        )
        self._sums[:, i].copy_(tensors["sums"])
        self.step, self.diverged_at[i] = facts["step"], facts["diverged_at"]
        self.log += [{**line, "member": i} for line in facts["log"]]
        self.log.sort(key=lambda line: (line["step"], line["member"]))

    def member_log(self, i: int) -> list[dict[str, Any]]:
        """The lines of the log that are of one job."""
        return [
            {name: value for name, value in line.items() if name != "member"}
            for line in self.log
            if line["member"] == i
        ]

    def _batch(self, epoch: int, position: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of every job in one step."""
        train, size = self.data.train, self.config.batch_size
        if epoch != self._order_of:
            orders = {
                seed: torch.from_numpy(stream(seed, "order", epoch).numpy.permutation(len(train.x)))
                for seed in {job.seed for job in self.jobs}
            }
            self._order = torch.stack([orders[job.seed] for job in self.jobs]).to(train.x.device)
            self._order_of = epoch
        rows = self._order[:, position * size : (position + 1) * size]
        return train.x[rows], train.y[rows]

    def _masks(self, x: Tensor) -> Tensor | None:
        """Dropout masks, equal for jobs of one seed."""
        if self.config.keep_rate == 1:
            return None
        first, rate = self.jobs[0], self.config.keep_rate
        shape = (first.depth + 1, first.model.width, x.shape[1])
        masks = {
            seed: dropout_masks(shape, rate, stream(seed, "dropout", self.step, device=x.device), x)
            for seed in {job.seed for job in self.jobs}
        }
        return torch.stack([masks[job.seed] for job in self.jobs], dim=1)

    def _losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Mean loss of every job over its examples."""
        if self.config.loss == "mse":
            return (outputs - y).square().flatten(1).mean(1)
        each = cross_entropy(outputs.flatten(0, 1), y.flatten(), reduction="none")
        return each.view(y.shape).mean(1)

    def _hits(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Share of right answers of every job; NaN where targets are no classes."""
        if self.config.loss == "mse":
            return torch.full((len(outputs),), math.nan, dtype=torch.float64, device=outputs.device)
        right = (outputs.detach().argmax(-1) == y) & outputs.detach().isfinite().all(-1)
        return right.double().mean(1)

    def _close_epoch(self, epoch: int, done: int) -> None:
        loss, accuracy = (self._sums / done).tolist()
        validation_loss, validation_accuracy = (t.tolist() for t in self.evaluate(self.data.validation))
        for i in range(len(self.jobs)):
            self.log.append(
                {
                    "epoch": epoch,
                    "step": self.step,
                    "member": i,
                    "lr": self.config.rate(self.jobs[i].lr, epoch),
                    "diverged": not self.alive[i],
                    "train_loss": loss[i],
                    "train_accuracy": accuracy[i],
                    "validation_loss": validation_loss[i],
                    "validation_accuracy": validation_accuracy[i],
                }
            )
        self._sums.zero_()
