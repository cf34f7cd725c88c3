"""What the numbers behind a figure must satisfy."""

from __future__ import annotations

import math
from dataclasses import dataclass

REPETITIONS = 50  # networks in a cell for which the tolerances of figures 1, 3, 4 and 5 are stated


@dataclass(frozen=True)
class Criterion:
    """One number and the closed interval in which it must lie; what is not a number never passes.

    reason: why it is known to fail, in a sentence; said where it does.
    """

    name: str
    measured: float
    low: float
    high: float
    reason: str = ""

    @classmethod
    def near(cls, name: str, measured: float, expected: float, tolerance: float) -> Criterion:
        """The number must lie within `tolerance` of `expected`."""
        return cls(name, float(measured), float(expected - tolerance), float(expected + tolerance))

    @property
    def passed(self) -> bool:
        """Whether the number lies in the interval."""
        return self.low <= self.measured <= self.high

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        wanted = f"in [{self.low:.4g}, {self.high:.4g}]" if math.isfinite(self.high) else f"> {self.low:.4g}"
        reason = f" ({self.reason})" if self.reason and not self.passed else ""
        return f"{verdict}  {self.name}: {self.measured:.4g} {wanted}{reason}"


def widened(samples: int, stated: int = REPETITIONS) -> float:
    """Factor on a tolerance stated for `stated` networks that keeps its number of standard errors."""
    return math.sqrt(stated / samples)
