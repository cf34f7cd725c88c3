"""Datasets of figures on disk: netCDF 3, compressed, and with the same bytes whenever it is made."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import xarray as xr

from resnet_sde.runs.store import sealed, unsealed, write_whole

KEPT = Path(__file__).with_name("data")  # made at the budget cpu, part of the checkout
SUFFIX = ".nc.gz"
_COMMENT, _COMMENTED = 10, 16  # where the comment of a gzip file begins, and the flag that says there is one
LARGEST_INTEGER = 2**31 - 1  # of a netCDF 3 file


def store(ds: xr.Dataset, folder: Path, name: str) -> None:
    """Write the dataset of a figure; xarray reads it with ``engine="scipy"``.

    Raises:
        OSError: it could not be written.
    """
    attributes = {
        key: str(value) if isinstance(value, int) and value > LARGEST_INTEGER else value
        for key, value in ds.attrs.items()
    }
    plain = bytes(ds.assign_attrs(attributes).to_netcdf(engine="scipy"))
    write_whole(folder / f"{name}{SUFFIX}", with_checksum(gzip.compress(plain, mtime=0)))


def with_checksum(member: bytes) -> bytes:
    """A gzip file with a checksum of all of its bytes as its comment, which other programs pass over."""
    flags = bytes([member[3] | _COMMENTED])
    return sealed(member[:3] + flags + member[4:_COMMENT] + b"\0" + member[_COMMENT:], _COMMENT)


def load(folder: Path, name: str) -> xr.Dataset:
    """The stored dataset of a figure, of any budget and seed.

    Raises:
        ValueError: there is none, or it cannot be read.
    """
    path = folder / f"{name}{SUFFIX}"
    if not path.is_file():
        raise ValueError(
            f"{path} does not exist, so there is nothing to redraw; run {name} without --redraw first"
        )
    try:
        content = path.read_bytes()
        unsealed(content, _COMMENT)
        return xr.load_dataset(io.BytesIO(gzip.decompress(content)), engine="scipy")
    except Exception as error:  # a sealed file of another kind can raise nearly anything
        raise ValueError(
            f"{path} is no whole dataset; run {name} without --redraw to make it anew"
        ) from error
