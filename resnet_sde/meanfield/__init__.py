"""Networks of infinite width, which feel their weights through variances and covariances alone."""

from resnet_sde.meanfield.flow import Flow, NoFlow, flow
from resnet_sde.meanfield.one_time import Lengths, lengths
from resnet_sde.meanfield.pairs import gaps, gradient_cosines, kernel
from resnet_sde.meanfield.parameters import ParameterGradients, parameter_gradients
from resnet_sde.meanfield.two_time import (
    Displacements,
    displacements,
    gradient_two_time,
    gradients_along,
    two_time,
)

__all__ = [
    "Displacements",
    "Flow",
    "Lengths",
    "NoFlow",
    "ParameterGradients",
    "displacements",
    "flow",
    "gaps",
    "gradient_cosines",
    "gradient_two_time",
    "gradients_along",
    "kernel",
    "lengths",
    "parameter_gradients",
    "two_time",
]
