"""Grids of networks, trained in stacks, each kept as soon as it is finished."""

from __future__ import annotations

import logging
import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from resnet_sde.checks import check_device, positive_integer
from resnet_sde.networks import StackedResNets, save
from resnet_sde.runs.execute import Executor, check_executor, execute
from resnet_sde.runs.identity import environment
from resnet_sde.runs.progress import progress_bar
from resnet_sde.runs.store import Damaged, Identity, Record, Store, key_of, read_record
from resnet_sde.training.config import TrainingConfig, TrainingJob, check_jobs, kind
from resnet_sde.training.data import Data
from resnet_sde.training.events import summary_writer
from resnet_sde.training.fitting import TrainingResult, fit
from resnet_sde.training.kept import OUTCOME, checkpoints_in, identities, on_its_own, outcomes_in, step_of
from resnet_sde.training.memory import check_stacks
from resnet_sde.training.targets import ready

log = logging.getLogger("resnet_sde")


@dataclass(frozen=True)
class _Task:
    """One stack: the positions of its jobs in the grid, and where and under which names they are kept."""

    positions: tuple[int, ...]
    jobs: tuple[TrainingJob, ...]
    config: TrainingConfig
    device: str
    store: Path | None
    identities: tuple[Identity | None, ...]
    tensorboard: bool = False
    keep_networks: bool = False
    progress: bool = False
    label: str = ""


def train(
    jobs: Sequence[TrainingJob],
    config: TrainingConfig,
    data: Data,
    *,
    stack: int = 16,
    device: str = "cpu",
    workers: int = 1,
    executor: Executor | None = None,
    store: str | Path | None = None,
    progress: bool = False,
    tensorboard: bool = False,
    keep_networks: bool = False,
) -> list[TrainingResult]:
    """Train every job; jobs of one shape are trained together, `stack` at a time.

    On a CPU no bit of a result depends on which jobs are trained together, or on workers; on other devices
    jobs are put together by the list of jobs and by `stack` alone.

    Args:
        jobs: any networks.
        config: how they are trained.
        data: the examples.
        stack: jobs of a stack at most; memory grows with it.
        device: where they are trained.
        workers: local processes, each of which trains a stack; 1 trains in this one.
        executor: one of `concurrent.futures` that works in their place; it is not shut down. Checkpoints and
            networks are kept by those who work, so they need a store that all of them can reach.
        store: folder that keeps what became of every job, and the checkpoints and logs of those under way.
            A call goes on from what is there, and trains what is new, such as one more learning rate. Where
            it cannot be told what decides a number, or the disk is full, a warning says so.
        progress: draw progress bars on standard error if that is a terminal.
        tensorboard: write the logs for TensorBoard too, into the store.
        keep_networks: keep the trained networks too, where `TrainingResult.network` says, in the store.

    Returns:
        The outcome of every job, in their order.

    Raises:
        ValueError: an argument is out of range, the examples do not fit the config, there is no such device
            or not enough memory; or tensorboard or keep_networks is asked for without a store, or
            tensorboard is not installed.
        RuntimeError: a worker process died; what was finished is kept.
        OSError: the store cannot be made or written to when training starts.

    Example:
        >>> from resnet_sde import RELU, Model, SingleLayer, WhiteNoise
        >>> from resnet_sde.training import load_data
        >>> model = Model(SingleLayer(RELU), WhiteNoise(), width=16, beta=0.5)
        >>> jobs = [TrainingJob(model, depth=10, lr=lr) for lr in (0.001, 0.01)]
        >>> outcomes = train(jobs, TrainingConfig(steps=40), load_data("digits"))
        >>> outcomes[1].test_accuracy > outcomes[0].test_accuracy
        True
    """
    for name, value in (("stack", stack), ("workers", workers)):
        positive_integer(name, value, "give for example 1")
    check_executor(executor)
    check_jobs(jobs, config)
    ready(data, config)  # refuse at once, in this process, what every stack would refuse
    device = str(check_device(device))
    if tensorboard:
        summary_writer()
    if keep_networks and store is None:
        raise ValueError("networks are kept in a store; give one, or keep_networks=False")
    grid = _TrainingGrid(
        tuple(jobs), config, device, stack, None if store is None else Path(store).expanduser()
    )
    check_stacks(
        [[jobs[i] for i in some] for some in grid.stacks(range(len(jobs)))],
        config,
        data,
        workers=workers,
        device=device,
    )
    found, tasks = grid.open(data, keep_networks)
    tasks = [replace(task, tensorboard=tensorboard, keep_networks=keep_networks) for task in tasks]
    with closing(_run(tasks, data, workers, executor, progress)) as finished:
        for task, outcomes in finished:
            found |= zip(task.positions, outcomes, strict=True)
    return [found[i] for i in range(len(jobs))]


