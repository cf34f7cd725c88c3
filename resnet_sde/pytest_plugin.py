"""Theorems as tests: `pytest --theorems` in any repository.

Collects every theorem of the package, and every one that a conftest.py or a test module registers, as a
test item of its own. A theorem that fails is a test that fails; one that is undecided, or whose
assumptions are not met, is skipped with its claims as the reason. Without `--theorems` this module does
nothing, and torch is not imported.
"""

from __future__ import annotations

from collections.abc import Iterator
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
    """Name the mark of the items."""
    config.addinivalue_line("markers", "theorem: a theorem of resnet_sde, collected by --theorems")


@pytest.hookimpl(tryfirst=True)  # so that -k and -m see the items
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add an item for each theorem, when all that may register one has been imported."""
    if config.getoption("--theorems"):
        items.extend(_items(session, config))


def _items(session: pytest.Session, config: pytest.Config) -> Iterator[pytest.Item]:
    from resnet_sde.theorems import suite

    tasks = suite.plan(
        suite.select(()),
        budget=config.getoption("--theorems-budget"),
        seed=config.getoption("--theorems-seed"),
        controls=config.getoption("--theorems-controls"),
    )
    for task in tasks:
        name = task.id if task.control is None else f"{task.id}, control ({task.control})"
        item = TheoremItem.from_parent(session, name=f"theorem[{name}]", task=task)
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
