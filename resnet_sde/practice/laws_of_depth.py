"""What a depth check finds, as values: exponents with intervals, and their tables."""

from __future__ import annotations

import enum
import math
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resnet_sde._json import json_number
from resnet_sde.checks import positive_integer
from resnet_sde.estimate import Estimate
from resnet_sde.practice.audit import RoleLaw
from resnet_sde.practice.coherence import Dependence
from resnet_sde.practice.over_seeds import depends, exponent
from resnet_sde.practice.profile import Profile
from resnet_sde.practice.rates import RateLaw
from resnet_sde.runs.versions import current_versions

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


class Fate(enum.Enum):
    """What becomes of the stream as the network gets deeper."""

    CRITICAL = "critical"
    IDENTITY = "identity"
    POWER_LAW = "power law"
    EXPONENTIAL = "exponential"
    FORGETTING = "forgetting"
    ZERO = "zero"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class WriterLaw:
    """How a writer scales with depth.

    Attributes:
        name: within its block; "" is the block itself, where the module adds it.
        beta: its size falls like L^{−β} in the first eight blocks.
        size: at the deepest depth, beside the stream.
        coefficient: what its output is multiplied with on its way, at the deepest depth.
        parameters: names within the block of what lies inside it, and of a layer scale that is its factor.
    """

    name: str
    beta: Estimate
    size: float
    coefficient: float
    parameters: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "name": self.name,
            "beta": as_json(self.beta),
            "size": json_number(self.size),
            "coefficient": json_number(self.coefficient),
            "parameters": list(self.parameters),
        }


def as_json(estimate: Estimate) -> dict[str, float | str | None]:
    """An estimate ready for JSON."""
    return {name: json_number(getattr(estimate, name)) for name in ("value", "low", "high")}


def in_words(estimate: Estimate, digits: int = 3) -> str:
    """An estimate as value and half width."""
    half = (estimate.high - estimate.low) / 2
    return f"{decimals(estimate.value, digits)} ± {decimals(half, digits)}"


