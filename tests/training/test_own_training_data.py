"""Training data of one's own: every form works as one expects, or is refused before the first step."""

import math
from pathlib import Path

import pytest
import torch
from small_training import CLASSES, CONFIG, N_IN, data, job
from torch import Tensor
from torch.nn.functional import one_hot

from resnet_sde.networks import ResNet
from resnet_sde.training import Data, Examples, Run, TrainingConfig, TrainingResult, best_rate, fit, train

PARTS = ("train", "validation", "test")
MSE = TrainingConfig(**{**vars(CONFIG), "loss": "mse", "epochs": 8})


def own(change, classes: int = CLASSES, parts: tuple[str, ...] = PARTS) -> Data:
    """The points of three classes, with some of their parts changed."""
    points = data()
    found = [change(getattr(points, part)) if part in parts else getattr(points, part) for part in PARTS]
    return Data("own", *found, classes)


def with_targets(of, **options: object) -> Data:
    return own(lambda part: Examples(part.x, of(part)), **options)


def heights(part: Examples) -> Tensor:
    """A number for each example, which networks can learn."""
    return part.x[:, 0]


def same_training(one: Data, other: Data, how: TrainingConfig = CONFIG) -> bool:
    stacks = [fit([job(0.05)], how, each)[0] for each in (one, other)]
    return all(torch.equal(a, b) for a, b in zip(*(s.parameters() for s in stacks), strict=True))


# What works: as if it had been given in the usual form


def test_how_inputs_lie_in_memory_does_not_count() -> None:
    columns = own(lambda part: Examples(part.x.T.contiguous().T, part.y))
    assert columns.digest == own(lambda part: part).digest
    assert same_training(columns, data())


def test_one_number_for_each_example_is_a_column() -> None:
    """(example,) and (example, 1): the same training, and the loss is over pairs, not over all pairs."""
    flat = with_targets(heights, classes=1)
    column = with_targets(lambda part: heights(part)[:, None], classes=1)
    assert same_training(flat, column, MSE)
    run = Run([job(0.05)], MSE, flat)
    net = ResNet(job().model, 6, N_IN, 1)
    outputs, y = net(flat.train.x)[:, 0].detach(), flat.train.y
    pairs, all_pairs = (outputs - y).square().mean(), (outputs[:, None] - y).square().mean()
    assert run.evaluate(run.data.train)[0].item() == pytest.approx(pairs.item(), rel=1e-12)
    assert abs(all_pairs / pairs - 1) > 0.1
    assert fit([job(0.05)], MSE, flat)[1][0].train_loss < 0.8 * pairs


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.int8, torch.int16], ids=str)
def test_classes_of_any_integer_type(dtype: torch.dtype) -> None:
    assert same_training(with_targets(lambda part: part.y.to(dtype)), data())


def test_truth_values_are_two_classes_or_two_numbers() -> None:
    truths = with_targets(lambda part: part.y > 0, classes=2)
    assert same_training(truths, with_targets(lambda part: (part.y > 0).long(), classes=2))
    truths = with_targets(lambda part: part.y > 0, classes=1)
    assert same_training(truths, with_targets(lambda part: (part.y > 0).double(), classes=1), MSE)


def test_whole_numbers_are_numbers_to_a_square_loss() -> None:
    whole = with_targets(lambda part: one_hot(part.y, CLASSES))
    assert same_training(whole, with_targets(lambda part: one_hot(part.y, CLASSES).double()), MSE)


@pytest.mark.parametrize("of_config", ["float32", "float64"])
def test_inputs_get_the_dtype_of_the_configuration(of_config: str) -> None:
    how = TrainingConfig(**{**vars(CONFIG), "dtype": of_config})
    other = torch.float64 if of_config == "float32" else torch.float32
    given = own(lambda part: Examples(part.x.float().to(other), part.y))
    expected = own(lambda part: Examples(part.x.float().to(getattr(torch, of_config)), part.y))
    assert same_training(given, expected, how)


def test_pairs_and_lists_are_examples_and_graphs_are_left_behind() -> None:
    points = data()
    x = points.train.x.clone().requires_grad_()
    given = Data("own", (x, points.train.y), [*points.validation], points.test, CLASSES)
    assert same_training(given, points)
    assert x.grad is None
    assert not given.train.x.requires_grad


