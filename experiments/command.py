"""What the command lines of experiments and figures share: names by paper, options, workers and errors."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType

from experiments.execution import Execution
from resnet_sde.checks import positive_integer
from resnet_sde.runs.cluster import CLUSTER, engine
from resnet_sde.streams import check_seed

PAPERS = ("marion", "schoenholz", "yang", "fischer", "own")


def names_in(package: str) -> tuple[str, ...]:
    """The modules in the folders of a package, such as ``marion/fig1``: paper by paper, numbered ones first.

    Modules that begin with an underscore are parts of others.
    """
    root = Path(str(import_module(package).__file__)).parent
    return tuple(
        f"{paper}/{stem}"
        for paper in PAPERS
        for stem in sorted(
            (file.stem for file in (root / paper).glob("[a-z]*.py")),
            key=lambda stem: (not stem.startswith("fig"), stem),
        )
    )


def module(package: str, name: str) -> ModuleType:
    """The module of a name."""
    return import_module(f"{package}.{name.replace('/', '.')}")


def parser(package: str, description: str, names: Sequence[str], out: str) -> argparse.ArgumentParser:
    """A command line with the options of both programs.

    Args:
        package: of the program, which is also its name.
        description: its first line is of the program, and the rest what to know.
        names: that can be asked for.
        out: folder of the results, unless another is given.
    """
    result = argparse.ArgumentParser(
        prog=f"python -m {package}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        "names",
        nargs="+",
        choices=[*names, *PAPERS, "all"],
        metavar="PAPER/NAME",
        help=f"one or more of {', '.join(names)}; all of a paper, {', '.join(PAPERS)}; or all",
    )
    result.add_argument("--seed", type=int, default=0, help="a non-negative integer (default: 0)")
    result.add_argument("--workers", type=int, default=1, help="local processes (default: 1)")
    result.add_argument("--cluster", help=CLUSTER)
    result.add_argument("--out", type=Path, default=Path(out), help=f"folder of the results (default: {out})")
    return result


def chosen(options: argparse.Namespace, names: Sequence[str]) -> tuple[str, ...]:
    """The names that are asked for, each once, in the order in which they are asked for."""
    words: list[str] = options.names
    found = (name for word in words for name in names if word in (name, name.partition("/")[0], "all"))
    return tuple(dict.fromkeys(found))


@contextmanager
def execution(options: argparse.Namespace) -> Iterator[Execution]:
    """Who does the work.

    Raises:
        ValueError: seed or workers are out of range, or the cluster does not answer.
    """
    check_seed(options.seed)
    workers = positive_integer("workers", options.workers, "give for example 1")
    with engine(options.cluster, workers) as by:
        yield Execution(**by)


def served(package: str, serve: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """The exit status: that of the work, or 2, with a sentence, if the request cannot be served."""
    try:
        return serve(options)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"{package}: {error}", file=sys.stderr)
        return 2
