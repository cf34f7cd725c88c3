"""Smooth weights are the same bits however many threads the arithmetic is allowed."""

import os
import subprocess
import sys

import pytest

PRINTED = """
import sys
import torch
from threadpoolctl import threadpool_limits
from resnet_sde.paths import smooth_features
torch.set_num_threads(int(sys.argv[2]))
with threadpool_limits(int(sys.argv[2])):
    features = smooth_features(torch.linspace(0, 1, 100, dtype=torch.float64), float(sys.argv[1]))
print(hash(features.numpy().tobytes()))
"""


@pytest.mark.parametrize("length", ["0.04", "0.015"])
def test_threads_change_no_bit(length: str) -> None:
    found = [
        subprocess.run(
            [sys.executable, "-c", PRINTED, length, threads],
            capture_output=True,
            text=True,
            check=True,
            env={
                **os.environ,
                "OMP_NUM_THREADS": threads,
                "OPENBLAS_NUM_THREADS": threads,
                "PYTHONHASHSEED": "0",
            },
        ).stdout
        for threads in ("1", "2", "4")
    ]
    assert found[0] == found[1] == found[2]
