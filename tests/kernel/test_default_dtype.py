"""No number depends on torch's default dtype: users have float32, these tests float64."""

import dataclasses
import functools
import sys
from collections.abc import Callable

import pytest
import torch
from every import every_activation
from torch import Tensor

from resnet_sde import (
    GELU,
    SIGMOID,
    TANH,
    Activation,
    AlphaReLU,
    Block,
    FractionalNoise,
    LeakyReLU,
    Model,
    PathLaw,
    Reduced,
    SingleLayer,
    SmoothNoise,
    TwoLayer,
    WhiteNoise,
    activation,
    finite_width,
    limit,
    meanfield,
    observables,
    simulate,
)
from resnet_sde.propagate import default_dtype

BLOCKS = [SingleLayer(LeakyReLU(0.3), 1.3, 0.1), TwoLayer(TANH, 1.3, 0.1, 0.7, 0.2), Reduced(GELU, 1.3, 0.1)]
WHITE = WhiteNoise()
X = torch.tensor([[1.0, -0.3, 0.7], [0.2, 0.9, -0.4]], dtype=torch.float64)
Q, GAP = (
    torch.tensor([0.3, 1.0, 2.7], dtype=torch.float64),
    torch.tensor([0.0, 0.2, 1.3], dtype=torch.float64),
)

every_block = pytest.mark.parametrize("block", BLOCKS, ids=str)


def numbers(found: object) -> list[tuple[object, list[float]]]:
    """All numbers in a result with their dtypes, in order."""
    if isinstance(found, Tensor):
        return [(found.dtype, found.flatten().tolist())]
    if dataclasses.is_dataclass(found):
        return [n for field in dataclasses.fields(found) for n in numbers(getattr(found, field.name))]
    if isinstance(found, dict | tuple | list):
        return [n for part in (found.values() if isinstance(found, dict) else found) for n in numbers(part)]
    return [(float, [found])] if isinstance(found, float) else []


def forget() -> None:
    """Empty the caches of the package: they would hand the numbers of one dtype to the other."""
    for name, module in list(sys.modules.items()):
        if name.startswith("resnet_sde"):
            for kept in vars(module).values():
                if isinstance(kept, functools._lru_cache_wrapper):
                    kept.cache_clear()


def assert_no_dtype_leaks(compute: Callable[[], object]) -> None:
    found = []
    for dtype in (torch.float32, torch.float64):
        torch.set_default_dtype(dtype)
        forget()
        found.append(numbers(compute()))
    assert found[0]
    assert repr(found[0]) == repr(found[1]), "NaN included"
    assert all(dtype in (torch.float64, float) for dtype, _ in found[0])


@every_activation
def test_activations(phi: Activation) -> None:
    x = torch.linspace(-3, 3, 11, dtype=torch.float64)
    assert_no_dtype_leaks(lambda: (phi(x), phi.prime(x), phi.pullback(x, x)))


@every_activation
def test_gaussian_moments(phi: Activation) -> None:
    pairs = ("dual", "difference", "dual_prime", "mean_curvature")
    alone = ("mean", "second_moment", "second_moment_prime", "second_moment_second")
    assert_no_dtype_leaks(lambda: [getattr(phi, name)(Q, 1.1 * Q, gap=GAP) for name in pairs])
    assert_no_dtype_leaks(lambda: [getattr(phi, name)(Q) for name in alone])


@every_activation
@pytest.mark.parametrize("bias", [0.0, torch.tensor([0.0, 0.05], dtype=torch.float64)], ids=str)
def test_phases(phi: Activation, bias: float | Tensor) -> None:
    assert_no_dtype_leaks(lambda: meanfield.fixed_points(phi, 1.7, bias))
    assert_no_dtype_leaks(lambda: meanfield.critical_line(phi, bias))
    assert_no_dtype_leaks(lambda: meanfield.critical_bias(phi, bias + 1.5))
    assert_no_dtype_leaks(lambda: meanfield.gradient_log_variance(phi, 1.7, bias))


