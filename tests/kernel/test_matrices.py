"""Dense and deferred matrices: the same questions, and exactly the same law of the answers."""

import math

import pytest
import torch
from linear_maps import covariance, linear_map
from torch import Tensor

from resnet_sde.matrices import Deferred, Dense, Identity, Matrix
from resnet_sde.streams import Stream, stream


def probes(kind: str, count: int, size: int) -> Tensor:
    """Vectors to look along, (1, count, size)."""
    x = torch.randn(1, count, size, generator=stream(0, kind, count, size).torch)
    if kind == "zero":
        x[:, 0] = 0
    elif kind == "all zero":
        x.zero_()
    elif kind == "identical":
        x[:] = x[:, :1]
    elif kind == "nearly parallel":
        x[:] = x[:, :1] + 1e-9 * x
    elif kind == "far apart in size":
        x *= 10.0 ** torch.linspace(-12, 12, count)[:, None] if count > 1 else 1e-12
    return x


KINDS = ["general", "zero", "all zero", "identical", "nearly parallel", "far apart in size"]
SIZES = [(1, 5, 4), (1, 1, 1), (2, 5, 3), (3, 3, 5), (4, 4, 4), (5, 3, 2), (7, 2, 6)]  # (inputs, in, out)

every_kind = pytest.mark.parametrize("kind", KINDS)
every_size = pytest.mark.parametrize(
    ("inputs", "fan_in", "fan_out"), SIZES, ids=lambda n: str(n) if isinstance(n, int) else None
)


def dense(source: Stream, fan_in: int, fan_out: int) -> Dense:
    return Dense(source.normal_(torch.empty(1, fan_in, fan_out)))


def deferred(source: Stream, _: int, fan_out: int) -> Deferred:
    return Deferred(source, fan_out)


def answers(matrix: Matrix, x: Tensor, p: Tensor, scale: float = 0.7) -> Tensor:
    """Everything that is seen of a matrix, in units of the probes it was asked for."""
    look, back = matrix.matvec(x, scale), matrix.rmatvec(p, scale)
    return torch.cat([(look / norms(x)).flatten(), (back / norms(p)).flatten()])


def norms(x: Tensor) -> Tensor:
    return x.norm(dim=-1, keepdim=True).clamp(min=1e-100)


@every_kind
@every_size
def test_deferred_has_exactly_the_law_of_dense(kind: str, inputs: int, fan_in: int, fan_out: int) -> None:
    # Both are linear in their normal numbers, so one covariance says all. It is right for every fixed p, so
    # what is seen back has the right law given what was seen forward, even where p is chosen after it.
    x, p = probes(kind, inputs, fan_in), probes(kind, inputs, fan_out).flip(1)
    laws = [covariance(lambda s, m=m: answers(m(s, fan_in, fan_out), x, p)) for m in (dense, deferred)]
    torch.testing.assert_close(laws[1], laws[0], rtol=0, atol=1e-13)


def test_that_comparison_sees_a_small_error() -> None:
    x, p = probes("general", 2, 5), probes("general", 2, 3)

    def without_memory(source: Stream, _: int, fan_out: int) -> Matrix:
        """Looks back without remembering what it has answered before."""
        matrix = Deferred(source, fan_out)
        matrix.matvec(torch.zeros_like(x))
        first = Deferred(source, fan_out)
        return _Pair(first, matrix)

    exact = covariance(lambda s: answers(dense(s, 5, 3), x, p))
    wrong = covariance(lambda s: answers(without_memory(s, 5, 3), x, p))
    assert float((exact - wrong).abs().max()) > 0.1


class _Pair:
    def __init__(self, forward: Matrix, back: Matrix) -> None:
        self.matvec, self.rmatvec = forward.matvec, back.rmatvec


def test_nearly_parallel_probes_keep_their_difference() -> None:
    x, p = probes("general", 2, 5), probes("general", 2, 3)
    tiny = 1e-9
    x[:, 1] = x[:, 0] + tiny * x[:, 1]
    p[:, 1] = p[:, 0] + tiny * p[:, 1]

    def differences(matrix: Matrix) -> Tensor:
        look, back = matrix.matvec(x), matrix.rmatvec(p)
        return torch.cat([(y[:, 1] - y[:, 0]).flatten() for y in (look, back)]) / tiny

    laws = [covariance(lambda s, m=m: differences(m(s, 5, 3))) for m in (dense, deferred)]
    # A difference of 1e-9 keeps 7 digits, and these variances are about 5.
    torch.testing.assert_close(laws[1], laws[0], rtol=0, atol=1e-5)


