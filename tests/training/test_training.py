"""Training of stacks: step for step what torch.optim does to each network alone, kept and taken up again."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import CLASSES, CONFIG, N_IN, data, job
from torch.nn.functional import cross_entropy

import resnet_sde as rs
from resnet_sde.networks import ReadInOut, ResNet, dropout_masks
from resnet_sde.streams import stream
from resnet_sde.training import (
    Data,
    Examples,
    Run,
    TrainingConfig,
    TrainingJob,
    TrainingResult,
    best_rate,
    fit,
    relative_change,
    roughness,
    train,
)
from resnet_sde.training.events import FOLDER, SCALARS
from resnet_sde.training.kept import LOG, OUTCOME, checkpoints_in, identities, key_of, save_checkpoint

WILD = 1e100  # a learning rate after which nothing is finite
FULL = rs.TwoLayer(rs.TANH, sigma_b2=0.3, sigma_a2=0.1)
MEMBERS = [
    job(0.01, 1),
    job(0.03, 2, law=rs.FractionalNoise(0.8), beta=0.8),
    job(0.002, 1, gain=0.5),
]
OPTIMIZERS = {
    "adam": (TrainingConfig(optimizer="adam"), torch.optim.Adam, {}),
    "sgd": (TrainingConfig(optimizer="sgd"), torch.optim.SGD, {}),
    "momentum": (TrainingConfig(optimizer="sgd", momentum=0.9), torch.optim.SGD, {"momentum": 0.9}),
    "rmsprop": (TrainingConfig(optimizer="rmsprop"), torch.optim.RMSprop, {}),
}


def config(base: TrainingConfig = CONFIG, **changes: object) -> TrainingConfig:
    values = {**vars(base), "batch_size": 16, "dtype": "float64", "epochs": 2, **changes}
    return TrainingConfig(**values)


def alone(of: TrainingJob, how: TrainingConfig, optimizer: type, options: dict, steps: int) -> ResNet:
    """The same training in the plainest way: one network, torch.optim, StepLR, a loop."""
    examples, size = data(), how.batch_size
    net = ResNet(of.model, of.depth, N_IN, CLASSES, seed=of.seed, biases=how.biases)
    adjust = optimizer(net.parameters(), lr=of.lr, **options)
    schedule = torch.optim.lr_scheduler.StepLR(adjust, how.decay_every or 10**6, how.decay)
    per_epoch = len(examples.train.x) // size
    for step in range(steps):
        epoch, position = divmod(step, per_epoch)
        order = stream(of.seed, "order", epoch).numpy.permutation(len(examples.train.x))
        rows = order[position * size : (position + 1) * size]
        x, y = examples.train.x[rows], examples.train.y[rows]
        masks = None
        if how.keep_rate < 1:
            shape = (of.depth + 1, of.model.width, size)
            masks = dropout_masks(shape, how.keep_rate, stream(of.seed, "dropout", step), x)
        adjust.zero_grad()
        cross_entropy(net(x, masks=masks), y).backward()
        adjust.step()
        if position + 1 == per_epoch:
            schedule.step()
    return net


def assert_same_network(run: Run, i: int, net: ResNet, **tolerance: float) -> None:
    for name, value in net.state_dict().items():
        torch.testing.assert_close(run.stack.member_state(i)[name], value, msg=name, **tolerance)


@pytest.mark.parametrize(("base", "optimizer", "options"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_every_step_is_that_of_torch(base: TrainingConfig, optimizer: type, options: dict) -> None:
    how = config(base, decay_every=1, decay=0.3, biases=True)
    run = Run(MEMBERS, how, data())
    for _ in range(run.steps):
        run.advance()
    assert run.step == 10
    for i, of in enumerate(MEMBERS):
        assert_same_network(run, i, alone(of, how, optimizer, options, 10), rtol=1e-9, atol=1e-11)
    early = alone(MEMBERS[0], how, optimizer, options, 9)
    assert not torch.allclose(early.outer, run.stack.outer[0], rtol=1e-6, atol=1e-8)


def test_dropout_is_that_of_the_network_alone() -> None:
    how = config(keep_rate=0.7)
    feed_forward = {"skip": 0.0, "beta": 0.0, "block": rs.SingleLayer(rs.TANH, sigma_b2=0.05)}
    jobs = [job(0.01, seed, **feed_forward) for seed in (1, 2)]
    run = Run(jobs, how, data())
    for _ in range(6):
        run.advance()
    for i, of in enumerate(jobs):
        assert_same_network(run, i, alone(of, how, torch.optim.Adam, {}, 6), rtol=1e-9, atol=1e-11)


def test_evaluation_is_without_dropout_and_over_all_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(MEMBERS, config(), data())
    monkeypatch.setattr("resnet_sde.training.run._EVALUATED", 7 * len(MEMBERS) * 8)  # in pieces of seven
    loss, accuracy = run.evaluate(run.data.test)
    for i, of in enumerate(MEMBERS):
        outputs = ResNet(of.model, of.depth, N_IN, CLASSES, seed=of.seed)(run.data.test.x)
        assert loss[i].item() == pytest.approx(cross_entropy(outputs, run.data.test.y).item(), rel=1e-12)
        assert accuracy[i].item() == (outputs.argmax(-1) == run.data.test.y).double().mean().item()


def test_a_square_loss() -> None:
    targets = Examples(data().train.x, torch.randn(90, 2, generator=rs.generator(0, "targets")))
    how = config(loss="mse", optimizer="sgd", steps=60)
    run = Run([job(0.05)], how, Data("points", targets, targets, targets, 2))
    before = run.evaluate(targets)[0].item()
    net = ResNet(job().model, 6, N_IN, 2)
    assert before == pytest.approx((net(targets.x) - targets.y).square().mean().item(), rel=1e-12)
    while not run.finished:
        run.advance()
    assert run.evaluate(targets)[0].item() < 0.8 * before
    assert math.isnan(run.evaluate(targets)[1].item())


def diverging(rate: float) -> Run:
    """The second of three networks has this rate."""
    linear = rs.SingleLayer(rs.LINEAR)
    jobs = [job(lr, seed, 60, block=linear) for seed, lr in enumerate((0.001, rate, 0.002))]
    run = Run(jobs, config(optimizer="sgd", dtype="float32", epochs=6), data(torch.float32))
    while not run.finished:
        run.advance()
    return run


def test_a_diverging_member_changes_no_bit_of_its_neighbours() -> None:
    calm, wild = diverging(0.003), diverging(1.0)
    assert calm.diverged_at == [None, None, None]
    assert wild.diverged_at[0] is None
    assert wild.diverged_at[1] in range(1, 20)
    assert calm.step == wild.step == 30
    for i in (0, 2):
        one, other = calm.stack.member_state(i), wild.stack.member_state(i)
        assert all(torch.equal(one[name], other[name]) for name in one)
    ours = [[line for line in run.log if line["member"] == 2] for run in (calm, wild)]
    assert ours[0] == ours[1]
    assert wild.log[-2]["diverged"]
    assert not wild.log[-1]["diverged"]
    assert wild.evaluate(wild.data.test)[1][1] == 0  # what is not finite is no answer


def test_a_diverged_member_stays_where_it_is() -> None:
    run = Run([job(0.01, 1), job(0.01, 2)], config(), data())
    with torch.no_grad():
        run.stack.readout_bias[1] = math.nan
    start = run.stack.member_state(1)
    for _ in range(3):
        run.advance()
    assert run.diverged_at == [None, 0]
    assert torch.equal(run.stack.member_state(1)["outer"], start["outer"])
    assert not torch.equal(run.stack.member_state(0)["outer"], start["outer"])


def test_training_ends_when_nobody_is_left() -> None:
    jobs = [job(WILD, seed) for seed in (1, 2)]
    _, (first, second) = fit(jobs, config(epochs=100), data())
    assert first.diverged
    assert second.diverged
    assert max(first.steps, second.steps) < 20
    assert math.isnan(first.train_loss)


def logs(folder: Path, jobs: list[TrainingJob], how: TrainingConfig) -> list[str]:
    """The texts of the logs of jobs."""
    names = map(key_of, identities(jobs, how, data(), device="cpu"))
    return [(folder / name / LOG).read_text() for name in names]


def leave_checkpoint(run: Run, folder: Path) -> None:
    """A checkpoint of every job."""
    names = identities(run.jobs, run.config, data(), device=run.stack.alpha.device.type)
    save_checkpoint(run, checkpoints_in(folder), names)


class Killed(Exception):
    pass


@pytest.mark.parametrize("steps", [1, 7, 10, 13], ids=str)
def test_a_killed_run_goes_on_bit_for_bit(
    steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed_forward = {"skip": 0.0, "beta": 0.0, "block": rs.SingleLayer(rs.TANH)}
    jobs = [job(0.01, 1, **feed_forward), job(WILD, 2, **feed_forward)]
    how = config(keep_rate=0.8, epochs=4, decay_every=2)
    whole, outcomes = fit(jobs, how, data(), folder=tmp_path / "whole")
    advance = Run.advance

    def until_killed(run: Run) -> None:
        if run.step == steps + 1:
            raise Killed
        advance(run)

    monkeypatch.setattr(Run, "advance", until_killed)
    folder = tmp_path / "killed"
    with pytest.raises(Killed):
        fit(jobs, how, data(), folder=folder, checkpoint_every=0.0)
    monkeypatch.setattr(Run, "advance", advance)
    resumed, again = fit(jobs, how, data(), folder=folder)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert [o.to_json() for o in outcomes] == [o.to_json() for o in again]
    assert logs(folder, jobs, how) == logs(tmp_path / "whole", jobs, how)


def test_a_damaged_checkpoint_is_no_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run(MEMBERS, config(), data())
    run.advance()
    leave_checkpoint(run, tmp_path)
    whole = [o.to_json() for o in fit(MEMBERS, config(), data())[1]]
    damaged = sorted(tmp_path.rglob("*.npz"))[1]
    content = damaged.read_bytes()
    for wrong in (content[: len(content) // 2], content[:700] + b"?" + content[701:], b"", content * 2):
        damaged.write_bytes(wrong)
        caplog.clear()
        _, outcomes = fit(MEMBERS, config(), data(), folder=tmp_path)
        assert [o.to_json() for o in outcomes] == whole
        assert f"{damaged} is not taken" in caplog.text


def test_the_log_has_a_line_for_each_member_and_epoch(tmp_path: Path) -> None:
    jobs, how = [job(), job(WILD)], config(epochs=3, decay_every=2)
    fit(jobs, how, data(), folder=tmp_path)
    first, wild = (list(map(json.loads, text.splitlines())) for text in logs(tmp_path, jobs, how))
    assert [line["epoch"] for line in first] == [line["epoch"] for line in wild] == [0, 1, 2]
    assert [line["step"] for line in first] == [5, 10, 15]
    assert [line["lr"] for line in first] == pytest.approx([0.01, 0.01, 0.001])
    assert first[0]["train_loss"] > first[-1]["train_loss"]
    assert [first[-1]["diverged"], wild[-1]["diverged"]] == [False, True]
    assert wild[-1]["train_loss"] == "nan"


def test_tensorboard_sees_the_log_once(tmp_path: Path) -> None:
    """Also where a run was killed some epochs after its last checkpoint, and goes on from there."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    jobs = [job(), job(0.03)]
    run = Run(jobs, config(), data())
    for _ in range(3):
        run.advance()
    for _ in range(2):
        leave_checkpoint(run, tmp_path)
        fit(jobs, config(), data(), folder=tmp_path, tensorboard=True)
    names = map(key_of, identities(jobs, config(), data(), device="cpu"))
    for name, text in zip(names, logs(tmp_path, jobs, config()), strict=True):
        lines = [json.loads(line) for line in text.splitlines()]
        seen = accumulator.EventAccumulator(str(tmp_path / name / FOLDER))
        seen.Reload()
        for name in SCALARS:
            expected = [(line["step"], line[name]) for line in lines]
            found = [(event.step, event.value) for event in seen.Scalars(name)]
            assert found == [(step, pytest.approx(value, rel=1e-6)) for step, value in expected]


