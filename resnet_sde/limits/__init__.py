"""The equation that a model tends to as its depth grows, and its solvers.

Every limit solves itself: the pathwise ones on a weight path drawn for networks (`Model.draw`), so
that network and limit can be compared on the same path; the ones that hold in law only, on a path of
their own.
"""

from resnet_sde.limits.base import Limit, NoLimit
from resnet_sde.limits.choose import at_finite_width, limit
from resnet_sde.limits.ode import RandomODE
from resnet_sde.limits.sde import ItoSDE, ItoSDEInLaw
from resnet_sde.limits.young import YoungODE

__all__ = ["ItoSDE", "ItoSDEInLaw", "Limit", "NoLimit", "RandomODE", "YoungODE", "at_finite_width", "limit"]
