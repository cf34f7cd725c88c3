"""A claim drawn: the measured interval on a line, over the band in which it should lie."""

from __future__ import annotations

import math

from markupsafe import Markup, escape

from resnet_sde.claims import Claim
from resnet_sde.estimate import Outcome
from resnet_sde.report.words import claimed, measured

WIDTH, HEIGHT = 240.0, 26.0
_MIDDLE = HEIGHT / 2
_MARGIN = 0.1  # of the width, on either side of the outermost number
_THINNEST = 2.0  # a band narrower than this could not be seen


def interval_svg(claim: Claim) -> Markup:
    """An inline SVG picture; nothing if the claim predicts no number.

    A mark tells the outcomes apart without colour: a disc holds, a cross fails, an open diamond is
    undecided, an open disc does not count. Ends that are infinite are arrows.
    """
    if math.isnan(claim.predicted):
        return Markup()
    low, high = _band(claim)
    at = _Scale(claim.measured.value, claim.measured.low, claim.measured.high, claim.predicted, low, high)
    left = at(low) if math.isfinite(low) else -_THINNEST  # an open end has no edge in the picture
    right = at(high) if math.isfinite(high) else WIDTH + _THINNEST
    width = max(right - left, _THINNEST)
    target = at(claim.predicted)
    parts = [
        f'<line class="axis" x1="0" x2="{WIDTH:g}" y1="{_MIDDLE:g}" y2="{_MIDDLE:g}"/>',
        f'<rect class="band" x="{left:.1f}" y="4" width="{width:.1f}" height="{HEIGHT - 8:g}"/>',
        f'<line class="target" x1="{target:.1f}" x2="{target:.1f}" y1="1" y2="{HEIGHT - 1:g}"/>',
        *_measurement(claim, at),
    ]
    alt = f"measured {measured(claim)}; claimed {claimed(claim)}: {claim.outcome.value}"
    size = f'viewBox="0 0 {WIDTH:g} {HEIGHT:g}" width="{WIDTH:g}" height="{HEIGHT:g}"'
    return Markup(f'<svg role="img" {size}><title>{escape(alt)}</title>{"".join(parts)}</svg>')


class _Scale:
    """Places of numbers on the line; infinite ones lie at its ends."""

    def __init__(self, *numbers: float) -> None:
        finite = [value / 4 for value in numbers if math.isfinite(value)]  # so that no difference overflows
        self._low, self._high = min(finite, default=0.0), max(finite, default=0.0)
        if self._high - self._low <= 1e-12 * max(abs(self._low), abs(self._high)):
            half = max(abs(self._low), 1.0) / 4
            self._low, self._high = self._low - half, self._high + half

    def __call__(self, value: float) -> float:
        if math.isinf(value):
            return WIDTH if value > 0 else 0.0
        share = (value / 4 - self._low) / (self._high - self._low)
        return WIDTH * (_MARGIN + (1 - 2 * _MARGIN) * share)


def _band(claim: Claim) -> tuple[float, float]:
    low = claim.predicted - claim.tolerance if claim.relation != "<=" else -math.inf
    high = claim.predicted + claim.tolerance if claim.relation != ">=" else math.inf
    return low, high


def _measurement(claim: Claim, at: _Scale) -> list[str]:
    found = claim.measured
    if math.isnan(found.value):
        return [f'<text x="4" y="{_MIDDLE + 4:g}">not a number</text>']
    parts = []
    if found.low < found.high:  # neither a number without chance nor one without an interval
        ends = _end(found.low, at(found.low)) + _end(found.high, at(found.high))
        path = f"M{at(found.low):.1f} {_MIDDLE:g}H{at(found.high):.1f}{ends}"
        parts.append(f'<path class="interval" d="{path}"/>')
    elif math.isinf(found.value):
        tip = at(found.value)
        path = f"M{abs(tip - 16):.1f} {_MIDDLE:g}H{tip:.1f}{_end(found.value, tip)}"
        parts.append(f'<path class="interval" d="{path}"/>')
    if math.isfinite(found.value):
        parts.append(_mark(claim.outcome, at(found.value)))
    return parts


def _end(value: float, x: float) -> str:
    """Of an interval: a cap, or an arrow where it goes on for ever."""
    if math.isinf(value):
        back = -6 if value > 0 else 6
        return f"M{x + back:.1f} {_MIDDLE - 4:g}L{x:.1f} {_MIDDLE:g}L{x + back:.1f} {_MIDDLE + 4:g}"
    return f"M{x:.1f} {_MIDDLE - 4:g}V{_MIDDLE + 4:g}"


def _mark(outcome: Outcome, x: float) -> str:
    kind = outcome.name.lower().replace("_", "-")
    if outcome is Outcome.FAILS:
        cross = f"M{x - 4:.1f} {_MIDDLE - 4:g}l8 8m0-8l-8 8"
        return f'<path class="mark {kind}" d="{cross}"/>'
    if outcome is Outcome.UNDECIDED:
        return f'<path class="mark {kind}" d="M{x - 5:.1f} {_MIDDLE:g}l5-5l5 5l-5 5z"/>'
    return f'<circle class="mark {kind}" cx="{x:.1f}" cy="{_MIDDLE:g}" r="4"/>'
