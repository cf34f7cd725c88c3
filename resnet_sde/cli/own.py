"""Modules of one's own, and what is in them, as the words of a command line name them."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import import_module
from types import ModuleType
from typing import Any

import click

FOUND: dict[tuple[str, str], Any] = {}  # what this command line names of the user's own, by option and words


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
        with redirect_stdout(sys.stderr):  # standard output is for results
            return import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the code of a module may raise anything, SystemExit included
        what = " ".join(str(error).split()) or "without a message"
        kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
        raise click.UsageError(
            f"{option} {module}: {kind}{what}; give a module that can be imported."
        ) from None


def named_object(option: str, words: str) -> Any:
    """What MODULE:NAME names.

    Raises:
        UsageError: there is no such thing.
    """
    module, colon, name = words.partition(":")
    if not (module and colon and name):
        raise click.UsageError(f"{option} {words}: this names no object; give for example my_module:make.")
    found: Any = imported(option, module)
    for part in name.split("."):
        if not hasattr(found, part):
            raise click.UsageError(f"{option} {words}: {module} has no {name}; give a name that it has.")
        found = getattr(found, part)
    FOUND[option, words] = found
    return found


def own_part(option: str, words: str, kind: type, wrap: Callable[[Any], Any] | None = None) -> Any:
    """The law, block or activation that MODULE:NAME names: itself, or what it makes of no arguments.

    Args:
        option: that names it.
        words: MODULE:NAME.
        kind: what it must be.
        wrap: makes one of a function that takes arguments.

    Raises:
        UsageError: it is none, needs arguments, or fails.
    """
    if isinstance(before := FOUND.get((option, words)), kind):
        return before
    found = named_object(option, words)
    what = f"a resnet_sde.{kind.__name__}"
    remedy = f"give {what}, or a class or function that makes one and takes no arguments"
    if isinstance(found, kind):
        return found
    other = isinstance(found, type) and not issubclass(found, kind)
    if other or not callable(found):
        is_ = "another class" if other else f"an object of type {type(found).__name__}"
        raise click.UsageError(f"{option} {words}: this is {is_}; {remedy}.")
    needed = _needed(found)
    plain = not isinstance(found, type) and (bool(needed) or not inspect.isfunction(found))
    if needed and not (plain and wrap):
        raise click.UsageError(f"{option} {words}: this needs {', '.join(needed)}; {remedy}.")
    try:
        with redirect_stdout(sys.stderr):
            made = wrap(found) if wrap is not None and plain else found()
    except Exception as error:
        raise click.UsageError(
            f"{option} {words}: {type(error).__name__}: {' '.join(str(error).split())}; {remedy}."
        ) from error
    if not isinstance(made, kind):
        raise click.UsageError(
            f"{option} {words}: this makes an object of type {type(made).__name__}; {remedy}."
        )
    FOUND[option, words] = made
    return made


def _needed(function: Any) -> list[str]:
    """The arguments that cannot be left out."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # written in C, and not saying
        return ["arguments"]
    empty, many = inspect.Parameter.empty, (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is empty and p.kind not in many]
