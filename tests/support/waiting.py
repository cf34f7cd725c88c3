"""Waiting for events, and the processes of a session."""

import time
from collections.abc import Callable
from pathlib import Path

# Seconds after which something is taken to hang. Where nothing hangs no test waits so long, on a machine ten
# times slower and busy with other things.
PATIENCE = 300.0


def wait_until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def members(session: int) -> list[int]:
    """Living processes of a session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, own = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(own) == session and state != "Z":
            found.append(int(folder.name))
    return found


def alive(process: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
