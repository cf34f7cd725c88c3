"""Where a residual stream may run: blocks that a module holds side by side, or one that it calls again.

Candidates are runs of at least three consecutive children of one class, and whole lists of several classes
(hybrids). Whether a candidate carries a stream is seen only while the module runs (`instrument`): a candidate
is tried as it is and without its first block, which in the stage of a convolutional network changes the
shape. Names come from the first place in which a module stands, children from ``_modules``, which unlike
``named_children`` keeps repeats: copies in a list are blocks too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import nn
from torch.nn.parameter import Parameter

from resnet_sde.networks.blocks import ResidualBlock
from resnet_sde.practice.calling import Call
from resnet_sde.practice.errors import NoStream

BlockChoice = str | type[nn.Module] | Sequence[str] | None
"""How a user names blocks: a pattern such as ``"encoder.layers.*"``, a class, or names."""

FEWEST = 3  # what is repeated fewer times is not told apart from what merely stands side by side
CANDIDATES = 8
LOOPS = 3
_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList)


@dataclass(frozen=True)
class Blocks:
    """Blocks in the order in which a stream may run through them.

    Attributes:
        container: the name of the module that holds them, or that is the loop; "" is the whole module.
        names: of the blocks; a loop repeats its name.
        modules: the blocks themselves.
        loop: whether one module is called again and again.
    """

    container: str
    names: tuple[str, ...]
    modules: tuple[nn.Module, ...]
    loop: bool = False

    @property
    def role(self) -> str:
        """The name with the index replaced by a star, as in ``h.*``."""
        return self.container if self.loop else f"{self.container}.*".lstrip(".")

    def trimmed(self) -> Blocks:
        """All but the first block."""
        return replace(self, names=self.names[1:], modules=self.modules[1:])

    def span(self) -> str:
        """The names in words."""
        return f"{self.names[0]} × {len(self.names)}" if self.loop else f"{self.names[0]} … {self.names[-1]}"


def candidates(module: nn.Module) -> list[Blocks]:
    """Repeated blocks of a module, those with the most parameters first and lists of stages last."""
    found = [run for name, parent in module.named_modules() for run in _runs(name, parent)]
    parents = {run.container for run in found}

    def holds_another(run: Blocks) -> bool:
        sequential = all(isinstance(m, nn.Sequential) for m in run.modules)
        return sequential and any(p == n or p.startswith(f"{n}.") for n in run.names for p in parents)

    return sorted(found, key=lambda run: (holds_another(run), -covered(run.modules)))


def _runs(name: str, parent: nn.Module) -> Iterator[Blocks]:
    children = [(n, c) for n, c in parent._modules.items() if c is not None]
    runs = [list(run) for _, run in groupby(children, key=lambda child: type(child[1]))]
    if len(runs) > 1 and isinstance(parent, (nn.ModuleList, nn.Sequential)):
        runs.append(children)
    for run in runs:
        modules = tuple(child for _, child in run)
        bare = any(isinstance(m, _CONTAINERS) or not _may_add(m) for m in modules)
        if len(run) >= FEWEST and not bare:
            yield Blocks(name, tuple(f"{name}.{n}".lstrip(".") for n, _ in run), modules)


def _may_add(module: nn.Module) -> bool:
    """Whether a module may be a block: it has parameters, or its network holds them."""
    return isinstance(module, ResidualBlock) or next(module.parameters(), None) is not None


def covered(modules: Iterable[nn.Module]) -> int:
    """The number of parameters in modules, shared ones once."""
    return sum(p.numel() for p in parameters(modules))


def parameters(modules: Iterable[nn.Module]) -> list[Parameter]:
    """The parameters of modules, each once."""
    return list({id(p): p for m in modules for p in m.parameters()}.values())


def loops(module: nn.Module, call: Call) -> list[Blocks]:
    """Modules with parameters that one forward pass calls three times or more, outermost first."""
    counts: Counter[str] = Counter()
    names = {m: name for name, m in module.named_modules() if next(m.parameters(), None) is not None}
    handles = [
        m.register_forward_pre_hook(lambda *_, n=name: counts.update([n]))
        for m, name in names.items()
        if name
    ]
    try:
        with torch.no_grad():
            call(module)
    finally:
        for handle in handles:
            handle.remove()
    again = [(n, m) for m, n in names.items() if counts[n] >= FEWEST]
    again.sort(key=lambda found: (found[0].count("."), -covered([found[1]])))
    return [Blocks(n, (n,) * counts[n], (m,) * counts[n], loop=True) for n, m in again]


def named(module: nn.Module, blocks: BlockChoice, call: Call) -> Blocks:
    """The blocks that a user names.

    Raises:
        ValueError: no module has such a name or class.
    """
    everything = dict(module.named_modules(remove_duplicate=False))
    if isinstance(blocks, type):
        names = [n for n, m in everything.items() if isinstance(m, blocks)]
        names = [n for n in names if not any(n.startswith(f"{o}.") for o in names if o != n)]
    elif isinstance(blocks, str):
        pattern = re.compile(r"[^.]+".join(re.escape(part) for part in blocks.split("*")))
        names = [n for n in everything if pattern.fullmatch(n)]
    else:
        names = list(blocks or ())
    unknown = [n for n in names if n not in everything]
    if unknown or not names:
        some = ", ".join(n for n, m in everything.items() if n and next(m.parameters(), None) is not None)
        what = unknown[0] if unknown else getattr(blocks, "__name__", blocks)
        raise ValueError(f"no module is named {what!r}; give blocks as one of: {some[:200]}")
    if len(names) == 1:
        for loop in loops(module, call):
            if everything[names[0]] is loop.modules[0]:
                return loop
        raise ValueError(f"blocks={blocks!r} names one module, which is called once; name two or more blocks")
    return Blocks(_common(names), tuple(names), tuple(everything[n] for n in names))


def _common(names: Sequence[str]) -> str:
    """What stands before the index in all of the names."""
    parts = list(zip(*(n.split(".") for n in names), strict=False))
    shared = []
    for part in parts:
        if len(set(part)) > 1:
            break
        shared.append(part[0])
    return ".".join(shared)


def nothing_repeated() -> NoStream:
    """The refusal of a module that repeats nothing."""
    return NoStream(
        "no block is repeated three times",
        "there is no residual stream to follow",
        'Name it, as in blocks="encoder.layers.*"',
    )
