"""What training is asked for: memory and devices are checked before it starts, and so is every number."""

import math
import re

import numpy as np
import pytest
import torch
from command_line import run
from ids import plain
from small_training import CONFIG, data, job

import resnet_sde as rs
from resnet_sde import checks
from resnet_sde.networks import ReadInOut, ResNet, StackedResNets
from resnet_sde.training import Run, TrainingConfig, TrainingJob, best_rate, fit, train
from resnet_sde.training.memory import bytes_of_job


@pytest.mark.parametrize(
    "words",
    [
        ("--depth", 1_000_000),
        ("--samples", 100_000_000),
        ("--samples", 1000, "--stack", 1000, "--depth", 1_000_000),
        ("--depth", 10_000_000, "--epochs", 1),
        ("--width", 100_000),
        ("--epochs", 1_000_000_000),
    ],
    ids=lambda words: " ".join(map(str, words)),
)
def test_the_program_refuses_what_does_not_fit_into_memory(
    words: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "memory_of", lambda device="cpu": 8e9)
    status, output, errors = run(*words, command="train")
    assert (status, output, errors.count("\n")) == (2, "", 1)
    assert re.search(r"need about [\d.e+]+ GB, and this machine has 8 GB", errors)
    assert "give " in errors


def test_stacks_side_by_side_share_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """One stack fits, two of them do not; nor does the stack of all four."""
    one = bytes_of_job(job(), CONFIG, data())
    monkeypatch.setattr(checks, "memory_of", lambda device="cpu": 2.5 * one)
    four = [job(seed=seed) for seed in range(4)]
    assert len(train(four, CONFIG, data(), stack=2)) == 4
    with pytest.raises(ValueError, match=r"4 networks of width 8 and depth 6 .* give a smaller depth"):
        train(four, CONFIG, data(), stack=4)
    with pytest.raises(ValueError, match="4 networks of width 8"):
        train(four, CONFIG, data(), stack=2, workers=2)
    with pytest.raises(ValueError, match="4 networks of width 8"):
        Run(four, CONFIG, data())


@pytest.mark.parametrize("more", [{"depth": 60}, {"block": rs.TwoLayer(rs.RELU)}, {"width": 80}], ids=str)
def test_memory_grows_with_what_is_kept(more: dict) -> None:
    assert bytes_of_job(job(**more), CONFIG, data()) > 1.5 * bytes_of_job(job(), CONFIG, data())


def test_memory_is_about_what_is_held() -> None:
    """Weights, gradients, the two moments of Adam, and the states of a batch in every layer."""
    of, how = job(width=50, depth=40), TrainingConfig(epochs=1, batch_size=64, dtype="float64")
    training = Run([of], how, data())
    training.advance()
    weights = sum(p.numel() for p in training.stack.parameters())
    states = 40 * 50 * 64
    expected = bytes_of_job(of, how, data())
    assert 0.9 * 8 * (4 * weights + states) < expected < 1.1 * 8 * (4 * weights + states)


@pytest.mark.parametrize("device", ["cuda:99", "nowhere", "meta", 3.5, None], ids=repr)
def test_devices_that_are_not_there(device: object) -> None:
    if device == "cuda:99" or not torch.cuda.is_available():
        devices = [device, "cuda"] if not torch.cuda.is_available() else [device]
    else:
        devices = [device]
    for each in devices:
        for call in (
            lambda each=each: train([job()], CONFIG, data(), device=each),
            lambda each=each: fit([job()], CONFIG, data(), device=each),
            lambda each=each: Run([job()], CONFIG, data(), device=each),
            lambda each=each: ResNet(job().model, 3, 4, 2, device=each),
            lambda each=each: StackedResNets([job().model], 3, 4, 2, seeds=[0], device=each),
        ):
            with pytest.raises(ValueError, match=r"give .*'cpu'"):
                call()


@pytest.mark.parametrize("jobs", [[], (), job(), [job(), None], iter([job()]), None], ids=plain)
def test_jobs_are_a_list_of_them(jobs: object) -> None:
    for call in (train, fit, Run):
        with pytest.raises(ValueError, match=r"jobs must be a list|at least one job"):
            call(jobs, CONFIG, data())


