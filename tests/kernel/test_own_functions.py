"""Activations made of functions: what is seen of them, and what is refused in a sentence."""

import copy
import pickle
from collections.abc import Callable
from functools import partial

import own_functions as own
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import resnet_sde as rs
from resnet_sde import Activation
from resnet_sde._names import stable_name
from resnet_sde.runs.describe import Walk

F64 = {"dtype": torch.float64}
ONE = torch.ones((), **F64)

REFUSED = {
    own.nowhere: "is not finite at x = -2.9",
    own.softmax: "is not elementwise",
    own.centred: "is not elementwise",
    own.transposed: "must keep shape and dtype",
    own.dropout: "draws random numbers",
    own.drawn_and_single: "float32",
    own.in_place: "writes into what it is given",
    own.complex_: "complex128",
    own.single: "float32",
    own.rounded_to_single: "digits of float32",
    own.partly_rounded_to_single: "partly_rounded_to_single.* loses digits",
    own.by_numpy: "autograd cannot follow",
    own.detached: "autograd cannot follow",
    own.number: "returned float",
    own.constant: "is constant",
    torch.nn.SiLU: "is made of a function of a tensor",
    nn.PReLU(): "has parameters",
    3: "is made of a function of a tensor",
}


@pytest.mark.parametrize(("f", "reason"), REFUSED.items(), ids=lambda x: getattr(x, "__name__", None))
def test_what_is_no_activation_is_refused(f: Callable[[Tensor], Tensor], reason: str) -> None:
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match=reason) as caught:
        Activation.of(f)
    assert str(caught.value).count(". ") == 0
    assert torch.equal(torch.get_rng_state(), state)


