"""`python -m resnet_sde` is the program `resnet-sde`."""

from resnet_sde.runs.interrupts import run


def main() -> None:
    """Run the program, and leave with its exit status."""
    run("resnet_sde.cli", "resnet-sde")


if __name__ == "__main__":
    main()
