"""Theorems as tests: `pytest --theorems` in any repository; depth laws of networks, by a fixture.

Collects every theorem of the package, and every one that a conftest.py or a test module registers, as a
test item of its own. A theorem that fails is a test that fails; one that is undecided, or whose
assumptions are not met, is skipped with its claims as the reason. What pytest prints as the name of such an
item, ``::theorem[sde-limit]``, runs it when it is given back on the command line. Without `--theorems` or
such a name this module does nothing, and torch is not imported; the fixture `assert_depth_law` imports it
when a test asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the plugin."""
    group = parser.getgroup("theorems", "theorems of resnet_sde")
    group.addoption("--theorems", action="store_true", help="verify the theorems of resnet_sde too")
    group.addoption(
        "--theorems-budget", default="quick", choices=["quick", "full"], help="their budget (default: quick)"
    )
    group.addoption("--theorems-seed", default=0, type=int, help="their seed (default: 0)")
    group.addoption(
        "--theorems-controls", action="store_true", help="check too that none of their controls holds"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Name the mark of the items, and take their names out of the words that pytest takes for paths."""
    config.addinivalue_line("markers", "theorem: a theorem of resnet_sde, collected by --theorems")
    named = [word for word in config.args if _NAME.match(word)]
    if named:
        config.option.theorems_named = [
            word.removeprefix("::") for word in named
        ]  # a process of xdist gets it
        config.args[:] = [word for word in config.args if word not in named]
        if not config.args and not _known(config):  # a test module may register what is named
            config.args[:] = config.getini("testpaths") or [str(config.invocation_params.dir)]
            config.option.theorems_alone = True


@pytest.hookimpl(tryfirst=True)  # so that -k and -m see the items
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add an item for each theorem, when all that may register one has been imported."""
    named = getattr(config.option, "theorems_named", None)
    if named is None and not config.getoption("--theorems"):
        return
    if getattr(config.option, "theorems_alone", False):
        config.hook.pytest_deselected(items=items[:])
        items.clear()
    found = {item.name: item for item in _items(session, config)}
    for name in named or ():
        if name not in found:
            raise pytest.UsageError(f"there is no {name}; `resnet-sde list` has the theorems of the package")
    items.extend(found.values() if named is None else (found[name] for name in dict.fromkeys(named)))


_NAME = re.compile(r"^(::)?theorem\[.+\]$", re.DOTALL)


def _known(config: pytest.Config) -> bool:
    """Whether all theorems that are named are registered before any test module is imported."""
    return set(config.option.theorems_named) <= set(map(_name, _tasks(config)))


def _tasks(config: pytest.Config) -> list[Any]:
    from resnet_sde.theorems import suite

    return suite.plan(
        suite.select(()),
        budget=config.getoption("--theorems-budget"),
        seed=config.getoption("--theorems-seed"),
        controls=config.getoption("--theorems-controls") or hasattr(config.option, "theorems_named"),
    )


def _name(task: Any) -> str:
    return f"theorem[{task.id if task.control is None else f'{task.id}, control ({task.control})'}]"


@pytest.fixture
def assert_depth_law() -> Callable[..., Any]:
    """`resnet_sde.assert_depth_law`: fails the test with a sentence for each thing that scales wrongly."""
    from resnet_sde.practice import assert_depth_law as check

    return check


def _items(session: pytest.Session, config: pytest.Config) -> Iterator[pytest.Item]:
    for task in _tasks(config):
        item = TheoremItem.from_parent(session, name=_name(task), task=task)
        item.add_marker("theorem")
        yield item


class NotVerified(Exception):
    """A verdict that is not the one it should be."""


class TheoremItem(pytest.Item):
    """The check of a theorem, or of a control of one."""

    def __init__(self, *, task: Any, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._task = task

    @override
    def runtest(self) -> None:
        verdict = self._task.run()
        if self._task.control is None:
            if verdict.status == "fails":
                raise NotVerified(str(verdict))
            if not verdict.holds:
                pytest.skip(str(verdict))
        elif verdict.holds:
            raise NotVerified(f"a false neighbour holds\n{verdict}")

    @override
    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any, **options: Any) -> Any:
        if isinstance(excinfo.value, NotVerified):
            return str(excinfo.value)
        return super().repr_failure(excinfo, *args, **options)

    @override
    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, self.name
