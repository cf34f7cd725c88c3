"""The program `resnet-sde`.

Exit status: 0 done, 2 the request was wrong (one sentence on standard error), 130 interrupted; what was
computed before is kept.
"""

from __future__ import annotations

import io
import logging
import sys
import warnings
from importlib import import_module

import click
from typing_extensions import override

from resnet_sde.cli import own
from resnet_sde.runs.interrupts import leave

_COMMANDS = (
    *("study", "limit", "converge", "kernel", "phase", "finite-width", "list", "verify", "train", "merge"),
    *("probe", "depth-check", "advise"),
)


class _Program(click.Group):
    """Imports the module of a command when it is asked for: some bring packages that load for a second."""

    @override
    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # of which click would make an empty line
            leave("resnet-sde")

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_COMMANDS})

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _COMMANDS:
            name = cmd_name.replace("-", "_")
            command: click.Command = getattr(import_module(f"resnet_sde.cli.{name}"), f"{name}_command")
            return command
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="resnet_sde", prog_name="resnet-sde", message="%(prog)s %(version)s")
def program() -> None:
    """Random deep residual networks next to their limits, in depth and in width."""


def main(arguments: list[str] | None = None) -> None:
    """Run the program and leave with its exit status.

    Args:
        arguments: the words of the command line, those of this process if None.
    """
    own.FOUND.clear()
    try:
        status = _run(arguments)
    except (click.exceptions.Abort, KeyboardInterrupt):
        leave("resnet-sde")
    except click.exceptions.NoArgsIsHelpError as help_page:
        print(help_page.format_message(), file=sys.stderr)
        sys.exit(2)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx is not None else "resnet-sde"
        _refuse(f"{error.format_message().removesuffix('.')} (see {where} --help)")
    except (ValueError, RuntimeError, OSError, MemoryError) as error:
        _refuse(_sentence(error))
    except Exception as error:
        if not own.FOUND:
            raise
        names = ", ".join(words for _, words in own.FOUND)
        _refuse(f"{names}: {type(error).__name__}: {error}; give code that runs")
    sys.exit(status if isinstance(status, int) else 0)


def _run(arguments: list[str] | None) -> object:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # no terminal is too poor for a table
    notes = logging.StreamHandler(sys.stderr)
    notes.setFormatter(logging.Formatter("resnet-sde: %(message)s"))
    logger = logging.getLogger("resnet_sde")
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(notes)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = lambda message, *_: logger.warning("%s", message)
            return program.main(args=arguments, prog_name="resnet-sde", standalone_mode=False)
    finally:
        logger.removeHandler(notes)
        logger.setLevel(before)


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        remedy = "give a folder that can be written to and has room (finished cells are kept)"
        return f"{where}{error.strerror}; {remedy}"
    if isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error):
        return "out of memory; give a smaller --width, --depth or --samples, or fewer --workers"
    return str(error)


def _refuse(sentence: str) -> None:
    print(f"resnet-sde: {' '.join(sentence.split())}", file=sys.stderr)
    sys.exit(2)
