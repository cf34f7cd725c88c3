"""The program; see `experiments.program`."""

from resnet_sde.runs.interrupts import run

if __name__ == "__main__":
    run("experiments.program", "experiments")
