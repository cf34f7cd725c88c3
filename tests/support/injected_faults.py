"""Injections: a number decides the program, the fault and its moment; and what must be afterwards."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from injected_files import KINDS, damage
from injected_moments import clock, full, moved, removed, signalled
from injected_programs import PROGRAMS, REMOVED, contents, records
from injected_runs import Ended, Request, Running, run
from injected_workers import MOMENTS, ON_DISK, Copy, ends

from resnet_sde.runs.store import PART, Damaged, read_record

INTERRUPTED = "injected: interrupted; what was finished under --out is kept"
AT_EVENTS = (
    "kill -9", "SIGTERM", "SIGINT", "full disk", "full disk for a moment", "folder removed", "folder moved",
    "clock ahead", "clock back",
)  # fmt: skip
AT_TIMES = ("kill -9 at a time", "SIGINT at a time", "SIGTERM at a time")
OF_WORKERS = ("kill -9 of a worker", "SIGTERM of a worker", "a worker leaves")
WITH_WORKERS = ("kill -9, with workers", "SIGINT, with workers", "SIGTERM, with workers")
TOGETHER = ("two programs", "two programs, one killed")
CHEAP = (*AT_EVENTS, *AT_TIMES, *OF_WORKERS, *WITH_WORKERS, *TOGETHER, *KINDS)
OF_FIGURES = (
    *("kill -9", "SIGINT", "full disk", "folder removed", "two programs"),
    *("cut", "a flipped bit", "of another request"),
)
DEAR = ("kill -9 of a real worker", "kill -9 of the scheduler", "kill -9 of a worker of a cluster")
SIGNALS = {"kill": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
_LEAVES = {"kill": "SIGKILL", "SIGTERM": "SIGTERM", "a": "leaves"}


def schedule() -> list[tuple[str, str]]:
    """Programs and their faults, all of them once: first each fault with some program, then the others."""
    three = ("study", "verify", "train")
    first = [(three[i % 3], fault) for i, fault in enumerate(CHEAP)]
    rest = [(program, fault) for fault in CHEAP for program in three if (program, fault) not in first]
    rest += [("figures", fault) for fault in OF_FIGURES] + [("study", fault) for fault in DEAR]
    random.Random(0).shuffle(rest)
    return first + rest


SCHEDULE = schedule()


@dataclass(frozen=True)
class Undisturbed:
    """What a serial run gives that nobody disturbs."""

    result: bytes
    files: dict[str, bytes]
    records: dict[str, bytes]
    events: int
    seconds: float
    folder: Path


@dataclass
class Injection:
    """One injection, and what was wrong afterwards.

    Attributes:
        number: decides everything else.
        reached: whether what was to happen has happened, and not after the end.
        wrong: a line for everything that must not be; none if it passed.
    """

    number: int
    program: str
    fault: str
    reached: bool = True
    wrong: list[str] = field(default_factory=list)


class Harness:
    """Injects faults, and judges what comes of them by an undisturbed run.

    Args:
        folder: for what is left by programs; everything in it may be removed.

    Attributes:
        plant: is called in every process, and plants an error that must be found.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plant: Callable[[], None] = lambda: None
        self._known: dict[str, Undisturbed] = {}

    def undisturbed(self, program: str) -> Undisturbed:
        """That of a program, run once, without planted errors."""
        if program not in self._known:
            store = self.folder / "undisturbed" / program / "store"
            shutil.rmtree(store.parent, ignore_errors=True)
            with redirect_stdout(io.StringIO()):  # what it imports and remembers here is there in its copies
                PROGRAMS[program].run(store.with_name("here"))
            assert len(os.listdir("/proc/self/task")) == 1, "a process of several threads cannot be copied"
            ended = run(Request(program, store), store.with_name("run"))
            assert ended.result is not None, ended.stderr
            self._known[program] = Undisturbed(
                ended.result,
                contents(store),
                records(store, PROGRAMS[program]),
                ended.events,
                ended.seconds,
                store,
            )
        return self._known[program]

    def inject(self, number: int) -> Injection:
        """Injection of this number."""
        program, fault = SCHEDULE[number % len(SCHEDULE)]
        found = Injection(number, program, fault)
        place = self.folder / f"{number}"
        shutil.rmtree(place, ignore_errors=True)
        shared = _shared_memory()
        Case(self, found, place, random.Random(f"injection {number}")).run()
        found.wrong += [f"/dev/shm/{name} is left" for name in _leaked(shared)]
        if not found.wrong:
            shutil.rmtree(place, ignore_errors=True)
        return found


