"""The numbers of the figure yang/alpha."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

import resnet_sde as rs
from experiments.wide import dataset, residual
from experiments.yang.residuals import networks
from resnet_sde.meanfield import lengths
from resnet_sde.meanfield.asymptotics import PowerAsymptotics, asymptotics


@dataclass(frozen=True)
class Sizes:
    """Of the networks; layers: through which infinite width is followed."""

    width: int
    samples: int
    depth: int = 50
    layers: int = 100_000


BUDGETS = {"smoke": Sizes(width=200, samples=60), "paper": Sizes(width=1000, samples=100)}
OF = ("one_minus_e_star", "mu", "gradient_exponent", "weight_gradient_exponent")
ALPHAS = np.unique([*np.arange(51, 100) / 100, *np.arange(9525, 9900, 25) / 10_000, 2 / 3])
SHOWN = (0.51, 0.6, 0.75, 0.9, 1.0)  # kernels
GROWN = (0.6, 0.75, 0.9)  # networks with (σ_w², σ_b², σ_v², σ_a²) = (1, 1/2, 1, 1/2)
COSINES = (0.5, 0.0, 0.999)  # where the flow starts
FOLDS = 8  # of e, through which it is followed
GAPS = np.unique(np.concatenate([np.geomspace(1e-5, 0.1, 201), np.linspace(0.1, 2, 191)]))


def compute(budget: str, seed: int) -> xr.Dataset:
    """Kernels, constants, lengths and the flow of cosines."""
    settings = BUDGETS[budget]
    blocks = [rs.TwoLayer(rs.AlphaReLU(a), 1.0, 0.5, 1.0, 0.5) for a in GROWN]
    size = {"width": settings.width, "depth": settings.depth, "samples": settings.samples, "seed": seed}
    laws = [_laws(a) for a in ALPHAS.tolist()]
    grown = [lengths(residual(block), depth=settings.layers).log_q for block in blocks]
    layers, late = _few(settings), _offset_laws(blocks, grown)
    flows = [_flow(_laws(a)) for a in GROWN]
    variables = {
        "kernel": (("shown", "gap"), np.stack([_kernel(a, GAPS) for a in SHOWN])),
        "constant": (("alpha", "of"), np.array([[getattr(law, each) for each in OF] for law in laws])),
        "log_p": (("grown", "layer"), torch.stack(grown)[:, layers]),
        "log_p_law": (("grown", "layer"), late[:, layers]),
        "log_p_seen": (
            ("grown", "network", "few_layer"),
            torch.stack([networks(block, **size).q[..., 0].log() for block in blocks]),
        ),
        "flow": (("grown", "fold", "cosine"), np.stack(flows)),
        "rate": ("grown", [1 - _laws(a).slope for a in GROWN]),
        "fixed_gap": ("grown", [_laws(a).one_minus_e_star for a in GROWN]),
    }
    axes = {
        "shown": list(SHOWN),
        "gap": GAPS,
        "alpha": ALPHAS,
        "of": list(OF),
        "grown": list(GROWN),
        "layer": layers,
        "fold": np.linspace(0, FOLDS, 161),
        "cosine": list(COSINES),
    }
    ds = dataset(variables, axes, settings, budget, seed)
    return ds.assign_attrs(width=settings.width, samples=settings.samples)


def _few(settings: Sizes) -> np.ndarray:
    """Layers that are kept: those of the networks, later ones by growing steps, half of all, and all."""
    last = settings.layers
    late = np.geomspace(settings.depth + 1, last, 400).round()
    return np.unique([*range(settings.depth + 1), *late, last // 2, last]).astype(int)


def _laws(alpha: float) -> PowerAsymptotics:
    found = asymptotics(residual(rs.TwoLayer(rs.AlphaReLU(alpha))))
    assert isinstance(found, PowerAsymptotics)
    return found


def _kernel(alpha: float, gap: np.ndarray) -> np.ndarray:
    """1 − J at a gap: E φφ over E φ², a function of the correlation alone."""
    phi, one = rs.AlphaReLU(alpha), torch.tensor(1.0, dtype=torch.float64)
    return (phi.difference(one, one, gap=torch.from_numpy(gap)) / phi.second_moment(one)).numpy()


def _offset_laws(blocks: Sequence[rs.Block], log_p: Sequence[torch.Tensor]) -> np.ndarray:
    """Logarithms of the power laws of lengths, whose one free constant is that of the last layer."""
    rows = []
    for block, line in zip(blocks, log_p, strict=True):
        law = asymptotics(residual(block))
        assert isinstance(law, PowerAsymptotics)
        layer = torch.arange(len(line), dtype=torch.float64).clamp_min(1)
        rest = 1 - law.alpha
        late = (rest * line[-1]).exp() / law.kappa - layer[-1] + law.alpha / (2 * rest) * layer[-1].log()
        rows.append(law.length(layer, float(late)).log().numpy())
    return np.stack(rows)


def _flow(law: PowerAsymptotics) -> np.ndarray:
    """1 − e at even steps of log p, in de / d(log p) = J(e) − e: shape (fold, cosine)."""
    from scipy.integrate import solve_ivp  # slow to import

    times = np.linspace(0, FOLDS, 161) / (1 - law.slope)
    found = solve_ivp(
        lambda _, gap: _kernel(law.alpha, gap.clip(0, 2)) - gap,
        (0.0, times[-1]),
        1 - np.array(COSINES),
        "LSODA",
        times,
        rtol=1e-10,
        atol=1e-14,
    )
    return found.y.T
