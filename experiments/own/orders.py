r"""Orders at which networks come near their limits on the same weights.

Fractional weights of one matrix at width 1 are compared with the solution of the equation in closed form;
those of two matrices with their Young equation on a grid of as many steps as the network has layers; white
weights with a deeper network, whose own error the fit takes out; smooth ones with a solver. Beside the orders
stand controls: those of networks in which an error is planted.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

import resnet_sde as rs
from resnet_sde.coupling import Convergence, couple
from resnet_sde.estimate import Estimate, order, weak_order
from resnet_sde.limits import YoungODE
from resnet_sde.propagate import one_thread
from resnet_sde.runs.versions import current_versions
from resnet_sde.theorems.lab import square, subseed

DEPTHS = (64, 256, 1024)  # of one fractional matrix
SHALLOW, DEEP, AT_ONCE = 32, 2048, 200  # of two: depths, and paths held at once
WHITE_DEPTHS, FINE, SMOOTH_DEPTHS = (8, 16, 32, 64), 512, (16, 32, 64, 128)
WIDTH, WEAK_WIDTH = 4, 400  # the noise of a weak error falls with the width
CONTROLS = ("beta off by 0.15", "beta off by 0.15 the other way", "noise of its own for every depth")
ENDS = ("value", "low", "high")
LAWS = {"white": rs.WhiteNoise(), "smooth": rs.SmoothNoise(0.3)}
BLOCKS = {
    "tanh": rs.SingleLayer(rs.TANH),
    "ReLU": rs.SingleLayer(rs.RELU),
    "linear": rs.SingleLayer(rs.LINEAR),
    "res-3": rs.TwoLayer(rs.RELU),
}


@dataclass(frozen=True)
class Row:
    """An order of white or of smooth weights.

    kind: "strong", "gradient" or "weak".
    control: name of a false neighbour of the order, in the theorem on it.
    """

    law: str
    block: str
    kind: str = "strong"
    control: str = ""

    def __str__(self) -> str:
        return f"{self.law}, {self.block}, {self.kind}"


ROWS = (
    Row("white", "tanh", control="beta off by 0.15"),
    Row("white", "tanh", "gradient"),
    Row("white", "ReLU", control="noise of its own for every depth"),
    Row("white", "ReLU", "gradient"),
    Row("white", "linear", "weak"),
    Row("smooth", "tanh", control="beta off by 0.15"),
    Row("smooth", "tanh", "gradient"),
    Row("smooth", "res-3", control="weights of its own for every depth"),
)
THEOREMS = {"white": "sde-limit", "smooth": "ode-limit"}
Variables = dict[str, tuple[tuple[str, ...], object]]


@dataclass(frozen=True)
class Orders:
    """Where orders are measured, and on how many paths.

    hursts, paths: of one matrix at width 1.
    relu, tanh, two_paths: Hurst indices of two matrices; `own` of them have controls,
        of a quarter of the paths.
    white_paths, weak_paths, smooth_paths: of `ROWS`.
    weak_depths: of networks whose weak error is measured; the reference is four times deeper.
    controlled, control_paths: Hurst indices of one matrix with controls, and paths of controls.
    """

    hursts: tuple[float, ...]
    relu: tuple[float, ...]
    tanh: tuple[float, ...]
    own: tuple[float, ...]
    controlled: tuple[float, ...]
    paths: int
    two_paths: int
    white_paths: int
    weak_paths: int
    smooth_paths: int
    control_paths: int
    weak_depths: tuple[int, ...] = (8, 16, 32, 64)

    def run(self, *, seed: int = 0) -> xr.Dataset:
        """Orders with the axis end: value, low and high of an interval at level 99.9 %, of controls 99.99 %.

        strong, weak: of one matrix, axis hurst; `wrong` with the axes control, controlled.
        ito: strong order at H = 1/2.
        relu, tanh: of two matrices, axes hurst_relu, hurst_tanh; `relu_wrong`, `tanh_wrong` of other weights.
        row_order, row_wrong: axis row; NaN where there is no control.
        error, depth: what the orders of rows are fitted to, axes row, point; `reference` is a depth.
        exact_weak: the order that is fitted to the exact weak errors of linear networks.
        """
        with one_thread():
            variables = _one_matrix(self, seed) | _two_matrices(self, seed) | _rows(self, seed)
        axes = {"hurst": list(self.hursts), "controlled": list(self.controlled), "end": list(ENDS)}
        for name, hursts in (("relu", self.relu), ("tanh", self.tanh)):
            axes |= {f"hurst_{name}": list(hursts), f"own_{name}": [H for H in hursts if H in self.own]}
        axes |= {"control": list(CONTROLS), "row": [str(row) for row in ROWS]}
        attributes = {"seed": seed, "versions": json.dumps(current_versions()), "experiment": repr(self)}
        arrays = {name: (dims, np.asarray(values)) for name, (dims, values) in variables.items()}
        return xr.Dataset(arrays, axes, attributes)


def _ends(estimate: Estimate | None) -> list[float]:
    assert estimate is not None
    return [estimate.value, estimate.low, estimate.high]


def _wrong(theorem: str, control: str, seed: int, **settings: object) -> list[float]:
    """The first order that a theorem measures of networks with an error planted in them."""
    return _ends(rs.verify(theorem, control=control, seed=seed, **settings).claims[0].measured)


def _one_matrix(size: Orders, seed: int) -> Variables:
    """Against the solution in closed form, that of the Itô equation at H = 1/2."""
    one = torch.ones(1, 1, dtype=torch.float64)
    how = {"depths": DEPTHS, "samples": size.paths, "reference": "exact", "seed": seed}
    found = [couple(narrow(hurst), one, **how) for hurst in size.hursts]
    ito = couple(rs.Model(rs.SingleLayer(rs.LINEAR, 0.25), rs.WhiteNoise(), 1), one, **how)

    def wrong(control: str, hurst: float) -> list[float]:
        return _wrong("young-limit", control, seed, samples=size.control_paths, model=narrow(hurst))

    return {
        "strong": (("hurst", "end"), [_ends(each.strong_order) for each in found]),
        "weak": (("hurst", "end"), [_ends(each.weak_order) for each in found]),
        "wrong": (
            ("control", "controlled", "end"),
            [[wrong(name, hurst) for hurst in size.controlled] for name in CONTROLS],
        ),
        "ito": (("end",), _ends(ito.strong_order)),
    }


def narrow(hurst: float) -> rs.Model:
    """Networks of width 1 and one matrix."""
    return rs.Model(rs.SingleLayer(rs.TANH), rs.FractionalNoise(hurst), 1)


def young(name: str, hurst: float) -> YoungODE:
    """The equation of networks of two matrices with "relu" or "tanh", which knows its order."""
    phi = {"relu": rs.RELU, "tanh": rs.TANH}[name]
    equation = rs.limit(rs.Model(rs.TwoLayer(phi), rs.FractionalNoise(hurst), WIDTH))
    assert isinstance(equation, YoungODE)
    return equation


def _two_matrices(size: Orders, seed: int) -> Variables:
    found: Variables = {}
    for name, hursts in (("relu", size.relu), ("tanh", size.tanh)):
        own = [hurst for hurst in hursts if hurst in size.own]
        right, wrong = (
            [_distance_order(young(name, hurst), samples, seed, weights) for hurst in some]
            for some, samples, weights in (
                (hursts, size.two_paths, "network"),
                (own, size.two_paths // 4, "limit"),
            )
        )
        found |= {name: ((f"hurst_{name}", "end"), right), f"{name}_wrong": ((f"own_{name}", "end"), wrong)}
    return found


def _distance_order(equation: YoungODE, samples: int, seed: int, weights: str) -> list[float]:
    """Of networks to their equation, which sees the weights of the "network", or those of its own."""
    model, found = equation.model, []
    for first in range(0, samples, AT_ONCE):
        count = min(AT_ONCE, samples - first)
        h = torch.ones(count, 1, WIDTH, dtype=torch.float64)
        path, other = (
            model.draw(DEEP, samples=count, seed=subseed(seed, whose, first), dtype=h.dtype)
            for whose in ("network", weights)
        )
        gaps = []
        for depth in (SHALLOW, DEEP):
            end = rs.forward(model.block, h, path.layers(depth), model.alpha(depth))[-1]
            gaps.append(square(end - equation.solve(h, other, steps=depth, method="euler")))
        found.append(torch.stack(gaps, 1))
    return _ends(order((SHALLOW, DEEP), torch.cat(found), seed=seed))


def _rows(size: Orders, seed: int) -> Variables:
    results = {key: _coupled(*key, size, seed) for key in {(row.law, row.block) for row in ROWS}}
    found = [(row, *results[row.law, row.block]) for row in ROWS]
    errors, depths = (np.full((len(ROWS), len(WHITE_DEPTHS)), np.nan) for _ in range(2))
    for place, (row, result, _) in enumerate(found):
        count = len(result.depths)
        errors[place, :count], depths[place, :count] = getattr(result, f"{row.kind}_errors"), result.depths
    return {
        "row_order": (
            ("row", "end"),
            [_ends(getattr(result, f"{row.kind}_order")) for row, result, _ in found],
        ),
        "row_wrong": (("row", "end"), [_control(row, size, seed) for row in ROWS]),
        "error": (("row", "point"), errors),
        "depth": (("row", "point"), depths),
        "reference": (("row",), [reference for *_, reference in found]),
        "exact_weak": ((), _exact_weak_order(size.weak_depths)),
    }


def _coupled(law: str, block: str, size: Orders, seed: int) -> tuple[Convergence, float]:
    """Networks next to a reference, and its depth."""
    width, depths, fine, samples = WIDTH, WHITE_DEPTHS, FINE, size.white_paths
    if law == "smooth":
        depths, fine, samples = SMOOTH_DEPTHS, 0, size.smooth_paths
    elif block == "linear":
        width, depths, samples = WEAK_WIDTH, size.weak_depths, size.weak_paths
        fine = 4 * depths[-1]
    result = couple(
        rs.Model(BLOCKS[block], LAWS[law], width),
        torch.ones(1, width, dtype=torch.float32 if width == WEAK_WIDTH else torch.float64),
        depths=depths,
        samples=samples,
        reference=fine or "solver",
        gradients=Row(law, block, "gradient") in ROWS,
        seed=seed,
    )
    return result, fine or math.inf


def _exact_weak_order(depths: tuple[int, ...]) -> float:
    """What the fit makes of the exact errors (1 + 1/R)^R − (1 + 1/L)^L of linear networks."""
    fine = 4 * depths[-1]
    growth = {depth: (1 + 1 / depth) ** depth for depth in (*depths, fine)}
    errors = torch.tensor([[growth[fine] - growth[depth] for depth in depths]] * 2, dtype=torch.float64)
    return weak_order(depths, errors, reference=fine).value


def _control(row: Row, size: Orders, seed: int) -> list[float]:
    if not row.control:
        return [math.nan] * len(ENDS)
    samples = size.smooth_paths if row.law == "smooth" else size.control_paths
    model = rs.Model(BLOCKS[row.block], LAWS[row.law], WIDTH)
    return _wrong(THEOREMS[row.law], row.control, seed, samples=samples, model=model)
