"""The fixture `assert_depth_law` in a repository of somebody else."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
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


def test_one_test_passes_and_one_fails_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "test_depth.py").write_text(TESTS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    plugin = () if "resnet_sde.pytest_plugin" in _registered() else ("-p", "resnet_sde.pytest_plugin")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert "1 failed, 1 passed" in run.stdout, run.stdout + run.stderr
    assert "DepthMismatch: *.v falls like L^" in run.stdout
    advised = re.search(r"Multiply its output or its initial weights by L\^-(\S+)", run.stdout)
    assert advised is not None
    assert abs(float(advised[1]) - 0.5) <= 0.15  # it is measured: the tolerance is that of the check


def _registered() -> set[str]:
    from importlib.metadata import entry_points

    return {entry.value for entry in entry_points(group="pytest11")}
