"""The stand-in for a CUDA device refuses what a device refuses, and sees one tensor or generator of the CPU.

In each module that handles devices something is made to be on the CPU that should be on the device; the same
call without it goes through.
"""

import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from pretended_cuda import pretended_cuda
from small_training import CONFIG, data, job
from torch import Tensor

import resnet_sde as rs
from resnet_sde import observables as ob
from resnet_sde.blocks import Convolution
from resnet_sde.finite_width import finite_size_pair
from resnet_sde.matrices import Dense
from resnet_sde.meanfield import critical_line, gaps, kernel, tangent_kernel
from resnet_sde.networks import StackedResNets
from resnet_sde.training import Run

REFUSED = "same device|device type for generator|can't convert cuda|on cpu, and states of"
FULL = rs.TwoLayer(rs.TANH, 1.2, 0.1, 0.8, 0.2)
BOTH = [ob.log10_displacement, ob.log10_gradient_growth]


@pytest.fixture(autouse=True)
def stand_in() -> Iterator[None]:
    with pretended_cuda():
        yield


def states(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=rs.generator(0, "planted", shape)).cuda()


OPERATIONS: dict[str, Callable[[Tensor, Tensor], object]] = {
    "two devices": lambda there, here: there + here,
    "written to the CPU": lambda there, here: here.add_(there),
    "a product into the CPU": lambda there, here: torch.mm(there, there, out=here),
    "joined": lambda there, here: torch.cat([there, here]),
    "a number joined": lambda there, here: torch.stack([there[0, 0], here[0, 0]]),
    "a generator of the CPU": lambda there, here: there.normal_(generator=torch.Generator()),
    "one of the device": lambda there, here: here.normal_(generator=torch.Generator("cuda")),
    "a factory": lambda there, here: torch.rand(2, device="cuda", generator=torch.Generator()),
    "numpy": lambda there, here: there.numpy(),
    "asarray": lambda there, here: np.asarray(there),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_a_device_refuses_is_refused(name: str) -> None:
    with pytest.raises((RuntimeError, TypeError, ValueError), match=REFUSED):
        OPERATIONS[name](torch.ones(2, 2, device="cuda"), torch.ones(2, 2))


def test_what_a_device_does_is_done() -> None:
    here, there = torch.arange(4.0).view(2, 2), torch.arange(4.0).view(2, 2).cuda()
    there.requires_grad_()
    found = (there[torch.tensor([1, 0])] * torch.tensor(2.0) @ there).square().sum()
    found.backward()
    expected = here.clone().requires_grad_()
    ((expected[[1, 0]] * 2.0) @ expected).square().sum().backward()
    assert (found.device, there.grad.device) == (torch.device("cuda:0"), torch.device("cuda:0"))
    assert torch.equal(there.grad.cpu(), expected.grad)
    assert torch.empty_like(there).is_cuda
    assert not there.to("cpu", torch.float32).is_cuda
    assert there.detach().copy_(here + 1).tolist() == (here + 1).tolist()


def solve(model: rs.Model) -> object:
    equation, h = rs.limit(model), states(2, 1, 8)
    if not equation.coupled:
        return equation.solve(h, steps=4)
    return equation.solve(h, model.draw(8, samples=2, device="cuda"), steps=4)


def simulate(law: rs.PathLaw, method: str = "dense", block: rs.Block = FULL, observe: list = BOTH) -> object:
    model = rs.Model(block, law, 8)
    return rs.simulate(model, states(2, 6), depth=4, samples=2, observe=observe, method=method)


def train() -> None:
    Run([job()] * 2, CONFIG, data(), device="cuda").advance()


def forward() -> None:
    model = rs.Model(rs.SingleLayer(rs.TANH), rs.WhiteNoise(), 8)
    stack = StackedResNets([model] * 2, depth=3, n_in=6, n_out=2, seeds=[0, 1], device="cuda")
    stack(states(5, 6)).square().sum().backward()


def couple(width: int, **options: object) -> object:
    model = rs.Model(rs.SingleLayer(rs.TANH), rs.WhiteNoise(), width)
    return rs.couple(model, states(1, width), depths=(2, 4), samples=2, reference=8, **options)


def dual(phi: rs.Activation) -> Tensor:
    q = torch.tensor([0.5, 1.0]).cuda()
    return phi.dual(q, q, gap=torch.zeros_like(q)) + q


def results_on_cpu(f: Callable[..., Any]) -> Callable[..., Any]:
    def planted(*args: Any, **kwargs: Any) -> Any:
        found = f(*args, **kwargs)
        if isinstance(found, tuple):
            return tuple(part.cpu() for part in found)
        return found.cpu()

    return planted


def device_forgotten(f: Callable[..., Any]) -> Callable[..., Any]:
    def planted(*args: Any, **kwargs: Any) -> Any:
        where = [torch.device("cpu") if isinstance(a, torch.device) else a for a in args]
        return f(*where, **{**kwargs, "device": "cpu"} if "device" in kwargs else kwargs)

    return planted


def matrix_on_cpu(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda matrix, networks: Dense(f(matrix, networks).entries.cpu())


WHITE, SMOOTH, ROUGH = rs.WhiteNoise(), rs.SmoothNoise(0.3), rs.FractionalNoise(0.8)
LONG_MEMORY, RED = rs.FractionalNoise(0.9), rs.AutoregressiveNoise(0.5)
CONVOLUTION = Convolution(rs.SingleLayer(rs.TANH), (4,))
PLANTED: dict[str, tuple[Callable[..., Any], Callable[[], object]]] = {
    "monte_carlo.stream": (device_forgotten, lambda: simulate(WHITE)),
    "propagate.Workspace.take": (results_on_cpu, lambda: simulate(WHITE)),
    "matrices._orthonormal": (results_on_cpu, lambda: simulate(WHITE, "deferred")),
    "matrices.Dense.rmatvec": (results_on_cpu, lambda: simulate(WHITE)),
    "activations.classic.Tanh.__call__": (results_on_cpu, lambda: simulate(WHITE)),
    "blocks.convolution._Convolved._patches": (results_on_cpu, lambda: simulate(WHITE, block=CONVOLUTION)),
    "jacobians._of": (matrix_on_cpu, lambda: simulate(WHITE, observe=[ob.jacobian_singular_values])),
    "fractional._circulant": (device_forgotten, lambda: simulate(ROUGH)),
    "paths._smooth_factor": (device_forgotten, lambda: simulate(SMOOTH)),
    "paths.FilteredPath.weights": (results_on_cpu, lambda: simulate(RED)),
    "model.stream": (device_forgotten, lambda: solve(rs.Model(FULL, ROUGH, 8, beta=0.8))),
    "limits.sde.stream": (device_forgotten, lambda: solve(rs.Model(rs.TwoLayer(rs.RELU), WHITE, 8))),
    "limits.sde._PathBrownian.__call__": (
        results_on_cpu,
        lambda: solve(rs.Model(rs.SingleLayer(rs.TANH), RED, 8)),
    ),
    "limits.young.mean_slope": (
        results_on_cpu,
        lambda: solve(rs.Model(rs.TwoLayer(rs.TANH), LONG_MEMORY, 8)),
    ),
    "paths.SmoothPath.at": (results_on_cpu, lambda: solve(rs.Model(FULL, SMOOTH, 8))),
    "coupling.stream": (device_forgotten, lambda: couple(40, method="deferred")),
    "_gaussian.mixtures._rule": (device_forgotten, lambda: dual(rs.TANH)),
    "_gaussian.numerical.Numerical.dual": (results_on_cpu, lambda: dual(rs.activation("silu"))),
    "networks.drawing.stream": (device_forgotten, forward),
    "networks.residual.Pool.take": (results_on_cpu, forward),
    "training.run.Data.to": (lambda f: lambda self, device: self, train),
    "training.run.StackedResNets": (device_forgotten, train),
}


@pytest.mark.parametrize("name", PLANTED)
def test_one_tensor_or_generator_of_the_cpu_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, run = PLANTED[name]
    run()
    module, _, attribute = f"resnet_sde.{name}".rpartition(".")
    place = pkgutil.resolve_name(module)
    monkeypatch.setattr(place, attribute, plant(getattr(place, attribute)))
    with pytest.raises((RuntimeError, TypeError, ValueError), match=REFUSED):
        run()


def test_theory_is_computed_on_the_cpu_and_given_on_the_device() -> None:
    model, k0 = rs.Model(FULL, WHITE, 8, beta=0.5), torch.tensor([[1.0, 0.3], [0.3, 1.0]])
    for theory in (kernel, tangent_kernel):
        found = theory(model, k0.cuda(), depth=3)
        assert found.is_cuda
        assert torch.equal(found.cpu(), theory(model, k0, depth=3))
    assert gaps(model, 1.0, torch.tensor([0.1]).cuda(), depth=3).is_cuda
    assert critical_line(rs.TANH, torch.tensor([0.1]).cuda()).is_cuda
    one = rs.Model(rs.SingleLayer(rs.TANH, 1.2, 0.1), WHITE, 8, beta=0.5)
    assert finite_size_pair(one, k0.cuda(), depth=3).branch.is_cuda
