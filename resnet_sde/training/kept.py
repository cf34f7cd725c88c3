"""What is kept of networks in training, each under what decides its bits, whatever it is trained beside."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from resnet_sde.runs.identity import digests, environment
from resnet_sde.runs.store import Identity, Record, Store, key_of, write_whole
from resnet_sde.training.config import TrainingConfig, TrainingJob
from resnet_sde.training.data import Data
from resnet_sde.training.run import Run

OUTCOME, CHECKPOINT, LOG = "outcome.json", "checkpoint.npz", "log.jsonl"

Identities = Sequence[Identity | None]


def identities(
    jobs: Sequence[TrainingJob],
    config: TrainingConfig,
    data: Data,
    *,
    device: str,
    stacks: Sequence[Sequence[int]] = (),
) -> list[Identity | None]:
    """What decides the bits of each job; None, after a warning, where that cannot be told.

    Args:
        stacks: positions of the jobs of each stack. On a CPU the arithmetic of a job does not depend on
            those beside it. On other devices it may, and then they are part of its identity.
    """
    shared = {"config": repr(config), "data": data.digest, "environment": environment(device)}
    beside: dict[int, dict[str, Any]] = {}
    if not on_its_own(device):
        for some in stacks or [range(len(jobs))]:
            names = [repr(jobs[i]) for i in some]
            beside |= {i: {"stack": names, "position": at} for at, i in enumerate(some)}
    models = digests(job.model for job in jobs)
    return [
        None if model is None else {"job": repr(job), "model": model, **shared, **beside.get(i, {})}
        for i, (job, model) in enumerate(zip(jobs, models, strict=True))
    ]


def on_its_own(device: str) -> bool:
    """Whether the bits of a job do not depend on those that it is trained beside."""
    return torch.device(device).type == "cpu"


def outcomes_in(store: str | Path, *, opened: bool = False) -> Store:
    """Where outcomes are kept, each in the folder of its job."""
    return Store(store, f"{{key}}/{OUTCOME}", opened=opened)


def checkpoints_in(store: str | Path, *, opened: bool = False) -> Store:
    """Where checkpoints are kept, each in the folder of its job."""
    return Store(store, f"{{key}}/{CHECKPOINT}", opened=opened)


def save_checkpoint(run: Run, store: Store, identities: Identities) -> None:
    """Keep the state of every job of a run."""
    for i, identity in enumerate(identities):
        if identity is not None:
            tensors, facts = run.member_state(i)
            arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
            store.save(identity, Record(arrays, plain(facts)))


def load_checkpoint(run: Run, store: Store, identities: Identities) -> bool:
    """Let a run go on from checkpoints; False unless those of all jobs are there, of one step."""
    records = [store.load(identity) for identity in identities]
    found = [record for record in records if record is not None]
    if len(found) < len(records) or len({record.content["step"] for record in found}) > 1:
        return False
    for i, record in enumerate(found):
        tensors = {name: torch.from_numpy(array) for name, array in record.arrays.items()}
        run.load_member_state(i, tensors, parsed(record.content))
    return True


def step_of(store: Store, identity: Identity | None) -> int:
    """The step from which a job can go on."""
    record = store.load(identity)
    return 0 if record is None else int(record.content["step"])


def write_log(run: Run, folder: Path, identities: Identities) -> None:
    """The whole logs anew, so that a resumed run has no line twice: a line of JSON for each epoch."""
    for i, identity in enumerate(identities):
        if identity is not None:
            lines = (json.dumps(plain(line), allow_nan=False) + "\n" for line in run.member_log(i))
            write_whole(job_folder(folder, identity) / LOG, "".join(lines).encode())


def job_folder(folder: Path, identity: Identity) -> Path:
    """The folder of a job."""
    return folder / key_of(identity)


def plain(value: Any) -> Any:
    """As JSON; numbers that are not finite as strings."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def parsed(value: Any) -> Any:
    """What `plain` was given."""
    if isinstance(value, dict):
        return {name: parsed(part) for name, part in value.items()}
    if isinstance(value, list):
        return [parsed(part) for part in value]
    return float(value) if value in ("nan", "inf", "-inf") else value
