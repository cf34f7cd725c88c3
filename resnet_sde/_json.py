"""Numbers in JSON, which knows neither infinity nor what is undefined."""

from __future__ import annotations

import math


def json_number(value: float) -> float | str | None:
    """A number as results write it: infinities as the strings "inf" and "-inf", undefined as null."""
    value = float(value)
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")
