"""The program `resnet-sde`.

Exit status: 0 done, 2 the request was wrong (one sentence on standard error), 130 interrupted; what was
computed before is kept.
"""

from __future__ import annotations

import sys

import click

from resnet_sde.cli.study import study_command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="resnet_sde", prog_name="resnet-sde", message="%(prog)s %(version)s")
def program() -> None:
    """Random deep residual networks next to their limits, in depth and in width."""


program.add_command(study_command)


def main(arguments: list[str] | None = None) -> None:
    """Run the program and leave with its exit status.

    Args:
        arguments: the words of the command line, those of this process if None.
    """
    try:
        status = program.main(args=arguments, prog_name="resnet-sde", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        print("resnet-sde: interrupted; what was finished under --out is kept", file=sys.stderr)
        sys.exit(130)
    except click.exceptions.NoArgsIsHelpError as help_page:
        print(help_page.format_message(), file=sys.stderr)
        sys.exit(2)
    except click.ClickException as error:
        _refuse(error.format_message())
    except (ValueError, RuntimeError, OSError, MemoryError) as error:
        _refuse(_sentence(error))
    sys.exit(status if isinstance(status, int) else 0)


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        remedy = "give a folder that can be written to and has room (finished cells are kept)"
        return f"{where}{error.strerror}; {remedy}"
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        return "out of memory; give a smaller --width or --depth, fewer --workers, or --method deferred"
    return str(error)


def _refuse(sentence: str) -> None:
    print(f"resnet-sde: {' '.join(sentence.split())}", file=sys.stderr)
    sys.exit(2)
