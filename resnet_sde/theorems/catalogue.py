"""What `resnet-sde list` shows of the theorems of this package, kept so that it need not import them.

``python -m resnet_sde.theorems.catalogue`` writes it anew, which a test asks for wherever it is not what the
theorems say.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from resnet_sde.theorems.core import Theorem, find, registry

KEPT = Path(__file__).with_name("catalogue.json")


def record(theorem: Theorem) -> dict[str, object]:
    """What there is to say of a theorem before it is checked."""
    names = ("id", "catalogue", "words", "statement", "source", "claims")
    plain = {name: getattr(theorem, name) for name in names}
    return {**plain, "assumptions": list(theorem.assumptions), "controls": list(theorem.controls)}


def records(ids: Iterable[str]) -> list[dict[str, object]]:
    """Those of the theorems of these ids."""
    return [record(find(id)) for id in ids]


def write(path: Path = KEPT) -> None:
    """Write the catalogue of the package, without what others have registered."""
    own = [t.id for t in registry.values() if t.check.__module__.startswith("resnet_sde.")]
    path.write_text(json.dumps(records(own), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
