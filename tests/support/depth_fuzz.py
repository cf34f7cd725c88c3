"""Fuzz the depth check: ``python tests/support/depth_fuzz.py --pairs 10000``.

Random modules are run through all verbs.

`probe`, `depth_check` and `advise` may answer, refuse in a sentence of their own, or let an error of the
user's code through. Anything else is a finding, and so is a hook that stays, a parameter, buffer, gradient,
mode, batch or random state that is changed. Parts that are finished are kept, and the same command goes on.
"""

import argparse
import gc
import hashlib
import json
import random
import re
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from fuzzed_blocks import UsersError, UsersStop
from fuzzed_modules import Pair, pair
from torch import Tensor, nn

from resnet_sde import practice
from resnet_sde.propagate import default_dtype, one_thread
from resnet_sde.runs.store import Record, Store
from resnet_sde.streams import seeded

PART = 250
_OF_TORCH = (  # about checkpoints and hooks of the user's, without gradients
    "None of the inputs have requires_grad",
    "Full backward hook is firing",
    "For backward hooks",
)
PRACTICE = Path(practice.__file__).parent
USERS = ("fuzzed_modules", "fuzzed_blocks", "fuzzed_histories", "depth_fuzz", "__main__")
OWN = "resnet_sde"
VERBS = ("probe", "depth_check", "expect", "advise")


