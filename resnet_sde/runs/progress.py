"""The progress bar of everything that takes more than a few seconds."""

from __future__ import annotations

import threading
from typing import Any

from tqdm.auto import tqdm


class Bar(tqdm):
    """A bar of tqdm whose lock is of threads alone: one of processes would fix their start method for all."""


Bar.set_lock(threading.RLock())


def progress_bar(*, shown: bool = True, **options: Any) -> Bar:
    """A bar on standard error, if that is a terminal; options are those of tqdm."""
    return Bar(disable=None if shown else True, **options)
