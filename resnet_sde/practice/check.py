"""The depth check: networks of a few depths, drawn alike, and the exponents of their branches.

For each seed and depth the global random states are those of the name (seed, "depth-check", number of the
seed), the same for every depth: a factory that draws block after block gives the same first blocks at all
depths, and the interval of β is many times narrower. y(L) = log median_{k<8} a_k, and β̂ is minus the slope of
y on log L, for each seed; the interval is Student's over seeds. The head of eight blocks is what depth alone
changes: later blocks feel what earlier ones have added (`head`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resnet_sde import estimate
from resnet_sde.checks import positive_integer
from resnet_sde.estimate import Estimate, Outcome
from resnet_sde.practice.audit import RoleSizes, role_laws, role_sizes, scales_with
from resnet_sde.practice.calling import Call, calling, preserved, takes, unwrapped
from resnet_sde.practice.coherence import FEWEST_BLOCKS as BLOCKS_FOR_COHERENCE
from resnet_sde.practice.coherence import Addition, how_layers_add
from resnet_sde.practice.find_stream import BlockChoice, Blocks
from resnet_sde.practice.head import blocks_in_head, head_sizes, median, too_large, turning_of_block_1
from resnet_sde.practice.laws_of_depth import DepthCheck, Fate, WriterLaw
from resnet_sde.practice.one_stream import FEWEST_BLOCKS, Finder, one_stream
from resnet_sde.practice.over_seeds import depends, exponent, over_seeds
from resnet_sde.practice.profile import Profile, follow, measured
from resnet_sde.practice.rate_theory import expected_exponents, family
from resnet_sde.practice.rates import RateTask, rate_laws, reads_on_the_way
from resnet_sde.practice.record import HEAD
from resnet_sde.practice.writers import WriterNames, WriterSize, find_writers, writer_sizes
from resnet_sde.streams import check_seed, generator, seeded

Factory = Callable[[int], nn.Module]
Writing = dict[str, WriterSize]

CRITICAL_WITHIN = 0.1
NO_POWER_LAW = 0.5  # exponents between neighbouring depths that differ by more


@dataclass(frozen=True)
class _Network:
    """What is kept of one network."""

    profile: Profile
    blocks: int
    writing: Writing
    roles: Mapping[str, RoleSizes]
    copies: str
    of_block_1: float


def depth_check(
    factory: Factory,
    batch: Any,
    *,
    depths: Sequence[int] = (8, 24, 64),
    seeds: int = 3,
    optimizer: Callable[[nn.Module], torch.optim.Optimizer] | None = None,
    loss: Callable[[Any, Any], Tensor] | None = None,
    rate_depths: Sequence[int] | None = None,
    rate_seeds: int = 8,
    blocks: BlockChoice = None,
    call: Callable[[nn.Module, Any], Any] | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> DepthCheck:
    """How the residual branches, the initial sizes and the stream of a network depend on its depth.

    Nothing is trained. Networks are in the modes of initialization: no dropout, statistics of the batch.

    Args:
        factory: builds the network with this many blocks.
        batch: a tensor; a tuple or list of arguments; a mapping of keywords; or a function of a
            `torch.Generator` that returns one of these.
        depths: a few; β needs two.
        seeds: networks of each depth.
        optimizer: makes the optimizer of a module, to learn how its rates must move with depth.
        loss: of output and batch, for the step; None for `output.loss`, or for a Gaussian direction.
        rate_depths: of networks for the rates; None for `depths`.
        rate_seeds: networks of each depth for the rates.
        blocks: where the stream runs, if it is not to be found, as for `probe`.
        call: how to call the module, as ``call(module, batch)``.
        level: confidence of the intervals over seeds.
        seed: of everything that is drawn; global random states are left as they were.

    Raises:
        NoStream: no block is repeated.
        NotAStream: blocks are repeated, but they carry no residual stream of one shape.
        ValueError: the arguments do not go together, or depth has no effect.

    Example:
        >>> def factory(depth):
        ...     layers = [torch.nn.TransformerEncoderLayer(16, 2, 32, 0.0) for _ in range(depth)]
        ...     return torch.nn.Sequential(*layers)
        >>> x = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(0))
        >>> depth_check(factory, x, depths=(4, 12)).fate.value
        'forgetting'
    """
    asked = _depths(depths)
    seeds = positive_integer("seeds", seeds, "give for example 3")
    check_seed(seed)
    estimate.quantile(level, 2)
    if not callable(factory):
        raise ValueError(f"factory must be a function of the depth, got {factory!r}")
    forward = calling(drawn_batch(batch, seed), call)

    def build(depth: int, number: int = 0, name: str = "depth-check") -> nn.Module:
        with seeded(seed, name, number):
            return built(factory, depth)

    finder, notes = one_stream(asked, build, forward, blocks)
    networks, writers, remarks = _networks(asked, seeds, build, forward, finder)
    check = _assemble(asked, seeds, networks, (*notes, *remarks), level, seed)
    if optimizer is None:
        return check
    task = RateTask(optimizer, batch, call, loss, finder, writers, seed)
    at = asked if rate_depths is None else _depths(rate_depths)
    count = positive_integer("rate_seeds", rate_seeds, "give for example 8")
    laws = rate_laws(at, count, lambda depth, number: build(depth, number, "rates"), task, level)
    shallow = build(at[0], 0, "rates")
    theory = expected_exponents(check, family(optimizer(shallow)))
    if theory and reads_on_the_way(shallow, task):
        theory, note = (
            {},
            "the loss reads the blocks on their way too: rates of the end of the stream have no theory",
        )
        check = replace(check, notes=(*check.notes, note))
    laws = tuple(replace(law, theory=theory.get(law.group)) for law in laws)
    return replace(check, rates=laws, rate_depths=at)


def _depths(depths: Sequence[int]) -> tuple[int, ...]:
    try:
        asked = tuple(sorted({positive_integer("depths", d, "give for example (8, 24, 64)") for d in depths}))
    except TypeError:
        raise ValueError(f"depths must be a few integers, got {depths!r}; give (8, 24, 64)") from None
    if not asked or asked[0] < FEWEST_BLOCKS:
        raise ValueError(
            f"depths must be {FEWEST_BLOCKS} or more, got {depths!r}; give for example (8, 24, 64)"
        )
    return asked


def drawn_batch(batch: Any, seed: int) -> Any:
    """The batch itself, or what its function draws."""
    if callable(batch) and not isinstance(batch, (Tensor, Mapping)):
        source = generator(seed, "depth-check", "batch")
        if not takes(batch, source):
            raise ValueError("batch must be a function of a torch.Generator alone, or no function")
        return batch(source)
    return batch


def built(factory: Factory, depth: int) -> nn.Module:
    """The network of a depth."""
    net = factory(depth)
    if not isinstance(net, nn.Module):
        raise ValueError(f"factory({depth}) must return a torch.nn.Module, not {type(net).__name__}")
    return unwrapped(net)


def _networks(
    depths: Sequence[int],
    seeds: int,
    build: Callable[[int, int], nn.Module],
    forward: Call,
    finder: Finder,
) -> tuple[list[list[_Network]], WriterNames, list[str]]:
    writers: WriterNames = {}
    notes: list[str] = []
    found: list[list[_Network]] = []
    states: dict[int, Tensor] = {}
    for depth in depths:
        row: list[_Network] = []
        for number in range(seeds):
            net = build(depth, number)
            with preserved(net, initial=True):
                record = follow(net, forward, finder(net), fewest=FEWEST_BLOCKS)
                profile = measured(record, writers=False)
                if not found and not row:
                    writers, notes = find_writers(record, profile.kind)
                degree = 1.0 if profile.kind == "post-norm" else profile.degree
                writing = writer_sizes(record, profile.kind, degree, writers)
                turned = math.nan
                if profile.kind == "post-norm" and 1 in record.kept:
                    turned = turning_of_block_1(record, states.setdefault(number, record.kept[1].stream))
            blocks, roles = record.blocks, role_sizes(record.blocks)
            row.append(_Network(profile, len(blocks.names), writing, roles, _copies(blocks), turned))
        found.append(row)
    counts = [row[0].blocks for row in found]
    if len(counts) > 1 and not all(a < b for a, b in pairwise(counts)):
        raise ValueError(
            f"at depths {list(depths)} the stream has {counts} blocks: it must grow with the depth"
        )
    if any(c != d for c, d in zip(counts, depths, strict=True)):
        notes = [*notes, f"at depths {list(depths)} the stream has {counts} blocks"]
    return found, writers, notes


def _copies(blocks: Blocks) -> str:
    """Whether one module is called again, or modules hold equal weights."""
    if len({id(m) for m in blocks.modules}) < len(blocks.modules) / 2 + 1:
        return "loop"
    first = {
        n: p
        for n, p in blocks.modules[0].named_parameters()
        if p.numel() > 1 and bool((p != p.flatten()[0]).any())
    }
    equal = 0
    for block in blocks.modules[1:]:
        own = dict(block.named_parameters())
        equal += bool(first) and all(n in own and torch.equal(own[n], p) for n, p in first.items())
    return "copies" if equal > len(blocks.modules) / 2 else "none"


def _assemble(
    depths: tuple[int, ...],
    seeds: int,
    networks: list[list[_Network]],
    notes: tuple[str, ...],
    level: float,
    seed: int,
) -> DepthCheck:
    profiles = tuple(tuple(n.profile for n in row) for row in networks)
    coherent = over_seeds([p.coherence for p in profiles[-1]], level)
    copies = networks[-1][0].copies
    layers = how_layers_add(coherent.value, [p.pairs for p in profiles[-1]])
    if copies != "none" and layers.addition is Addition.UNKNOWN:
        layers = replace(layers, addition=Addition.COHERENT, critical_beta=1.0)
    first = 1 if copies != "none" else blocks_in_head(layers)
    sizes = [[head_sizes(n.profile, first, n.of_block_1) for n in row] for row in networks]
    hidden = too_large(depths, profiles, sizes, first, level)
    head = Estimate(math.nan, -math.inf, math.inf) if hidden else exponent(depths, sizes, level)
    everywhere = exponent(depths, [[median(p.sizes) for p in row] for row in profiles], level)
    writers = _writer_laws(depths, networks, first, level)
    writing = {p for w in writers for p in w.parameters}
    prefix = networks[-1][0].profile
    roles = role_laws(depths, [[n.roles for n in row] for row in networks], _prefix(prefix), writing)
    check = DepthCheck(
        depths=depths,
        seeds=seeds,
        profiles=profiles,
        beta=head,
        beta_all=everywhere,
        layers=layers,
        coherence=coherent,
        copies=copies,
        fate=_fate(profiles, head, layers.critical_beta),
        action=tuple(float(np.median([p.action for p in row])) for row in profiles),
        predicted_growth=tuple(float(np.median([p.predicted_growth for p in row])) for row in profiles),
        growth=tuple(float(np.median([p.growth for p in row])) for row in profiles),
        writers=writers,
        roles=roles,
        rates=(),
        rate_depths=(),
        level=level,
        seed=seed,
        prefix=_prefix(prefix),
        notes=(
            *notes,
            *_remarks(profiles, head, everywhere, coherent),
            *layers.notes(),
            *([hidden] if hidden else []),
            *_no_laws(depths, sizes, networks),
        ),
    )
    return replace(check, notes=(*check.notes, *_of_entry(check)))


def _prefix(profile: Profile) -> str:
    return profile.container if profile.mode == "loop" else f"{profile.container}.*".lstrip(".")


def _writer_laws(
    depths: Sequence[int], networks: Sequence[Sequence[_Network]], first: int, level: float
) -> tuple[WriterLaw, ...]:
    every = [n.writing for row in networks for n in row]
    laws = []
    for name in [n for n in networks[-1][0].writing if all(n in w for w in every)]:
        found = [[n.writing[name] for n in row] for row in networks]
        last = networks[-1][0].writing[name]
        heads = [[w.size if first == HEAD else float(np.median(w.sizes[:first])) for w in r] for r in found]
        beta = exponent(depths, heads, level)
        size = float(np.median([w.size for w in found[-1]]))
        roles, factors = (
            [[n.roles for n in row] for row in networks],
            [[w.coefficient for w in r] for r in found],
        )
        scales = [s for s in scales_with(roles, factors) if s not in last.parameters]
        laws.append(WriterLaw(name, beta, size, last.coefficient, (*last.parameters, *scales)))
    return tuple(sorted(laws, key=lambda w: -w.size))


def _fate(profiles: Sequence[Sequence[Profile]], beta: Estimate, critical: float) -> Fate:
    if all(p.action == 0.0 for row in profiles for p in row):
        return Fate.ZERO
    if math.isnan(beta.value) or beta.within(critical, CRITICAL_WITHIN) is Outcome.UNDECIDED:
        return Fate.UNDECIDED
    if beta.within(critical, CRITICAL_WITHIN) is Outcome.HOLDS:
        return Fate.CRITICAL
    if beta.value > critical:
        return Fate.IDENTITY
    deepest = profiles[-1][0]
    if deepest.kind == "post-norm":
        return Fate.FORGETTING
    return Fate.EXPONENTIAL if deepest.degree >= 0.5 else Fate.POWER_LAW


def _remarks(
    profiles: Sequence[Sequence[Profile]], head: Estimate, everywhere: Estimate, coherent: Estimate
) -> list[str]:
    notes = list(dict.fromkeys(note for row in profiles for p in row for note in p.notes))
    kinds = list(dict.fromkeys(p.kind for row in profiles for p in row))
    if len(kinds) > 1:
        notes.append(f"the kind of the stream depends on depth or seed: {', '.join(kinds)}")
    if abs(everywhere.value - head.value) > 0.1:
        notes.append(
            f"branch sizes depend on the position: over all blocks β is {everywhere.value:.2f}, at the head "
            f"{head.value:.2f}"
        )
    if math.isnan(coherent.value) and len(profiles[-1][0].names) < BLOCKS_FOR_COHERENCE:
        notes.append(f"coherence needs {BLOCKS_FOR_COHERENCE} blocks: layers are taken as independent")
    return notes


def _of_entry(check: DepthCheck) -> list[str]:
    if not depends(check.entry):
        return []
    return [
        f"the stream enters its first block like L^{-check.entry.value:.2f}: what runs before it depends on "
        "the depth too, and exponents are those of branches beside it"
    ]


def _no_laws(
    depths: Sequence[int], sizes: Sequence[Sequence[float]], networks: Sequence[Sequence[_Network]]
) -> list[str]:
    """What follows no power of the depth, or is not seen at every depth."""
    notes = []
    logs = np.log(np.maximum(np.median(np.array(sizes, dtype=float), axis=1), 1e-300))
    local = -np.diff(logs) / np.diff(np.log(depths))
    if len(local) > 1 and np.ptp(local) > NO_POWER_LAW:
        between = ", ".join(f"{x:.2f}" for x in local)
        notes.append(f"branches follow no power of the depth: β is {between} between neighbouring depths")
    every = [set(n.writing) for row in networks for n in row]
    lost = sorted({name for names in every for name in names if not all(name in other for other in every)})
    if lost:
        notes.append(
            f"{', '.join(lost)}: seen to write in some of the networks only, so that there is no exponent "
            "(below the resolution of its numbers?)"
        )
    return notes


def assert_depth_law(
    factory: Factory,
    batch: Any,
    *,
    beta: float = 0.5,
    independent: bool = True,
    tolerance: float = 0.1,
    **options: Any,
) -> DepthCheck:
    """The depth check of a factory, if its networks scale as expected; for tests.

    Args:
        factory: builds the network with this many blocks.
        batch: what it is called with, as for `depth_check`.
        beta: exponent expected of the block and of every writer.
        independent: whether layers must be drawn independently.
        tolerance: of exponents.
        options: of `depth_check`.

    Raises:
        DepthMismatch: an AssertionError with one sentence for each thing that is wrong.
    """
    return depth_check(factory, batch, **options).expect(beta, independent, tolerance)
