"""Where things are in the repository."""

import functools
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SUPPORT = ROOT / "tests" / "support"
TABLES = ROOT / "tests" / "oracles"
DOCS = ROOT / "docs"
FOLDERS = ("resnet_sde", "experiments", "paper_figs", "benchmarks", "tests")


@functools.cache
def sources() -> dict[str, str]:
    """Every Python file of the project, by its path relative to the root."""
    files = (file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py")))
    return {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in files}
