"""Very deep and very wide ensembles: finite numbers, and memory that a chunk bounds and not the samples."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

# In a process of its own, because the highest use of memory that a process has seen never falls again. What
# `getrusage` says of a child begins with the memory of its parent; the line VmHWM does not.
SCRIPT = """
import json
from importlib import import_module
from pathlib import Path

import torch
from resnet_sde import RELU, Model, TwoLayer, WhiteNoise, observables, simulate

width, depth, chunk, gradients = {width}, {depth}, {chunk}, {gradients}
import_module("resnet_sde.monte_carlo")._CHUNK_NETWORKS = chunk
torch.set_num_threads(1)
observe = [observables.log10_growth]
observe += [observables.log10_gradient_growth] if gradients else []
model = Model(TwoLayer(RELU), WhiteNoise(), width)
x = torch.ones(1, 4, dtype=torch.float64)


def run(depth, samples):
    out = simulate(model, x, depth=depth, samples=samples, observe=observe)
    finite = all(bool(values.isfinite().all()) for values in out.values())
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0]), finite


run(2, 1)  # what the libraries need for themselves
peaks = [run(2, 1), run(depth, chunk), run(depth, 3 * chunk)]
print(json.dumps([[peak for peak, _ in peaks], all(finite for _, finite in peaks)]))
"""
MEGABYTE = 2**20


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from /proc")
@pytest.mark.parametrize(
    ("width", "depth", "chunk", "gradients"),
    [(40, 6_000, 16, False), (40, 2_000, 8, True), (100_000, 4, 2, True)],
    ids=["deep", "deep with gradients", "wide with gradients"],
)
def test_memory_is_that_of_a_chunk(width: int, depth: int, chunk: int, gradients: bool) -> None:
    script = SCRIPT.format(width=width, depth=depth, chunk=chunk, gradients=gradients)
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    (base, first, more), finite = json.loads(answer.stdout)
    assert finite
    # A layer keeps the answers of both matrices, and with gradients their probes; as much again is in flight.
    held = chunk * 8 * (depth if gradients else 1) * 4 * width
    assert first - base < 2 * held + 16 * MEGABYTE
    assert more - first < 16 * MEGABYTE + 0.1 * held, "three chunks need what one needs"
    dense = 2 * chunk * 8 * width**2
    if width > 1000:
        assert more < dense, "no matrix has been there"
