"""Plain modules and stacks are trained alike, so that the benchmark compares the same work."""

import pytest
import torch

from benchmarks import training

STEPS = 2


def usual_from(run: training.Run, work: training.Work) -> training.Usual:
    """Plain modules with the weights of a stack that has not been trained."""
    found = training.Usual(work, work.networks)
    for i, net in enumerate(found.nets):
        state = run.stack.member_state(i)
        with torch.no_grad():
            for layer, weights in zip(net.layers, state["outer"], strict=True):
                layer.weight.copy_(weights.mT)
            for name in ("embed", "readout"):
                net.get_submodule(name).weight.copy_(state[name].mT)
                net.get_submodule(name).bias.copy_(state[f"{name}_bias"])
    return found


def distance(run: training.Run, usual: training.Usual) -> float:
    """Largest difference between outputs of the two."""
    x = run.data.test.x
    outputs = torch.stack([net(x) for net in usual.nets])
    return float((run.stack(x) - outputs).detach().abs().max())


def test_plain_modules_are_trained_like_stacked_ones(global_random: None) -> None:
    work = training.Work(2, 5)
    run = work.run()
    usual = usual_from(run, work)
    order = torch.arange(training.EXAMPLES).expand(2, -1)
    run._order, run._order_of = order, 0  # batches in the order of the examples
    assert distance(run, usual) < 1e-5
    training.ours(run, STEPS)
    assert distance(run, usual) > 1e-3
    usual(STEPS)
    assert distance(run, usual) == pytest.approx(0, abs=1e-4)
