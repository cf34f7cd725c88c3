"""Grids of networks, trained in stacks, each kept as soon as it is finished."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from resnet_sde._checks import check_device, positive_integer
from resnet_sde._versions import current_versions
from resnet_sde.networks import Stack, save
from resnet_sde.runs.execute import execute
from resnet_sde.runs.progress import progress_bar
from resnet_sde.runs.store import read_record, write_whole
from resnet_sde.training.data import Data
from resnet_sde.training.events import summary_writer
from resnet_sde.training.fitting import CHECKPOINT, Outcome, fit
from resnet_sde.training.memory import check_stacks
from resnet_sde.training.recipe import Member, Recipe, check_members, kind
from resnet_sde.training.targets import ready

OUTCOMES = "outcomes.json"


@dataclass(frozen=True)
class _Task:
    """One stack: the positions of its members in the grid, and where it is kept."""

    positions: tuple[int, ...]
    members: tuple[Member, ...]
    recipe: Recipe
    device: str
    folder: Path | None
    tensorboard: bool = False
    keep_networks: bool = False
    progress: bool = False
    label: str = ""


def train(
    members: Sequence[Member],
    recipe: Recipe,
    data: Data,
    *,
    stack: int = 16,
    device: str = "cpu",
    workers: int = 1,
    store: str | Path | None = None,
    progress: bool = False,
    tensorboard: bool = False,
    keep_networks: bool = False,
) -> list[Outcome]:
    """Train every member; members of one shape are trained together, `stack` at a time.

    How members are put together depends on the list of members and on `stack` alone, and workers change no
    bit of a result.

    Args:
        members: any networks.
        recipe: how they are trained.
        data: the examples.
        stack: members of a stack at most; memory grows with it.
        device: where they are trained.
        workers: local processes, each of which trains a stack; 1 trains in this one.
        store: folder that keeps every finished stack, and the checkpoint and the log of those under way. The
            same call goes on from what is there.
        progress: draw progress bars on standard error if that is a terminal.
        tensorboard: write the logs for TensorBoard too, into the store.
        keep_networks: keep the trained networks too, where `Outcome.network` says, in the store.

    Returns:
        The outcome of every member, in their order.

    Raises:
        ValueError: an argument is out of range, the examples do not fit the recipe, there is no such device
            or not enough memory; or tensorboard or keep_networks is asked for without a store, or
            tensorboard is not installed.
        RuntimeError: a worker process died; what was finished is kept.
        OSError: the store cannot be written to.

    Example:
        >>> from resnet_sde import RELU, Model, SingleLayer, WhiteNoise
        >>> from resnet_sde.training import load_data
        >>> model = Model(SingleLayer(RELU), WhiteNoise(), width=16, beta=0.5)
        >>> members = [Member(model, depth=10, lr=lr) for lr in (0.001, 0.01)]
        >>> outcomes = train(members, Recipe(steps=40), load_data("digits"))
        >>> outcomes[1].test_accuracy > outcomes[0].test_accuracy
        True
    """
    for name, value in (("stack", stack), ("workers", workers)):
        positive_integer(name, value, "give for example 1")
    check_members(members, recipe)
    ready(data, recipe)  # refuse at once, in this process, what every stack would refuse
    device = str(check_device(device))
    if tensorboard:
        summary_writer()
    if keep_networks and store is None:
        raise ValueError("networks are kept in a store; give one, or keep_networks=False")
    tasks = _tasks(members, recipe, data, stack, device, None if store is None else Path(store))
    check_stacks([task.members for task in tasks], recipe, data, workers=workers, device=device)
    found: dict[int, Outcome] = {}
    waiting = []
    for task in tasks:
        kept = _load(task, keep_networks)
        if kept is None:
            waiting.append(replace(task, tensorboard=tensorboard, keep_networks=keep_networks))
        else:
            found |= zip(task.positions, kept, strict=True)
    with closing(_run(waiting, data, workers, progress)) as finished:
        for task, outcomes in finished:
            found |= zip(task.positions, outcomes, strict=True)
    return [found[i] for i in range(len(members))]


def best_rate(outcomes: Mapping[float, Sequence[Outcome]]) -> float:
    """The learning rate that is best on the validation part on average over seeds.

    Best is the largest mean accuracy; where targets are no classes, the least mean loss, which a rate with a
    loss that is not finite never has. Of equally good rates it is the smallest.

    Args:
        outcomes: those of every seed, by learning rate.

    Raises:
        ValueError: there is no rate, or no outcome of one; some outcomes have accuracies and others none; or
            without accuracies no rate has finite losses.
    """
    if not isinstance(outcomes, Mapping):
        raise ValueError("outcomes are given by learning rate; give for example {0.1: [outcome]}")
    if not outcomes:
        raise ValueError("there is no learning rate to choose from; give at least one")
    for lr, each in outcomes.items():
        if not isinstance(each, Sequence) or not all(isinstance(outcome, Outcome) for outcome in each):
            raise ValueError(f"outcomes of the learning rate {lr} are no list of Outcome; give one")
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
    losses = {lr: loss for lr, loss in losses.items() if math.isfinite(loss)}
    if not losses:
        raise ValueError("no learning rate has finite validation losses; give smaller rates")
    return min(sorted(losses), key=lambda lr: losses[lr])


def _tasks(
    members: Sequence[Member], recipe: Recipe, data: Data, stack: int, device: str, store: Path | None
) -> list[_Task]:
    """The stacks, in the order of their first members."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for i, member in enumerate(members):
        alike.setdefault(kind(member, recipe), []).append(i)
    digest = data.digest if store is not None else ""
    tasks = []
    for positions in alike.values():
        for first in range(0, len(positions), stack):
            some = tuple(positions[first : first + stack])
            chosen = tuple(members[i] for i in some)
            name = repr((chosen, recipe, digest, device, sorted(current_versions().items())))
            key = hashlib.sha256(name.encode()).hexdigest()[:32]
            tasks.append(_Task(some, chosen, recipe, device, None if store is None else store / key))
    return sorted(tasks, key=lambda task: task.positions)


