"""Grids of models and depths, as labelled results that do not depend on how they were computed."""

from resnet_sde.studies.study import study

__all__ = ["study"]
