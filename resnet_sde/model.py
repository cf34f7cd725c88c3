"""A law over networks: block, law of the weights along depth, and scaling."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from typing import Literal

import torch

from resnet_sde._names import LATER, brief, leave_out
from resnet_sde.blocks import Block, Layer, NotKnown, check_norm
from resnet_sde.checks import check_memory, finite_number, positive_integer
from resnet_sde.contracts.blocks import check_critical_beta, check_model_parts
from resnet_sde.contracts.laws import check_depth, check_networks
from resnet_sde.laws import PathLaw
from resnet_sde.matrices import Dense
from resnet_sde.paths import Path
from resnet_sde.streams import stream

_LAYER_BYTES = 1024  # of the objects that describe one layer, whatever its width


class Regime(enum.Enum):
    """What becomes of a residual network of infinite width as its depth grows."""

    IDENTITY = "identity"
    CRITICAL = "critical"
    EXPLOSION = "explosion"
    SATURATION = "saturation"  # behind a normalization: nothing is left of the input, at the distance √2


@dataclass(frozen=True)
class WeightPaths:
    """One realised path for each matrix of a block, in every network of an ensemble.

    law, finest: what the paths were drawn from, and the layers of their grids. With these, `layers` checks at
        every depth that a law of one's own is what it says there; a path that is taken out of `matrices` is
        not checked.
    """

    matrices: dict[str, Path]
    law: PathLaw | None = None
    finest: int = 1

    def layers(self, depth: int, *, shared: bool = False) -> list[Layer]:
        """The layers of networks of this depth on these paths.

        Args:
            depth: number of layers.
            shared: spare a copy of the weights: layers and paths share memory, which is not to be written to.

        Raises:
            OffGrid: a path cannot show this depth.
            ValueError: a law of one's own is another at this depth than it says, or repeats networks.
        """
        depth = positive_integer("depth", depth, "give for example 100")
        check_memory(f"the objects of {depth} layers", _LAYER_BYTES * depth, "give a smaller depth")
        weights = {n: p.shared(depth) if shared else p.weights(depth) for n, p in self.matrices.items()}
        if self.law is not None:
            for of_all in weights.values():
                check_depth(self.law, self.finest, depth, tuple(of_all.shape[2:]))
                check_networks(self.law, of_all[0])
        return [Layer({name: Dense(of_all[k]) for name, of_all in weights.items()}) for k in range(depth)]


@dataclass(frozen=True)
class Model:
    """h ← N(skip · h + α_L V g(h)) with α_L = gain · L^{−β}. Has no depth; verbs supply it.

    beta: None means critical, `block.critical_beta(law)`; it is replaced by that number.
    gain: depth-independent part of the residual scale.
    skip: weight of the identity branch; 0 makes the network feed-forward.
    norm: the normalization N of the sum, without parameters or an ε: "rms" divides a state by its root mean
        square over coordinates, "layer" takes off the mean first, as in post-norm transformers; None for
        none. What is derived for networks without one refuses those that have one.

    Raises:
        ValueError: a number is not finite, the width is not a positive integer, there is no such norm, or
            beta is left out where block, law and skip have no critical value.
    """

    block: Block
    law: PathLaw
    width: int
    beta: float | None = None
    gain: float = 1.0
    skip: float = 1.0
    norm: Literal["rms", "layer"] | None = field(default=None, metadata=LATER)

    __repr__ = brief

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", positive_integer("width", self.width, "give for example 40"))
        check_model_parts(self.block, self.law, self.width)
        leave_out(self)
        if self.norm is not None:
            check_norm(self.norm)
            if self.norm == "layer" and self.width == 1:
                raise ValueError(
                    "a state of one coordinate is its mean, which norm layer takes off; give rms"
                )
        for name in ("gain", "skip"):
            object.__setattr__(self, name, finite_number(name, getattr(self, name)))
        beta = self.critical_beta if self.beta is None else self.beta
        if beta is None:
            raise ValueError(
                f"{type(self.block).__name__} with {self.law} and skip {self.skip} has no critical scaling; "
                "give beta"
            )
        object.__setattr__(self, "beta", finite_number("beta", beta))
        if self.gain < 0:
            raise ValueError(
                f"gain must not be negative, got {self.gain}; give {-self.gain}, which has the same law"
            )

    def alpha(self, depth: int) -> float:
        """α_L = gain · L^{−β}, the factor on the residual branch of a network of this depth.

        Raises:
            ValueError: the depth is not a positive integer, or the factor overflows.
        """
        assert self.beta is not None
        layers = positive_integer("depth", depth, "give for example 100")
        try:
            return self.gain * float(layers) ** -self.beta
        except OverflowError:
            raise ValueError(
                f"beta {self.beta:g} at depth {layers} multiplies a branch by more than 1e308; give a larger "
                "beta, or a smaller depth"
            ) from None

    @property
    def critical_beta(self) -> float | None:
        """β* of block and law; None where there is no limit in depth to be critical for.

        Behind a normalization it is known for exponents of the law from 1/2 on.

        What a block of one's own says is compared, to 1/5, with the growth of sums of its branches over 32
        to 512 layers.

        Raises:
            ValueError: they grow otherwise.
        """
        if self.skip != 1.0 or type(self).alpha is not Model.alpha:
            return None
        if self.norm is not None and self.law.exponent < 0.5:
            return None
        beta = self.block.critical_beta(self.law)
        if beta is not None:
            check_critical_beta(self.block, self.law, self.width, beta)
        return beta

    @property
    def regime(self) -> Regime | None:
        """From β − β* alone, so the answer at infinite width; None where β* is."""
        critical = self.critical_beta
        if critical is None or self.beta is None:
            return None
        if math.isclose(self.beta, critical, abs_tol=1e-12):
            return Regime.CRITICAL
        if self.beta > critical:
            return Regime.IDENTITY
        return Regime.EXPLOSION if self.norm is None else Regime.SATURATION

    def check_plain(self, instead: str = "meanfield.lengths, kernel or gaps, or simulate") -> None:
        """Refuse a model whose stream is normalized, for formulas of h ← skip · h + α_L V g(h) alone.

        Raises:
            NotKnown: it has a norm.
        """
        if self.norm is not None:
            raise NotKnown(
                f"this is derived for streams without a normalization, and the model has norm {self.norm}; "
                f"use {instead}"
            )

    def draw(
        self,
        depth: int,
        *,
        samples: int,
        seed: int = 0,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
    ) -> WeightPaths:
        """Weight paths of `samples` independent networks whose finest grid has `depth` layers."""
        shapes = self.block.shapes(self.width)
        depth = positive_integer("depth", depth, "give for example 100")
        samples = positive_integer("samples", samples, "give for example 100")
        source = stream(seed, "draw", self.law, shapes, depth, samples, device=device)
        draw = self.law.path
        return WeightPaths(
            {name: draw(depth, (samples, *s), generator=source, dtype=dtype) for name, s in shapes.items()},
            self.law,
            depth,
        )
