"""Blocks, activations and laws of one's own: what they say of themselves is checked."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

import resnet_sde as rs
from resnet_sde import observables as ob
from resnet_sde.blocks import affine, affine_back
from resnet_sde.contracts.blocks import check_adjoint
from resnet_sde.paths import GridPath, Path
from resnet_sde.streams import Stream

X = torch.ones(1, 16, dtype=torch.float64)
WHITE = rs.WhiteNoise()


@dataclass(frozen=True)
class Normed(rs.Block):
    """V φ(W h / rms(h)), which says of itself what it is told to."""

    activation: rs.Activation = rs.RELU
    says: bool | None = None

    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        return {"inner": (width, width), "outer": (width, width)}

    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        rms = h.square().mean(-1, keepdim=True).sqrt()
        pre = affine(layer["inner"], h / rms, 1.0, 0.0)
        return affine(layer["outer"], self.activation(pre), 1.0, 0.0)

    def critical_beta(self, law: rs.PathLaw) -> float:
        return 0.5

    @property
    def strength(self) -> float:
        return 1.0

    @property
    def homogeneous(self) -> bool:
        return super().homogeneous if self.says is None else self.says


class Derived(rs.TwoLayer):
    """The same branch, made from a block of the package."""

    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        return super().branch(h / h.square().mean(-1, keepdim=True).sqrt(), layer)


def by_hand(beta: float, depth: int, samples: int) -> Tensor:
    """Displacements of networks with the normalizing branch, in natural size and in a plain loop."""
    g = rs.generator(0, "by hand")
    h = start = torch.randn(samples, 16, generator=g)
    for _ in range(depth):
        w, v = torch.randn(2, samples, 16, 16, generator=g) / 4.0
        unit = h / h.square().mean(-1, keepdim=True).sqrt()
        h = h + depth**-beta * torch.einsum("sij,sj->si", v, torch.relu(torch.einsum("sij,sj->si", w, unit)))
    return (h - start).norm(dim=-1) / start.norm(dim=-1)


def moved(t: rs.Trajectory) -> Tensor:
    return (t.hidden.natural(-1) - t.hidden.natural(0)).square().mean(-1)[:, 0]


@pytest.mark.parametrize(("block", "beta"), [(Normed(), 0.5), (Derived(rs.RELU), 0.0)], ids=["0.5", "0.0"])
def test_a_normalizing_branch_is_not_homogeneous(block: rs.Block, beta: float) -> None:
    assert not block.homogeneous
    depth, samples = 1000, 100
    model = rs.Model(block, WHITE, 16, beta=beta)
    out = rs.simulate(model, X, depth=depth, samples=samples, observe=[ob.displacement, moved])
    found, hand = out["displacement"][:, 0], by_hand(beta, depth, samples)
    error = math.sqrt((found.var() + hand.var()) / samples)
    assert abs(float(found.mean() - hand.mean())) < 4.42 * error, "a false alarm of 1e-5"
    # Whatever the state, a branch has mean square E φ(z)² = 1/2: exact at any width.
    squares = out["moved"] * depth ** (2 * beta - 1)
    assert abs(float(squares.mean()) - 0.5) < 4.42 * float(squares.std()) / math.sqrt(samples)


def test_a_false_claim_of_homogeneity_is_refused() -> None:
    with pytest.raises(ValueError, match="block Normed says that it is homogeneous") as caught:
        rs.Model(Normed(says=True), WHITE, 16)
    assert "\n" not in str(caught.value)
    assert rs.Model(Normed(says=False), WHITE, 16).block.says is False
    layers = rs.Model(Normed(), WHITE, 4).draw(3, samples=2).layers(3)
    for verb in (rs.forward, rs.trajectory):
        with pytest.raises(ValueError, match="block Normed says that it is homogeneous"):
            verb(Normed(says=True), torch.ones(2, 1, 4), layers, 0.5)
    with pytest.raises(ValueError, match="homogeneous of Normed must be True or False"):
        rs.Model(Normed(says="no"), WHITE, 16)


def test_what_is_made_from_a_block_has_no_theory_of_it() -> None:
    block = Derived(rs.TANH)
    assert block.critical_beta(WHITE) is None
    with pytest.raises(ValueError, match="give beta"):
        rs.Model(block, WHITE, 4)
    model = rs.Model(block, WHITE, 4, beta=0.5)
    for theory in (rs.meanfield.lengths, rs.meanfield.two_time):
        with pytest.raises(ValueError, match="give it a property variances"):
            theory(model, depth=3)

    class Renamed(rs.TwoLayer):
        """With another name and nothing else."""

    same, plain = Renamed(rs.RELU), rs.TwoLayer(rs.RELU)
    assert (same.homogeneous, same.variances) == (plain.homogeneous, plain.variances)
    assert same.critical_beta(WHITE) == 0.5


def test_other_own_blocks_run_forward_and_back() -> None:
    watched = [ob.log10_growth, ob.log10_gradient_growth]
    for block in (Normed(), Normed(rs.TANH)):
        out = rs.simulate(rs.Model(block, WHITE, 16), X, depth=8, samples=4, observe=watched)
        assert all(bool(values.isfinite().all()) for values in out.values())


@dataclass(frozen=True)
class Broken(rs.Block):
    """h ↦ V tanh(h) with an error of the given kind."""

    how: str

    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        if self.how == "shapes":
            return {"first": width}
        return {"outer": (width, width)}

    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        if self.how == "in place":
            h.mul_(2.0)
        if self.how == "weights":
            layer["outer"].entries.mul_(2.0)
        found = affine(layer["outer"], torch.tanh(h), 1.0, 0.0)
        if self.how == "batch":
            found = found - found.mean(0, keepdim=True)
        if self.how == "inputs":
            found = found - found.mean(1, keepdim=True)
        changed = {
            "transposed": lambda: found.mT,
            "one input": lambda: found[:, :1],
            "dtype": lambda: found.float(),
            "array": lambda: found.numpy(),
        }
        found = changed.get(self.how, lambda: found)()
        return (found, h) if self.how == "pair" else found

    def adjoint(self, h: Tensor, p: Tensor, layer: rs.Layer) -> Tensor:
        if self.how == "p in place":
            p.mul_(0.5)
        if self.how == "h in place":
            h.mul_(0.5)
        back = affine_back(layer["outer"], p, 1.0, 0.0)
        if self.how == "inputs":
            back = affine_back(layer["outer"], p - p.mean(1, keepdim=True), 1.0, 0.0)
        found = back * (1 - torch.tanh(h).square())
        return {"no slope": back, "scaled": 1.001 * found, "back dtype": found.float()}.get(self.how, found)

    def critical_beta(self, law: rs.PathLaw) -> float:
        return 0.5

    @property
    def strength(self) -> float:
        return 1.0


FORWARD = {
    "shapes": "shapes of block Broken must map the name of each matrix to",
    "in place": "block Broken writes into what it is given",
    "weights": "block Broken writes into what it is given",
    "batch": "block Broken mixes networks",
    "transposed": r"branch of block Broken returned shape \(2, 6, 3\)",
    "one input": r"branch of block Broken returned shape \(2, 1, 6\)",
    "dtype": "branch of block Broken returned shape .* and torch.float32",
    "array": "branch of block Broken returned ndarray",
    "pair": "branch of block Broken returned tuple",
}
BACK = {
    "no slope": "adjoint of block Broken is not",
    "scaled": "adjoint of block Broken is not",
    "back dtype": "adjoint of block Broken returned shape .* and torch.float32",
    "p in place": "adjoint of block Broken writes into what it is given",
    "h in place": "adjoint of block Broken writes into what it is given",
    "inputs": "adjoint of block Broken mixes inputs",
}


@pytest.mark.parametrize(("how", "message"), FORWARD.items(), ids=FORWARD)
def test_what_a_branch_returns_is_checked(how: str, message: str) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match=message):
            rs.Model(Broken(how), WHITE, 6)


@pytest.mark.parametrize(("how", "message"), BACK.items(), ids=BACK)
def test_the_way_back_is_checked_when_it_is_taken(how: str, message: str) -> None:
    request = {"depth": 3, "samples": 2}
    model = rs.Model(Broken(how), WHITE, 6)
    assert rs.simulate(model, X, **request, observe=[ob.growth])["growth"].shape == (2, 1)
    with pytest.raises(ValueError, match=message):
        rs.simulate(model, X, **request, observe=[ob.gradient_growth])


def test_a_good_block_is_asked_once_and_those_of_the_package_never(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    @dataclass(frozen=True)
    class Counted(Broken):
        def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
            calls.append(h)
            return super().branch(h, layer)

    rs.Model(Counted(""), WHITE, 6)
    asked = len(calls)
    assert asked > 0
    for _ in range(3):
        rs.Model(Counted(""), WHITE, 6)
    assert len(calls) == asked
    monkeypatch.setattr(rs.SingleLayer, "branch", lambda *_: calls.append(0))
    rs.Model(rs.SingleLayer(rs.TANH), WHITE, 6, beta=0.5)
    check_adjoint(rs.SingleLayer(rs.TANH), 6)
    assert len(calls) == asked


def test_numbers_of_own_blocks_do_not_depend_on_the_check() -> None:
    request = {"depth": 4, "samples": 3, "observe": [ob.log10_growth]}
    first = rs.simulate(rs.Model(Normed(), WHITE, 5), X, **request)
    before = torch.get_rng_state()
    assert torch.equal(
        first["log10_growth"], rs.simulate(rs.Model(Normed(), WHITE, 5), X, **request)["log10_growth"]
    )
    assert torch.equal(before, torch.get_rng_state())


class Phi(rs.Activation):
    """tanh, with some of its parts replaced."""

    def __init__(self, **parts: object) -> None:
        self.parts = parts
        for name in ("homogeneous", "odd"):
            setattr(self, name, parts.get(name, False))

    def __repr__(self) -> str:
        return f"Phi({sorted(self.parts)})"

    def __call__(self, x: Tensor) -> Tensor:
        return self.parts.get("call", torch.tanh)(x)

    def prime(self, x: Tensor) -> Tensor:
        return self.parts.get("prime", lambda x: 1 - torch.tanh(x).square())(x)

    def pullback(self, x: Tensor, p: Tensor) -> Tensor:
        back = self.parts.get("pullback")
        return super().pullback(x, p) if back is None else back(x, p)


PHIS = {
    "odd": ({"odd": True, "call": torch.sigmoid}, "says that it is odd"),
    "homogeneous": ({"homogeneous": True}, "says that it is homogeneous"),
    "not a claim": ({"odd": lambda: False}, "odd of Phi must be True or False"),
    "prime": ({"call": torch.sin}, "prime of activation Phi is not its derivative"),
    "prime of float32": ({"prime": lambda x: torch.where(x > 0, 1.0, 0.3).float()}, "returned shape"),
    "pullback": ({"pullback": lambda x, p: 2 * p}, "pullback of activation Phi is not"),
    "shape": ({"call": lambda x: torch.tanh(x)[..., :1]}, "activation Phi returned shape"),
    "dtype": ({"call": lambda x: torch.tanh(x).double()}, "activation Phi returned shape"),
    "a number": ({"call": lambda x: 1.0}, "activation Phi returned float"),
    "softmax": ({"call": lambda x: torch.softmax(x, -1)}, "is not elementwise"),
    "layer norm": ({"call": lambda x: x - x.mean(-1, keepdim=True)}, "is not elementwise"),
    "in place": ({"call": lambda x: x.tanh_()}, "writes into what it is given"),
}


@pytest.mark.parametrize(("parts", "message"), PHIS.values(), ids=PHIS)
def test_activations_are_what_they_say(parts: dict[str, object], message: str) -> None:
    for block in (rs.SingleLayer, rs.TwoLayer, rs.Reduced, Normed):
        with pytest.raises(ValueError, match=message):
            rs.Model(block(Phi(**parts)), WHITE, 4, beta=0.5)


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"odd": True},
        {"odd": np.True_},
        {"call": torch.abs, "prime": torch.sign, "homogeneous": True},
        {"call": lambda x: x.clamp(-1, 1), "prime": lambda x: (x.abs() < 1).to(x.dtype), "odd": True},
        {"call": torch.round, "prime": torch.zeros_like, "odd": True},
        {
            "call": lambda x: x.relu().sqrt(),
            "prime": lambda x: torch.where(x > 0, 0.5 * x.relu().rsqrt(), 0.0),
        },
        {"call": lambda x: torch.from_numpy(np.tanh(x.numpy()))},
    ],
    ids=lambda p: ", ".join(p) or "tanh",
)
def test_honest_activations_pass(parts: dict[str, object]) -> None:
    assert rs.Model(rs.SingleLayer(Phi(**parts)), WHITE, 4, beta=0.5).width == 4


class Law(rs.PathLaw):
    exponent = 0.5

    def __init__(self, size: float = 1.0, mean: float = 0.0, how: str = "") -> None:
        self.size, self.mean, self.how = size, mean, how

    def covariance(self, depth: int) -> Tensor:
        return torch.eye(depth, dtype=torch.float32 if self.how == "single" else torch.float64)

    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        weights = self.mean + self.size * source.normal_(torch.empty(depth, *shape, dtype=dtype))
        if self.how == "repeated":
            weights[1:] = weights[:-1].clone()
        if self.how == "tensor":
            return weights
        changed = {"transposed": lambda: weights.mT, "dtype": weights.double, "short": lambda: weights[:-1]}
        return GridPath(changed.get(self.how, lambda: weights)(), 0.5)


@pytest.mark.parametrize(
    ("law", "message"),
    [
        (Law(size=1.1), "whose covariance along depth"),
        (Law(size=0.0), "whose covariance along depth"),
        (Law(mean=0.1), "whose (mean|covariance) along depth"),
        (Law(how="repeated"), "whose covariance along depth"),
        (Law(how="tensor"), "law Law drew Tensor"),
        (Law(how="transposed"), "a path of law Law returned shape"),
        (Law(how="dtype"), "a path of law Law returned shape"),
        (Law(how="single"), "covariance of law Law returned shape"),
    ],
    ids=lambda v: str(v)[:12],
)
def test_laws_draw_what_they_state(law: rs.PathLaw, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rs.Model(rs.SingleLayer(rs.TANH), law, 4)
    assert rs.Model(rs.SingleLayer(rs.TANH), Law(), 4).beta == 0.5


def test_a_law_made_from_white_noise_draws_as_it_says() -> None:
    class Signs(rs.WhiteNoise):
        def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
            signs = source.rademacher_(torch.empty(depth, *shape, dtype=dtype))
            return GridPath(signs, 0.5, stable=False)

    model = rs.Model(rs.SingleLayer(rs.LINEAR), Signs(), 1, beta=0.0)
    out = rs.simulate(model, X, depth=1, samples=200, observe=[ob.growth])["growth"]
    assert set(out.flatten().round(decimals=9).tolist()) == {0.0, 2.0}
    with pytest.raises(ValueError, match="deferred matrices need white Gaussian weights"):
        rs.simulate(model, X, depth=1, samples=2, observe=[ob.growth], method="deferred")
