"""Laws, blocks, activations, observables and settings that would give other numbers without a word."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

import resnet_sde as rs
from resnet_sde import estimate
from resnet_sde import observables as ob
from resnet_sde.blocks import affine, affine_back
from resnet_sde.paths import GridPath, Path
from resnet_sde.streams import Stream

WHITE = rs.WhiteNoise()
MODEL = rs.Model(rs.SingleLayer(rs.RELU), WHITE, width=8)
X = torch.randn(1, 8, generator=rs.generator(0, "x"), dtype=torch.float64)
CACHE: dict[object, Tensor] = {}


@dataclass(frozen=True)
class Law(rs.PathLaw):
    """White Gaussian weights, but for one thing."""

    how: str = ""
    exponent: float = 0.5

    @property
    def gaussian(self) -> bool:
        return self.how in ("signs", "says gaussian")

    @property
    def independent(self) -> bool:
        return self.how == "late" or super().independent

    def covariance(self, depth: int) -> Tensor:
        lag = (torch.arange(depth)[:, None] - torch.arange(depth)).abs()
        if self.how == "constant":
            return torch.ones(depth, depth, dtype=torch.float64)
        return (0.8**lag).double() if self.how == "late" else torch.eye(depth, dtype=torch.float64)

    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        w = source.normal_(torch.empty((depth, *shape), dtype=dtype))
        half = shape[0] // 2
        if self.how == "symmetric" and shape[-1] == shape[-2]:
            w = (w + w.mT) / math.sqrt(2)
        if self.how == "rows":
            w = w[..., :1].expand_as(w).contiguous()
        if self.how == "antithetic":
            w[:, half : 2 * half] = -w[:, :half]
        if self.how == "periodic":
            w = w[torch.arange(depth) % 8]
        if self.how == "growing":
            w = w * math.sqrt(depth / 4)
        if self.how == "signs":
            w = w.sign()
        if self.how == "constant":
            w = w[:1].expand_as(w).contiguous()
        if self.how == "late":
            for k in range(1, depth):
                w[k] = 0.8 * w[k - 1] + 0.6 * w[k]
        if self.how == "global":
            w = torch.randn((depth, *shape), dtype=dtype)
        if self.how == "cached":
            w = CACHE.setdefault((depth, shape, dtype), w)
        return GridPath(w, 0.5)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("symmetric", "same numbers for different entries of a matrix"),
        ("rows", "same numbers for different entries of a matrix"),
        ("antithetic", "same numbers for different networks"),
        ("periodic", "covariance along depth"),
        ("growing", "covariance along depth"),
        ("signs", "says that its weights are Gaussian"),
        ("late", "says that its weights are independent"),
        ("constant", "L\\^0.5; by its covariance it grows like L\\^1$"),
        ("global", "does not draw from the generator"),
        ("cached", "does not draw from the generator"),
    ],
)
def test_laws_that_are_not_what_they_say(how: str, message: str) -> None:
    with torch.random.fork_rng([]), pytest.raises(ValueError, match=message) as caught:
        rs.Model(rs.SingleLayer(rs.TANH), Law(how), 4)
    assert "\n" not in str(caught.value)


def test_honest_laws_pass() -> None:
    for law in (Law(), Law("says gaussian")):
        assert rs.Model(rs.SingleLayer(rs.TANH), law, 4).beta == 0.5


@dataclass(frozen=True)
class Capped(rs.Activation):
    """ReLU up to 100, which no state near 1 meets."""

    homogeneous = True

    def __call__(self, x: Tensor) -> Tensor:
        return torch.relu(x).clamp(max=100.0)

    def prime(self, x: Tensor) -> Tensor:
        return ((x > 0) & (x < 100)).to(x.dtype)


@dataclass(frozen=True)
class Lopsided(rs.Activation):
    """tanh down to −8."""

    odd = True

    def __call__(self, x: Tensor) -> Tensor:
        return torch.where(x > -8, torch.tanh(x), torch.full_like(x, -2.0))

    def prime(self, x: Tensor) -> Tensor:
        return torch.where(x > -8, 1 - torch.tanh(x).square(), torch.zeros_like(x))


@dataclass(frozen=True)
class Bent(rs.Activation):
    """Of slope 2 beyond 10, where its derivative says 1."""

    def __call__(self, x: Tensor) -> Tensor:
        return torch.where(x > 10, 2 * x - 10, x)

    def prime(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)


@pytest.mark.parametrize(
    ("phi", "message"), [(Capped(), "homogeneous"), (Lopsided(), "odd"), (Bent(), "derivative")]
)
def test_what_activations_say_is_asked_of_large_states_too(phi: rs.Activation, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rs.Model(rs.SingleLayer(phi), WHITE, 4, beta=0.5)


@dataclass(frozen=True)
class Own(rs.SingleLayer):
    """V φ(h), but for one thing."""

    how: str = ""

    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        found = affine(layer["outer"], self.activation(h), self.sigma_w2, 0.0)
        if self.how == "twice":
            found = affine(layer["outer"], self.activation(found), self.sigma_w2, 0.0)
        if self.how == "entries":
            found = torch.bmm(self.activation(h), layer["outer"].entries) / math.sqrt(h.shape[-1])
        if self.how == "chance":
            found = torch.nn.functional.dropout(found, 0.01)
        return found * (1e7 if self.how == "strong" else 1.0)

    def adjoint(self, h: Tensor, p: Tensor, layer: rs.Layer) -> Tensor:
        if self.how == "again":
            return rs.Block.adjoint(self, h, p, layer)
        back = self.activation.pullback(h, affine_back(layer["outer"], p, self.sigma_w2, 0.0))
        return back * (1e7 if self.how == "strong" else 1.0)

    @property
    def homogeneous(self) -> bool:
        return self.how == "strong"

    @property
    def strength(self) -> float:
        return 1.0


@pytest.mark.parametrize("how", ["twice", "entries"])
def test_what_looks_twice_at_a_matrix_gets_one_that_is_drawn(how: str) -> None:
    model = rs.Model(Own(rs.LINEAR, how=how), WHITE, 8, beta=0.5)
    kind = {"depth": 6, "samples": 30, "observe": [ob.growth]}
    drawn, chosen = (rs.simulate(model, X, method=method, **kind) for method in ("dense", "auto"))
    assert all(torch.equal(drawn[name], chosen[name]) for name in drawn)
    with pytest.raises(ValueError, match='give method="dense"'):
        rs.simulate(model, X, method="deferred", **kind)


def test_gradients_of_a_block_that_runs_again_are_those_of_its_matrices() -> None:
    """A linear network: E ‖p_0‖² / ‖p_L‖² = (1 + 1/L)^L, which fresh numbers on the way back miss."""
    model = rs.Model(Own(rs.LINEAR, how="again"), WHITE, 8, beta=0.5)
    out = rs.simulate(model, X, depth=6, samples=2000, observe=[ob.gradient_growth], method="deferred")
    squares = out["gradient_growth"].square()
    error = 4.42 * float(squares.std()) / math.sqrt(2000)
    assert abs(float(squares.mean()) - (1 + 1 / 6) ** 6) < error, "a false alarm of 1e-5"


def test_blocks_draw_no_numbers_and_know_their_strength() -> None:
    with torch.random.fork_rng([]), pytest.raises(ValueError, match="draws random numbers"):
        rs.Model(Own(rs.TANH, how="chance"), WHITE, 8, beta=0.5)
    with pytest.raises(ValueError, match="longer than strength 1 says"):
        rs.Model(Own(rs.RELU, how="strong"), WHITE, 8, beta=0.5)


def squares(t: rs.Trajectory) -> Tensor:
    return t.hidden.natural(-1).square().sum((-1, -2))


def by_numpy(t: rs.Trajectory) -> np.ndarray:
    h = t.hidden.scaled[-1].numpy()
    h -= h.mean(-1, keepdims=True)
    return (h**2).sum((-1, -2))


def by_data(t: rs.Trajectory) -> Tensor:
    return t.hidden.scaled[-1].data.mul_(2.0).sum((-1, -2))


def total(t: rs.Trajectory) -> Tensor:
    return squares(t).cumsum(0)


def masked(t: rs.Trajectory) -> np.ndarray:
    values = squares(t).numpy()
    return np.ma.masked_array(values, mask=values > 1)


def long(t: rs.Trajectory) -> np.ndarray:
    return squares(t).numpy().astype(np.longdouble)


@pytest.mark.parametrize(
    ("observable", "message"),
    [
        (by_numpy, "writes into the states"),
        (by_data, "writes into the states"),
        (total, "in other company"),
        (masked, "returned MaskedArray"),
        *([(long, "returned ndarray")] if np.longdouble(0).itemsize > 8 else []),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_observables_that_are_refused(observable: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rs.simulate(MODEL, X, depth=5, samples=20, observe=[observable])


def test_lists_of_states_are_of_each_observable_alone() -> None:
    def reverse(t: rs.Trajectory) -> Tensor:
        t.hidden.scaled.reverse()
        t.hidden.exponent.pop()
        return t.hidden.scaled[0].sum((-1, -2))

    alone = rs.simulate(MODEL, X, depth=5, samples=1100, observe=[squares])
    after = rs.simulate(MODEL, X, depth=5, samples=1100, observe=[reverse, squares])
    assert torch.equal(alone["squares"], after["squares"])


def test_settings_of_the_caller_change_no_number() -> None:
    model, x = rs.Model(rs.TwoLayer(rs.TANH), rs.SmoothNoise(), 8), X.float()

    def found() -> list[Tensor]:
        out = rs.simulate(model, x, depth=20, samples=10, observe=[ob.growth, squares])
        layers = model.draw(8, samples=2).layers(8)
        states = rs.forward(model.block, torch.ones(2, 1, 8), layers, 0.3)
        both = rs.couple(model, torch.ones(1, 8), depths=(4, 8), samples=10)
        return [*out.values(), states, torch.tensor(both.strong_errors)]

    plain = found()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = found()
    with torch.inference_mode():
        inferred = found()
    for other in (cast, inferred):
        assert all(torch.equal(a, b) for a, b in zip(plain, other, strict=True))
    assert float((plain[0] - plain[0].bfloat16()).abs().max()) > 1e-4, "what autocast would have done"


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_float64_inputs_whose_squares_leave_the_range(size: float) -> None:
    with pytest.raises(ValueError, match="norms of float64 inputs must lie between 1e-150 and 1e150"):
        rs.simulate(MODEL, X * size, depth=2, samples=2, observe=[ob.growth])
    with pytest.raises(ValueError, match="relative to the size of x"):
        rs.couple(MODEL, X * size, depths=(2, 4), samples=4, reference=8)


def test_alpha_may_be_negative_and_must_be_finite() -> None:
    block, layers = rs.SingleLayer(rs.RELU), MODEL.draw(200, samples=2, seed=0).layers(200)
    h = torch.ones(2, 1, 8)
    growth = ob.log10_growth(rs.trajectory(block, h, layers, -500.0))
    double = [layer.changed(lambda matrix: type(matrix)(matrix.entries.double())) for layer in layers]
    expected = ob.log10_growth(rs.trajectory(block, h.double(), double, -500.0))
    torch.testing.assert_close(growth, expected, rtol=1e-4, atol=0.01)
    for alpha in (math.nan, math.inf, "1", 1j):
        with pytest.raises(ValueError, match="alpha must be a finite number"):
            rs.forward(block, h, layers, alpha)
    with pytest.raises(ValueError, match="alpha holds numbers that are complex or not finite"):
        rs.forward(block, h, layers, torch.tensor([[math.nan]]))
    with pytest.raises(ValueError, match="skip must be a finite number"):
        rs.forward(block, h, layers, 0.1, math.nan)


def test_layers_that_are_used_up() -> None:
    layers = iter(MODEL.draw(4, samples=2).layers(4))
    assert len(rs.forward(MODEL.block, torch.ones(2, 1, 8), layers, 0.1)) == 5
    for verb in (rs.forward, rs.trajectory):
        with pytest.raises(ValueError, match="there are no layers"):
            verb(MODEL.block, torch.ones(2, 1, 8), layers, 0.1)


def test_limits_are_solved_on_paths_of_the_model() -> None:
    block, h = rs.SingleLayer(rs.TANH), torch.ones(3, 1, 4)
    laws = {law: rs.Model(block, law, 4) for law in (WHITE, rs.FractionalNoise(0.8), rs.FractionalNoise(0.6))}
    others = [
        rs.Model(block, rs.ConstantNoise(), 4),
        rs.Model(block, WHITE, 5),
        rs.Model(rs.TwoLayer(rs.TANH), WHITE, 4),
    ]
    for model in laws.values():
        equation = rs.limit(model)
        assert equation.solve(h, model.draw(16, samples=3), steps=16).shape == h.shape
        for other in (*laws.values(), *others):
            if other is not model:
                with pytest.raises(ValueError, match="none of the weights of this model"):
                    equation.solve(h, other.draw(16, samples=3), steps=16)


class Doubled(rs.Model):
    def alpha(self, depth: int) -> float:
        return 2 * super().alpha(depth)


def test_a_model_with_an_alpha_of_its_own_has_no_limit() -> None:
    block = rs.SingleLayer(rs.TANH)
    with pytest.raises(ValueError, match="give beta"):
        Doubled(block, WHITE, 4)
    model = Doubled(block, WHITE, 4, beta=0.5)
    assert model.regime is None
    with pytest.raises(rs.NoLimit, match="an alpha of its own"):
        rs.limit(model)
    with pytest.raises(rs.meanfield.NoFlow, match="critical"):
        rs.meanfield.flow(model)


def test_weights_are_real_and_of_single_or_double_precision() -> None:
    for dtype in (torch.float16, torch.complex64, torch.int64):
        with pytest.raises(ValueError, match="weights are drawn in float32 or float64"):
            MODEL.draw(4, samples=2, dtype=dtype)


def test_numbers_that_are_not_real_or_not_whole() -> None:
    errors, depths = torch.rand(20, 3, generator=rs.generator(0, "errors")), (8, 16, 32)
    for values in (torch.ones(4) * 1j, [1.0, 2.0]):
        with pytest.raises(ValueError, match="must be a tensor of real numbers"):
            estimate.mean(values)
    for wrong in ((8.5, 16, 32), (8, 16, math.inf)):
        with pytest.raises(ValueError, match="increasing positive integers"):
            estimate.order(wrong, errors)
    for options in ({"power": 0}, {"power": -1}, {"resamples": 0}, {"resamples": 1}):
        with pytest.raises(ValueError, match=r"power must be|resamples"):
            estimate.order(depths, errors, reference=64, **options)


def test_theory_takes_real_finite_numbers() -> None:
    model = rs.Model(rs.TwoLayer(rs.RELU), WHITE, 8)
    with pytest.raises(ValueError, match="real numbers"):
        rs.meanfield.kernel(model, torch.tensor([[1, 0.5j], [-0.5j, 1]]), depth=4)
    for alphas in (torch.tensor([math.nan]), torch.tensor([1j]), torch.tensor(0.5)):
        with pytest.raises(ValueError, match="alphas must be finite real numbers"):
            rs.meanfield.displacements(model.block, WHITE, 4, alphas)
    with pytest.raises(ValueError, match="width must be a positive integer"):
        rs.meanfield.displacements(model.block, WHITE, 4, torch.tensor([0.5])).at_width(0)
    with pytest.raises(ValueError, match="multiply squares by more than 1e308"):
        rs.meanfield.lengths(rs.Model(model.block, WHITE, 8, beta=0.0, gain=1e200), depth=3)
    for times in ([1.0, 0.5], [-1.0], [math.nan], [0.5, 0.5], []):
        with pytest.raises(ValueError, match="times must be finite, from 0 on, and increase"):
            rs.meanfield.flow_gaps(model, 1.0, 0.5, torch.tensor(times))