class Case:
    """One injection under way."""

    def __init__(self, harness: Harness, found: Injection, place: Path, chance: random.Random) -> None:
        self.harness, self.found, self.place, self.chance = harness, found, place, chance
        self.program, self.known = found.program, harness.undisturbed(found.program)
        self.store = place / "store"
        self.named: dict[str, bool] = {}

    def run(self) -> None:
        """Disturb the program, then let it run undisturbed, and look at everything."""
        fault = self.found.fault
        if fault in KINDS:
            self._damaged(fault)
        elif fault in TOGETHER:
            self._together(fault)
        elif fault in DEAR:
            from injected_clusters import disturb

            disturb(self)
        else:
            for again in range(1 + (self.chance.random() < 0.3)):
                self._disturbed(fault, again)
        self._go_on()

    def request(self, **how: Any) -> Request:
        prepare = how.pop("prepare", lambda: None)
        return Request(self.program, self.store, prepare=lambda: (self.harness.plant(), prepare()), **how)  # type: ignore[arg-type, func-returns-value]

    # What happens

    def _damaged(self, kind: str) -> None:
        """Files are damaged between two runs; of training, at times those of networks that are under way."""
        if self.program == "train" and self.chance.random() < 0.5:
            at = self.chance.randrange(self.known.events // 3, self.known.events)
            run(self.request(at=at, what=signalled(signal.SIGKILL)), self.place / "first")
        else:
            shutil.copytree(self.known.folder, self.store)
        self.named = damage(kind, self.store, PROGRAMS[self.program], self.chance)

    def _together(self, fault: str) -> None:
        """Two programs on one store."""
        at = self.chance.randrange(1, self.known.events) if "killed" in fault else None
        one = Running(self.request(at=at, what=signalled(signal.SIGKILL)), self.place / "one")
        time.sleep(self.chance.random() * 0.5 * self.known.seconds)
        other = Running(self.request(), self.place / "other")
        first, second = one.wait(), other.wait()
        self.found.reached = at is None or bool(first.reached)
        for ended in [second] if first.reached else [first, second]:
            self._finished(ended, quiet=True)
        self._no_process(first)

    def _disturbed(self, fault: str, again: int) -> None:
        scratch = self.place / f"disturbed {again}"
        at = self.chance.randrange(1, self.known.events + 1)
        sent = SIGNALS.get(fault.replace(",", "").split()[0])
        if fault in AT_TIMES:
            ended = self._at_a_time(sent, scratch)
            if ended.result is not None:  # it came too late
                self.found.reached = self.found.reached and bool(again)
                return
        elif fault in OF_WORKERS:
            ended, sent = self._of_workers(fault, scratch), None
        elif fault in WITH_WORKERS:
            if self.program == "train":  # most events are those of its workers
                at = self.chance.randrange(1, self.known.events // 8)
            what = signalled(sent, group=sent == signal.SIGINT)
            ended = run(self.request(at=at, what=what, workers=2), scratch)
        else:
            ended = run(self.request(at=at, what=signalled(sent) if sent else self._what(fault)), scratch)
        if not again:
            self.found.reached = bool(ended.reached)
        self.judge(ended, sent)

    def _at_a_time(self, sent: signal.Signals, scratch: Path) -> Ended:
        running = Running(self.request(), scratch)
        running.wait_until_it_works()
        if not running.ended_within(self.chance.random() * 0.7 * self.known.seconds):
            running.signal(sent)
            running.mark.write_text("later")
        return running.wait()

    def _of_workers(self, fault: str, scratch: Path) -> Ended:
        """One of two workers ends, while it speaks with the program or, in training, writes what it keeps."""
        moment, after = self.chance.choice(MOMENTS), self.chance.choice((0, 0, 1))
        if self.program == "train" and self.chance.random() < 0.6:
            moment, after = ON_DISK, self.chance.randrange(1, self.known.events // 2)
        end = ends(self.chance.randrange(2), moment, after, _LEAVES[fault.split()[0]], scratch / "reached")
        prepare = lambda: setattr(Copy, "disturb", staticmethod(end))  # noqa: E731
        return run(self.request(workers=2, prepare=prepare), scratch)

    def _what(self, fault: str) -> Any:
        return {
            "full disk": full(10**9),
            "full disk for a moment": full(self.chance.randrange(1, 30)),
            "folder removed": removed(self.store),
            "folder moved": moved(self.store),
            "clock ahead": clock(86400.0),
            "clock back": clock(-86400.0),
        }[fault]

    # What must be

    def judge(self, ended: Ended, sent: signal.Signals | None) -> None:
        """How a program may end to which something has happened."""
        self._no_process(ended)
        fault = self.found.fault
        if not ended.reached:
            self._finished(ended)
        elif sent == signal.SIGINT:
            if (ended.status, ended.lines) != (130, [INTERRUPTED]):
                self._wrong(f"an interrupt is answered by {ended.status}, {ended.stderr!r}")
        elif sent is None and ended.status == 0:
            self._finished(ended, quiet=fault.startswith("clock"))
        elif sent is not None:
            if ended.status != -sent:
                self._wrong(f"{sent.name} is answered by {ended.status}, {ended.stderr!r}")
        elif not self._may_refuse(ended):
            self._wrong(f"{fault} is answered by {ended.status}, {ended.stderr!r}")
        if fault not in ("folder removed", "folder moved"):
            self._whole_records()

    def _may_refuse(self, ended: Ended) -> bool:
        """Whether it ends with one sentence before it has computed anything, or for want of a worker."""
        sentence = ended.lines[-1] if ended.status == 2 and ended.lines else ""
        one = sentence.startswith("injected: ") or (
            self.program == "figures" and sentence.startswith("paper_figs: ")
        )
        if self.found.fault in OF_WORKERS or self.found.fault in DEAR:
            return one and len(ended.lines) == 1 and ("a worker process" in sentence or "cluster" in sentence)
        if self.program == "figures":  # whose results are files
            return one and "Traceback" not in ended.stderr
        return one and ended.reached == "opening" and len(ended.lines) == 1

    def _finished(self, ended: Ended, *, quiet: bool = False) -> None:
        """It has given every result, once, whatever it says."""
        self._no_process(ended)
        if ended.status != 0:
            self._wrong(f"it ends with {ended.status}, {ended.stderr!r}")
        elif ended.result == REMOVED and self.found.fault.startswith("folder"):
            return
        elif _but_for_networks(ended.result) != _but_for_networks(self.known.result):
            self._wrong("its result is another one")
        if quiet and ended.stderr:
            self._wrong(f"it says {ended.stderr!r}")

    def _whole_records(self) -> None:
        """Whatever has happened, a file that has the name of a result is whole, and holds what it must."""
        refused = self.found.fault.startswith("full")  # an outcome says whether its network could be kept
        for name, content in (contents(self.store) if self.store.exists() else {}).items():
            if name.endswith("checkpoint.npz"):
                try:
                    read_record(self.store / name)
                except (Damaged, OSError) as error:
                    self._wrong(f"a checkpoint is not whole: {error}")
            elif name in self.known.files and not name.endswith("log.jsonl"):  # which grows
                if content != self.known.files[name] and not (refused and name.endswith("outcome.json")):
                    self._wrong(f"{name} is not what an undisturbed run writes")

    def _go_on(self) -> None:
        """The same request again, undisturbed, serial: nothing lost, nothing twice, nothing left."""
        there = records(self.store, PROGRAMS[self.program]) if self.store.exists() else {}
        whole = {name for name, content in there.items() if self.known.records.get(name) == content}
        before = contents(self.store) if self.store.exists() else {}
        ended = run(self.request(), self.place / "again")
        self._finished(ended)
        if ended.result != self.known.result:
            self._wrong("the final result is not that of an undisturbed serial run")
        if self.program != "figures":
            self._counted(ended, whole)
        for name, loud in self.named.items():
            outcome = name.replace("network.npz", "outcome.json")
            # Without a whole outcome nobody asks for the network.
            unseen = outcome != name and (outcome in self.named or outcome not in before)
            if loud and not unseen and not any(str(self.store / name) in line for line in ended.lines):
                self._wrong(f"{name} was damaged, and nothing says so")
        if not self.named and ended.stderr:
            self._wrong(f"it says {ended.stderr!r}")
        left = contents(self.store)
        for name in sorted(left.keys() ^ self.known.files.keys()):
            if name.endswith("log.jsonl") and self.found.fault.startswith(("full", "folder")):
                continue  # a log is of the run that trains, and is lost with its folder
            what = f"{name} is left" if name in left else f"{name} is missing"
            self._wrong(f"a temporary file: {what}" if name.endswith(PART) else what)
        for name in sorted(left.keys() & self.known.files.keys()):
            if left[name] != self.known.files[name]:
                self._wrong(f"{name} is another one at the end")

    def _counted(self, ended: Ended, whole: set[str]) -> None:
        names = set(self.known.records)
        saved = [name for name in ended.saved if name in names]
        if ended.taken & names != whole:
            self._wrong(f"{len(whole)} results were whole, and {len(ended.taken & names)} were taken")
        if sorted(saved) != sorted(names - whole):
            self._wrong(f"{len(names - whole)} results were missing, and {len(saved)} were computed")

    def _no_process(self, ended: Ended) -> None:
        if ended.left:
            self._wrong(f"{ended.left} processes are left")

    def _wrong(self, what: str) -> None:
        if what not in self.found.wrong:
            self.found.wrong.append(what)


def _but_for_networks(result: bytes | None) -> object:
    """A result without the names of kept networks, which a full disk does not keep."""
    if result is None or not result.startswith(b"[{"):
        return result
    return [{**each, "network": None} for each in json.loads(result)]


def _shared_memory() -> set[str]:
    return set(os.listdir("/dev/shm"))


def _leaked(before: set[str], patience: float = 10.0) -> set[str]:
    """What is new in /dev/shm and stays there, mapped by no living process: others may work here too."""
    end = time.monotonic() + patience
    while left := _unmapped(before):
        if time.monotonic() > end:
            break
        time.sleep(0.1)  # what the tracker of a killed process has still to remove
    return left


def _unmapped(before: set[str]) -> set[str]:
    new = {name for name in _shared_memory() - before if name.startswith(("sem.mp-", "psm_", "torch_"))}
    if new:
        maps = "".join(_maps(folder) for folder in Path("/proc").glob("[0-9]*"))
        new = {name for name in new if f"/dev/shm/{name}" not in maps}
    return new


def _maps(folder: Path) -> str:
    try:
        return (folder / "maps").read_text()
    except OSError:
        return ""
