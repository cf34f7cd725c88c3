r"""What becomes of lengths, cosines and gradients of an unscaled residual network as layers are added.

The networks are h ← h + V g(h) of infinite width with white weights, at β = 0. Write p^l for the mean
square of h_l per coordinate, e^l for the cosine of two inputs of equal length and χ^l for the mean square
of the gradient with respect to h_l. With w and v the inner and outer variances of the weights, b and a those
of the biases,

    p^{l+1} = p^l + v E φ² + a,    χ^l = χ^{l+1} (1 + v w E φ'²),    φ at a variance r = w p^l + b.

Where φ saturates E φ² tends to 1, and p^l is linear in l; where φ is homogeneous E φ² is proportional to r,
and p^l is geometric; a power x^α lies between them. Cosines follow from the same comparison of E φφ. Leading
orders are those of Yang & Schoenholz (2017); the terms beyond them are derived here and checked against
the recursions by the tests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from resnet_sde.activations import Activation, AlphaReLU, LeakyReLU, Linear, ReLU
from resnet_sde.blocks import Reduced, Variances
from resnet_sde.meanfield._roots import find_one
from resnet_sde.meanfield.one_time import check_white
from resnet_sde.model import Model

_CLOSEST_TO_ONE = 1e-5  # of the exponent of an α-ReLU: beyond it 1 − e* is lost in rounding


@dataclass(frozen=True)
class SaturatingAsymptotics:
    r"""An odd φ that saturates at ±1, such as tanh: lengths grow linearly, gradients like e^{A √l}.

    p^l = b l − κ √l + D log l + O(1)
    log(χ^0/χ^l) = A √l + A_log log l + O(1)
    e^l = e* + K l^{−δ*} − F l^{−1/2} + O(l^{−2δ*}),  with K from the two inputs

    e* < 1 is the stable fixed point; it is 0 without an outer bias. Both powers of l in e^l are nearly the
    same, so the slope of log |e^l − e*| shows δ* at no depth in reach: look at e^l + F l^{−1/2} instead. From
    layer l down to m the gradients of inner biases grow by (l/m)^{1/2} more than χ, those of inner weights
    by as much less, those of the outer matrix and bias like χ.

    b, kappa, d_log: of p^l; d_log is D.
    a, a_log: of the gradient.
    one_minus_e_star, delta_star, f: of the cosine.
    """

    b: float
    kappa: float
    d_log: float
    a: float
    a_log: float
    one_minus_e_star: float
    delta_star: float
    f: float

    @property
    def e_star(self) -> float:
        """e*, the cosine that two inputs tend to."""
        return 1.0 - self.one_minus_e_star

    def length(self, layers: Tensor) -> Tensor:
        """p^l without its O(1)."""
        return self.b * layers - self.kappa * layers.sqrt() + self.d_log * layers.log()

    def log_gradient_growth(self, layers: Tensor) -> Tensor:
        """The logarithm of χ^0/χ^l without its O(1)."""
        return self.a * layers.sqrt() + self.a_log * layers.log()

    def one_minus_cosine(self, layers: Tensor, amplitude: float) -> Tensor:
        """1 − e^l, given K."""
        return self.one_minus_e_star - amplitude * layers.pow(-self.delta_star) + self.f / layers.sqrt()


@dataclass(frozen=True)
class LinearAsymptotics:
    """φ(x) = x, where everything is exact at every l.

    p^l = (1 + B)^l (p^0 + k/B) − k/B
    χ^0/χ^l = (1 + B)^l
    (1 − e^l) p^l = (1 + B)^l (1 − e^0) p^0

    growth, added: B and k.
    """

    growth: float
    added: float

    def log_length(self, layers: Tensor, p0: float = 1.0) -> Tensor:
        """The logarithm of p^l, finite where p^l overflows."""
        return _log_length(layers, p0, self.growth, self.added)

    def log_gradient_growth(self, layers: Tensor) -> Tensor:
        """The logarithm of χ^0/χ^l."""
        return layers * math.log1p(self.growth)

    def one_minus_cosine(self, layers: Tensor, gap0: float, p0: float = 1.0) -> Tensor:
        """1 − e^l, which tends to gap0 · p^0 / (p^0 + k/B)."""
        return gap0 * p0 * torch.exp(self.log_gradient_growth(layers) - self.log_length(layers, p0))


@dataclass(frozen=True)
class HomogeneousAsymptotics:
    r"""A ReLU, leaky or not, with an outer matrix: lengths and gradients are geometric, the cosine goes to 1.

    p^l = (1 + B)^l (p^0 + k/B) − k/B,  exactly
    χ^0/χ^l = (1 + B)^l,  exactly
    (1 − e^l)^{−1/2} = (ρK/2) (l + 3/2 log l + C + o(1)),  ρ = B/(1 + B),  with C from the two inputs

    With J for E φφ as a function of the correlation, 1 at correlation 1, 1 − J(1 − ε) is ε − K ε^{3/2} to
    leading orders; for ReLU K = 2√2/(3π). Gradients of weights stay bounded, those of biases grow like χ.

    growth, added: B and k.
    curvature: K.
    """

    growth: float
    added: float
    curvature: float

    @property
    def rho(self) -> float:
        """ρ, the share of the branch in p^l."""
        return self.growth / (1.0 + self.growth)

    def log_length(self, layers: Tensor, p0: float = 1.0) -> Tensor:
        """The logarithm of p^l, finite where p^l overflows."""
        return _log_length(layers, p0, self.growth, self.added)

    def log_gradient_growth(self, layers: Tensor) -> Tensor:
        """The logarithm of χ^0/χ^l."""
        return layers * math.log1p(self.growth)

    def one_minus_cosine(self, layers: Tensor, offset: float) -> Tensor:
        """1 − e^l, given C."""
        return (0.5 * self.rho * self.curvature * (layers + 1.5 * layers.log() + offset)).pow(-2)


@dataclass(frozen=True)
class MeanModeAsymptotics:
    r"""A ReLU, leaky or not, without an outer matrix: E φ > 0 builds up a mean that drives the lengths.

    p^l ~ const · g^l
    χ^0/χ^l = (1 + B)^l,  exactly
    1 − e^l ~ const · ((1 + B)/g)^l

    g is the root above 1 of g = 1 + B + 2 m²/(√g − 1), with m = E φ(√w z) for z standard normal.

    growth, length_growth: B and g.
    """

    growth: float
    length_growth: float

    @property
    def gap_factor(self) -> float:
        """(1 + B)/g, by which a layer multiplies 1 − e^l in the end."""
        return (1.0 + self.growth) / self.length_growth

    def log_gradient_growth(self, layers: Tensor) -> Tensor:
        """The logarithm of χ^0/χ^l."""
        return layers * math.log1p(self.growth)


@dataclass(frozen=True)
class PowerAsymptotics:
    r"""An α-ReLU with 1/2 < α < 1 and an outer matrix: everything is a power of l.

    p^l = [κ (l − α/(2(1−α)) log l + C)]^{1/(1−α)} (1 + o(1))
    χ^m/χ^l ~ (l/m)^R,  R = α²/((1−α)(2α−1))
    |e^l − e*| = Θ(l^{−μ}),  J(e*) = e* < 1,  μ = (1 − J'(e*))/(1 − α) < 1/4

    J is E φφ as a function of the correlation, and 1 at correlation 1. The power l^{−μ} shows at no depth in
    reach; it stands for a decay at the rate 1 − J'(e*) in log p^l. Gradients of inner biases have the
    exponent R + 1, those of both matrices α/(2α−1), those of outer biases R.

    alpha: the exponent of φ.
    size: E φ(z)² for z standard normal.
    kappa: κ.
    one_minus_e_star: 1 − e*.
    slope: J'(e*).
    """

    alpha: float
    size: float
    kappa: float
    one_minus_e_star: float
    slope: float

    @property
    def e_star(self) -> float:
        """e*, the cosine that two inputs tend to."""
        return 1.0 - self.one_minus_e_star

    @property
    def mu(self) -> float:
        """μ."""
        return (1.0 - self.slope) / (1.0 - self.alpha)

    @property
    def length_exponent(self) -> float:
        """1/(1 − α), of p^l."""
        return 1.0 / (1.0 - self.alpha)

    @property
    def gradient_exponent(self) -> float:
        """R."""
        return self.alpha**2 / ((1.0 - self.alpha) * (2.0 * self.alpha - 1.0))

    @property
    def weight_gradient_exponent(self) -> float:
        """α/(2α − 1), of the gradients of both matrices."""
        return self.alpha / (2.0 * self.alpha - 1.0)

    @property
    def bias_gradient_exponent(self) -> float:
        """R + 1, of the gradients of inner biases."""
        return self.gradient_exponent + 1.0

    def length(self, layers: Tensor, offset: float = 0.0) -> Tensor:
        """p^l, given C."""
        late = layers - self.alpha / (2.0 * (1.0 - self.alpha)) * layers.log() + offset
        return (self.kappa * late).pow(self.length_exponent)

    def log_gradient_growth(self, layers: Tensor) -> Tensor:
        """The logarithm of χ^0/χ^l without its O(1)."""
        return self.gradient_exponent * layers.log()


Asymptotics = (
    SaturatingAsymptotics
    | LinearAsymptotics
    | HomogeneousAsymptotics
    | MeanModeAsymptotics
    | PowerAsymptotics
)


def asymptotics(model: Model) -> Asymptotics:
    """The laws that a residual network obeys far from its input, with their constants.

    Known are odd activations that saturate at ±1 as fast as tanh, linear, ReLU, leaky ReLU and α-ReLU.

    Raises:
        ValueError: the weights are not white, skip is not 1, beta is not 0, a variance of the weights is 0,
            or no law is known for the activation in this block.

    Example:
        >>> from resnet_sde import TANH, Model, TwoLayer, WhiteNoise
        >>> laws = asymptotics(Model(TwoLayer(TANH, 1.69, 0.49, 1.5, 0.5), WhiteNoise(), 1, beta=0.0))
        >>> round(laws.e_star, 12), round(laws.b, 12)
        (0.5, 2.0)
    """
    variances, phi = _checked(model), model.block.activation
    centred = phi.odd or not isinstance(model.block, Reduced)
    geometric = geometric_growth(phi, variances)
    slope = _negative_slope(phi)
    if geometric is not None and slope is not None:
        if slope == 1.0:
            return LinearAsymptotics(*geometric)
        if centred:
            return HomogeneousAsymptotics(*geometric, _curvature(slope))
        return MeanModeAsymptotics(geometric[0], _length_growth(variances, slope, geometric[0]))
    if type(phi) is AlphaReLU and centred:
        return _power(variances, phi)
    if phi.odd and _saturates(phi):
        return _saturating(variances, phi)
    raise ValueError(
        f"no law for many layers is known for {phi} in {type(model.block).__name__}; "
        "compute the layers with meanfield.lengths"
    )


def _checked(model: Model) -> Variances:
    """The variances of the branch, its factor included."""
    check_white(model)
    if model.skip != 1.0 or model.beta != 0.0:
        raise ValueError(
            f"the laws for many layers are those of skip 1 and beta 0, not {model.skip:g} and {model.beta:g};"
            " a branch that is scaled with depth has a limit instead, meanfield.flow"
        )
    inner_weight, inner_bias, outer_weight, outer_bias = model.block.variances
    power = model.gain**2
    if inner_weight * outer_weight * power == 0:
        raise ValueError(f"the branch of {model.block} is constant; give positive variances of the weights")
    return Variances(inner_weight, inner_bias, power * outer_weight, power * outer_bias)


# --- Saturating.


def _saturates(phi: Activation) -> bool:
    far = torch.tensor([30.0], dtype=torch.float64)
    return bool(abs(phi(far) - 1.0) < 1e-15)


def _saturating(variances: Variances, phi: Activation) -> SaturatingAsymptotics:
    """From E φ² = 1 − lost/√r + … and E φ'² = steep/√r + … at a large variance r."""
    w, _, v, a = variances
    u = torch.arange(
        -30.0, 30.0, 1 / 32, dtype=torch.float64
    )  # beyond rounding, the integrands being analytic
    lost = float((1.0 - phi(u).square()).sum()) / 32 / math.sqrt(2 * math.pi)
    steep = float(phi.prime(u).square().sum()) / 32 / math.sqrt(2 * math.pi)
    b = v + a
    kappa = 2 * lost * v / math.sqrt(w * b)
    half_a = steep * v * math.sqrt(w / b)
    angle = _angle(v / b)
    # Of tan(ψ/2)/ψ over 1/2, which is 1/2 − δ*; by its series where the two come together.
    excess = angle**2 / 24 * (1 + angle**2 / 10) if angle < 0.02 else math.tan(angle / 2) / angle - 0.5
    gap = 2 * v / b * angle / math.pi
    return SaturatingAsymptotics(
        b=b,
        kappa=kappa,
        d_log=-(kappa**2) / (4 * b),
        a=2 * half_a,
        a_log=half_a * kappa / (2 * b) - half_a**2 / 2,
        one_minus_e_star=gap,
        delta_star=0.5 - excess,
        f=(1 - gap) * kappa / (2 * b * excess),
    )


def _angle(share: float) -> float:
    """The angle ψ = acos e*: b e = v (2/π) asin e + a is sin²(ψ/2) / ψ = share / π, with share = v / b."""
    if share == 1.0:
        return math.pi / 2
    return float(
        find_one(lambda x: math.sin(x / 2) ** 2 / x - share / math.pi, 1e-300, math.pi / 2, xtol=1e-300)
    )


# --- Homogeneous.


def geometric_growth(phi: Activation, variances: Variances) -> tuple[float, float] | None:
    """B and k, for a φ that is homogeneous or linear; None for any other.

    A centred branch adds B p + k to p, and every branch multiplies gradients by 1 + B.
    """
    slope = _negative_slope(phi)
    if slope is None:
        return None
    w, inner_bias, v, a = variances
    share = (1 + slope**2) / 2
    return share * v * w, share * v * inner_bias + a


def _negative_slope(phi: Activation) -> float | None:
    """The slope on the negative side of a φ that is x on the positive one; None for any other φ."""
    if type(phi) is LeakyReLU:
        return phi.slope
    if type(phi) is Linear:
        return 1.0
    return 0.0 if type(phi) is ReLU or phi == AlphaReLU(1.0) else None


def _curvature(slope: float) -> float:
    """K: E φφ at unit variances is slope · c plus (1 − slope)² times that of the ReLU."""
    return 2 * math.sqrt(2) / (3 * math.pi) * (1 - slope) ** 2 / (1 + slope**2)


def _length_growth(variances: Variances, slope: float, growth: float) -> float:
    """The root g, sought in x = √g − 1, which solves x³ + 2x² − B x − 2m² = 0."""
    mean2 = variances.outer_weight * variances.inner_weight * (1 - slope) ** 2 / (2 * math.pi)
    x = find_one(lambda x: x**3 + 2 * x**2 - growth * x - 2 * mean2, 0.0, 1 + growth + 2 * mean2, xtol=1e-300)
    return (1.0 + float(x)) ** 2


def _log_length(layers: Tensor, p0: float, growth: float, added: float) -> Tensor:
    logs = layers * math.log1p(growth)
    return logs + torch.log(p0 - added / growth * torch.expm1(-logs))


# --- Powers.


def _power(variances: Variances, phi: AlphaReLU) -> PowerAsymptotics:
    a = phi.alpha
    if 1 - a < _CLOSEST_TO_ONE:
        raise ValueError(
            f"1 − e* is too small for float64 at the exponent {a}; give the ReLU, or 0.99 or less"
        )
    one = torch.tensor(1.0, dtype=torch.float64)
    size = phi.second_moment(one)

    def excess(log_gap: float) -> float:
        gap = torch.tensor(math.exp(log_gap), dtype=torch.float64)
        return float(phi.difference(one, one, gap=gap) / size / gap) - 1.0

    gap = math.exp(find_one(excess, -80.0, 0.0, xtol=1e-15, rtol=1e-15))
    slope = phi.dual_prime(one, one, gap=torch.tensor(gap, dtype=torch.float64)) / size
    w, _, v, _ = variances
    kappa = v * w**a * float(size) * (1 - a)
    return PowerAsymptotics(a, float(size), kappa, gap, float(slope))
