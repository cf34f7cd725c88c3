"""The checks for parts of one's own: those of the package pass them, and planted faults do not."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import SkipTest

import pytest
import torch
from every import EVERY_ACTIVATION, EVERY_LAW, blocks_of
from own_laws import Remembering, Waves
from places import ROOT
from torch import Tensor

import resnet_sde as rs
from resnet_sde.blocks import Variances
from resnet_sde.paths import Path
from resnet_sde.streams import Stream
from resnet_sde.testing import checks, parametrize_with_checks


@dataclass(frozen=True)
class Own(rs.Block):
    """V φ(W h) of variances 1.5 and 0.8 by its author, with all that may be said of it."""

    activation: rs.Activation = rs.TANH

    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        return {"inner": (width, width), "outer": (width, width)}

    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        inside = torch.tanh(layer["inner"].matvec(h, (1.5 / h.shape[-1]) ** 0.5))
        return layer["outer"].matvec(inside, (0.8 / h.shape[-1]) ** 0.5)

    @property
    def variances(self) -> Variances:
        return Variances(1.5, 0.0, 0.8, 0.0)

    def critical_beta(self, law: rs.PathLaw) -> float:
        return max(0.5, 1 + 2 * (law.exponent - 1))


@dataclass(frozen=True)
class Tanh(rs.Activation):
    """The hyperbolic tangent by hand."""

    odd = True
    smooth = True

    def __call__(self, x: Tensor) -> Tensor:
        return torch.tanh(x)

    def prime(self, x: Tensor) -> Tensor:
        return 1 - torch.tanh(x).square()

    def second_moment(self, q: Tensor) -> Tensor:
        return rs.TANH.second_moment(q)

    def dual(self, q1: Tensor, q2: Tensor, *, gap: Tensor) -> Tensor:
        return rs.TANH.dual(q1, q2, gap=gap)


PARTS = [
    *EVERY_LAW,
    *(Remembering(), Waves()),
    *blocks_of(rs.RELU),
    rs.TwoLayer(rs.TANH, 1.5, 0.3, 0.8, 0.2, expansion=1.5),
    rs.PreNorm(rs.SingleLayer(rs.TANH)),
    rs.Convolution(rs.SingleLayer(rs.RELU), (2, 2)),
    rs.Convolution(rs.TwoLayer(rs.TANH, 1.5, 0.3), 3, padding="zero"),
    Own(),
    *EVERY_ACTIVATION,
    rs.Activation.of(torch.nn.functional.celu),
    Tanh(),
]


@parametrize_with_checks(PARTS)
def test_parts_pass_their_checks(check: Callable[[], None]) -> None:
    check()


def law(
    change: Callable[[Tensor, Stream], Tensor] = lambda v, s: v, a: float = 0.5, **other: Any
) -> rs.PathLaw:
    """A law of a class of its own, whose weights are changed."""
    facts = {name: vars(Remembering)[name] for name in ("noise", "gaussian", "autocovariance")}
    stated = {"stated": other.pop("stated")} if "stated" in other else {}

    def sample(self: Remembering, depth: int, shape: tuple[int, ...], source: Stream) -> Tensor:
        return change(Remembering.sample(self, depth, shape, source), source)

    made: rs.PathLaw = type("Wrong", (Remembering,), facts | {"sample": sample} | other)(a, **stated)
    return made


def block(**other: Any) -> rs.Block:
    made: rs.Block = type("Wrong", (Own,), other)()
    return made


def matrix(**other: Any) -> rs.Block:
    """V tanh(h), of a class of its own, with its covariance."""
    facts = {
        "one_matrix": True,
        "shapes": lambda self, width: {"outer": (width, width)},
        "branch": lambda self, h, layer: layer["outer"].matvec(h.tanh(), h.shape[-1] ** -0.5),
        "covariance": lambda self, h: h.tanh() @ h.tanh().mT / h.shape[-1],
        "variances": rs.Block.variances,
    }
    return block(**facts | other)


def squeezed(self: rs.Block, h: Tensor) -> Tensor:
    """Between inputs 4 % are missing."""
    found = h.tanh() @ h.tanh().mT / h.shape[-1]
    return found - 0.04 * (found - found.diagonal(dim1=1, dim2=2).diag_embed())


def at_a_mean(self: rs.Block, q: float, width: int) -> tuple[float, float]:
    mean, variance = rs.TwoLayer(rs.TANH, 1.5, 0.0, 0.8).size_moments(q, width)
    return 1.04 * mean, variance


def gated(x: Tensor) -> Tensor:
    return x * torch.tanh(x) + (x > 0.7)


def phi(**other: Any) -> rs.Activation:
    made: rs.Activation = type("Wrong", (Tanh,), other)()
    return made


def beside(v: Tensor, source: Stream) -> Tensor:
    """Every second network has something of its neighbour, and the same law."""
    if v.ndim > 2 and v.shape[1] > 1:
        n = v.shape[1] // 2
        v[:, 1 : 2 * n : 2] = 0.998**0.5 * v[:, 1 : 2 * n : 2] + 0.002**0.5 * v[:, 0 : 2 * n : 2]
    return v


def repeated(v: Tensor, source: Stream) -> Tensor:
    if v.ndim > 1:
        n = v.shape[1] // 2
        v[:, n : 2 * n] = -v[:, :n]
    return v


def heavy(v: Tensor, source: Stream) -> Tensor:
    size = source.normal_(source.empty(8, *v.shape)).square().mean(0)
    return v / size.sqrt() * 0.75**0.5  # Student's law of 8 degrees of freedom


@dataclass(frozen=True)
class Shown(Path):
    """A path that hands out its own memory."""

    fine: Tensor

    def weights(self, depth: int) -> Tensor:
        return self.fine


def shown(self: Remembering, depth: int, shape: Any, source: Stream, dtype: torch.dtype) -> Path:
    return Shown(self.sample(depth, shape, source).to(dtype))


def last_coordinate(self: Own, h: Tensor, p: Tensor, layer: rs.Layer) -> Tensor:
    found = rs.Block.adjoint(self, h, p, layer)
    found[..., -1] *= 1.02
    return found


def mixing(self: Own, h: Tensor, layer: rs.Layer) -> Tensor:
    return Own.branch(self, h - 0.02 * h.mean(0), layer)


def writing(self: Own, h: Tensor, layer: rs.Layer) -> Tensor:
    return Own.branch(self, h.mul_(1.0 + 1e-12), layer)


def another_loop(self: Own, h: Tensor, layer: rs.Layer, unit: Tensor | None = None) -> Any:
    return 1.02 * self.branch(h, layer), (h, layer)


def twice(self: Own, h: Tensor, p: Tensor, layer: rs.Layer) -> Tensor:
    """Right, but for one who watches what matrices are given."""
    return rs.Block.adjoint(self, h, 2 * p, layer) / 2


def without_inner(self: Own, q1: Tensor, q2: Tensor, *, gap: Tensor, **other: Any) -> Tensor:
    return rs.Block.dual(self, q1, q2, gap=gap)


def bent(self: Tanh, x: Tensor) -> Tensor:
    return torch.tanh(x) + 1e-4 * torch.relu(x - 0.35)


def slope(self: Tanh, x: Tensor) -> Tensor:
    return 1 - torch.tanh(x).square() + 1e-4 * (x > 0.35)


def by_entries(self: Own, h: Tensor, layer: rs.Layer) -> Tensor:
    return (h.tanh() @ layer["inner"].entries) / h.shape[-1] ** 0.5


def hidden(self: Own, h: Tensor, layer: rs.Layer) -> Tensor:
    return Own.branch(self, h, layer).detach()


def meeting(self: Own, h: Tensor, layer: rs.Layer) -> Tensor:
    return Own.branch(self, h - h.mean(1, keepdim=True), layer)


def times(name: str, factor: float) -> Callable[..., Tensor]:
    return lambda self, *of, **options: factor * getattr(Tanh, name)(self, *of, **options)


HIDDEN = {"__repr__": lambda self: f"Wrong({id(self)})"}
# What is wrong, the check that must see it, and what it says.
FAULTS: dict[str, tuple[Any, str, str]] = {
    "a variance 2 % off": (
        law(lambda v, s: 1.01 * v),
        "covariance",
        r"covariance along depth is not .* 1.0[12]",
    ),
    "a correlation 0.02 off": (law(stated=0.52), "covariance", "is not the one that it states"),
    "2 % at other depths": (law(kind="rough", a=0.02), "covariance", r"of 2 layers on paths of 4: 1.0[12]"),
    "an exponent 0.05 off": (
        law(noise=None, a=0.0, exponent=0.55),
        "facts",
        "grows like L.0.55; by its covariance",
    ),
    "a share of a neighbour": (law(beside), "independence", "a network and entry .* have correlation 0.05"),
    "networks that repeat": (law(repeated), "facts", "draws the same numbers for different networks"),
    "tails of 8 degrees": (law(heavy), "distribution", "said to be Gaussian, and shares of a layer"),
    "half above zero": (
        law(lambda v, s: torch.where(v > 0, 1.02 * v - 0.02, v), gaussian=False, symmetric=True),
        "distribution",
        "are above 0 and",
    ),
    "a chance of its own": (
        law(lambda v, s: (random.random(), v)[1]),
        "randomness",
        "changes a global random state",
    ),
    "its own memory": (law(_draw=shown), "shapes", "whoever writes into weights changes the path"),
    "a law without a name": (law(**HIDDEN), "names", "which names its random numbers"),
    "a filler 2 % off": (
        law(filler=lambda self, s: lambda out: s.normal_(out).mul_(1.01), noise="white", a=0.0),
        "layer_by_layer",
        r"filled layer by layer: 1.0[12]",
    ),
    "2 % in one coordinate": (block(adjoint=last_coordinate), "adjoint", "as autograd finds it"),
    "2 % in one, by differences": (
        block(adjoint=last_coordinate),
        "differences",
        "coordinate 5 of the adjoint",
    ),
    "2 % of others": (block(branch=mixing), "branch", "mixes networks"),
    "writes into the state": (block(branch=writing), "branch", "writes into what it is given"),
    "another in the loop": (
        block(_branch_and_pre=another_loop),
        "loop",
        "of a plain loop over its branch",
    ),
    "false homogeneous": (block(homogeneous=True), "branch", "is not twice that at h"),
    "a dual 2 % off": (block(variances=Variances(1.5, 0.0, 0.784, 0.0)), "dual", "dual of block Wrong at q1"),
    "no correlation": (block(dual=without_inner), "dual_of_correlated_weights", "its dual at inner = 0.5"),
    "an exponent of 1": (block(critical_beta=lambda self, law: 1.0), "exponent", "white weights is 1"),
    "gradients of others": (block(adjoint=twice), "parameters", "something else to rmatvec"),
    "a covariance 3.5 % off": (
        matrix(covariance=lambda self, h: 1.035 * h.tanh() @ h.tanh().mT / h.shape[-1]),
        "covariance",
        "covariance of block Wrong is .* random layers give",
    ),
    "4 % between inputs": (matrix(covariance=squeezed), "covariance", "covariance of block Wrong is"),
    "two matrices": (
        matrix(branch=lambda self, h, layer: layer["outer"].matvec(h, h.shape[-1] ** -0.5).tanh()),
        "one_matrix",
        "not linear in a matrix named outer",
    ),
    "free of scale": (block(scale_free=True), "scale_free", "its branch at 3h is not that at h"),
    "a size 4 % off": (block(size_moments=at_a_mean), "size_moments", "size_moments of block Wrong"),
    "a block without a name": (block(**HIDDEN), "names", "which names its random numbers"),
    "a derivative 1e-7 off": (phi(prime=times("prime", 1 + 1e-7)), "derivative", "and by autograd"),
    "false odd": (phi(__call__=lambda self, x: torch.tanh(x + 0.01)), "function", "says that it is odd"),
    "odd and silent": (phi(odd=False), "symmetries", "odd is False, and .* holds"),
    "false homogeneity": (phi(homogeneous=True), "function", "says that it is homogeneous"),
    "a moment 1e-6 off": (phi(dual=times("dual", 1 + 1e-6)), "moments", r"^dual at .* and by quadrature"),
    "a square 1e-6 off": (
        phi(second_moment=times("second_moment", 1 + 1e-6)),
        "moments",
        "^second_moment at",
    ),
    "false smooth": (phi(__call__=bent, prime=slope), "smoothness", "has kinks at 0.35"),
    "infinite far out": (
        phi(__call__=lambda self, x: torch.where(x > 600, torch.inf, x.tanh())),
        "values",
        "not finite",
    ),
    "a function without a name": (phi(**HIDDEN), "names", "which names its random numbers"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_seen(fault: str) -> None:
    part, check, sentence = FAULTS[fault]
    with pytest.raises(AssertionError, match=sentence) as caught:
        checks(part)[check]()
    assert "\n" not in str(caught.value)


def test_all_that_fails_is_told_at_once() -> None:
    with pytest.raises(AssertionError) as caught:
        rs.testing.check_activation(phi(odd=False, **HIDDEN))
    first, *rest = str(caught.value).splitlines()
    assert first.endswith("fails 2 of 7 checks:")
    assert [line.partition(":")[0] for line in rest] == ["symmetries", "names"]
    with pytest.raises(AssertionError, match=r"AttributeError: .* has no attribute 'nope'"):
        checks(phi(prime=lambda self, x: x.nope))["values"]()


def test_what_cannot_be_judged_is_said() -> None:
    with pytest.warns(UserWarning, match="cannot judge student:3: tails are so heavy"):
        rs.testing.check_law(rs.StudentNoise(3.0))
    with pytest.raises(SkipTest, match="gradients of parameters are seen"):
        checks(block(branch=by_entries))["parameters"]()
    for name in ("smoothness", "moments"):
        with pytest.raises(SkipTest, match=r"it jumps at x = 0\.7"):
            checks(rs.Activation.of(gated))[name]()
    for check, wrong in ((rs.testing.check_law, Own()), (rs.testing.check_block, rs.TANH), (checks, 3)):
        with pytest.raises(ValueError, match=r"is checked, got"):
            check(wrong)


@pytest.mark.parametrize("branch", [hidden, meeting])
def test_blocks_without_gradients_are_asked_forward_only(branch: Callable[..., Tensor]) -> None:
    found = checks(block(branch=branch, variances=rs.Block.variances))
    assert found.keys() == {"branch", "loop", "exponent", "revealed", "names"}
    for name in ("branch", "loop"):
        found[name]()


def test_the_page_names_every_check() -> None:
    text = (ROOT / "docs" / "own-parts.md").read_text(encoding="utf-8")
    table = text.partition("## In a test suite")[2].partition("\n## ")[0].partition("\n|")[2]
    every = {name for part in PARTS for name in checks(part)}
    assert every == set(re.findall(r"`(\w+)`", table)) - {"inner"}
