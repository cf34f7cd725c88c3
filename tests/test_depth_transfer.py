"""Sweeps over the rate at two depths: training beside torch's optimizers, and crossings of a fixed loss."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr

from experiments import depth_transfer as transfer
from experiments.transferred import FACTORIES, examples
from resnet_sde._random import generator


@pytest.fixture(autouse=True)
def float32(float64_by_default: None) -> None:
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("global_random")
@pytest.mark.parametrize(("optimizer", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam)])
def test_networks_side_by_side_are_trained_as_one_alone(optimizer: str, kind: type) -> None:
    scheme = transfer.Scheme("multiplier", optimizer, (-6, -6))
    nets = [FACTORIES["multiplier"](3) for _ in range(2)]
    rates = {name: torch.tensor([0.01, 0.03]) for name, _ in nets[0].named_parameters()}
    found = transfer.trained(nets, rates, scheme, 5, [(0, 0), (0, 1)])
    for sample, (net, rate) in enumerate(zip(nets, (0.01, 0.03), strict=True)):
        source, steps = generator(0, "depth transfer", "batches", sample), kind(net.parameters(), lr=rate)
        for _ in range(5):
            x, y = examples("digits", 32, source)
            loss = F.cross_entropy(net(x), y)
            steps.zero_grad()
            loss.backward()
            steps.step()
        assert float(found[sample]) == pytest.approx(loss.item(), rel=1e-4)  # the last fifth of five steps


def made_up(deep: float) -> xr.Dataset:
    """Losses that come down to 0.2 at the rates 2^-5.5 and 2^(-5.5 + deep)."""
    rates = np.array([np.arange(-8.0, -3), np.arange(-8.0, -3) + round(deep)])
    centre = np.array([[-5.5], [-5.5 + deep]])
    loss = 0.2 * np.exp(-(rates - centre))[None, :, :, None].repeat(3, -1)
    loss[0, 0, -1] = np.inf
    numbers = {
        "loss": (("scheme", "end", "rate", "sample"), loss),
        "log2_rate": (("scheme", "end", "rate"), rates[None]),
        "level": (("scheme",), [0.2]),
        "depth": (("scheme", "end"), [[8, 128]]),
        "law": (("scheme", "of"), [[-1.0, -1.1, -0.9]]),
    }
    name = "SGD, 1/√L in initial weights"
    return xr.Dataset(numbers, {"scheme": [name], "of": list(transfer.ENDS)})


@pytest.mark.parametrize("deep", [0.0, -3.25])
def test_the_crossing_of_a_fixed_loss(deep: float) -> None:
    ds = made_up(deep)
    (name,) = ds.scheme.values
    assert transfer.crossings(ds, name)[0] == pytest.approx(np.full(3, -5.5))
    assert transfer.shift(ds, name).value == pytest.approx(deep)
    assert transfer.predicted(ds, name) == pytest.approx(-4.0)
    lost = ds.assign(loss=ds.loss + 10)
    assert np.isnan(transfer.crossings(lost, name)).all()


@pytest.mark.usefixtures("global_random")
def test_rates_by_the_law() -> None:
    scheme = transfer.SCHEMES["transformer, rate by the law"]
    found = transfer.factors(scheme, FACTORIES["letters"](2), 4.0)
    assert {found["embedding"], found["readout.weight"]} == {0.0}  # they keep their rate
    assert {rate for name, rate in found.items() if name.startswith("blocks.")} == {0.5}
