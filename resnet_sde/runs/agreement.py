"""Whether code is the same in the process that asks and in one that works for it.

What is sent through pickle travels by content, but for functions, classes and what says of itself that a
module knows it: they travel by name, and the other process looks them up in modules that it has imported by
itself. There they may be others, if a file was edited or a value of a module was changed since. So each of
these names goes with a digest of what it stands for here, with all that it reads, and the other process
compares.

It is the digest of `identity`, but for two things: libraries count by name alone, because both processes use
the same installation, and what cannot be read as a value, such as a lock or an open file, counts by its type.
"""

from __future__ import annotations

import copyreg
import hashlib
import io
import pickle
import traceback
from collections.abc import Callable
from types import FunctionType
from typing import IO, Any, Protocol

from typing_extensions import override

from resnet_sde.runs.describe import Parts, Unknown, Walk

_MAIN_OF_A_WORKER = "__mp_main__"  # the name that it gives to the script of the process that asks


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...
    def readline(self) -> bytes: ...


class Changed(Exception):
    """Something is another here than in the process that asked; its name."""


def code_digest(thing: object) -> str:
    """A digest of an object and of all that it reads, as far as that can be told."""
    text = repr(_Walk().whole(thing)).replace(_MAIN_OF_A_WORKER, "__main__")
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def text_of(error: BaseException) -> str:
    """The traceback of an error."""
    return "".join(traceback.format_exception(error))


def packed_error(error: BaseException, dumps: Callable[[object], bytes] = pickle.dumps) -> bytes:
    """An error and where it was raised; one that could not be read again goes as its words."""
    text = text_of(error)
    try:
        packed = dumps((error, text))
        pickle.loads(packed)
    except Exception:  # pickle raises whatever the object raises
        packed = pickle.dumps((RuntimeError(f"{type(error).__name__}: {error}"), text))
    return packed


def unpacked_error(packed: bytes) -> BaseException:
    """The error; its cause tells where it was raised."""
    error, text = pickle.loads(packed)
    error.__cause__ = InWorker(text)
    return error


class InWorker(Exception):
    """The traceback of an error in a worker process, as text."""

    def __str__(self) -> str:
        return f"in a worker process:\n\n{self.args[0]}"


def settings_of(torch: Any) -> tuple[str, str]:
    """What torch is told in this process: its default dtype, and the precision of products in float32."""
    dtype = str(torch.get_default_dtype()).removeprefix("torch.")
    return dtype, torch.get_float32_matmul_precision()


def set_as_there(torch: Any, settings: tuple[str, str] | None) -> None:
    """Let torch compute as in the process that asks, on one thread."""
    torch.set_num_threads(1)
    if settings is not None:
        torch.set_default_dtype(getattr(torch, settings[0]))
        torch.set_float32_matmul_precision(settings[1])


class Packing:
    """Packs and unpacks what is sent; everything that travels by name is looked at once.

    Args:
        pickler: from a file and a protocol to a pickler with a list `named` of all that it sends by name.
    """

    def __init__(self, pickler: Callable[[io.BytesIO, int], Any] | None = None) -> None:
        self._pickler = _Pickler if pickler is None else pickler
        self._known: dict[int, tuple[object, str]] = {}

    def pack(self, thing: object) -> tuple[bytes, bytes]:
        """What travels by name, with digests, and the object; both pickled, to be sent in this order."""
        content = io.BytesIO()
        pickler = self._pickler(content, pickle.HIGHEST_PROTOCOL)
        pickler.dump(thing)
        named = [(each, self._digest(each)) for each in pickler.named]
        return pickle.dumps(named, protocol=pickle.HIGHEST_PROTOCOL), content.getvalue()

    def unpack(self, file: _Readable) -> Any:
        """The object. Raises Changed."""
        for thing, expected in pickle.load(file):
            if self._digest(thing) != expected:
                raise Changed(_name(thing))
        return pickle.load(file)

    def _digest(self, thing: object) -> str:
        if id(thing) not in self._known:
            self._known[id(thing)] = (thing, code_digest(thing))
        return self._known[id(thing)][1]


class _Pickler(pickle.Pickler):
    """Notes what travels by name."""

    def __init__(self, file: IO[bytes], protocol: int) -> None:
        super().__init__(file, protocol)
        self._protocol = protocol
        self.named: list[object] = []

    @override
    def reducer_override(self, thing: Any) -> Any:
        """As pickle does it."""
        if isinstance(thing, (FunctionType, type)):
            self.named.append(thing)
            return NotImplemented
        reduce = copyreg.dispatch_table.get(type(thing))
        reduced = thing.__reduce_ex__(self._protocol) if reduce is None else reduce(thing)
        if isinstance(reduced, str):
            self.named.append(thing)
        return reduced


class _Walk(Walk):
    """Reads on where `identity` gives up: what it cannot read cannot differ by an edit or a changed value."""

    @override
    def of(self, thing: Any, name: str = "") -> Parts:
        try:
            return super().of(thing, name)
        except Unknown:
            return ("unreadable", type(thing).__qualname__)

    @override
    def _setting(self) -> str:
        """Settings of torch go to a worker by themselves."""
        return ""

    @override
    def _library(self, kind: str, library: str, module: str, name: str) -> Parts:
        return (kind, module, name)


def _name(thing: object) -> str:
    module = str(getattr(thing, "__module__", "")).replace(_MAIN_OF_A_WORKER, "__main__")
    return f"{module}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"