def test_tensorboard_needs_a_folder_and_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="needs a folder"):
        fit([job()], config(), data(), tensorboard=True)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match="pip install tensorboard"):
        train([job()], config(), data(), tensorboard=True)


GRID = [job(lr, seed, depth) for depth in (3, 5) for lr in (0.01, 0.03) for seed in (0, 1)]


def test_a_grid_is_its_stacks_in_the_order_of_its_members() -> None:
    found = train(GRID, config(), data(), stack=3)
    assert found == train(GRID, config(), data(), stack=3, workers=2)
    for some in ((0, 1, 2), (3,), (4, 5, 6)):
        _, expected = fit([GRID[i] for i in some], config(), data())
        assert [found[i] for i in some] == expected
    assert found == train(GRID, config(), data(), stack=1)


def test_a_grid_goes_on_from_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(GRID, config(), data(), stack=2, store=tmp_path)
    kept = sorted(tmp_path.glob(f"*/{OUTCOME}"))
    assert len(kept) == len(GRID)
    assert not list(tmp_path.rglob("*.npz"))
    kept[0].unlink()
    kept[1].write_text("{}")
    trained: list[object] = []
    monkeypatch.setattr(
        "resnet_sde.training.grid.fit",
        lambda jobs, *rest, **options: trained.extend(jobs) or fit(jobs, *rest, **options),
    )
    assert train(GRID, config(), data(), stack=2, store=tmp_path) == whole
    assert len(trained) == 2
    train(GRID[:2], config(epochs=3), data(), stack=2, store=tmp_path)
    assert len(trained) == 4


