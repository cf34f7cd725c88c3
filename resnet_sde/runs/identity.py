"""What decides a number: a digest of objects and of all the code that they bring along.

Values count by their content, and functions and classes of the user by what they do: their code, what they
captured, their defaults and attributes, and, in the same way, everything that they read from their modules.
Code of installed packages counts by its name and the version of the package. Where an object cannot be read
as a value there is no digest, because two objects of one digest might then give different numbers.
"""

from __future__ import annotations

import hashlib
import logging
import platform
from functools import lru_cache

import torch

from resnet_sde._versions import current_versions
from resnet_sde.runs.describe import Unknown, Walk
from resnet_sde.runs.sources import PACKAGE

log = logging.getLogger("resnet_sde")


def digest(*things: object) -> str:
    """A name of everything that these objects are and do, the same in every process.

    Raises:
        Unknown: it cannot be told what one of them is.
    """
    return hashlib.sha256(repr(Walk().whole(things)).encode("utf-8", "surrogatepass")).hexdigest()


def digest_or_say(*things: object) -> str | None:
    """The digest; None after a warning that what depends on these objects is not kept."""
    try:
        return digest(*things)
    except Unknown as error:
        log.warning(
            "%s; so what depends on it is computed anew, and nothing of it is kept: give it as numbers, "
            "strings or arrays",
            error,
        )
        return None


def environment(device: torch.device | str = "cpu") -> dict[str, str]:
    """What decides the bits of a result besides the request: versions, sources and arithmetic."""
    found = {**current_versions(), "python": ".".join(platform.python_version_tuple()[:2])}
    return {**found, "sources": package(), **_arithmetic(torch.device(device).type)}


@lru_cache(maxsize=1)
def package() -> str:
    """A digest of the sources of this package."""
    found = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        found.update(repr((file.relative_to(PACKAGE).as_posix(), file.read_bytes())).encode())
    return found.hexdigest()


@lru_cache(maxsize=4)
def _arithmetic(device: str) -> dict[str, str]:
    """What computes: the kind of processor, and the instructions that libraries choose on it."""
    from threadpoolctl import threadpool_info

    found = {"device": device, "machine": platform.machine()}
    found["instructions"] = torch.backends.cpu.get_cpu_capability()
    kernels = {str(library["architecture"]) for library in threadpool_info() if "architecture" in library}
    found["kernels"] = ", ".join(sorted(kernels))
    if device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
    return found
