"""Ensembles: what is asked, how it is cut into chunks, and that order, threads and company do not matter."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from resnet_sde import (
    RELU,
    TANH,
    Block,
    ConstantNoise,
    FractionalNoise,
    LeakyReLU,
    Model,
    PathLaw,
    Reduced,
    SingleLayer,
    SmoothNoise,
    TwoLayer,
    WhiteNoise,
    generator,
    simulate,
)
from resnet_sde import observables as ob
from resnet_sde.monte_carlo import _CHUNK_ELEMENTS, Ensemble, choose_method, gather, plan, simulate_chunks
from resnet_sde.propagate import Trajectory, Workspace

WHITE = WhiteNoise()
SMALL = Model(TwoLayer(RELU), WHITE, width=6)
X = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.1, 2.0]], dtype=torch.float64)
EVERYTHING = [*ob.LOG_RATIOS, ob.log10_length, ob.log10_gradient_length, ob.kernel, ob.cosine]
MODELS = [
    SMALL,
    Model(SingleLayer(TANH, 1.0, 0.2), WHITE, 6),
    Model(Reduced(RELU), WHITE, 6),
    Model(TwoLayer(TANH, 1.0, 0.1, 1.0, 0.1), WhiteNoise("uniform"), 6),
    Model(TwoLayer(RELU), FractionalNoise(0.7), 6),
    Model(SingleLayer(LeakyReLU(0.3)), SmoothNoise(0.2), 6),
    Model(SingleLayer(LeakyReLU(0.3)), ConstantNoise(), 6),
]

every_model = pytest.mark.parametrize("model", MODELS, ids=str)


@pytest.fixture
def networks_in_a_chunk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    # Imported by name: the package's attribute `simulate` is the function.
    module = import_module("resnet_sde.monte_carlo")
    return lambda count: monkeypatch.setattr(module, "_CHUNK_NETWORKS", count)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def ensemble(model: Model = SMALL, samples: int = 20, depth: int = 5, **more: object) -> Ensemble:
    request = {"observe": EVERYTHING, "gradients": True, "method": "auto", "seed": 0, **more}
    return plan(model, X, depth=depth, samples=samples, **request)


def run(model: Model = SMALL, x: Tensor = X, **more: object) -> dict[str, Tensor]:
    request = {"depth": 5, "samples": 20, "observe": EVERYTHING, **more}
    return simulate(model, x, **request)


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


@every_model
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_shapes_and_dtypes(model: Model, dtype: torch.dtype) -> None:
    out = run(model, X.to(dtype))
    shapes = {name: tuple(values.shape) for name, values in out.items()}
    assert shapes == {
        **{o.__name__: (20, 2) for o in ob.LOG_RATIOS},
        "log10_length": (20, 6, 2),
        "log10_gradient_length": (20, 6, 2),
        "kernel": (20, 2, 2),
        "cosine": (20, 6, 2, 2),
    }
    assert all(values.dtype == torch.float64 for values in out.values())
    assert all(bool(values.isfinite().all()) for values in out.values())


@every_model
def test_the_seed_decides(model: Model) -> None:
    first = run(model, seed=1)
    assert_same(first, run(model, seed=1))
    other = run(model, seed=2)
    assert all(not torch.equal(first[n], other[n]) for n in first)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("method", ["dense", "deferred"])
def test_threads_change_no_bit(method: str) -> None:
    results = []
    for count in (1, 2):
        torch.set_num_threads(count)
        results.append(run(Model(TwoLayer(RELU), WHITE, 64), method=method))
        assert torch.get_num_threads() == count
    assert_same(*results)


@every_model
def test_chunks_in_any_order_and_company_give_the_same_bits(
    model: Model, networks_in_a_chunk: Callable[[int], None]
) -> None:
    networks_in_a_chunk(7)
    whole, samples = ensemble(model, samples=25), 25
    assert (whole.chunk, whole.chunks) == (7, 4)
    assert [whole.networks(g) for g in range(4)] == [slice(0, 7), slice(7, 14), slice(14, 21), slice(21, 25)]
    workspace = Workspace()
    parts = {
        g: part
        for group in ([3, 1], [0], [2])
        for g, part in zip(group, simulate_chunks(whole, X, EVERYTHING, group, workspace), strict=True)
    }
    together = gather([parts[g] for g in range(4)])
    assert_same(together, run(model, samples=samples))
    assert_same(parts[2], next(simulate_chunks(whole, X, EVERYTHING, [2])))


def test_more_samples_keep_the_full_chunks(networks_in_a_chunk: Callable[[int], None]) -> None:
    networks_in_a_chunk(8)
    few, many = run(samples=16), run(samples=30)
    assert_same(few, {name: values[:16] for name, values in many.items()})


@every_model
def test_networks_differ(model: Model, networks_in_a_chunk: Callable[[int], None]) -> None:
    networks_in_a_chunk(8)
    out = run(model, samples=24)
    for values in out.values():
        assert len(values.flatten(1).unique(dim=0)) == 24


@every_model
def test_one_x_per_network(model: Model, networks_in_a_chunk: Callable[[int], None]) -> None:
    networks_in_a_chunk(8)
    assert_same(run(model), run(model, X.expand(20, 2, 3)))
    own = torch.randn(20, 2, 3, generator=generator(0, "own"))
    own[[0, 9, 19]] = X
    mixed, shared = run(model, own), run(model)
    for n in range(20):
        same = torch.allclose(mixed["kernel"][n], shared["kernel"][n], rtol=1e-12)
        assert same == (n in (0, 9, 19)), "a network sees its own input, and nothing of the others"


def start(t: Trajectory) -> Tensor:
    return t.hidden.natural(0)


def top(t: Trajectory) -> Tensor:
    assert t.adjoint is not None
    return t.adjoint.natural(-1)


@pytest.mark.parametrize("method", ["dense", "deferred"])
def test_law_of_the_ends(method: str) -> None:
    """h_0 = A x with A_ij ~ N(0, 1/n_in), and one p_L ~ N(0, I) for all inputs, independent of it."""
    samples = 4000
    out = run(samples=samples, depth=1, observe=[start, top], gradients=True, method=method)
    h, p = out["start"], out["top"]
    assert torch.equal(p[:, 0], p[:, 1])
    for values, exact in [
        (h @ h.mT, 6 * X @ X.mT / 3),
        (h[:, 0, :1] * h[:, 0, 1:2], torch.zeros(1)),
        (p[:, 0].square(), torch.ones(6)),
        (p[:, 0, :1] * p[:, 0, 1:], torch.zeros(5)),
        (h[:, 0] * p[:, 0], torch.zeros(6)),
    ]:
        z = (values.mean(0) - exact) / values.std(0) * math.sqrt(samples)
        assert float(z.abs().max()) < 4.42, "a false alarm of 1e-5 each"


def test_gradients_run_when_an_observable_or_the_caller_asks() -> None:
    def has_gradients(t: Trajectory) -> Tensor:
        return torch.full((20,), float(t.adjoint is not None))

    for more, expected in (({}, 0.0), ({"gradients": True}, 1.0)):
        assert float(run(observe=[has_gradients], **more)["has_gradients"][0]) == expected
    asked = run(observe=[has_gradients, ob.log10_gradient_growth])
    assert float(asked["has_gradients"][0]) == 1.0


def test_layers_are_kept_only_where_they_are_looked_at() -> None:
    def states_kept(t: Trajectory) -> Tensor:
        return torch.full((20,), float(len(t.hidden.scaled)))

    assert float(run(observe=[states_kept])["states_kept"][0]) == 6, "a plain function may look at all"
    ends = ob.observable(every_layer=False)(states_kept)
    assert float(run(observe=[ends])["states_kept"][0]) == 2
    assert float(run(observe=[ends, ob.log10_length])["states_kept"][0]) == 6


def test_an_observable_may_be_an_object() -> None:
    class Largest:
        every_layer = False

        def __call__(self, t: Trajectory) -> Tensor:
            return t.hidden.natural(-1).abs().amax((1, 2))

    assert run(observe=[Largest()])["Largest"].shape == (20,)


@pytest.mark.parametrize(
    ("law", "inputs", "width", "method"),
    [
        (WHITE, 1, 2, "deferred"),
        (WHITE, 10, 40, "deferred"),
        (WHITE, 11, 40, "dense"),
        (WhiteNoise("uniform"), 1, 40, "dense"),
        (FractionalNoise(0.5), 1, 40, "dense"),
        (SmoothNoise(), 1, 40, "dense"),
    ],
    ids=str,
)
def test_auto_takes_deferred_where_it_is_exact_and_cheap(
    law: PathLaw, inputs: int, width: int, method: str
) -> None:
    model = Model(TwoLayer(RELU), law, width)
    assert choose_method(model, inputs) == method
    assert choose_method(model, inputs, "dense") == "dense"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 0}, "depth must be a positive integer, got 0"),
        ({"depth": 2.5}, "depth must be a positive integer, got 2.5"),
        ({"depth": math.inf}, "depth must be a positive integer"),
        ({"depth": math.nan}, "depth must be a positive integer"),
        ({"depth": True}, "depth must be a positive integer"),
        ({"samples": 0}, "samples must be a positive integer"),
        ({"samples": -3}, "samples must be a positive integer"),
        ({"observe": []}, "observe must be a list"),
        ({"seed": -1}, "seed must be a non-negative integer"),
        ({"method": "fast"}, "unknown method 'fast'"),
        ({"x": torch.ones(2, 3, dtype=torch.int64)}, "float32 or float64 tensor, got torch.int64"),
        ({"x": torch.ones(2, 3, dtype=torch.float16)}, "float32 or float64 tensor, got torch.float16"),
        ({"x": [[1.0]]}, "float32 or float64 tensor, got list"),
        ({"x": torch.ones(3)}, r"shape \(input, n_in\)"),
        ({"x": torch.ones(0, 3)}, r"shape \(input, n_in\)"),
        ({"x": torch.ones(20, 2, 3, 1)}, r"shape \(input, n_in\)"),
        ({"x": torch.ones(19, 2, 3)}, "inputs for 19 networks, but samples is 20"),
        ({"x": torch.tensor([[1.0, math.nan]])}, "values that are not finite"),
        ({"x": torch.tensor([[1.0, math.inf]])}, "values that are not finite"),
        ({"x": torch.tensor([[1.0, 2.0], [0.0, 0.0]])}, "zero everywhere"),
        ({"model": Model(TwoLayer(RELU), SmoothNoise(), 6), "method": "deferred"}, "white Gaussian weights"),
        ({"model": Model(TwoLayer(RELU), WhiteNoise("uniform"), 6), "method": "deferred"}, "white Gaussian"),
    ],
    ids=str,
)
def test_bad_requests_are_explained(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        run(**change)
    assert "\n" not in str(caught.value)


def test_whole_floats_are_integers() -> None:
    assert_same(run(depth=5.0, samples=20.0), run())


def test_updates_below_the_rounding_of_float32_are_reported() -> None:
    model = replace(SMALL, beta=2.0)
    with pytest.warns(UserWarning, match="float64 inputs"):
        run(model, X.float(), depth=1000, observe=[ob.growth])
    run(model, X, depth=1000, observe=[ob.growth])  # a warning would be an error
    run(replace(SMALL, gain=0.0), X.float(), observe=[ob.growth])


def test_gain_zero_is_the_identity() -> None:
    out = run(replace(SMALL, gain=0.0), observe=[ob.displacement, ob.growth, ob.gradient_displacement])
    assert not out["displacement"].any()
    assert not out["gradient_displacement"].any()
    assert torch.equal(out["growth"], torch.ones(20, 2))


BLOCKS = st.sampled_from([SingleLayer(RELU), TwoLayer(RELU, 1.0, 0.1), Reduced(TANH)])
LAWS = st.sampled_from([WHITE, WhiteNoise("rademacher"), FractionalNoise(0.3), SmoothNoise()])


@given(
    block=BLOCKS,
    law=LAWS,
    numbers=st.tuples(*[st.integers(1, 10**k) for k in (5, 6, 9, 4)]),
    flags=st.tuples(st.booleans(), st.booleans()),
)
def test_a_chunk_holds_a_bounded_number_of_numbers(
    block: Block, law: PathLaw, numbers: tuple[int, int, int, int], flags: tuple[bool, bool]
) -> None:
    width, depth, samples, inputs = numbers
    model = Model(block, law, width, beta=0.5)
    method = choose_method(model, inputs)
    asked = Ensemble(model, depth, samples, inputs, 3, *flags, method, 0)
    assert 1 <= asked.chunk <= 512
    assert (asked.chunks - 1) * asked.chunk < samples <= asked.chunks * asked.chunk
    assert replace(asked, samples=samples + 1, seed=1, n_in=7).chunk == asked.chunk
    shapes = block.shapes(width).values()
    stored = depth if any(flags) or not isinstance(law, WhiteNoise) else 1
    if method == "dense" and asked.chunk > 1:
        assert asked.chunk * stored * sum(a * b for a, b in shapes) <= _CHUNK_ELEMENTS["dense"]


def test_networks_are_many_where_they_are_small_and_few_where_they_are_large() -> None:
    assert ensemble(Model(TwoLayer(RELU), WHITE, 4)).chunk == 512
    assert ensemble(Model(TwoLayer(RELU), WHITE, 100_000)).chunk == 1