def test_dropout_is_refused_for_every_member_before_any_is_trained(tmp_path) -> None:
    feed_forward = job(skip=0.0, beta=0.0)
    with pytest.raises(ValueError, match="feed-forward"):
        train(
            [feed_forward, job()], TrainingConfig(keep_rate=0.5, batch_size=16), data(), store=tmp_path / "s"
        )
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"entries": -1}, "entries must be a positive integer"),
        ({"entries": 2.5}, "entries must be a positive integer"),
        ({"entries": True}, "entries must be a positive integer"),
        ({"biases": 1}, "biases must be True or False"),
        ({"read_in_out": "activated"}, "read_in_out must be None or ReadInOut"),
        ({"keep_rate": math.nan}, "keep_rate must lie in"),
        ({"keep_rate": True}, "keep_rate must be a number"),
        ({"keep_rate": np.True_}, "keep_rate must be a number"),
        ({"entries": np.True_}, "entries must be a positive integer"),
        ({"keep_rate": None}, "keep_rate must be a number"),
        ({"decay": "0.1"}, "decay must be a number"),
        ({"momentum": math.nan, "optimizer": "sgd"}, "momentum is of sgd"),
        ({"steps": True}, "steps must be a positive integer"),
        ({"batch_size": -4}, "batch_size must be a positive integer"),
    ],
    ids=str,
)
def test_configurations_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": rs.SingleLayer(rs.RELU)}, "model must be a Model"),
        ({"lr": True}, "lr must be positive"),
        ({"lr": "fast"}, "lr must be positive"),
        ({"lr": None}, "lr must be positive"),
        ({"lr": math.nan}, "lr must be positive"),
        ({"lr": -0.1}, "lr must be positive"),
        ({"depth": 2.5}, "depth must be a positive integer"),
        ({"seed": 1.5}, "seed must be"),
    ],
    ids=str,
)
def test_jobs_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingJob(**{"model": job().model, "depth": 5, "lr": 0.1, **fields})


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, "1", True, None], ids=repr)
@pytest.mark.parametrize("name", ["embed_w2", "embed_b2", "readout_w2", "readout_b2"])
def test_ends_have_variances(name: str, value: object) -> None:
    if (name, value) == ("embed_w2", None):
        assert ReadInOut(embed_w2=None).embed_w2 is None
        return
    with pytest.raises(ValueError, match=f"{name} is a variance"):
        ReadInOut(**{name: value})


def test_ends_say_whether_the_readout_is_of_activated_states() -> None:
    with pytest.raises(ValueError, match="activated must be True or False"):
        ReadInOut(activated=1.0)


AROUND = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "default device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
def test_what_is_set_around_training_is_not_for_it(around) -> None:
    """bfloat16 products would change the third digit of a loss."""
    how = TrainingConfig(epochs=1, batch_size=16)
    expected = train([job()], how, data(torch.float32))
    given = data(torch.float32)
    with around():
        assert train([job()], how, given) == expected


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: train([job()], None, data()), "config must be a TrainingConfig"),
        (lambda: train([job()], CONFIG, (data().train, data().test)), "data must be Data"),
        (lambda: best_rate([0.1]), "by learning rate"),
        (lambda: best_rate({0.1: train([job()], CONFIG, data())[0]}), "no list of TrainingResult"),
        (lambda: best_rate({0.1: "good"}), "no list of TrainingResult"),
        (lambda: ResNet(None, 3, 4, 2), "drawn from a Model, got NoneType"),
        (lambda: ResNet(rs.TANH, 3, 4, 2), "drawn from a Model, got Tanh"),
        (lambda: ResNet(job().model, 3, 4, 2, dtype=torch.int64), "weights are real numbers"),
        (lambda: ResNet(job().model, 3, 4, 2, dtype=torch.complex64), "weights are real numbers"),
        (
            lambda: ResNet(job().model, 3, 4, 2, read_in_out={"activated": True}),
            "read_in_out must be None or ReadInOut",
        ),
        (lambda: ResNet(job().model, 3, 4, 2)(torch.ones(5, 3)), "dimension 3, but the network takes 4"),
        (lambda: ResNet(job().model, 3, 4, 2)(torch.tensor(1.0)), "one number is no input"),
        (lambda: StackedResNets([None], 3, 4, 2, seeds=[0]), "drawn from a Model"),
    ],
)
def test_arguments_of_another_kind(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
