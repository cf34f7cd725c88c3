"""What users' laws and blocks say of depth and of many networks, tried where it is first used."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import resnet_sde as rs
from resnet_sde import observables as ob
from resnet_sde.paths import GridPath, Path
from resnet_sde.streams import Stream

WHITE = rs.WhiteNoise()
TANH = rs.SingleLayer(rs.TANH)
F64 = {"dtype": torch.float64}


@dataclass(frozen=True)
class Means(Path):
    """A path that shows means of its weights, whose variance is too small, or other memory."""

    fine: Tensor
    how: str

    def weights(self, depth: int) -> Tensor:
        found = self.fine.unflatten(0, (depth, -1))
        return found[:, 0].clone() if self.how == "each" else found.mean(1)

    def shared(self, depth: int) -> Tensor:
        return (1.1 if self.how == "shared" else 1.0) * self.weights(depth)


@dataclass(frozen=True)
class Law(rs.PathLaw):
    """White Gaussian weights, but for one thing that does not show at 64 layers of width 14."""

    how: str = ""
    exponent: float = 0.5

    def covariance(self, depth: int) -> Tensor:
        found = torch.eye(depth, **F64)
        near = 0.4 * torch.ones(depth - 1, **F64)
        return found + torch.diag(near, 1) + torch.diag(near, -1) if self.how == "neighbours" else found

    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        w = source.normal_(torch.empty(depth + 1, *shape, dtype=dtype))
        w = 0.8**0.5 * w[1:] + 0.2**0.5 * w[:-1] if self.how == "neighbours" else w[1:]
        if (self.how == "deep" and depth > 64) or (self.how == "wide" and shape[-1] > 20):
            w = 1.05 * w
        if self.how in ("means", "each", "shared"):
            return Means(w, self.how)
        return GridPath(w, 0.6 if self.how == "exponent" else 0.5)


@pytest.mark.parametrize(
    ("how", "refused"),
    [
        ("exponent", (64, 8)),
        ("neighbours", (64, 8)),
        ("means", (64, 8)),
        ("deep", (256, 64, 8)),
        ("wide", (256, 64, 8)),
        ("", ()),
        ("each", ()),
    ],
)
def test_laws_that_are_others_at_coarser_depths(how: str, refused: tuple[int, ...]) -> None:
    model = rs.Model(TANH, Law(how), 24, beta=0.5)
    paths = model.draw(256, samples=2)
    for depth in (256, 64, 8):
        message = f"of networks of {depth} layers on paths of 256"
        for shared in (False, True):
            if depth in refused:
                with pytest.raises(ValueError, match=message) as caught:
                    paths.layers(depth, shared=shared)
                assert "\n" not in str(caught.value)
            else:
                assert len(paths.layers(depth, shared=shared)) == depth


def test_paths_that_share_other_numbers() -> None:
    with pytest.raises(ValueError, match="has other numbers in shared"):
        rs.Model(TANH, Law("shared"), 8, beta=0.5).draw(8, samples=2).layers(4)


@dataclass(frozen=True)
class Repeating(Law):
    """Networks from the 101st on have the weights of others, or their negatives."""

    sign: float = -1.0

    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        w = source.normal_(torch.empty(depth, *shape, dtype=dtype))
        if shape[0] > 100:
            w[:, 100:] = self.sign * w[:, : shape[0] - 100].clone()
        return GridPath(w, 0.5)


@pytest.mark.parametrize("law", [Repeating(sign=1.0), Repeating(), Repeating(sign=0.98)], ids=str)
def test_laws_that_repeat_networks_of_large_ensembles(law: rs.PathLaw) -> None:
    model = rs.Model(TANH, law, 8, beta=0.5)
    request = {"depth": 3, "observe": [ob.displacement]}
    with pytest.raises(ValueError, match="the same numbers for different networks"):
        rs.simulate(model, torch.ones(1, 8), samples=101, **request)
    with pytest.raises(ValueError, match="the same numbers for different networks"):
        model.draw(4, samples=400).layers(2)
    assert len(rs.simulate(model, torch.ones(1, 8), samples=100, **request)["displacement"]) == 100
    assert len(rs.Model(TANH, Law(), 8, beta=0.5).draw(4, samples=400).layers(2)) == 2


def test_simulate_asks_at_its_depth() -> None:
    request = {"depth": 100, "samples": 3, "observe": [ob.displacement]}
    with pytest.raises(ValueError, match="of networks of 100 layers"):
        rs.simulate(rs.Model(TANH, Law("deep"), 8, beta=0.5), torch.ones(1, 8), **request)
    honest = rs.simulate(rs.Model(TANH, Law(), 8, beta=0.5), torch.ones(1, 8), **request)
    assert bool(honest["displacement"].isfinite().all())


@dataclass(frozen=True)
class Scaled(rs.PathLaw):
    """White weights of another size, in one dtype or in both."""

    size: float = 1.0
    single: float = 1.0
    exponent: float = 0.5

    def covariance(self, depth: int) -> Tensor:
        return torch.eye(depth, **F64)

    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        size = self.size * (self.single if dtype == torch.float32 else 1.0)
        return GridPath(size * source.normal_(torch.empty(depth, *shape, dtype=dtype)), 0.5)


@pytest.mark.parametrize("law", [Scaled(1.02), Scaled(0.98), Scaled(1.0, 1.02), Scaled(1.0, 0.95)], ids=str)
def test_variances_that_are_wrong_by_little(law: rs.PathLaw) -> None:
    with pytest.raises(ValueError, match="whose covariance along depth is not the one that it states"):
        rs.Model(TANH, law, 4)


@pytest.mark.parametrize("exponent", [0.4, 0.45, 0.55, 0.7])
def test_exponents_that_are_wrong_by_little(exponent: float) -> None:
    with pytest.raises(ValueError, match=r"grows like L\^0.5"):
        rs.Model(TANH, Scaled(exponent=exponent), 4)


@dataclass(frozen=True)
class Mixed(rs.PathLaw):
    """Weights of long memory with white ones: its exponent shows in the end only."""

    share: float
    hurst: float = 0.8

    @property
    def exponent(self) -> float:  # type: ignore[override]
        return max(0.5, self.hurst)

    def covariance(self, depth: int) -> Tensor:
        long = rs.FractionalNoise(self.hurst).covariance(depth)
        return self.share * long + (1 - self.share) * torch.eye(depth, **F64)

    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        long = rs.FractionalNoise(self.hurst).path(depth, shape, generator=source, dtype=dtype).weights(depth)
        white = source.normal_(torch.empty_like(long))
        return GridPath(self.share**0.5 * long + (1 - self.share) ** 0.5 * white, self.exponent, stable=False)


@pytest.mark.parametrize(
    "law", [Mixed(0.1), Mixed(0.5), Mixed(0.9), Mixed(0.3, 0.65), Mixed(0.5, 0.55), Mixed(0.4, 0.3)], ids=str
)
def test_exponents_that_show_late(law: rs.PathLaw) -> None:
    model = rs.Model(rs.TwoLayer(rs.RELU), law, 4)
    assert model.beta == law.exponent
    assert len(model.draw(32, samples=2).layers(32)) == 32


@dataclass(frozen=True)
class Own(rs.Block):
    """V φ(W h), and an exponent that it says."""

    beta: float
    activation: rs.Activation = rs.TANH

    def _known(self) -> rs.TwoLayer:
        return rs.TwoLayer(self.activation)

    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        return self._known().shapes(width)

    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        return self._known().branch(h, layer)

    def adjoint(self, h: Tensor, p: Tensor, layer: rs.Layer) -> Tensor:
        return self._known().adjoint(h, p, layer)

    def critical_beta(self, law: rs.PathLaw) -> float:
        return self.beta

    @property
    def strength(self) -> float:
        return 1.0


LONG = rs.FractionalNoise(0.9)
BETAS = [
    (WHITE, rs.TANH, 0.5, (0.0, 1.0)),
    (WHITE, rs.RELU, 0.5, (0.0, 1.0)),
    (LONG, rs.RELU, 0.9, (0.25, 0.5)),
    (LONG, rs.TANH, 0.8, (0.25, 1.3)),
    (rs.FractionalNoise(0.3), rs.RELU, 0.5, (0.0, 1.0)),
    (rs.ConstantNoise(), rs.TANH, 1.0, (0.5, 1.5)),
]


@pytest.mark.parametrize(("law", "phi", "right", "wrong"), BETAS, ids=str)
def test_critical_exponents(law: rs.PathLaw, phi: rs.Activation, right: float, wrong: tuple[float]) -> None:
    assert rs.Model(rs.TwoLayer(phi), law, 8).beta == pytest.approx(right)
    assert rs.Model(Own(right, phi), law, 8).beta == right
    for beta in wrong:
        with pytest.raises(ValueError, match=f"critical_beta of block Own with .* is {beta:g}") as caught:
            rs.Model(Own(beta, phi), law, 8)
        assert "\n" not in str(caught.value)
        given = rs.Model(Own(beta, phi), law, 8, beta=0.7)
        assert given.beta == 0.7
        with pytest.raises(ValueError, match="critical_beta of block Own"):
            _ = given.regime


class Mixing(rs.SingleLayer):
    """Networks from one on, or those in between, take something from another."""

    first, last, of = 5, 2**20, "branch"

    def _mixed(self, x: Tensor) -> Tensor:
        found = x.clone()
        if self.of == "mean" and len(found) >= self.first:
            return found + 1e-3 * found.mean(0)
        found[self.first : self.last] += found[:1]
        return found

    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        found = super().branch(h, layer)
        return found if self.of == "adjoint" else self._mixed(found)

    def adjoint(self, h: Tensor, p: Tensor, layer: rs.Layer) -> Tensor:
        found = super().adjoint(h, p, layer)
        return self._mixed(found) if self.of == "adjoint" else found


def mixing(first: int, last: int = 2**20, of: str = "branch") -> rs.Block:
    kind = type("Mixing", (Mixing,), {"first": first, "last": last, "of": of})
    return kind(rs.TANH)


def run(block: rs.Block, networks: int, gradients: bool = False) -> Tensor:
    layers = rs.Model(TANH, WHITE, 4, beta=0.5).draw(3, samples=networks).layers(3)
    h = torch.ones(networks, 1, 4)
    return rs.trajectory(block, h, layers, 0.5, top=h if gradients else None).hidden.scaled[-1]


@pytest.mark.parametrize(
    ("block", "networks"),
    [
        (mixing(5), 6),
        (mixing(511), 512),
        (mixing(1000), 1001),
        (mixing(100, 200), 512),
        (mixing(300, 310), 512),
        (mixing(500, of="mean"), 512),
        (mixing(5, of="adjoint"), 6),
        (mixing(1000, of="adjoint"), 1200),
    ],
    ids=str,
)
def test_blocks_that_mix_networks_of_large_ensembles(block: rs.Block, networks: int) -> None:
    with pytest.raises(ValueError, match="mixes networks") as caught:
        run(block, networks, gradients=True)
    assert "\n" not in str(caught.value)
    assert len(run(TANH, networks, gradients=True)) == networks


def test_simulate_asks_about_as_many_networks_as_it_draws() -> None:
    for method in ("dense", "deferred"):
        request = {"depth": 2, "observe": [ob.displacement], "method": method}
        model = rs.Model(mixing(300), WHITE, 8, beta=0.5)
        with pytest.raises(ValueError, match="mixes networks: among 512"):
            rs.simulate(model, torch.ones(1, 8), samples=600, **request)
        assert len(rs.simulate(model, torch.ones(1, 8), samples=200, **request)["displacement"]) == 200


class Centred(rs.Activation):
    """tanh, but for tensors of many networks, from which it takes their mean."""

    def __call__(self, x: Tensor) -> Tensor:
        return torch.tanh(x) - (torch.tanh(x).mean() if len(x) > 100 else 0.0)

    def prime(self, x: Tensor) -> Tensor:
        return rs.TANH.prime(x)

    def __repr__(self) -> str:
        return "Centred()"


def test_activations_that_mix_the_networks_of_large_ensembles() -> None:
    block = rs.SingleLayer(Centred())
    assert len(run(block, 20)) == 20
    with pytest.raises(ValueError, match="mixes networks: among 400"):
        run(block, 400)
