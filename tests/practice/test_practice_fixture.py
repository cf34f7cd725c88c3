"""The fixture `assert_depth_law` in a repository of somebody else."""

import re

import pytest
import torch

from resnet_sde import pytest_plugin

pytest_plugins = ["pytester"]
TESTS = """
import torch
from torch import nn

INPUTS = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.norm, self.w, self.v = nn.LayerNorm(16), nn.Linear(16, 16), nn.Linear(16, 16)
        with torch.no_grad():
            self.v.weight.mul_(factor)
            self.v.bias.mul_(factor)

    def forward(self, x):
        return x + self.v(torch.relu(self.w(self.norm(x))))


def network(beta):
    return lambda depth: nn.Sequential(*[Block(depth**-beta) for _ in range(depth)])


def test_sound(assert_depth_law):
    check = assert_depth_law(network(0.5), INPUTS, depths=(4, 16))
    assert check.fate.value in ("critical", "undecided")


def test_forgotten(assert_depth_law):
    assert_depth_law(network(0.0), INPUTS, depths=(4, 16))
"""


@pytest.mark.usefixtures("float64_by_default")  # which puts the default back
def test_one_test_passes_and_one_fails_with_a_sentence(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    torch.set_default_dtype(torch.float32)  # as it is there
    pytester.makepyfile(test_depth=TESTS)
    run = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", plugins=[pytest_plugin])
    output = str(run.stdout)
    assert "1 failed, 1 passed" in output, f"{output}\n{run.stderr}"
    assert "DepthMismatch: *.v falls like L^" in output
    advised = re.search(r"Multiply its output or its initial weights by L\^-(\S+)", output)
    assert advised is not None
    assert abs(float(advised[1]) - 0.5) <= 0.15  # it is measured: the tolerance is that of the check