def test_one_example_and_constant_inputs_are_examples() -> None:
    one = own(lambda part: Examples(part.x[:1], part.y[:1]))
    how = TrainingConfig(batch_size=1, steps=30, dtype="float64")
    _, (outcome,) = fit([job(0.01)], how, one)
    assert (outcome.steps, outcome.train_accuracy) == (30, 1.0)
    same = own(lambda part: Examples(torch.ones_like(part.x), part.y))
    _, (outcome,) = fit([job(0.01)], CONFIG, same)
    assert outcome.test_accuracy in {(same.test.y == i).double().mean().item() for i in range(CLASSES)}


@pytest.mark.gpu
def test_targets_on_another_device_are_moved() -> None:
    there = with_targets(lambda part: part.y.cuda())
    assert same_training(there, data())


# What is refused

REFUSED = {
    "two outputs, one number": (lambda: with_targets(heights, classes=2), MSE, r"shape \(example, 2\)"),
    "two outputs, a column": (
        lambda: with_targets(lambda p: heights(p)[:, None], classes=2),
        MSE,
        "give classes=1",
    ),
    "one output, three numbers": (
        lambda: with_targets(lambda p: p.x[:, :3], classes=1),
        MSE,
        "give classes=3",
    ),
    "a square loss of classes": (data, MSE, "one_hot"),
    "targets with two axes": (
        lambda: with_targets(lambda p: p.x.reshape(len(p.x), 3, 2)),
        MSE,
        "have shape",
    ),
    "one-hot classes": (
        lambda: with_targets(lambda p: one_hot(p.y, CLASSES).double()),
        CONFIG,
        r"y\.argmax\(1\)",
    ),
    "one-hot integers": (lambda: with_targets(lambda p: one_hot(p.y, CLASSES)), CONFIG, r"y\.argmax\(1\)"),
    "classes as floats": (lambda: with_targets(lambda p: p.y.double()), CONFIG, r"y\.long\(\)"),
    "a column of classes": (lambda: with_targets(lambda p: p.y[:, None]), CONFIG, r"shape \(example,\)"),
    "a label too many": (lambda: with_targets(lambda p: p.y, classes=2), CONFIG, "give classes=3"),
    "a label too many, in the test part": (
        lambda: with_targets(lambda p: p.y + 1, parts=("test",)),
        CONFIG,
        "the test targets run from 1 to 3",
    ),
    "the label that torch leaves out": (
        lambda: with_targets(lambda p: torch.where(p.y == 1, -100, p.y)),
        CONFIG,
        "run from -100",
    ),
    "labels from 1": (lambda: with_targets(lambda p: p.y + 1), CONFIG, "from 0 to 2"),
    "one class": (lambda: with_targets(lambda p: 0 * p.y, classes=1), CONFIG, "at least two classes"),
    "too large for float32": (
        lambda: own(lambda p: Examples(1e300 * p.x, p.y)),
        TrainingConfig(batch_size=16),
        "too large or too small",
    ),
    "too small for float32": (
        lambda: own(lambda p: Examples(1e-60 * p.x, p.y), parts=("validation",)),
        TrainingConfig(batch_size=16),
        "validation examples is too large or too small",
    ),
    "a batch of all and one": (data, TrainingConfig(batch_size=91), "smaller batch_size"),
}


@pytest.mark.parametrize(("make", "how", "message"), REFUSED.values(), ids=REFUSED)
def test_examples_that_do_not_fit_the_configuration(
    make, how: TrainingConfig, message: str, tmp_path: Path
) -> None:
    """Each before the first step, and before a store is touched."""
    examples = make()
    with pytest.raises(ValueError, match=message):
        Run([job()], how, examples)
    with pytest.raises(ValueError, match=message):
        train([job()], how, examples, store=tmp_path / "store", workers=2)
    assert not (tmp_path / "store").exists()


def holed(x: Tensor, value: float = math.nan) -> Tensor:
    x = x.clone()
    x[7, -1] = value
    return x


