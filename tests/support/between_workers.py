"""What is computed once in a run of the tests, whichever of its processes asks first."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resnet_sde.runs.store import write_whole

folder: Path | None = None  # of the run; `conftest.py` says where


def once(name: str, make: Callable[[], Any]) -> Any:
    """What `make` gives, from a file if another process of this run has written it."""
    assert folder is not None
    path = folder / f"{name}.pickle"
    if path.exists():
        return pickle.loads(path.read_bytes())
    found = make()
    write_whole(path, pickle.dumps(found))
    return found
