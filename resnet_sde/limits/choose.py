"""Which equation a model tends to, or why there is none."""

from __future__ import annotations

import torch
from torch import Tensor

from resnet_sde.blocks import Block, Layer, Reduced, SingleLayer, TwoLayer
from resnet_sde.contracts.coefficients import check_coefficients
from resnet_sde.contracts.theory import states_moments
from resnet_sde.laws import PathLaw
from resnet_sde.limits.base import Limit, NoLimit, at_each_position
from resnet_sde.limits.ode import RandomODE
from resnet_sde.limits.sde import ItoSDE, ItoSDEInLaw
from resnet_sde.limits.sphere import SphereSDE, SphereSDEInLaw
from resnet_sde.limits.young import YoungODE
from resnet_sde.matrices import Dense, NotDrawn
from resnet_sde.model import Model, Regime
from resnet_sde.streams import Stream, stream

_SCALES = 32.0, 1024.0  # of states that a branch is asked about
_FASTEST = 1.25  # of the power that it may grow with between them: a logarithm more than linear


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
    if model.norm is None:
        _refuse_growth(model)
    block, hurst = at_each_position(model.block), model.law.exponent
    check_coefficients(block)
    single = block.one_matrix
    if model.law.kind == "smooth":
        return RandomODE(model)
    if hurst == 0.5:
        pathwise = single and model.law.gaussian and model.law.kind == "rough"
        if not (block.states_covariance or (pathwise and model.law.independent and model.norm is None)):
            raise NoLimit(
                f"{type(block).__name__} does not say what the covariance of its branches is",
                "a limit in law, behind a normalization or of weights with a memory is made of it",
                "Let it state covariance, or study the network itself with simulate.",
            )
        if model.norm is not None:
            return SphereSDE(model) if pathwise else SphereSDEInLaw(model)
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
    if model.norm is not None:
        return None
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
    if not (block.one_matrix or block.states_covariance):
        raise NoLimit(
            f"the block {type(block).__name__}",
            "limits are derived for branches V g(h) of one matrix, and for those that state their covariance",
            "Let it state one_matrix or covariance, or study the network itself with simulate.",
        )
    if (width := model.width // model.block.sharing) < block.least_width:
        raise NoLimit(
            f"a normalization at width {width}",
            "what is left of a state passes through 0, where its direction jumps",
            f"Give width {block.least_width} or more, or study the network itself with simulate.",
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
    white = law.independent and model.block.sharing == 1
    if model.norm is not None and not (white or law.kind == "smooth"):
        raise NoLimit(
            f"{law} weights of {type(model.block).__name__} and norm {model.norm}",
            "limits behind a normalization are derived for smooth and constant weights, and for white ones "
            "that no positions share",
            "Give one of these, leave norm out, or study the network itself with simulate.",
        )
    if isinstance(block.inside, Reduced):
        if not (law.independent and block.activation.odd):
            raise NoLimit(
                f"the reduced block with {law} weights and this activation",
                "its branch has no outer matrix that would centre it, and its limit is known for white "
                "weights and odd activations only",
                "Give TwoLayer, an odd activation, or study the network itself with simulate.",
            )
    elif law.exponent < 0.5 and block.one_matrix:
        raise NoLimit(
            f"H = {law.exponent} < 1/2 with one weight matrix",
            "the Euler scheme does not converge: its second-order terms contract linear states of width d by "
            "exp(−L^{1−2β} / 2d), to zero for β < 1/2",
            "Give a TwoLayer block, which has a limit in law, or study the network itself with simulate.",
        )
    elif not (law.independent or law.kind == "smooth" or block.one_matrix or type(block) is TwoLayer):
        raise NoLimit(
            f"the block {block} with {law} weights",
            "what inner weights leave that are correlated along depth is derived for TwoLayer",
            "Give white or smooth weights, or study the network itself with simulate.",
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
    if not block.one_matrix or not law.gaussian or law.noise not in ("white", "fractional"):
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
    if not block.one_matrix and not law.gaussian:
        raise NoLimit(
            f"{law} weights inside this activation are correlated and not known to be Gaussian",
            "the limit is made of Gaussian moments",
            "Let the law state that, give SingleLayer, or study the network itself with simulate.",
        )


def _refuse_activation(model: Model) -> None:
    """Refuse activations whose Gaussian moments the equation needs and nobody knows."""
    block = at_each_position(model.block)
    if model.law.kind == "smooth" or block.one_matrix:
        return
    phi = getattr(block, "activation", None)  # of what states its covariance the moments are not asked for
    if phi is not None and not states_moments(phi, joint=True):
        raise NoLimit(
            f"the Gaussian moments of {type(phi).__name__} are not known",
            "the inner weights average out, and the limit is made of the moments that they leave",
            "Give the activation a property _moments of its own, or study the network itself with simulate.",
        )
    law = model.law
    if not law.gaussian and not (phi and phi.homogeneous and (phi.odd or law.symmetric)):
        raise NoLimit(
            f"{law} weights inside this branch are not Gaussian",
            "the inner weights average out, and what they leave at a finite width depends on their law and "
            "on the direction of the state",
            "Give Gaussian weights, or an activation that is linear on either side of 0 and weights of "
            "symmetric law, or study the network itself with simulate.",
        )


@torch.no_grad()
def _refuse_growth(model: Model) -> None:
    """Refuse branches that grow faster than the state, whose equations leave every bound."""
    size = []
    for scale in _SCALES:
        source = stream(0, "limit", "growth", model.width)
        h = scale * source.normal_(torch.empty(1, 8, model.width, dtype=torch.float64))
        size.append(_branch_size(model.block, h, source))
    if not size[1] <= max(size[0], 1e-300) * (_SCALES[1] / _SCALES[0]) ** _FASTEST:
        raise NoLimit(
            f"the branches of {model.block} grow faster than the state",
            "solutions of the equation leave every bound in finite time, with some probability",
            "Give PreNorm of this block, bounded gates, or study the network itself with simulate.",
        )


def _branch_size(block: Block, h: Tensor, source: Stream) -> float:
    """The norm of a random branch; weights are drawn in full where a block asks for more than looks."""
    shapes = block.shapes(h.shape[-1])
    try:
        found = block.branch(h, Layer.revealed(shapes, source))
    except (NotDrawn, RuntimeError):
        drawn = {n: Dense(source.normal_(h.new_empty(len(h), *s))) for n, s in shapes.items()}
        found = block.branch(h, Layer(drawn))
    return float(found.norm())


def _refuse_scaling(model: Model) -> None:
    """Refuse scalings other than the critical one."""
    if model.regime is Regime.CRITICAL:
        return
    if model.regime is None:
        raise NoLimit(
            f"the block {type(model.block).__name__} does not say how its branches add up",
            "there is a limit at one scaling alone",
            "Give it a method critical_beta(law), or study the network itself with simulate.",
        )
    fate = "tends to the identity" if model.regime is Regime.IDENTITY else "explodes"
    fate = "forgets its input" if model.regime is Regime.SATURATION else fate
    raise NoLimit(
        f"beta is {model.beta}, the critical value {model.critical_beta}",
        f"the network {fate} as its depth grows",
        "Leave beta out, or give the critical value.",
    )
