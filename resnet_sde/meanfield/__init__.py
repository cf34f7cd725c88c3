"""Networks of infinite width, which feel their weights through variances and covariances alone."""

from resnet_sde.meanfield.asymptotics import asymptotics
from resnet_sde.meanfield.convolution import convolution_flow, convolution_gradients, convolution_kernel
from resnet_sde.meanfield.critical import critical_bias, critical_line, dropout_peak, length_coupling
from resnet_sde.meanfield.displacement import LayerDisplacements, displacement
from resnet_sde.meanfield.flow import Flow, NoFlow, flow, flow_gaps
from resnet_sde.meanfield.fluctuations import gradient_log_variance
from resnet_sde.meanfield.initialization import DepthLaw, Recommendation, depth_law, recommend_variances
from resnet_sde.meanfield.one_time import Lengths, lengths
from resnet_sde.meanfield.pairs import gaps, gradient_cosines, kernel
from resnet_sde.meanfield.parameters import ParameterGradients, parameter_gradients
from resnet_sde.meanfield.phases import FixedPoints, NoFixedPoint, Phase, fixed_points, phase
from resnet_sde.meanfield.tangent import tangent_kernel
from resnet_sde.meanfield.two_time import (
    Displacements,
    displacements,
    gradient_two_time,
    gradients_along,
    two_time,
)

__all__ = [
    "DepthLaw",
    "Displacements",
    "FixedPoints",
    "Flow",
    "LayerDisplacements",
    "Lengths",
    "NoFixedPoint",
    "NoFlow",
    "ParameterGradients",
    "Phase",
    "Recommendation",
    "asymptotics",
    "convolution_flow",
    "convolution_gradients",
    "convolution_kernel",
    "critical_bias",
    "critical_line",
    "depth_law",
    "displacement",
    "displacements",
    "dropout_peak",
    "fixed_points",
    "flow",
    "flow_gaps",
    "gaps",
    "gradient_cosines",
    "gradient_log_variance",
    "gradient_two_time",
    "gradients_along",
    "kernel",
    "length_coupling",
    "lengths",
    "parameter_gradients",
    "phase",
    "recommend_variances",
    "tangent_kernel",
    "two_time",
]
