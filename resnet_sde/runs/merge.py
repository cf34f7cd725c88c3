"""One store of several: records that were made on different machines, each taken only as it was written."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resnet_sde.runs.store import Damaged, key_of, read_record, remove_parts, write_whole

log = logging.getLogger("resnet_sde")

_RECORDS = (".npz", ".json")


@dataclass(frozen=True)
class Merged:
    """What became of the records of the other stores.

    Attributes:
        taken: were not there, or damaged there.
        there: were there already.
        damaged: are not what was written, not under the name of what they answer, or have other numbers than
            what is there already; none of them is taken.
    """

    taken: int
    there: int
    damaged: int


def merge(stores: Sequence[str | Path], into: str | Path) -> Merged:
    """Add to a store all records that others have.

    A record answers one request, made with one kind of processor and one set of versions; so a store that is
    put together on several machines has the answers of each of them, and none is given for another.
    Checkpoints, logs and figures are left where they are.

    Args:
        stores: folders, whatever verb they are of; they are only read.
        into: folder; made if it is not there.

    Raises:
        ValueError: a folder is not there, or has no records.
        OSError: the store cannot be written to.
    """
    target, counts = Path(into).expanduser(), {"taken": 0, "there": 0, "damaged": 0}
    sources = [Path(store).expanduser() for store in stores]
    for source in sources:
        if not source.is_dir():
            raise ValueError(f"there is no folder {source}; give one that something was kept in")
        if not any(_named(source)):
            raise ValueError(f"{source} has no records; give what was given as --out or store")
    for source in sources:
        for place in {target / path.parent.relative_to(source) for path in _named(source)}:
            for suffix in _RECORDS:
                remove_parts(place, f"*{suffix}")
        for path in _named(source):
            counts[_taken(path, target / path.relative_to(source))] += 1
        for manifest in source.glob("manifest-*.json"):
            if not (target / manifest.name).exists():
                write_whole(target / manifest.name, manifest.read_bytes())
    return Merged(**counts)


def _named(store: Path) -> Iterator[Path]:
    """Files that have the name of a record."""
    for path in sorted(store.rglob("*")):
        if path.suffix in _RECORDS and path.is_file() and _key(path):
            yield path


def _key(path: Path) -> str:
    """The key in a name, KEY.npz or KEY/outcome.json; empty where there is none."""
    found = path.parent.name if path.name in ("outcome.json", "network.npz") else path.stem
    return found if re.fullmatch("[0-9a-f]{32}", found) else ""


def _taken(path: Path, goal: Path) -> str:
    try:
        identity, record = read_record(path)
        of_job = isinstance(record.content, dict) and "job" in record.content
        if _key(path) != (record.content["job"] if of_job else key_of(identity)):
            raise Damaged(f"{path} is not taken, because it answers another request")
    except (Damaged, OSError) as error:
        log.warning("%s", error)
        return "damaged"
    try:
        kept = read_record(goal)[1]
    except (Damaged, OSError):
        write_whole(goal, path.read_bytes(), sweep=False)
        return "taken"
    if not _same_arrays(record.arrays, kept.arrays):
        log.warning("%s is not taken, because %s answers the same request with other numbers", path, goal)
        return "damaged"
    return "there"


def _same_arrays(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(
        a[name].dtype == b[name].dtype and a[name].tobytes() == b[name].tobytes() for name in a
    )
