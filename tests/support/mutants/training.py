"""Bugs in trained networks and in intervals, which no theorem speaks of: tests catch them."""

from mutants import Patch, caught_by
from resnet_sde import estimate
from resnet_sde.networks import residual


@caught_by(tests=("test_networks.test_the_gradient_at_the_inputs_is_that_of_autograd",))
def training_gradient(patch: Patch) -> None:
    """The gradient of trained networks comes back without the factor α of the layer."""
    real = residual.Layers.down

    def plain(self, p, alpha, *arguments):
        return real(self, p, alpha / alpha, *arguments)

    patch.setattr(residual.Layers, "down", plain)


@caught_by(tests=("test_estimate.test_mean_is_the_interval_of_student",))
def one_sided_quantile(patch: Patch) -> None:
    """Two-sided intervals have the quantile of one-sided ones."""
    real = estimate.quantile
    patch.setattr(estimate, "quantile", lambda level, samples: real(2 * level - 1, samples))