MALFORMED = {
    "NaN inputs": (lambda p: Examples(holed(p.x), p.y), "input 7 of the test examples"),
    "infinite inputs": (lambda p: Examples(holed(p.x, -math.inf), p.y), "input 7 of the test examples"),
    "NaN targets": (lambda p: Examples(p.x, holed(p.x[:, :1])), "target 7 of the test examples"),
    "images": (lambda p: Examples(p.x.reshape(-1, 2, 3), p.y), r"x\.flatten\(1\)"),
    "numbers": (lambda p: Examples(p.x[:, 0], p.y), r"x\[:, None\]"),
    "a target too few": (lambda p: Examples(p.x, p.y[:-1]), "one target for each input"),
    "no example": (lambda p: Examples(p.x[:0], p.y[:0]), "at least one example"),
    "no dimension": (lambda p: Examples(p.x[:, :0], p.y), "at least one example"),
    "one number": (lambda p: Examples(p.x, p.y[0]), "one target for each input"),
    "pixels": (lambda p: Examples((9 * p.x).to(torch.uint8), p.y), "inputs of torch.uint8"),
    "half precision": (lambda p: Examples(p.x.half(), p.y), "inputs of torch.float16"),
    "complex targets": (lambda p: Examples(p.x, p.y * 1j), "targets of torch.complex"),
    "arrays": (lambda p: Examples(p.x.numpy(), p.y), "dense tensor, got ndarray"),
    "sparse": (lambda p: Examples(p.x.to_sparse(), p.y), "dense tensor, got torch.sparse"),
    "no targets": (lambda p: p.x, r"give Examples\(x, y\)"),
    "None": (lambda p: None, r"give Examples\(x, y\)"),
    "a size of its own": (lambda p: Examples(p.x[:, 1:], p.y), "dimension 6 .* and 5 in the test"),
}


@pytest.mark.parametrize(("change", "message"), MALFORMED.values(), ids=MALFORMED)
def test_examples_that_are_none(change, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        own(change, parts=("test",))


@pytest.mark.parametrize("classes", [0, -1, 2.5, True, None, "three"], ids=repr)
def test_a_number_of_classes_is_one(classes: object) -> None:
    with pytest.raises(ValueError, match="classes must be a positive integer"):
        Data("own", *(getattr(data(), part) for part in PARTS), classes)


# The best rate


def outcome(loss: float, accuracy: float = math.nan, **changes: object) -> TrainingResult:
    zeros = dict.fromkeys(TrainingResult.__dataclass_fields__, 0.0)
    return TrainingResult(**{**zeros, "validation_loss": loss, "validation_accuracy": accuracy, **changes})


def test_the_best_rate_of_a_square_loss_has_the_least_loss() -> None:
    flat = with_targets(heights, classes=1)
    rates = (1e-6, 0.05)
    outcomes = train([job(lr) for lr in rates], MSE, flat)
    assert outcomes[1].validation_loss < 0.8 * outcomes[0].validation_loss
    assert best_rate(dict(zip(rates, ([o] for o in outcomes), strict=True))) == 0.05


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ({0.1: [3.0, 1.0], 0.2: [1.0, 2.0]}, 0.2),
        ({0.2: [1.0], 0.1: [1.0], 0.3: [2.0]}, 0.1),
        ({0.1: [5.0, 5.0], 0.2: [0.1, math.nan]}, 0.1),
        ({0.1: [5.0], 0.2: [math.inf]}, 0.1),
        ({0.1: [math.nan], 0.2: [7.0], 0.3: [math.inf]}, 0.2),
    ],
    ids=["means", "ties", "one of two diverged", "infinite", "only one"],
)
def test_the_least_mean_loss(losses: dict, best: float) -> None:
    assert best_rate({lr: [outcome(loss) for loss in each] for lr, each in losses.items()}) == best


def test_a_rate_at_which_a_network_diverged_is_not_the_best() -> None:
    """Also where the weights that it was left with have a small loss on the validation part."""
    calm, wild = outcome(3.0), outcome(0.1, diverged=True)
    assert best_rate({0.1: [calm, calm], 0.2: [wild, calm]}) == 0.1
    assert best_rate({0.1: [calm, calm], 0.2: [outcome(0.1), calm]}) == 0.2


@pytest.mark.parametrize(
    ("outcomes", "message"),
    [
        ({0.1: []}, "no outcome of the learning rate 0.1"),
        ({0.1: [outcome(1.0)], 0.2: []}, "no outcome of the learning rate 0.2"),
        ({0.1: [outcome(math.nan)], 0.2: [outcome(math.inf)]}, "give smaller rates"),
        ({0.1: [outcome(1.0)], 0.2: [outcome(1.0, 0.5)]}, "those of one loss"),
    ],
    ids=["none", "none of one", "all diverged", "two losses"],
)
def test_no_best_rate(outcomes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        best_rate(outcomes)