@dataclass
class Tally:
    """What came of some pairs.

    outcomes: how often a verb answered, refused or let an error of the user's through.
    sentences: of refusals, numbers left out.
    findings: what must not happen, a line each.
    suspects: errors in the user's code that calling the module does not raise; to be looked at.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    sentences: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    suspects: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        self.outcomes += other.outcomes
        self.sentences += other.sentences
        self.findings += other.findings
        self.suspects += other.suspects


def fuzz(number: int, tally: Tally) -> None:
    """All verbs on one pair."""
    drawn = pair(number)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for about in _OF_TORCH:
            warnings.filterwarnings("ignore", about)
        plain = _plain(drawn)
        profile = _probe(drawn, plain, tally)
        check = _check(drawn, plain, tally)
        _advise(drawn, profile, check, tally)


def _plain(drawn: Pair) -> BaseException | None:
    """What calling the module itself raises."""
    with seeded(drawn.number, "fuzz"):
        net, batch = drawn.module(), drawn.inputs()
        net = getattr(net, "_orig_mod", net)
        try:
            if isinstance(batch, Mapping):
                net(**batch)
            else:
                net(*batch) if isinstance(batch, (tuple, list)) else net(batch)
        except (Exception, UsersStop) as error:
            return error
    return None


def _nothing() -> None:
    """What raises nothing."""


def _probe(drawn: Pair, plain: BaseException | None, tally: Tally) -> Any:
    with seeded(drawn.number, "fuzz"):
        net, batch = drawn.module(), drawn.inputs()
        watched = Watched([net], batch)
        answer = _tried(
            "probe", drawn, lambda: plain, tally, lambda: practice.probe(net, batch, **drawn.arguments())
        )
        watched.compare("probe", drawn, tally)
        if answer is not None:
            _tried("probe, document", drawn, _nothing, tally, lambda: _whole(answer))
        return answer


def _check(drawn: Pair, plain: BaseException | None, tally: Tally) -> Any:
    rng = np.random.default_rng([1, drawn.number])
    with seeded(drawn.number, "fuzz"):
        batch = drawn.inputs()
        watched = Watched([], batch)

        def factory(depth: int) -> nn.Module:
            net = replace(drawn, depth=depth).module()
            watched.add(net)
            return net

        options = drawn.arguments()
        asked = {name: options[name] for name in ("blocks", "call", "loss", "seed") if name in options}
        asked["depths"] = ((3, 5), (4,), (9, 3), (0, 3), ())[
            int(rng.choice([0] * 8 + [1] * 8 + [2, 2, 3, 4]))
        ]
        asked["seeds"] = int(rng.choice([1, 1, 2]))
        asked |= _OPTIMIZERS[int(rng.integers(len(_OPTIMIZERS)))]
        given = (lambda generator: drawn.inputs()) if rng.integers(6) == 0 else batch

        def at_any_depth() -> BaseException | None:
            others = (_plain(replace(drawn, depth=depth)) for depth in asked["depths"])
            return plain or next(filter(None, others), None)

        answer = _tried(
            "depth_check", drawn, at_any_depth, tally, lambda: practice.depth_check(factory, given, **asked)
        )
        watched.compare("depth_check", drawn, tally)
        if answer is not None:
            _tried("depth_check, document", drawn, _nothing, tally, lambda: (_whole(answer), answer.table()))
            _tried("expect", drawn, _nothing, tally, lambda: answer.expect(float(rng.choice([0.0, 0.5]))))
        return answer


def _sgd(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(list(module.parameters()), lr=0.1, momentum=0.9)


def _adam(module: nn.Module) -> torch.optim.Optimizer:
    learned = [p for p in module.parameters() if p.requires_grad]
    if not learned:
        raise UsersError("the optimizer of the user's has nothing to move")
    return torch.optim.AdamW(learned, lr=1e-3)


def _lbfgs(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.LBFGS(module.parameters())


_OPTIMIZERS: list[dict[str, Any]] = [
    *[{}] * 6,
    {"optimizer": _sgd, "rate_seeds": 1},
    {"optimizer": _adam, "rate_seeds": 2},
    {"optimizer": _lbfgs, "rate_seeds": 1},
    {"optimizer": lambda module: None, "rate_seeds": 1},
]


def _advise(drawn: Pair, profile: Any, check: Any, tally: Tally) -> None:
    rng = np.random.default_rng([2, drawn.number])
    measured = [profile, check, None, {}, {"sizes": [1.0]}, profile.document() if profile else 3]
    asked = {
        "activation": str(rng.choice(["relu", "tanh", "sigmoid", "nothing"])),
        "sigma_w2": float(rng.choice([1.0, 2.0, 0.0, -1.0, np.nan, np.inf, 1e-200])),
        "kind": str(rng.choice(["plain", "pre-norm", "post-norm", "other"])),
        "law": ["white", "copied", "smooth", 0.7, 0.2, 1.5, "other"][int(rng.integers(7))],
        "width": [None, 64, 0, 2.5][int(rng.integers(4))],
        "optimizer": [None, "sgd", "adam", "lion"][int(rng.integers(4))],
        "to": float(rng.choice([1.0, 0.5, 1e-300, 1e300, 0.0])),
        "measured": measured[int(rng.integers(len(measured)))],
    }
    asked = {name: value for name, value in asked.items() if rng.integers(6) == 0 or name == "measured"}
    depth = [8, 1, 64, 10**9, 0, -1, 2.5, True][max(0, int(rng.integers(-16, 8)))]
    with seeded(drawn.number, "fuzz"):
        watched = Watched([], None)
        answer = _tried("advise", drawn, _nothing, tally, lambda: practice.advise(depth, **asked))
        watched.compare("advise", drawn, tally)
        if answer is not None:
            _tried("advise, document", drawn, _nothing, tally, lambda: (_whole(answer), str(answer)))


def _whole(answer: Any) -> None:
    """Words and JSON of an answer."""
    repr(answer)
    json.dumps(answer.document(), allow_nan=False)


# What an error is


def _tried(
    verb: str, drawn: Pair, plain: Callable[[], BaseException | None], tally: Tally, ask: Callable[[], Any]
) -> Any:
    try:
        answer = ask()
    except (Exception, UsersStop) as error:
        kind = _kind(error, plain()) if verb in VERBS else "finding"
        tally.outcomes[f"{verb}: {kind}"] += 1
        if kind == "refused" and verb != "expect":
            tally.sentences[f"{verb}: {re.sub(r'[-0-9.e]*[0-9][0-9.]*', '#', str(error))[:110]}"] += 1
        if kind == "finding":
            where = traceback.extract_tb(error.__traceback__)[-1]
            own = [f for f in traceback.extract_tb(error.__traceback__) if f"{OWN}/" in f.filename]
            at = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else where.filename
            tally.findings.append(f"{drawn.number} {verb} {at}: {type(error).__name__}: {error}")
        if kind == "suspect":
            tally.suspects[f"{type(error).__name__}: {str(error)[:90]}"] += 1
        error.__traceback__ = None
        return None
    tally.outcomes[f"{verb}: answered"] += 1
    return answer


def _kind(error: BaseException, plain: BaseException | None) -> str:
    frames = list(_modules(error.__traceback__))
    own = [k for k, name in enumerate(frames) if name.startswith(OWN)]
    if own and own[-1] == len(frames) - 1:
        text = str(error)
        refused = isinstance(error, (ValueError, practice.DepthMismatch)) and text.strip()
        sentence = "\n" not in text and any(mark in text for mark in ("; ", ": ", ". ", ", "))
        one = sentence or isinstance(error, practice.DepthMismatch)
        return "refused" if refused and one else "finding"
    if plain is not None and (type(error), str(error)) == (type(plain), str(plain)):
        return "the user's"
    if own and any(name in USERS for name in frames[own[-1] :]):
        return "the user's" if plain is not None or isinstance(error, (UsersError, UsersStop)) else "suspect"
    return "finding"


def _modules(trace: TracebackType | None) -> Iterator[str]:
    while trace is not None:
        yield str(trace.tb_frame.f_globals.get("__name__"))
        trace = trace.tb_next


# What must be as it was


class Watched:
    """Networks, a batch and global states, as they were."""

    def __init__(self, nets: list[nn.Module], batch: Any) -> None:
        self.nets, self.batch = list(nets), batch
        self.before = [_state(net) for net in self.nets]
        self.around = _around(batch)

    def add(self, net: nn.Module) -> None:
        """One more network, as it is now."""
        self.nets.append(net)
        self.before.append(_state(net))

    def compare(self, verb: str, drawn: Pair, tally: Tally) -> None:
        """Note what has changed."""
        found = _around(self.batch)
        changed = {name for name in found if not _equal(found[name], self.around[name])}
        for net, before in zip(self.nets, self.before, strict=True):
            after = _state(net)
            changed |= {name for name in after if not _equal(after[name], before[name])}
        for name in sorted(changed):
            tally.findings.append(f"{drawn.number} {verb}: {name} changed")


def _state(net: nn.Module) -> dict[str, Any]:
    modules = list(net.modules())
    parameters = list(net.parameters())
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "parameters": [(id(p), _bits(p)) for p in parameters],
        "buffers": [[(n, id(b), _bits(b)) for n, b in m._buffers.items()] for m in modules],
        "gradients": [(id(p.grad), _bits(p.grad)) for p in parameters],
        "what is trained": [p.requires_grad for p in parameters],
        "modes": [m.training for m in modules],
        "hooks": [[list(getattr(m, name)) for name in hooks] for m in modules],
        "children": [[(n, id(c)) for n, c in m._modules.items()] for m in modules],
        "caches": [getattr(getattr(m, "config", None), "use_cache", None) for m in modules],
    }


def _around(batch: Any) -> dict[str, Any]:
    parts = batch.values() if isinstance(batch, Mapping) else batch
    tensors = [batch] if isinstance(batch, Tensor) else [p for p in parts or () if isinstance(p, Tensor)]
    hooks = torch.nn.modules.module
    return {
        "the batch": [(_bits(t), t.requires_grad, _bits(t.grad) if t.is_leaf else None) for t in tensors],
        "torch's random state": torch.get_rng_state().numpy().tobytes(),
        "NumPy's random state": [np.asarray(part).tobytes() for part in np.random.get_state()],  # noqa: NPY002
        "Python's random state": random.getstate(),
        "modes of torch": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "dtype": torch.get_default_dtype(),
        "global hooks": (len(hooks._global_forward_hooks), len(hooks._global_forward_pre_hooks)),
    }


def _bits(value: Tensor | None) -> Any:
    if value is None or value.is_meta or isinstance(value, nn.parameter.UninitializedTensorMixin):
        return type(value)
    plain = value.detach().contiguous()
    return (value.dtype, tuple(value.shape), plain.flatten().view(torch.uint8).numpy().tobytes())


def _equal(left: Any, right: Any) -> bool:
    return left == right


# The command


def part(first: int, count: int) -> Tally:
    """The tally of consecutive pairs."""
    tally = Tally()
    with one_thread(), default_dtype(torch.float32):
        for number in range(first, first + count):
            fuzz(number, tally)
    return tally


def _kept(first: int, store: Store) -> Tally:
    identity = {"fuzz": [first, PART], "code": _code()}
    record = store.load(identity)
    if record is None:
        tally = part(first, PART)
        store.save(identity, Record({}, vars(tally)))
        gc.collect()
        return tally
    held = record.content
    counters = {name: Counter(held[name]) for name in ("outcomes", "sentences", "suspects")}
    return Tally(findings=list(held["findings"]), **counters)


def _code() -> str:
    """A digest of the fuzz and of what it looks at."""
    files = sorted([*Path(__file__).parent.glob("fuzzed_*.py"), Path(__file__), *PRACTICE.glob("*.py")])
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("results/fuzz"))
    options = parser.parse_args()
    store, total, started = Store(options.out, "{key}.json"), Tally(), time.perf_counter()
    for first in range(0, options.pairs, PART):
        total.add(_kept(first, store))
        seconds = time.perf_counter() - started
        print(f"{first + PART} pairs, {len(total.findings)} findings, {seconds:.0f} s", flush=True)
    lines = [f"{count:7d}  {name}" for name, count in sorted(total.outcomes.items())]
    lines += [f"{count:7d}  {name}" for name, count in total.sentences.most_common()]
    lines += [f"{count:7d}  suspect: {name}" for name, count in total.suspects.most_common()]
    print(*lines, *total.findings, sep="\n")
    return int(bool(total.findings))


if __name__ == "__main__":
    sys.exit(main())