def best_rate(outcomes: Mapping[float, Sequence[TrainingResult]]) -> float:
    """The learning rate that is best on the validation part on average over seeds.

    Best is the largest mean accuracy; where targets are no classes, the least mean loss of the rates at which
    no network diverged. Of equally good rates it is the smallest.

    Args:
        outcomes: those of every seed, by learning rate.

    Raises:
        ValueError: there is no rate, or no outcome of one; some outcomes have accuracies and others none; or
            without accuracies a network diverged at every rate.
    """
    if not isinstance(outcomes, Mapping):
        raise ValueError("outcomes are given by learning rate; give for example {0.1: [outcome]}")
    if not outcomes:
        raise ValueError("there is no learning rate to choose from; give at least one")
    for lr, each in outcomes.items():
        if not isinstance(each, Sequence) or not all(isinstance(outcome, TrainingResult) for outcome in each):
            raise ValueError(f"outcomes of the learning rate {lr} are no list of TrainingResult; give one")
        if not each:
            raise ValueError(
                f"there is no outcome of the learning rate {lr:g}; give at least one, or leave it out"
            )
    without = [math.isnan(o.validation_accuracy) for each in outcomes.values() for o in each]
    if not any(without):
        means = {lr: sum(o.validation_accuracy for o in each) / len(each) for lr, each in outcomes.items()}
        return max(sorted(means), key=lambda lr: means[lr])
    if not all(without):
        raise ValueError("some outcomes have accuracies and some do not; compare those of one loss")
    losses = {lr: sum(o.validation_loss for o in each) / len(each) for lr, each in outcomes.items()}
    whole = [lr for lr, each in outcomes.items() if not any(o.diverged for o in each)]
    losses = {lr: losses[lr] for lr in whole if math.isfinite(losses[lr])}
    if not losses:
        raise ValueError("every learning rate has a network that diverged; give smaller rates")
    return min(sorted(losses), key=lambda lr: losses[lr])


@dataclass(frozen=True)
class _TrainingGrid:
    """Members in their order, and how they are put together."""

    jobs: tuple[TrainingJob, ...]
    config: TrainingConfig
    device: str
    stack: int
    store: Path | None

    def stacks(
        self, positions: Iterable[int], steps: Mapping[int, int] | None = None
    ) -> list[tuple[int, ...]]:
        """Members of one shape together, if they go on from the same step; in the order of the first ones."""
        alike: dict[tuple[object, ...], list[int]] = {}
        for i in positions:
            start = 0 if steps is None else steps[i]
            alike.setdefault((start, *kind(self.jobs[i], self.config)), []).append(i)
        return sorted(
            tuple(some[first : first + self.stack])
            for some in alike.values()
            for first in range(0, len(some), self.stack)
        )

    def open(self, data: Data, networks: bool) -> tuple[dict[int, TrainingResult], list[_Task]]:
        """What is kept, with networks if they are asked for, and the tasks that remain."""
        every = range(len(self.jobs))
        if self.store is None:
            return {}, [self._task(some, [None] * len(every)) for some in self.stacks(every)]
        stacks, alone = self.stacks(every), on_its_own(self.device)
        known = identities(self.jobs, self.config, data, device=self.device, stacks=stacks)
        manifest = {
            "training": {"config": repr(self.config), "data": data.name, "jobs": len(self.jobs)},
            "environment": environment(self.device),
        }
        outcomes = Store(self.store, f"{{key}}/{OUTCOME}", manifest=manifest)
        found = {i: outcome for i in every if (outcome := _load(outcomes, known[i], networks)) is not None}
        if not alone:  # one that is missing is trained beside all that it was trained beside
            found = {i: found[i] for some in stacks if all(j in found for j in some) for i in some}
        missing, checkpoints = [i for i in every if i not in found], checkpoints_in(self.store)
        for i in found:
            checkpoints.remove(known[i])  # it may have ended between the outcome and this
        steps = {i: step_of(checkpoints, known[i]) for i in missing} if alone else None
        return found, [self._task(some, known) for some in self.stacks(missing, steps)]

    def _task(self, positions: tuple[int, ...], known: Sequence[Identity | None]) -> _Task:
        jobs = tuple(self.jobs[i] for i in positions)
        names = tuple(known[i] for i in positions)
        return _Task(positions, jobs, self.config, self.device, self.store, names)


