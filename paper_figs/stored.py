"""Datasets of figures on disk: netCDF 3, compressed, and with the same bytes whenever it is made."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import xarray as xr

from resnet_sde.runs.store import write_whole

KEPT = Path(__file__).with_name("data")  # made at the budget cpu, part of the checkout
SUFFIX = ".nc.gz"
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
    write_whole(folder / f"{name}{SUFFIX}", gzip.compress(plain, mtime=0))


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
        return xr.load_dataset(io.BytesIO(gzip.decompress(path.read_bytes())), engine="scipy")
    except (OSError, TypeError, ValueError, EOFError, IndexError) as error:  # of other and of cut files
        raise ValueError(
            f"{path} is no whole dataset; run {name} without --redraw to make it anew"
        ) from error