@every_block
def test_layers_of_infinite_width(block: Block) -> None:
    model = Model(block, WHITE, 4)
    kernel = torch.tensor([[1.0, 0.3], [0.3, 0.8]], dtype=torch.float64)
    assert_no_dtype_leaks(lambda: meanfield.lengths(model, 0.7, depth=9))
    assert_no_dtype_leaks(lambda: meanfield.gradient_cosines(model, 0.7, 0.3, depth=9))
    assert_no_dtype_leaks(lambda: meanfield.kernel(model, kernel, depth=9))
    assert_no_dtype_leaks(lambda: meanfield.parameter_gradients(model, 0.7, depth=9))


@every_block
@pytest.mark.parametrize("law", [WHITE, FractionalNoise(0.7), SmoothNoise()], ids=str)
def test_kernels_of_all_layers(block: Block, law: PathLaw) -> None:
    model = Model(block, law, 4, beta=0.5, skip=0.9)
    assert_no_dtype_leaks(lambda: meanfield.gradient_two_time(model, 0.7, depth=5))
    assert_no_dtype_leaks(lambda: meanfield.displacements(block, law, 5, [0.1, 0.3], 0.7, skip=0.9))


@every_block
def test_kernels_of_two_inputs(block: Block) -> None:
    model = Model(block, WHITE, 4, beta=0.5, skip=0.9)
    assert_no_dtype_leaks(lambda: meanfield.kernel(model, [[1.1, 0.3], [0.3, 0.7]], depth=5))


@every_activation
def test_finite_width(phi: Activation) -> None:
    model = Model(SingleLayer(phi, 1.3, 0.1), WHITE, 4, beta=0.5)
    # The squares of kinked ones are no short sums of Hermite polynomials, and have no closed form here.
    if phi not in (GELU, SIGMOID, AlphaReLU(0.8), *map(activation, ("elu", "selu", "hard-tanh"))):
        assert_no_dtype_leaks(lambda: finite_width.finite_size(model, 0.7, depth=4))


@every_block
@pytest.mark.parametrize("law", [WHITE, FractionalNoise(0.7), SmoothNoise()], ids=str)
def test_simulations(block: Block, law: PathLaw) -> None:
    model = Model(block, law, 4, beta=0.8)
    watched = [observables.log10_length, observables.log10_gradient_displacement, observables.cosine]
    assert_no_dtype_leaks(lambda: simulate(model, X, depth=5, samples=4, observe=watched))


def overflowing(x: Tensor) -> Tensor:
    """Two lines of slope 0.3, but from 1e7 on no number: ∞/∞."""
    return 0.3 * x * x**40 / (1 + x**40) + 0.1


def test_tails_where_a_function_overflows() -> None:
    torch.set_default_dtype(torch.float32)
    assert not bool(overflowing(torch.tensor(1e10, dtype=torch.float64)).isfinite())
    phi, q = Activation.of(overflowing), torch.tensor([1e24, 1e122], dtype=torch.float64)
    assert_no_dtype_leaks(lambda: (phi.second_moment(q), phi.dual(q, q, gap=q / 2)))
    assert phi.second_moment(q).tolist() == pytest.approx((0.09 * q).tolist(), rel=1e-12)


@pytest.mark.parametrize("law", [WHITE, SmoothNoise()], ids=str)
def test_limits(law: PathLaw) -> None:
    model, h = Model(SingleLayer(LeakyReLU(0.3)), law, 3), X[None]
    path = model.draw(8, samples=1, dtype=torch.float64)
    assert_no_dtype_leaks(lambda: limit(model).solve(h, path, steps=8))


def test_the_slope_of_a_leaky_relu_has_all_its_digits() -> None:
    torch.set_default_dtype(torch.float32)
    x = torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64)
    assert LeakyReLU(0.3).prime(x).tolist() == [0.3, 0.3, 1.0]


def test_a_leak_is_noticed() -> None:
    x = torch.tensor([-1.0], dtype=torch.float64)
    with pytest.raises(AssertionError):
        assert_no_dtype_leaks(lambda: torch.where(x > 0, 1.0, 0.3).to(x.dtype))


def test_a_default_for_a_while_ends_with_an_error_too() -> None:
    with pytest.raises(KeyError, match="float32"), default_dtype(torch.float32):
        {}[torch.zeros(()).dtype]
    assert torch.get_default_dtype() == torch.float64
