"""`python -m resnet_sde` is the program `resnet-sde`."""

from resnet_sde.cli import main

if __name__ == "__main__":
    main()
