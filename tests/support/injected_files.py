"""What may have happened to files between two runs."""

from __future__ import annotations

import gzip
import io
import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr
from injected_programs import Program, of_another_package

from paper_figs.stored import with_checksum
from resnet_sde.runs import store

YEARS = 10 * 365 * 86400.0
TEXT = "nothing of this is a result\n" * 3


def damage(kind: str, folder: Path, program: Program, chance: random.Random) -> dict[str, bool]:
    """Damage one to three of the files that the next run goes on from.

    Returns:
        Their names, each with whether the next run has to name it in a warning: a file that is not there is
        no damage, and a dataset of another request or of other versions is nothing to warn of.
    """
    paths = sorted({path for pattern in program.believed for path in folder.glob(pattern)})
    chosen = chance.sample(paths, min(len(paths), chance.randint(1, 3)))
    if kind == "dates":
        for path in folder.rglob("*"):
            when = path.stat().st_mtime + chance.choice([-YEARS, YEARS])
            os.utime(path, (when, when))
        return {}
    named = {}
    for path in chosen:
        before = path.read_bytes()
        DAMAGES[kind](
            path, [other for other in paths if other.name == path.name or other.suffix == path.suffix], chance
        )
        foreign_dataset = path.name.endswith(".nc.gz") and kind in (
            "of a newer version",
            "of another request",
        )
        loud = kind != "missing" and not foreign_dataset
        if not path.exists() or path.read_bytes() != before:
            named[path.relative_to(folder).as_posix()] = loud
    return named


def _cut(path: Path, _: list[Path], chance: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(1, len(content))])


def _flipped(path: Path, _: list[Path], chance: random.Random) -> None:
    """One bit; every second time one that makes a digit another digit."""
    content = bytearray(path.read_bytes())
    at, bit = chance.randrange(len(content)), 1 << chance.randrange(8)
    digits = [i for i, byte in enumerate(content) if byte in b"0123456789"]
    if digits and chance.random() < 0.5:
        at, bit = chance.choice(digits), 1
    content[at] ^= bit
    path.write_bytes(content)


def _empty(path: Path, _: list[Path], chance: random.Random) -> None:
    path.write_bytes(b"")


def _text(path: Path, _: list[Path], chance: random.Random) -> None:
    path.write_text(TEXT)


def _foreign(path: Path, _: list[Path], chance: random.Random) -> None:
    """A whole file of its kind, of another package."""
    if path.suffix == ".npz":
        path.write_bytes(of_another_package())
    elif path.suffix == ".json":
        path.write_text('{"sha256": null, "values": [1, 2, 3]}')
    else:
        plain = bytes(xr.Dataset({"values": ("time", np.arange(3.0))}).to_netcdf(engine="scipy"))
        path.write_bytes(gzip.compress(plain))


def _newer(path: Path, _: list[Path], chance: random.Random) -> None:
    """As the next version of the package would write it."""
    if path.suffix == ".gz":
        _with_attributes(path, versions='{"resnet_sde": "99.0"}')
        return
    identity, record = store.read_record(path)
    before, store.FORMAT = store.FORMAT, store.FORMAT + 1
    try:
        store.write_record(path, identity, record)
    finally:
        store.FORMAT = before


def _another(path: Path, others: list[Path], chance: random.Random) -> None:
    """A whole record of another request."""
    if path.suffix == ".gz":
        _with_attributes(path, seed="7")
        return
    others = [other for other in others if other != path] or [path]
    path.write_bytes(chance.choice(others).read_bytes())


def _missing(path: Path, _: list[Path], chance: random.Random) -> None:
    path.unlink()


def _with_attributes(path: Path, **attributes: str) -> None:
    with gzip.open(path) as file:
        ds = xr.load_dataset(io.BytesIO(file.read()), engine="scipy")
    plain = bytes(ds.assign_attrs(attributes).to_netcdf(engine="scipy"))
    path.write_bytes(with_checksum(gzip.compress(plain, mtime=0)))


DAMAGES: dict[str, Callable[[Path, list[Path], random.Random], None]] = {
    "cut": _cut,
    "a flipped bit": _flipped,
    "empty": _empty,
    "a text": _text,
    "of another package": _foreign,
    "of a newer version": _newer,
    "of another request": _another,
    "missing": _missing,
}
KINDS = (*DAMAGES, "dates")