def test_a_function_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="top level of a module"):
        Activation.of(lambda x: torch.tanh(x))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"odd": False}, "is odd; leave odd out"),
        ({"homogeneous": True}, "is not homogeneous"),
        ({"derivative": own.slope_off_by_1e_8}, "not that of autograd"),
        ({"derivative": torch.cos}, "not that of autograd"),
        ({"derivative": own.single}, "must keep the shape and dtype"),
    ],
)
def test_what_is_said_wrongly_is_refused(given: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Activation.of(torch.tanh, **given)  # type: ignore[arg-type]


MOMENTS = {
    own.step: "jumps at x = 0.2",
    own.small_step: "jumps at x = 0.4",
    own.nan_far_out: "not finite at x = 4",
    own.grows: "not finite",
    own.wiggle: "changes too fast",
    own.sine_off_by_1e_8: "its derivative is not that of its function",
    functional.hardsigmoid: "its derivative is not that of its function",  # 1/6 in float32
}


@pytest.mark.parametrize(("f", "reason"), MOMENTS.items(), ids=lambda x: getattr(x, "__name__", None))
def test_moments_that_cannot_be_had_are_refused(f: Callable[[Tensor], Tensor], reason: str) -> None:
    phi = Activation.of(f)
    for ask in (
        lambda: phi.second_moment(ONE),
        lambda: phi.dual(ONE, ONE, gap=ONE / 2),
        lambda: rs.meanfield.phase(phi, 1.5),
    ):
        with pytest.raises(ValueError, match=reason) as caught:
            ask()
        assert str(caught.value).startswith(f"Gaussian moments of {phi} are not known to 1e-10: ")


def test_growth_is_refused_where_it_counts() -> None:
    phi = Activation.of(own.exponential)
    q = torch.tensor([0.1, 1.0], **F64)
    torch.testing.assert_close(phi.second_moment(q), torch.exp(2 * q), rtol=1e-10, atol=0)
    for large in (9.0, 100.0, 1e4):
        with pytest.raises(ValueError, match="not known to 1e-10"):
            phi.second_moment(torch.tensor(large, **F64))


@pytest.mark.parametrize(
    ("f", "kinks"),
    [
        (own.unknown_kink, [(0.3712, 1.0)]),
        (own.two_kinks, [(-0.71, 1.0), (2.3, -1.0)]),
        (own.weak_kink, [(0.35, 1e-4)]),
        (functional.hardtanh, [(-1.0, 1.0), (1.0, -1.0)]),
        (functional.elu, [(0.0, 0.0)]),
        (functional.silu, []),
    ],
)
def test_kinks_are_found(f: Callable[[Tensor], Tensor], kinks: list[tuple[float, float]]) -> None:
    phi = Activation.of(f)
    found = phi._moments.pieces.kinks  # type: ignore[attr-defined]
    assert len(found) == len(kinks)
    for kink, (at, jump) in zip(found, kinks, strict=True):
        assert kink.at == pytest.approx(at, abs=1e-12)
        assert kink.slope == pytest.approx(jump, rel=1e-9)
    assert phi.smooth == (not kinks)


def test_kinks_that_are_named_change_nothing() -> None:
    found = [
        Activation.of(own.unknown_kink, kinks=k).dual_prime(ONE, ONE, gap=ONE / 3) for k in ((), (0.3712,))
    ]
    torch.testing.assert_close(*found, rtol=1e-12, atol=0)


def test_facts_are_seen() -> None:
    facts = {
        f: (phi.homogeneous, phi.odd)
        for f in (torch.relu, torch.tanh, torch.sigmoid, functional.celu, own.snake)
        for phi in [Activation.of(f)]
    }
    assert facts == {
        torch.relu: (True, False),
        torch.tanh: (False, True),
        torch.sigmoid: (False, False),
        functional.celu: (False, False),
        own.snake: (False, False),
    }


def test_a_derivative_that_is_written_is_used() -> None:
    phi = Activation.of(own.by_numpy, derivative=torch.cos)
    x = torch.linspace(-3, 3, 7, **F64)
    assert torch.equal(phi.prime(x), torch.cos(x))
    assert torch.equal(phi.pullback(x, x), x * torch.cos(x))
    sine = rs.activation("sin")
    torch.testing.assert_close(phi.dual(ONE, ONE, gap=ONE), sine.dual(ONE, ONE, gap=ONE))


def test_a_constant_in_single_precision_is_its_own_number() -> None:
    phi = Activation.of(own.single_constant)
    factor = float(torch.tensor(0.3, dtype=torch.float32))
    torch.testing.assert_close(
        phi.second_moment(ONE), factor**2 * rs.TANH.second_moment(ONE), rtol=1e-11, atol=0
    )


def test_names_are_those_of_functions() -> None:
    phi = Activation.of(own.snake)
    assert str(phi) == stable_name(phi) == "Activation.of(own_functions.snake)"
    assert phi == Activation.of(own.snake) != Activation.of(own.two_kinks)
    assert hash(phi) == hash(Activation.of(own.snake))
    elu = Activation.of(partial(functional.elu, alpha=0.5))
    assert str(elu) == "Activation.of(partial(torch.nn.functional.elu, (), {'alpha': 0.5}))"
    assert pickle.loads(pickle.dumps(phi)) == copy.deepcopy(phi) == phi


def test_stores_notice_another_code_of_the_function() -> None:
    before = Walk().whole(Activation.of(own.snake))
    assert before == Walk().whole(Activation.of(own.snake))
    code = own.snake.__code__
    try:
        own.snake.__code__ = own.unknown_kink.__code__
        assert Walk().whole(Activation.of(own.snake)) != before
    finally:
        own.snake.__code__ = code


@pytest.mark.parametrize("block", [rs.SingleLayer, rs.TwoLayer, rs.Reduced])
def test_networks_with_a_function_are_those_with_the_activation(block: type[rs.SingleLayer]) -> None:
    x = torch.linspace(-1, 1, 6, **F64)[None]
    watched = [rs.observables.log10_length, rs.observables.log10_gradient_displacement]
    found = []
    for phi in (Activation.of(torch.sin), rs.activation("sin")):
        model = rs.Model(block(phi), rs.WhiteNoise(), 5, beta=0.5)
        h = torch.randn(3, 1, 5, generator=torch.Generator().manual_seed(0), **F64)
        path = model.draw(6, samples=3, seed=0, dtype=torch.float64)
        found.append(rs.forward(model.block, h, path.layers(6), model.alpha(6))[-1])
        assert rs.simulate(model, x, depth=4, samples=3, observe=watched)["log10_length"].isfinite().all()
        assert rs.meanfield.lengths(model, depth=4).log_q.isfinite().all()
    torch.testing.assert_close(*found, rtol=0, atol=0)
