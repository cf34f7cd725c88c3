"""What a process draws, calls things and computes is the same in every other process.

Processes differ in the hashes of strings, in addresses, in options of printing, and in the number of threads
that arithmetic is allowed.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import SUPPORT

SCRIPT = """
import collections, functools, json, sys
import numpy as np, torch
from threadpoolctl import threadpool_limits
import resnet_sde as rs
from resnet_sde.paths import smooth_features
from resnet_sde.runs.identity import digest
from test_stream_names import Kind, Shaped, Written, soft

digits, threads = map(int, sys.argv[1:])
torch.set_printoptions(precision=digits)
np.set_printoptions(precision=digits, threshold=digits)

def numbers():
    held = [torch.nn.functional.silu, torch.tanh, soft, {"b", "a", "c"}, frozenset("xyz"), Kind.SOFT,
            torch.linspace(0, 1, 2000, dtype=torch.float64), np.arange(7.0) / 3, np.float64(1 / 3),
            torch.float32, dict(a={"q", "p"}), (1 / 3, [soft]), torch.nn.SiLU()]
    for shape in [*held, None]:
        for phi in [Shaped(shape)] + [Written(shape)] * (shape is None):
            model = rs.Model(rs.SingleLayer(phi), rs.WhiteNoise(), 4)
            x = torch.ones(1, 4, dtype=torch.float64)
            out = rs.simulate(model, x, depth=2, samples=2, observe=[rs.observables.growth])
            yield out["growth"].flatten().tolist()

NAMES = {"alpha", "beta", "gamma", "delta"}

def odd(t, scale=2.0):
    return [abs(x) for x in t] if t in {"a", "b", "c"} else NAMES

class Net(torch.nn.Module):
    def forward(self, t):
        return functools.reduce(lambda a, b: a + b, t)

things = [odd, Net(), rs.Model(rs.TwoLayer(rs.RELU), rs.FractionalNoise(0.7), 4), np.add, NAMES,
          collections.Counter("abc"), np.random.default_rng(3), torch.nn.functional.silu]

def smooth(length):
    torch.set_num_threads(threads)
    with threadpool_limits(threads):
        return smooth_features(torch.linspace(0, 1, 100, dtype=torch.float64), length).numpy().tobytes().hex()

print(json.dumps({"numbers": list(numbers()), "digests": [digest(thing) for thing in things],
                  "smooth": [smooth(0.04), smooth(0.015)]}))
"""


def in_a_process(hashes: int, digits: int, threads: int) -> dict[str, list]:
    environment = {
        **os.environ,
        "PYTHONHASHSEED": str(hashes),
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join(
            [str(Path(__file__).parent), str(SUPPORT), os.environ.get("PYTHONPATH", "")]
        ),
    }
    command = [sys.executable, "-c", SCRIPT, str(digits), str(threads)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def found() -> list[dict[str, list]]:
    return [in_a_process(1, 2, 1), in_a_process(2, 7, 4)]


def test_the_same_numbers_are_drawn(found: list[dict[str, list]]) -> None:
    first, *others = (one["numbers"] for one in found)
    assert all(other == first for other in others)
    assert len({str(line) for line in first}) == len(first) == 15, "other names, other numbers"


def test_digests_are_the_same(found: list[dict[str, list]]) -> None:
    first, *others = (one["digests"] for one in found)
    assert all(other == first for other in others)
    assert len(set(first)) == 8


@pytest.mark.parametrize("which", [0, 1], ids=["0.04", "0.015"])
def test_threads_change_no_bit_of_smooth_weights(found: list[dict[str, list]], which: int) -> None:
    first, *others = (one["smooth"][which] for one in found)
    assert all(other == first for other in others)
