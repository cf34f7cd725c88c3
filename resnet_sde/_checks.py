"""Checks of arguments that many verbs share."""

from __future__ import annotations


def positive_integer(name: str, value: float, remedy: str) -> int:
    """The value as an int.

    Raises:
        ValueError: it is not a whole number from 1 on; the sentence ends with the remedy.
    """
    if isinstance(value, bool) or not (value >= 1 and value % 1 == 0):
        raise ValueError(f"{name} must be a positive integer, got {value}; {remedy}")
    return int(value)