def test_an_outcome_survives_json() -> None:
    _, outcomes = fit([job(), job(WILD)], config(entries=2, epochs=1), data())
    for outcome in outcomes:
        again = TrainingResult.from_json(json.loads(json.dumps(outcome.to_json(), allow_nan=False)))
        assert again.to_json() == outcome.to_json()
    assert outcomes[0] == TrainingResult.from_json(outcomes[0].to_json())


def test_paths_and_statistics_are_those_of_the_weights() -> None:
    of = job(block=FULL)
    stack, (outcome,) = fit([of], config(entries=3), data())
    before = ResNet(of.model, of.depth, N_IN, CLASSES).get_parameter("inner")
    after = stack.inner[0].detach()
    path = outcome.paths["inner"]
    assert path["before"] == before.flatten(1)[:, :3].T.tolist()
    assert path["after"] == after.flatten(1)[:, :3].T.tolist()
    assert outcome.roughness_before["inner"] == roughness(before)
    assert outcome.roughness_after["inner"] == roughness(after)
    assert outcome.roughness_of_change["inner"] == roughness(after - before)
    assert outcome.relative_change["inner"] == relative_change(after, before) > 0
    assert set(outcome.paths) == {"inner", "outer"}


def outcome(accuracy: float) -> TrainingResult:
    zeros = dict.fromkeys(TrainingResult.__dataclass_fields__, 0.0)
    return TrainingResult(**{**zeros, "validation_accuracy": accuracy, "test_accuracy": 1 - accuracy})


