"""What is trained on, how it is scaled, what is refused, and how rough weights are."""

import math
from pathlib import Path

import pytest
import torch
from small_training import job

import resnet_sde as rs
from resnet_sde.training import TrainingConfig, TrainingJob, load_data, roughness

SCALED = {
    "image": lambda x: (x.mean(1), x.square().mean(1)),
    "pixels": lambda x: (x.amin() * torch.ones(1), x.amax() * torch.ones(1)),
    "centred": lambda x: (x.mean(0), x.square().mean()[None]),
    "sphere": lambda x: (torch.zeros(1), x.square().mean(1)),
}


@pytest.mark.parametrize("scaling", SCALED)
def test_scalings_are_estimated_from_the_training_part(scaling: str) -> None:
    found = load_data("digits", scaling=scaling, dtype=torch.float64)
    sizes = [len(part.x) for part in (found.train, found.validation, found.test)]
    assert sizes == [1167, 233, 397]
    zeros, ones = SCALED[scaling](found.train.x)
    assert zeros.abs().max() < 1e-12
    assert (ones - 1).abs().max() < 1e-12
    if scaling == "centred":  # the mean of other images is another one
        assert found.test.x.mean(0).abs().max() > 1e-3


def test_parts_share_no_image_and_limits_keep_them_apart() -> None:
    found = load_data("digits", scaling="pixels", validation=100, test=200, limit=300)
    rows = torch.cat([found.train.x, found.validation.x, found.test.x])
    assert rows.shape == (600, 64)
    every = load_data("digits", scaling="pixels", validation=100, test=200)
    assert torch.equal(every.test.x, found.test.x)
    assert torch.equal(every.train.x[:300], found.train.x)
    assert len(torch.cat([every.train.x, every.validation.x, every.test.x]).unique(dim=0)) == 1797
    assert every.digest != found.digest
    assert every.digest == load_data("digits", scaling="pixels", validation=100, test=200).digest
    assert not torch.equal(load_data("digits", seed=1).train.y, load_data("digits").train.y)


def test_fashion_mnist_in_full() -> None:
    folder = Path("/usr/share/datasets/fashion-mnist")
    if not folder.is_dir():
        pytest.skip("Fashion-MNIST is not installed")
    found = load_data(f"fashion-mnist:{folder}", limit=500)
    assert [len(part.x) for part in (found.train, found.validation, found.test)] == [500, 5000, 10_000]
    assert (found.n_in, found.classes) == (784, 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scaling": "none"}, "give one of image, pixels, centred, sphere"),
        ({"test": 1000, "validation": 797}, "each of the three parts"),
        ({"limit": 0}, "each of the three parts"),
    ],
    ids=["scaling", "parts", "limit"],
)
def test_data_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_data("digits", **options)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optimizer": "lion"}, "adam, sgd, rmsprop"),
        ({"loss": "hinge"}, "cross-entropy, mse"),
        ({"dtype": "float16"}, "float32, float64"),
        ({"epochs": 0}, "epochs must be a positive integer"),
        ({"steps": 2.5}, "steps must be a positive integer"),
        ({"keep_rate": 0.0}, "keep_rate"),
        ({"momentum": 0.9}, "momentum is of sgd"),
        ({"momentum": 1.0, "optimizer": "sgd"}, "momentum is of sgd"),
        ({"decay": 0.0}, "decay"),
    ],
    ids=str,
)
def test_a_configuration_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lr": 0.0}, "lr must"),
        ({"lr": math.inf}, "lr must"),
        ({"depth": 0}, "depth"),
        ({"seed": -1}, "seed"),
    ],
    ids=str,
)
def test_a_member_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingJob(**{"model": job().model, "depth": 5, "lr": 0.1, **fields})


@pytest.mark.parametrize(
    ("law", "expected"),
    [
        (rs.WhiteNoise(), 1.0),
        (rs.FractionalNoise(0.2), 1.34028),
        (rs.FractionalNoise(0.8), 0.48429 * (1 - 1 / 400) / (1 - 400**-0.4)),
        (rs.SmoothNoise(0.1), None),
    ],
    ids=str,
)
def test_roughness_tells_laws_apart(law: rs.PathLaw, expected: float | None) -> None:
    """(1 − γ(1)) (1 − 1/L) / (1 − L^{2H−2}); γ(1) = 2^{2H−1} − 1."""
    weights = law.path(400, (3000,), generator=rs.generator(0, "roughness")).weights(400)
    found = roughness(weights)
    if expected is None:
        assert found < 1e-3
    else:  # relative errors of the means over 3000 paths are below 0.004
        assert found == pytest.approx(expected, rel=0.015)
        assert found != pytest.approx(1.05 * expected, rel=0.015)


def test_roughness_of_weights_that_do_not_vary() -> None:
    assert math.isnan(roughness(torch.ones(5, 2)))
    assert math.isnan(roughness(torch.ones(1, 2)))
    assert roughness(torch.tensor([0.0, 1.0, 0.0, 1.0])) == pytest.approx(1.5)
