"""Versions of what decides the bits of a result."""

from importlib.metadata import version


def current_versions() -> dict[str, str]:
    """By the name of the package."""
    import numpy as np
    import torch

    return {"resnet_sde": version("resnet_sde"), "torch": torch.__version__, "numpy": np.__version__}
