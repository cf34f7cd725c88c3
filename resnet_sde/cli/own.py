"""Modules of one's own, as the words of a command line name them."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType

import click


def imported(option: str, module: str) -> ModuleType:
    """The module of this dotted name; the current folder is looked through last.

    Raises:
        UsageError: it cannot be imported, for whatever reason.
    """
    here = os.getcwd()
    if not {"", here} & set(sys.path):
        sys.path.append(here)
    try:
        if not all(part.isidentifier() for part in module.split(".")):
            raise ImportError("this is no dotted name such as my_package.my_module")
        return import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the code of a module may raise anything, SystemExit included
        what = " ".join(str(error).split()) or "without a message"
        kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
        raise click.UsageError(
            f"{option} {module}: {kind}{what}; give a module that can be imported."
        ) from None