def _run(
    tasks: Sequence[_Task], data: Data, workers: int, progress: bool
) -> Generator[tuple[_Task, list[Outcome]]]:
    """Tasks and their outcomes, as they are finished."""
    each = progress and 1 in (workers, len(tasks))  # one bar after the other; of several at once it is one
    labelled = [
        replace(
            task, progress=each, label=f"stack {number} of {len(tasks)}" if len(tasks) > 1 else "training"
        )
        for number, task in enumerate(tasks, start=1)
    ]
    with progress_bar(shown=progress and not each, total=len(tasks), desc="training", unit="stack") as bar:
        for task, outcomes in execute(labelled, _train, data, workers=workers):
            bar.update()
            yield task, outcomes


def _train(task: _Task, data: Data) -> list[Outcome]:
    """Train one stack, and keep what has become of it instead of its checkpoint."""
    stack, outcomes = fit(
        task.members,
        task.recipe,
        data,
        device=task.device,
        folder=task.folder,
        progress=task.progress,
        label=task.label,
        tensorboard=task.tensorboard,
    )
    if task.folder is not None:
        if task.keep_networks:
            outcomes = [replace(outcome, network=_keep(stack, i, task)) for i, outcome in enumerate(outcomes)]
        plain = [outcome.to_json() for outcome in outcomes]
        write_whole(task.folder / OUTCOMES, json.dumps(plain, allow_nan=False).encode())
        (task.folder / CHECKPOINT).unlink(missing_ok=True)
    return outcomes


def _keep(stack: Stack, i: int, task: _Task) -> str:
    """Keep the network of a member; where, from the store on."""
    assert task.folder is not None
    member, name = task.members[i], f"{task.folder.name}/network-{i}.npz"
    note = {"model": repr(member.model), "seed": member.seed, "lr": member.lr, "recipe": repr(task.recipe)}
    save(stack.network(i), task.folder.parent / name, note=note)
    return name


def _is_kept(outcome: Outcome, store: Path) -> bool:
    """Whether its network is in the store, undamaged."""
    try:
        return outcome.network is not None and bool(read_record(store / outcome.network))
    except (OSError, ValueError):
        return False


def _load(task: _Task, networks: bool) -> list[Outcome] | None:
    """The outcomes of a finished stack, with its networks if asked for; None if any is missing or damaged."""
    if task.folder is None:
        return None
    try:
        plain = json.loads((task.folder / OUTCOMES).read_bytes())
        found = [Outcome.from_json(each) for each in plain]
    except (OSError, TypeError, ValueError):
        return None
    if networks and not all(_is_kept(outcome, task.folder.parent) for outcome in found):
        return None
    return found if len(found) == len(task.members) else None
