"""Definitions of the observables, on small trajectories that can be worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from resnet_sde import generator
from resnet_sde import observables as ob
from resnet_sde.propagate import States, Trajectory

H = torch.randn(4, 3, 2, 5, generator=generator(0, "h"), dtype=torch.float64)  # (layer, sample, input, width)
P = torch.randn(4, 3, 2, 5, generator=generator(0, "p"), dtype=torch.float64)
ALL = [
    *ob.LOG_RATIOS,
    ob.displacement,
    ob.growth,
    ob.gradient_displacement,
    ob.gradient_growth,
    ob.log10_length,
    ob.log10_gradient_length,
    ob.kernel,
    ob.cosine,
]


def natural(h: Tensor = H, p: Tensor | None = P) -> Trajectory:
    zero = torch.zeros(*h.shape[:-1], 1)
    return Trajectory(States(h, zero), None if p is None else States(p, zero))


def carried(h: Tensor = H, p: Tensor = P) -> Trajectory:
    """The same states at other scales: every network, input and layer has its own."""
    exponent = torch.randint(-40, 40, (*h.shape[:-1], 1), generator=generator(0, "e")).double()
    return Trajectory(
        States(list(torch.ldexp(h, -exponent)), list(exponent)),
        States(list(torch.ldexp(p, exponent)), list(-exponent)),
    )


def norm(x: Tensor) -> Tensor:
    return x.square().sum(-1).sqrt()


@pytest.mark.parametrize("make", [natural, carried])
def test_definitions(make: object) -> None:
    t = make()
    unit = H / norm(H)[..., None]
    definitions = {
        ob.displacement: norm(H[3] - H[0]) / norm(H[0]),
        ob.growth: norm(H[3]) / norm(H[0]),
        ob.gradient_displacement: norm(P[0] - P[3]) / norm(P[3]),
        ob.gradient_growth: norm(P[0]) / norm(P[3]),
        ob.log10_displacement: (norm(H[3] - H[0]) / norm(H[0])).log10(),
        ob.log10_growth: (norm(H[3]) / norm(H[0])).log10(),
        ob.log10_gradient_displacement: (norm(P[0] - P[3]) / norm(P[3])).log10(),
        ob.log10_gradient_growth: (norm(P[0]) / norm(P[3])).log10(),
        ob.log10_length: (norm(H) / math.sqrt(5)).log10().transpose(0, 1),
        ob.log10_gradient_length: (norm(P) / math.sqrt(5)).log10().transpose(0, 1),
        ob.kernel: torch.einsum("sxi,syi->sxy", H[3], H[3]) / 5,
        ob.cosine: torch.einsum("lsxi,lsyi->slxy", unit, unit),
    }
    assert set(definitions) == set(ALL)
    for observe, expected in definitions.items():
        torch.testing.assert_close(observe(t), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("observe", ALL, ids=lambda o: o.__name__)
def test_axes_are_those_declared(observe: ob.Observable) -> None:
    sizes = {"layer": 4, "input": 2, "other_input": 2}
    assert observe(natural()).shape == (3, *(sizes[d] for d in observe.dims))
    assert isinstance(observe, ob.Observable)
    assert observe(natural(H.float(), P.float())).dtype == torch.float64
    assert observe.every_layer == ("layer" in observe.dims)
    assert observe.gradients == ("gradient" in observe.__name__)


@pytest.mark.parametrize("observe", [o for o in ALL if o.gradients], ids=lambda o: o.__name__)
def test_gradients_are_asked_for(observe: ob.Observable) -> None:
    with pytest.raises(ValueError, match="needs the backward pass; give gradients=True"):
        observe(natural(p=None))


def test_numbers_beyond_floats() -> None:
    far = torch.full((1, 1, 1), 5000.0)
    zero = torch.zeros(1, 1, 1)
    h = torch.tensor([0.6, 0.8]).double().view(1, 1, 2)
    up = Trajectory(States([h, h.flip(-1)], [zero, far]))
    down = Trajectory(States([h, h.flip(-1)], [far, zero]))
    expected = 5000 * math.log10(2)
    for t, sign in ((up, 1.0), (down, -1.0)):
        assert float(ob.log10_growth(t)) == pytest.approx(sign * expected, rel=1e-14)
        assert float(ob.log10_displacement(t)) == pytest.approx(max(0.0, sign * expected), rel=1e-14)
    assert float(ob.growth(up)) == math.inf
    assert float(ob.growth(down)) == 0.0
    assert float(ob.cosine(up)[0, 1, 0, 0]) == pytest.approx(1.0)


def test_large_and_small_entries_do_not_spoil_norms() -> None:
    for size in (1e25, 1e-25):
        h = (H * size).float()
        torch.testing.assert_close(ob.growth(natural(h)), ob.growth(natural()), rtol=1e-6, atol=0)


def test_no_displacement_is_zero() -> None:
    still = H[:1].expand(4, -1, -1, -1)
    assert not ob.displacement(natural(still)).any()
    assert bool((ob.log10_displacement(natural(still)) == -math.inf).all())
    assert torch.equal(ob.growth(natural(still)), torch.ones(3, 2))


def test_marks() -> None:
    @ob.observable("input", every_layer=True, gradients=True)
    def mine(t: Trajectory) -> Tensor:
        return t.hidden.natural(0)[..., 0]

    assert (mine.dims, mine.every_layer, mine.gradients) == (("input",), True, True)
    assert mine.__name__ == "mine"
    assert mine(natural()).shape == (3, 2)