@every_kind
@every_size
@pytest.mark.parametrize("make", [dense, deferred])
def test_looking_back_is_the_adjoint(kind: str, inputs: int, fan_in: int, fan_out: int, make: object) -> None:
    x, p = probes(kind, inputs, fan_in), probes(kind, inputs, fan_out).flip(1)
    matrix = make(stream(0, "adjoint"), fan_in, fan_out)
    y, t = matrix.matvec(x, 0.7), matrix.rmatvec(p, 0.7)
    size = norms(x).mT.clamp(min=1e-30) * norms(p)
    torch.testing.assert_close(p @ y.mT / size, t @ x.mT / size, rtol=0, atol=1e-12)


@pytest.mark.parametrize("inputs", [2, 3, 9])
def test_equal_probes_get_equal_answers(inputs: int) -> None:
    x, p = probes("identical", inputs, 5), probes("identical", inputs, 4)
    matrix = Deferred(stream(0), 4)
    for answer in (matrix.matvec(x), matrix.rmatvec(p)):
        torch.testing.assert_close(answer, answer[:, :1].expand_as(answer), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", [dense, deferred])
@pytest.mark.parametrize("inputs", [1, 3])
def test_answers_scale_with_the_probe(make: object, inputs: int) -> None:
    x, p = probes("general", inputs, 6), probes("general", inputs, 5)

    def ask(factor: float, scale: float) -> Tensor:
        matrix = make(stream(0, "scaling"), 6, 5)
        return torch.cat([matrix.matvec(factor * x, scale).mT, matrix.rmatvec(factor * p, scale).mT], dim=1)

    torch.testing.assert_close(ask(8.0, 1.0), 8.0 * ask(1.0, 1.0), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(ask(1.0, 0.3), 0.3 * ask(1.0, 1.0), rtol=1e-13, atol=1e-13)
    assert not ask(1.0, 0.0).any(), "a scale of 0 is a matrix of zeros"


def test_dense_is_a_matrix_product() -> None:
    source = stream(0)
    v = source.normal_(torch.empty(3, 5, 4))
    x, p = source.normal_(torch.empty(3, 2, 5)), source.normal_(torch.empty(3, 2, 4))
    matrix = Dense(v)
    torch.testing.assert_close(matrix.matvec(x, 2.0), 2.0 * torch.einsum("sxi,sio->sxo", x, v))
    torch.testing.assert_close(matrix.rmatvec(p, 2.0), 2.0 * torch.einsum("spo,sio->spi", p, v))


def test_identity() -> None:
    x = probes("general", 2, 4)
    assert torch.equal(Identity().matvec(x, 0.5), 0.5 * x)
    assert torch.equal(Identity().rmatvec(x, 0.5), 0.5 * x)


@pytest.mark.parametrize("inputs", [1, 3])
def test_networks_of_an_ensemble_are_independent(inputs: int) -> None:
    x = probes("general", inputs, 4).expand(2, -1, -1).contiguous()
    p = probes("general", inputs, 3).expand(2, -1, -1).contiguous()

    def ask(source: Stream) -> Tensor:
        matrix = Deferred(source, 3)
        return torch.cat([matrix.matvec(x).flatten(1), matrix.rmatvec(p).flatten(1)], dim=1)

    size = inputs * 7
    cross = covariance(ask)[:size, size:]
    assert float(cross.abs().max()) < 1e-13


@pytest.mark.parametrize("inputs", [1, 3])
def test_storage_changes_no_number_and_holds_what_was_seen(inputs: int) -> None:
    x, p = probes("general", inputs, 5), probes("general", inputs, 4)
    plain, stored = Deferred(stream(0), 4), Deferred(stream(0), 4, torch.full((1, inputs, 4), math.nan))
    for matrix in (plain, stored):
        matrix.matvec(x, 0.3)
    assert torch.equal(plain.rmatvec(p), stored.rmatvec(p))


def test_looking_back_first_is_refused() -> None:
    with pytest.raises(RuntimeError, match="looked at forward before"):
        Deferred(stream(0), 4).rmatvec(torch.ones(1, 1, 4))


def test_deferred_draws_few_numbers() -> None:
    x, p = probes("general", 2, 50), probes("general", 2, 40)
    drawn = linear_map(lambda s: answers(Deferred(s, 40), x, p)).shape[0]
    assert drawn == 2 * 50 + 2 * 40


@pytest.mark.parametrize("inputs", [1, 3])
def test_float32_is_float64_to_its_rounding(inputs: int) -> None:
    x, p = probes("general", inputs, 20), probes("general", inputs, 20)
    numbers = torch.randn(2, 1, inputs, 20, generator=stream(0).torch)

    class Recorded(Stream):
        def __init__(self) -> None:
            self.left = list(numbers)

        def normal_(self, out: Tensor) -> Tensor:
            return out.copy_(self.left.pop(0))

    wide = answers(Deferred(Recorded(), 20), x, p)
    narrow = answers(Deferred(Recorded(), 20), x.float(), p.float())
    torch.testing.assert_close(narrow.double(), wide, rtol=0, atol=1e-5)  # some twenty roundings of 6e-8
