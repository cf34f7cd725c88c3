"""Named streams: one name, one sequence of numbers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from resnet_sde import generator
from resnet_sde.streams import Stream, _torch_generator, as_stream, check_seed, stream

DTYPES = [torch.float32, torch.float64]
FILLS = ["normal_", "uniform_", "rademacher_"]
KEYS = st.lists(st.one_of(st.text(max_size=5), st.integers(), st.floats(allow_nan=False)), max_size=4)

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
every_fill = pytest.mark.parametrize("fill", FILLS)


def numbers(source: Stream, fill: str = "normal_", dtype: torch.dtype = torch.float64, n: int = 64) -> Tensor:
    return getattr(source, fill)(torch.empty(n, dtype=dtype))


@every_fill
@every_dtype
def test_the_name_decides_the_numbers(fill: str, dtype: torch.dtype) -> None:
    first = numbers(stream(3, "a", 1), fill, dtype)
    assert torch.equal(first, numbers(stream(3, "a", 1), fill, dtype))
    for other in (
        stream(3, "a", 2),
        stream(3, "b", 1),
        stream(4, "a", 1),
        stream(3, "a"),
        stream(3, ("a", 1)),
    ):
        assert not torch.equal(first, numbers(other, fill, dtype))


@given(seed=st.integers(0), first=KEYS, second=KEYS)
def test_any_key_is_a_name(seed: int, first: list[object], second: list[object]) -> None:
    same = torch.equal(numbers(stream(seed, *first)), numbers(stream(seed, *second)))
    assert same == (repr(first) == repr(second))
    a, b = generator(seed, *first), generator(seed, *second)
    assert torch.equal(torch.rand(8, generator=a), torch.rand(8, generator=b)) == same


@pytest.mark.parametrize(("scalar", "plain"), [(np.float64(0.5), 0.5), (np.int64(7), 7), (np.str_("a"), "a")])
def test_a_scalar_of_numpy_is_the_number_it_holds(scalar: object, plain: object) -> None:
    assert torch.equal(numbers(stream(0, scalar)), numbers(stream(0, plain)))
    assert torch.equal(numbers(stream(np.int64(5))), numbers(stream(5)))


def test_numbers_do_not_depend_on_the_order_of_work() -> None:
    late = stream(0, "late")
    numbers(stream(0, "early"))
    assert torch.equal(numbers(late), numbers(stream(0, "late")))


@every_dtype
def test_a_stream_moves_on(dtype: torch.dtype) -> None:
    source = stream(0)
    assert not torch.equal(numbers(source, dtype=dtype), numbers(source, dtype=dtype))


@pytest.mark.parametrize(
    "source", [generator(0, "twister"), stream(1, "twister").torch], ids=["generator", "stream"]
)
def test_all_words_of_the_twister_come_from_the_name(source: torch.Generator) -> None:
    words = source.get_state()[24 : 24 + 8 * 624].view(torch.int64).numpy().astype(np.uint32)
    peer = np.random.MT19937(0)
    peer.state = {"bit_generator": "MT19937", "state": {"key": words, "pos": 624}}
    found = torch.empty(2000, dtype=torch.int32).random_(generator=source)
    assert np.array_equal(found.numpy(), peer.random_raw(2000) % 2**31)

    short = torch.Generator().manual_seed(source.initial_seed())
    assert not (short.get_state()[24 : 24 + 8 * 624].view(torch.int64).numpy() == words)[1:].any()


def test_streams_with_one_short_seed_differ() -> None:
    class SameSeed(np.random.SeedSequence):
        """Sequences that agree in the 64 bits that `manual_seed` is given."""

        def generate_state(self, n_words: int, dtype: type = np.uint32) -> np.ndarray:
            return np.array([77], np.uint64) if n_words == 1 else super().generate_state(n_words, dtype)

    first, second, again = (_torch_generator(SameSeed(n), torch.device("cpu")) for n in (1, 2, 1))
    assert first.initial_seed() == second.initial_seed()
    draws = [torch.rand(100, generator=g) for g in (first, second, again)]
    assert not torch.isin(draws[0], draws[1]).any()
    assert torch.equal(draws[0], draws[2])


@every_dtype
@pytest.mark.parametrize(
    ("fill", "moments"),
    [("normal_", (0, 1, 0, 3)), ("uniform_", (0, 1, 0, 1.8)), ("rademacher_", (0, 1, 0, 1))],
    ids=FILLS,
)
def test_moments(fill: str, moments: tuple[float, ...], dtype: torch.dtype) -> None:
    n = 200_001
    x = numbers(stream(0, "moments"), fill, dtype, n).double()
    for power, moment in enumerate(moments, start=1):
        values = x**power
        # False alarm 1e-5 each; the floor is for signs, whose even powers do not vary.
        assert abs(float(values.mean()) - moment) < 4.42 * float(values.std()) / math.sqrt(n) + 1e-12
    neighbours = x[1:] * x[:-1]
    assert abs(float(neighbours.mean())) < 4.42 / math.sqrt(n)


@every_dtype
def test_support(dtype: torch.dtype) -> None:
    edge = math.sqrt(3.0) * (1 + torch.finfo(dtype).eps)
    uniform = numbers(stream(0), "uniform_", dtype, 100_000)
    assert float(uniform.abs().max()) <= edge
    assert float(uniform.min()) < -0.9999 * edge
    assert float(uniform.max()) > 0.9999 * edge
    for n in (1, 7, 8, 9, 1000):
        assert set(numbers(stream(0), "rademacher_", dtype, n).tolist()) <= {-1.0, 1.0}


@every_fill
@every_dtype
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 0)], ids=str)
def test_fills_in_place_and_returns_what_it_filled(
    fill: str, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    out = torch.full(shape, math.nan, dtype=dtype)
    assert getattr(stream(0), fill)(out) is out
    assert bool(out.isfinite().all())


@pytest.mark.parametrize("fill", ["uniform_", "normal_"])
def test_only_contiguous_floats_can_be_filled(fill: str) -> None:
    with pytest.raises(TypeError, match="contiguous float32 or float64"):
        getattr(stream(0), fill)(torch.empty(4, 4).mT)
    with pytest.raises(TypeError, match="contiguous float32 or float64"):
        stream(0).uniform_(torch.empty(4, dtype=torch.float16))


def test_streams_pass_through() -> None:
    source = stream(0)
    assert as_stream(source) is source


def test_a_generator_seeds_a_stream_and_moves_on() -> None:
    source = generator(0)
    first, second = as_stream(source), as_stream(source)
    draws = [numbers(s) for s in (first, second, as_stream(generator(0)))]
    assert not torch.equal(draws[0], draws[1])
    assert torch.equal(draws[0], draws[2])


@pytest.mark.usefixtures("global_random")
def test_none_is_the_default_generator() -> None:
    torch.manual_seed(5)
    first = numbers(as_stream(None))
    torch.manual_seed(5)
    assert torch.equal(first, numbers(as_stream(None)))
    assert not torch.equal(first, numbers(as_stream(None)))


@pytest.mark.parametrize("seed", [-1, 0.0, 1.5, "0", None, True, np.float64(1), [1]], ids=repr)
def test_bad_seeds_are_refused(seed: object) -> None:
    for use in (check_seed, stream, generator):
        with pytest.raises(ValueError, match="seed must be a non-negative integer"):
            use(seed)


def test_large_seeds_are_good_seeds() -> None:
    big = 2**200
    assert check_seed(big) == big
    assert not torch.equal(numbers(stream(big)), numbers(stream(big + 1)))


@pytest.mark.gpu
@every_fill
@every_dtype
def test_another_device_type_has_its_own_numbers(fill: str, dtype: torch.dtype) -> None:
    def draw() -> Tensor:
        return getattr(stream(0, "d", device="cuda"), fill)(torch.empty(64, dtype=dtype, device="cuda")).cpu()

    assert torch.equal(draw(), draw())
    assert not torch.equal(draw(), numbers(stream(0, "d"), fill, dtype))
    assert torch.rand(3, generator=generator(0, device="cuda"), device="cuda").shape == (3,)


def test_a_key_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="give the objects in it a __repr__"):
        stream(0, "simulate", object())
