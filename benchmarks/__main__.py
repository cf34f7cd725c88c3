"""The program; see `benchmarks.program`."""

from resnet_sde.runs.interrupts import run

if __name__ == "__main__":
    run("benchmarks.program", "benchmarks", keeps=False)
