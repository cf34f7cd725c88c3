"""Ids of parametrized tests that are the same in every process."""

import re


def plain(value: object) -> str:
    """The value as a string, without the places of objects in memory and the order of sets."""
    if isinstance(value, (set, frozenset)):
        return f"{type(value).__name__}({sorted(map(str, value))})"
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))
