"""Which equation a model tends to, or why there is none."""

from __future__ import annotations

import torch

from resnet_sde.blocks import Block, Reduced, SingleLayer, TwoLayer
from resnet_sde.contracts.theory import states_moments
from resnet_sde.laws import PathLaw
from resnet_sde.limits.base import Limit, NoLimit, at_each_position
from resnet_sde.limits.ode import RandomODE
from resnet_sde.limits.sde import ItoSDE, ItoSDEInLaw
from resnet_sde.limits.young import YoungODE
from resnet_sde.model import Model, Regime


def limit(model: Model) -> Limit:
    """The L → ∞ equation of this model.

    Raises:
        NoLimit: there is none; the message says why, and what would serve instead.

    Example:
        >>> from resnet_sde import TANH, FractionalNoise, Model, SingleLayer
        >>> limit(Model(SingleLayer(TANH), FractionalNoise(0.75), width=4)).strong_order
        0.5
    """
    _refuse_structure(model)
    _refuse_scaling(model)
    _refuse_activation(model)
    block, hurst = at_each_position(model.block), model.law.exponent
    single = isinstance(block, SingleLayer)
    if model.law.kind == "smooth":
        return RandomODE(model)
    if hurst == 0.5:
        pathwise = single and model.law.gaussian and model.law.kind == "rough"
        return ItoSDE(model) if pathwise else ItoSDEInLaw(model)
    if single:
        return YoungODE(model)
    assert isinstance(block, TwoLayer)
    odd = block.activation.odd and block.sigma_a2 == 0
    short_memory = hurst < (0.75 if odd else 0.5)
    return ItoSDEInLaw(model) if short_memory else YoungODE(model)


def at_finite_width(model: Model) -> str | None:
    """A sentence where the regime, that of infinite width, is not what a network of this width does."""
    block, law, beta = model.block, model.law, model.beta
    assert beta is not None
    if not isinstance(block, (SingleLayer, TwoLayer)) or model.skip != 1.0 or beta >= 0.5 or model.gain == 0:
        return None
    here = f"The regime is that of infinite width; at width {model.width}"
    if isinstance(block, SingleLayer) and law.noise == "fractional" and law.exponent < 0.5:
        return f"{here} the contraction wins, and where φ(0) = 0 the network collapses instead."
    biased = block.variances.inner_bias + block.variances.outer_bias > 0
    rests = not biased and float(block.activation(torch.zeros(1))) == 0
    if model.width == 1 and law.noise == "white" and rests and beta > 0:
        return (
            f"{here} a state keeps its sign and collapses, if it moves at all, while the mean square grows."
        )
    return None


def _refuse_structure(model: Model) -> None:
    """Refuse models that have no limit at any scaling."""
    law, block = model.law, at_each_position(model.block)
    if law.noise is None and law.kind != "smooth":
        raise NoLimit(
            f"weights of the law {law}",
            "nothing is known of their sums",
            "Give one of the laws of the package, let this one state its noise, or study the network itself "
            "with simulate.",
        )
    if law.noise == "short-memory":
        _refuse_memory(law, block)
    if type(block) not in (SingleLayer, TwoLayer, Reduced):
        raise NoLimit(
            f"the block {type(block).__name__}",
            "limits are derived for the branches of SingleLayer, TwoLayer and Reduced",
            "Give one of these, or study the network itself with simulate.",
        )
    if model.block.sharing > 1 and law.kind != "smooth":
        _refuse_positions(law, block)
    if type(model).alpha is not Model.alpha:
        raise NoLimit(
            f"{type(model).__name__} has an alpha of its own",
            "limits are derived for gain · L^{−β}",
            "Give a Model, or study the network itself with simulate.",
        )
    if model.skip != 1.0:
        raise NoLimit(
            f"skip is {model.skip}",
            "without the identity branch at weight 1 a network is no scheme of a differential equation",
            "Give skip 1, or study the network itself with simulate.",
        )
    if isinstance(block, Reduced):
        if not (law.independent and block.activation.odd):
            raise NoLimit(
                f"the reduced block with {law} weights and this activation",
                "its branch has no outer matrix that would centre it, and its limit is known for white "
                "weights and odd activations only",
                "Give TwoLayer, an odd activation, or study the network itself with simulate.",
            )
    elif law.exponent < 0.5 and isinstance(block, SingleLayer):
        raise NoLimit(
            f"H = {law.exponent} < 1/2 with one weight matrix",
            "the Euler scheme does not converge: its second-order terms contract linear states of width d by "
            "exp(−L^{1−2β} / 2d), to zero for β < 1/2",
            "Give a TwoLayer block, which has a limit in law, or study the network itself with simulate.",
        )
    elif (
        law.exponent == 0.75 and isinstance(block, TwoLayer) and block.activation.odd and block.sigma_a2 == 0
    ):
        raise NoLimit(
            "H = 3/4 with two matrices and an odd activation",
            "the sums of products of the weights grow like √(L log L), which no power of L balances",
            "Give another H.",
        )


def _refuse_positions(law: PathLaw, block: Block) -> None:
    """Refuse what is not derived of convolutions, whose positions share their weights."""
    if not isinstance(block, SingleLayer) or not law.gaussian or law.noise not in ("white", "fractional"):
        raise NoLimit(
            f"convolutions of {type(block).__name__} with {law} weights",
            "their limit is derived for smooth weights, and on the path of one matrix of white or fractional "
            "Gaussian ones",
            "Give one of these, use meanfield.convolution_flow for many channels, or study the network "
            "itself with simulate.",
        )


def _refuse_memory(law: PathLaw, block: Block) -> None:
    """Refuse weights whose memory cannot be summed up."""
    try:
        law.memory()
    except ValueError as error:
        raise NoLimit(
            str(error), "the limit is made of their sum", "Give weights of a shorter memory."
        ) from None
    if isinstance(block, TwoLayer) and not law.gaussian:
        raise NoLimit(
            f"{law} weights inside this activation are correlated and not known to be Gaussian",
            "the limit is made of Gaussian moments",
            "Let the law state that, give SingleLayer, or study the network itself with simulate.",
        )


def _refuse_activation(model: Model) -> None:
    """Refuse activations whose Gaussian moments the equation needs and nobody knows."""
    block = at_each_position(model.block)
    phi = block.activation
    if model.law.kind == "smooth" or type(block) is SingleLayer:
        return
    if not states_moments(phi, joint=True):
        raise NoLimit(
            f"the Gaussian moments of {type(phi).__name__} are not known",
            "the inner weights average out, and the limit is made of the moments that they leave",
            "Give the activation a property _moments of its own, or study the network itself with simulate.",
        )
    law = model.law
    if not law.gaussian and not (phi.homogeneous and (phi.odd or law.symmetric)):
        raise NoLimit(
            f"{law} weights inside this activation are not Gaussian",
            "the inner weights average out, and what they leave at a finite width depends on their law and "
            "on the direction of the state",
            "Give Gaussian weights, or an activation that is linear on either side of 0 and weights of "
            "symmetric law, or study the network itself with simulate.",
        )


def _refuse_scaling(model: Model) -> None:
    """Refuse scalings other than the critical one."""
    if model.regime is Regime.CRITICAL:
        return
    fate = "tends to the identity" if model.regime is Regime.IDENTITY else "explodes"
    raise NoLimit(
        f"beta is {model.beta}, the critical value {model.critical_beta}",
        f"the network {fate} as its depth grows",
        "Leave beta out, or give the critical value.",
    )