def decimals(value: float, digits: int = 2) -> str:
    """A number in words; zero has no sign."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def why_not(law: RateLaw) -> str:
    """Why a group has no exponent."""
    if law.exponent is None:
        silent = all(v == math.inf for v in law.log2_rates)
        return "it does not reach the stream" if silent else "no rate changes the stream by 5 %"
    if not law.power_law:
        local = ", ".join(f"{x:.2f}" for x in law.local_exponents)
        return f"it is no power law (L^x with x = {local} between neighbouring depths)"
    return f"it is undecided, {in_words(law.exponent, 2)}; give more rate_seeds"


@dataclass(frozen=True, repr=False)
class DepthCheck:
    """How the residual branches of a network scale with its depth.

    Attributes:
        depths: what the factory was asked for.
        seeds: networks of each depth.
        profiles: of every network, by depth and seed.
        beta: the branches fall like L^{−β} in the first eight blocks.
        beta_all: the same over all blocks.
        layers: how branches add up at the deepest depth.
        coherence: Ĥ at the deepest depth, near 1/2 where layers are independent.
        copies: "none", "loop" (one module called again) or "copies" (different modules with equal weights).
        fate: of the stream as depth grows.
        action, predicted_growth, growth: of each depth, the median over seeds.
        writers: what writes to the stream, the largest first.
        roles: initial sizes of parameters.
        rates: how learning rates must move with depth, by group; empty without an optimizer.
        rate_depths: at which they were measured.
        notes: what else a reader should know.
        level: confidence of the intervals, Student's over seeds.
        seed: of everything that is drawn.
        prefix: names of blocks, with the index replaced by a star.
    """

    depths: tuple[int, ...]
    seeds: int
    profiles: tuple[tuple[Profile, ...], ...]
    beta: Estimate
    beta_all: Estimate
    layers: Dependence
    coherence: Estimate
    copies: str
    fate: Fate
    action: tuple[float, ...]
    predicted_growth: tuple[float, ...]
    growth: tuple[float, ...]
    writers: tuple[WriterLaw, ...]
    roles: tuple[RoleLaw, ...]
    rates: tuple[RateLaw, ...]
    rate_depths: tuple[int, ...]
    level: float
    seed: int
    prefix: str
    notes: tuple[str, ...] = ()
    configuration: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        depths = ", ".join(map(str, self.depths))
        return f"<DepthCheck at depths {depths}: β {in_words(self.beta)}, {self.fate.value}>"

    def __str__(self) -> str:
        return self.table()

    @property
    def kind(self) -> str:
        """Of the stream: "residual", "post-activation" or "post-norm"."""
        return self.profiles[-1][0].kind

    @property
    def critical_beta(self) -> float:
        """β*, at which the network has a limit that is neither trivial nor explosive."""
        return self.layers.critical_beta

    @property
    def entry(self) -> Estimate:
        """The norm with which the stream enters its first block falls like L^{−entry}."""
        norms = [[float(profile.norms[0]) for profile in row] for row in self.profiles]
        return exponent(self.depths, norms, self.level)

    @property
    def inherited(self) -> float:
        """What `beta` and the exponents of writers owe to the norm with which the stream enters."""
        degree = self.profiles[-1][0].degree
        if self.kind == "post-norm" or math.isnan(degree) or not depends(self.entry):
            return 0.0
        return -(1.0 - degree) * self.entry.value

    def expect(
        self,
        beta: float = 0.5,
        independent: bool = True,
        tolerance: float = 0.1,
        inner: dict[str, float] | bool | None = None,
        strict: bool = False,
    ) -> DepthCheck:
        """The check itself, if the network scales as it should.

        Args:
            beta: of the block and of every writer.
            independent: whether layers must be drawn independently.
            tolerance: of exponents.
            inner: depth exponents of roles that do not write, by pattern, as {"*.u.weight": 0.25}; others
                must not depend on depth. False leaves them out.
            strict: whether an interval too wide to decide is a failure too.

        Raises:
            DepthMismatch: it does not; one sentence for each thing that is wrong.
            ValueError: one depth or one seed can decide nothing.
        """
        from resnet_sde.practice.expectations import expect

        expect(self, beta, independent, tolerance, inner, strict)
        return self

    def rate(self, depth: int, *, tuned_at: int, rate: float, group: str = "blocks") -> float:
        """The learning rate of a group at a depth, from one tuned at another: rate · (depth / tuned_at)^x.

        Args:
            depth: of the network to train.
            tuned_at: depth of the network for which the rate is right.
            rate: that is right there.
            group: "blocks", "writers", "inner", "rest", or a group of the optimizer's own.

        Raises:
            ValueError: no rates were measured, or the group has no law that a rate may follow.
        """
        depth = positive_integer("depth", depth, "give the number of blocks")
        tuned_at = positive_integer("tuned_at", tuned_at, "give the number of blocks")
        if not (math.isfinite(rate) and rate > 0):
            raise ValueError(f"rate must be positive, got {rate}; give the one that is right at tuned_at")
        if not self.rates:
            raise ValueError(
                "no rates were measured; give depth_check an optimizer, a function of the module"
            )
        laws = {law.group: law for law in self.rates}
        if group not in laws:
            raise ValueError(f"there is no group {group!r}; give one of {', '.join(laws)}")
        law = laws[group]
        if not law.decided or law.exponent is None:
            raise ValueError(f"the rate of {group} has no exponent to follow: {why_not(law)}")
        if max(depth, tuned_at) > 2 * self.rate_depths[-1]:
            most = f"twice {self.rate_depths[-1]}, the deepest measured"
            warnings.warn(f"depth {max(depth, tuned_at)} is more than {most}", stacklevel=2)
        return rate * (depth / tuned_at) ** law.exponent.value

    def table(self) -> str:
        """Everything in a few lines, for people."""
        from resnet_sde.practice.tables import table

        return table(self)

    def figure(self) -> Figure:
        """Exponents, and the stream beside its prediction."""
        from resnet_sde.plots import draw_depth_check

        return draw_depth_check(self.document())

    def dataset(self) -> xr.Dataset:
        """Sizes and norms with labelled axes: depth, seed, boundary, block, writer."""
        from resnet_sde.practice.tables import dataset

        return dataset(self)

    def document(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        deepest = [row[0] for row in self.profiles]
        last = deepest[-1]
        return {
            "target": None,
            "seed": self.seed,
            "versions": current_versions(),
            "level": self.level,
            "depths": list(self.depths),
            "seeds": self.seeds,
            "container": last.container,
            "mode": last.mode,
            "kind": self.kind,
            **{n: json_number(getattr(last, n)) for n in ("degree", "skip", "out_degree")},
            "beta": as_json(self.beta),
            "beta_all": as_json(self.beta_all),
            **self.layers.document(),
            "coherence": as_json(self.coherence),
            "copies": self.copies,
            "fate": self.fate.value,
            "action": [json_number(v) for v in self.action],
            "logarithmic_time": [json_number(math.log1p(v)) for v in self.action],
            "predicted_growth": [json_number(v) for v in self.predicted_growth],
            "growth": [json_number(v) for v in self.growth],
            "writers": [w.document() for w in self.writers],
            "roles": [r.document() for r in self.roles],
            "rates": [r.document() for r in self.rates],
            "rate_depths": list(self.rate_depths),
            "expected": None,
            "notes": list(self.notes),
            "profiles": [profile.document() for profile in deepest],
        }
