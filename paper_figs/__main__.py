"""The program; see `paper_figs.program`."""

from resnet_sde.runs.interrupts import run

if __name__ == "__main__":
    run("paper_figs.program", "paper_figs")
