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
from collections.abc import Iterable, Sequence
from functools import lru_cache

import torch

from resnet_sde.runs.describe import Unknown, Walk
from resnet_sde.runs.sources import PACKAGE
from resnet_sde.runs.versions import current_versions

log = logging.getLogger("resnet_sde")


def digest(*things: object) -> str:
    """A name of everything that these objects are and do, the same in every process.

    Raises:
        Unknown: it cannot be told what one of them is.
    """
    return _digest(things, {})


def digests(things: Iterable[object]) -> list[str | None]:
    """The digest of each; None, after one warning for each reason, where it cannot be told what something is.

    What depends on that is not to be kept.
    """
    known: dict[int, tuple[object, str]] = {}
    found: list[str | None] = []
    said = set()
    for thing in things:
        try:
            found.append(_digest([thing], known))
        except Unknown as error:
            found.append(None)
            if str(error) not in said:
                log.warning("%s; what depends on it is computed anew, and not kept", error)
            said.add(str(error))
    return found


def _digest(things: Sequence[object], known: dict[int, tuple[object, str]]) -> str:
    """The digest of values, with digests of the functions and classes that they reach, if need be known."""
    walk = Walk()
    values = walk.values(things)
    names = []
    for reached, trail in walk.reached:
        if id(reached) not in known:
            known[id(reached)] = (reached, _of_text(repr(Walk(trail).whole(reached))))
        names.append(known[id(reached)][1])
    return _of_text(repr((values, names)))


def _of_text(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def environment(device: torch.device | str = "cpu") -> dict[str, str]:
    """What decides the bits of a result besides the request: versions, sources and arithmetic."""
    found = {**current_versions(), "python": ".".join(platform.python_version_tuple()[:2])}
    found["precision"] = torch.get_float32_matmul_precision()
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
