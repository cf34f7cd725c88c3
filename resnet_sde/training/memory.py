"""Memory that training needs at least, so that what does not fit is refused before it starts."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_sde.checks import check_memory
from resnet_sde.training.config import TrainingConfig, TrainingJob
from resnet_sde.training.data import Data

# Of a parameter: itself, its gradient, and what the optimizer keeps.
_COPIES = {"adam": 4, "sgd": 2, "rmsprop": 3}
_JOB_BYTES = 1500  # of a job and its outcome, without paths of entries
_LINE_BYTES = 400  # of a line of the log
_NUMBER_BYTES = 32  # of a number in a list
_ITEM_BYTES = {"float32": 4, "float64": 8}


def check_count(networks: int, remedy: str) -> None:
    """Refuse more networks than there is memory to say what became of them. Raises ValueError."""
    check_memory(f"{networks} networks", networks * _JOB_BYTES, remedy)


def check_stacks(
    stacks: Sequence[Sequence[TrainingJob]],
    config: TrainingConfig,
    data: Data,
    *,
    workers: int,
    device: str,
    to_the_end: bool = True,
) -> None:
    """Refuse stacks that do not fit into memory, the largest of which are trained side by side.

    Args:
        to_the_end: count the log of all epochs too.

    Raises:
        ValueError: states, weights, their gradients, the optimizer and the log need more than there is.
    """
    log = _LINE_BYTES * _epochs(config, data) if to_the_end else 0.0
    sizes = [len(jobs) * (bytes_of_job(jobs[0], config, data) + log) for jobs in stacks]
    largest = max(range(len(stacks)), key=sizes.__getitem__)
    jobs, together = stacks[largest], min(workers, len(stacks))
    what = f"{together * len(jobs)} networks" if together * len(jobs) > 1 else "training states"
    first = jobs[0]
    check_memory(
        f"{what} of width {first.model.width} and depth {first.depth} in batches of {config.batch_size}",
        sum(sorted(sizes)[-together:]),
        "give a smaller depth, width, stack or batch_size, fewer epochs or fewer workers",
        device,
    )


def bytes_of_job(job: TrainingJob, config: TrainingConfig, data: Data) -> float:
    """Memory that the training of one network needs at least."""
    item, width, depth = _ITEM_BYTES[config.dtype], job.model.width, float(job.depth)
    shapes = job.model.block.shapes(width)
    copies = _COPIES[config.optimizer] + (config.momentum > 0)
    met = shapes["inner"][1] if "inner" in shapes else 0
    states = depth * config.batch_size * (width + met + width * (config.keep_rate < 1))
    entries = 2 * depth * sum(min(config.entries, rows * columns) for rows, columns in shapes.values())
    layer = sum(rows * columns for rows, columns in shapes.values())
    weights = depth * layer + (data.n_in + data.classes) * width
    return item * (copies * weights + states) + _NUMBER_BYTES * entries


def _epochs(config: TrainingConfig, data: Data) -> float:
    steps = len(data.train.x) // config.batch_size
    return config.epochs if config.steps is None else config.steps / steps