def test_the_rate_is_chosen_on_validation_over_all_seeds() -> None:
    found = {0.1: [outcome(0.9), outcome(0.3)], 0.01: [outcome(0.7), outcome(0.7)], 1.0: [outcome(0.1)] * 2}
    assert best_rate(found) == 0.01
    assert best_rate({0.1: [outcome(0.5)], 0.01: [outcome(0.5)]}) == 0.01
    with pytest.raises(ValueError, match="no learning rate"):
        best_rate({})


@pytest.mark.parametrize(
    ("jobs", "how", "message"),
    [
        ([job(), job(depth=9)], config(), "one depth and one shape"),
        ([job(), job(width=9)], config(), "one depth and one shape"),
        ([job()], config(batch_size=91), "smaller batch_size"),
        ([job()], config(keep_rate=0.5), "feed-forward"),
    ],
    ids=["depths", "widths", "batch", "dropout"],
)
def test_a_run_is_refused(jobs: list[TrainingJob], how: TrainingConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Run(jobs, how, data())


def test_an_empty_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one job"):
        train([], config(), data())
    with pytest.raises(ValueError, match="stack must be a positive integer"):
        train([job()], config(), data(), stack=0)


def test_ends_without_an_input_layer_start_from_the_inputs() -> None:
    how = config(read_in_out=ReadInOut(embed_w2=None), steps=3)
    run = Run([job(width=N_IN)], how, data())
    assert not hasattr(run.stack, "embed")
    np.testing.assert_array_equal([run.steps, run.steps_per_epoch], [3, 5])


@pytest.mark.gpu
def test_training_on_a_gpu(tmp_path: Path) -> None:
    """Weights are drawn there, so that only their law is the same; a run goes on bit for bit all the same."""
    how = config(epochs=6)
    _, whole = fit(MEMBERS, how, data(), device="cuda")
    run = Run(MEMBERS, how, data(), device="cuda")
    for _ in range(9):
        run.advance()
    leave_checkpoint(run, tmp_path)
    _, again = fit(MEMBERS, how, data(), device="cuda", folder=tmp_path)
    assert again == whole
    assert all(outcome.test_accuracy > 0.6 for outcome in whole[:2])