def _run(
    tasks: Sequence[_Task], data: Data, workers: int, executor: Executor | None, progress: bool
) -> Generator[tuple[_Task, list[TrainingResult]]]:
    """Tasks and their outcomes, as they are finished."""
    each = (
        progress and executor is None and 1 in (workers, len(tasks))
    )  # one bar after the other; of several at once it is one
    labelled = [
        replace(
            task, progress=each, label=f"stack {number} of {len(tasks)}" if len(tasks) > 1 else "training"
        )
        for number, task in enumerate(tasks, start=1)
    ]
    with progress_bar(shown=progress and not each, total=len(tasks), desc="training", unit="stack") as bar:
        for task, outcomes in execute(labelled, _train, data, workers=workers, executor=executor):
            bar.update()
            yield task, _kept(task, outcomes)


def _train(task: _Task, data: Data) -> list[TrainingResult]:
    """Train one stack, and keep its networks if that is asked for."""
    stack, outcomes = fit(
        task.jobs,
        task.config,
        data,
        device=task.device,
        folder=task.store,
        identities=task.identities,
        progress=task.progress,
        label=task.label,
        tensorboard=task.tensorboard,
    )
    if task.keep_networks:
        outcomes = [replace(outcome, network=_keep(stack, i, task)) for i, outcome in enumerate(outcomes)]
    return outcomes


def _kept(task: _Task, outcomes: list[TrainingResult]) -> list[TrainingResult]:
    """Keep what has become of the jobs of a stack, instead of their checkpoints."""
    if task.store is None:
        return outcomes
    finished, checkpoints = (place(task.store, opened=True) for place in (outcomes_in, checkpoints_in))
    for i, outcome in enumerate(outcomes):
        if outcome.network is not None and not (task.store / outcome.network).exists():
            log.warning(
                "%s: is not where its worker wrote it; give a store that all can reach", outcome.network
            )
            outcomes[i] = replace(outcome, network=None)
    for identity, outcome in zip(task.identities, outcomes, strict=True):
        if finished.save(identity, Record({}, outcome.to_json())):
            checkpoints.remove(identity)
    return outcomes


def _keep(stack: StackedResNets, i: int, task: _Task) -> str | None:
    """Keep the network of a job; where, from the store on, or None where the disk does not take it."""
    job, identity = task.jobs[i], task.identities[i]
    assert task.store is not None
    key = key_of(identity) if identity is not None else uuid4().hex
    name = f"{key}/network.npz"
    note = {"model": repr(job.model), "seed": job.seed, "lr": job.lr, "config": repr(task.config)}
    note["job"] = key
    try:
        save(stack.network(i), task.store / name, note=note)
    except OSError as error:
        log.warning("%s: %s; this network is not kept", task.store / name, error.strerror or error)
        return None
    return name


def _is_kept(outcome: TrainingResult, store: Path, identity: Identity) -> bool:
    """Whether its network is in the store, undamaged, and not that of another job."""
    if outcome.network is None:
        return False
    path = store / outcome.network
    try:
        _, record = read_record(path)
        if not isinstance(record.content, Mapping) or record.content.get("job") != key_of(identity):
            raise Damaged(f"{path} cannot be taken, because it is of another network")
    except FileNotFoundError:
        return False
    except (OSError, Damaged) as error:
        log.warning("%s; it is trained anew", str(error).removesuffix("; give another"))
        return False
    return True


def _load(store: Store, identity: Identity | None, networks: bool) -> TrainingResult | None:
    """The outcome of a finished job, with its network if asked for; None if any is missing or damaged."""
    record = store.load(identity)
    if identity is None or record is None:
        return None
    outcome = TrainingResult.from_json(record.content)
    return None if networks and not _is_kept(outcome, store.folder, identity) else outcome
