from . import (
    claims as claims,
    datasets as datasets,
    estimate as estimate,
    finite_width as finite_width,
    meanfield as meanfield,
    networks as networks,
    observables as observables,
    practice as practice,
    testing as testing,
    theorems as theorems,
    training as training,
)
from ._version import __version__ as __version__
from .activations import (
    ERF as ERF,
    GELU as GELU,
    LINEAR as LINEAR,
    RELU as RELU,
    SIGMOID as SIGMOID,
    TANH as TANH,
    Activation as Activation,
    AlphaReLU as AlphaReLU,
    LeakyReLU as LeakyReLU,
    activation as activation,
)
from .blocks import (
    Block as Block,
    Convolution as Convolution,
    GatedLinearUnit as GatedLinearUnit,
    Layer as Layer,
    PreNorm as PreNorm,
    Reduced as Reduced,
    SingleLayer as SingleLayer,
    TwoLayer as TwoLayer,
    Variances as Variances,
)
from .coupling import couple as couple
from .empirical import EmpiricalNoise as EmpiricalNoise, StudentNoise as StudentNoise
from .laws import (
    ConstantNoise as ConstantNoise,
    FractionalNoise as FractionalNoise,
    PathLaw as PathLaw,
    SmoothNoise as SmoothNoise,
    WhiteNoise as WhiteNoise,
)
from .limits import NoLimit as NoLimit, limit as limit
from .model import Model as Model, Regime as Regime, WeightPaths as WeightPaths
from .monte_carlo import simulate as simulate
from .paths import OffGrid as OffGrid, Path as Path
from .practice import (
    DepthCheck as DepthCheck,
    DepthMismatch as DepthMismatch,
    NoStream as NoStream,
    NotAStream as NotAStream,
    Profile as Profile,
    advise as advise,
    assert_depth_law as assert_depth_law,
    depth_check as depth_check,
    probe as probe,
    scale_residual_ as scale_residual_,
)
from .propagate import Trajectory as Trajectory, forward as forward, trajectory as trajectory
from .short_memory import (
    AutoregressiveNoise as AutoregressiveNoise,
    MovingAverageNoise as MovingAverageNoise,
    TiedNoise as TiedNoise,
)
from .streams import generator as generator
from .studies import study as study
from .theorems import verify as verify
