"""A description of any object that is the same in every process, or the reason why there is none."""

from __future__ import annotations

import copyreg
import enum
import functools
import hashlib
import sys
import types
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from types import BuiltinFunctionType, CodeType, FunctionType, MemberDescriptorType, ModuleType
from typing import Any

from resnet_sde.runs import contents, sources
from resnet_sde.runs.sources import Read

Parts = tuple[Any, ...]  # a description: strings, and descriptions of parts

_DEEPEST = 100  # containers in each other
_CACHE = type(functools.lru_cache(lambda: None))


class Unknown(ValueError):
    """An object is met of which it cannot be told what it is; the message says which and why."""


class Walk:
    """One pass over objects and what they reach.

    Functions, classes and modules are numbered as they are met and described one after the other, so that
    they may refer to each other in circles.
    """

    def __init__(self, trail: tuple[str, ...] = ()) -> None:
        self._waiting: deque[tuple[Any, tuple[str, ...]]] = deque()
        self._numbers: dict[int, tuple[int, object]] = {}
        self._open: list[int] = []  # containers and instances that are being described
        self._trail = trail

    def values(self, things: Sequence[object]) -> list[Parts]:
        """Descriptions of these objects, with numbers for the functions and classes that they reach at once.

        Raises:
            Unknown: it cannot be told what an object is.
        """
        return [self.of(thing) for thing in things]

    @property
    def reached(self) -> list[tuple[Any, tuple[str, ...]]]:
        """What is numbered and not yet described, in the order of the numbers, and the way there."""
        return list(self._waiting)

    def whole(self, thing: object) -> list[Parts]:
        """Descriptions of an object and of all that it reaches, in any number of steps. Raises Unknown."""
        parts = self.values([thing])
        while self._waiting:
            reached, self._trail = self._waiting.popleft()
            parts.append(self._reached(reached))
        return parts

    def of(self, thing: Any, name: str = "") -> Parts:
        """The description of any object, reached under a name. Raises Unknown."""
        before, self._trail = self._trail, (*self._trail, name) if name else self._trail
        if len(self._open) > _DEEPEST:
            raise Unknown(f"{self._place} is nested too deeply to be read")
        try:
            if id(thing) in self._open:
                return ("outer", str(self._open[::-1].index(id(thing))))
            kind = _kind(thing)
            for kinds, describe in _VALUES:
                if type(thing) in kinds or kind in kinds:
                    return describe(self, thing)
            if isinstance(thing, (FunctionType, type, ModuleType)):
                return ("reference", str(self._number(thing)))
            with self._inside(thing):
                return self._instance(thing)
        finally:
            self._trail = before

    def _number(self, thing: Any) -> int:
        if id(thing) not in self._numbers:
            name = str(getattr(thing, "__name__", type(thing).__name__))
            trail = self._trail if self._trail and self._trail[-1].endswith(name) else (*self._trail, name)
            self._numbers[id(thing)] = (len(self._numbers), thing)
            self._waiting.append((thing, trail))
        return self._numbers[id(thing)][0]

    def _reached(self, thing: Any) -> Parts:
        if isinstance(thing, FunctionType):
            return self._function(thing)
        return self._class(thing) if isinstance(thing, type) else self._module(thing)

    @property
    def _place(self) -> str:
        return " → ".join(self._trail) or "something given"

    def _unknown(self, thing: object, reason: str) -> Unknown:
        return Unknown(f"{self._place} is an object of type {_kind(thing)} and {reason}")

    def _library(self, kind: str, library: str, module: str, name: str) -> Parts:
        """Something of an installed package."""
        version = sources.version_of(library)
        if version is None:
            raise Unknown(f"{self._place} is of {library}, a package without a version")
        if sources.is_elsewhere(library, module, name):
            raise Unknown(f"{self._place} gives what is decided elsewhere ({f'{module}.{name}'.strip('.')})")
        return (kind, module, name, version)

    @contextmanager
    def _inside(self, thing: object) -> Iterator[None]:
        self._open.append(id(thing))
        try:
            yield
        finally:
            self._open.pop()

    # Functions

    def _function(self, function: FunctionType) -> Parts:
        name, module = function.__qualname__, str(function.__module__)
        library, owner = sources.library_of_function(function), sources.library_of_module(module)
        if library and owner and sources.known_as(function, module, name, function.__name__):
            return self._library("function", owner, module, name)
        code = function.__code__
        captured = zip(code.co_freevars, function.__closure__ or (), strict=True)
        parts = [
            self.of((function.__defaults__, function.__kwdefaults__), "its defaults"),
            *(self._cell(name, cell) for name, cell in captured),
            *((name, self.of(value, name)) for name, value in _sorted(function.__dict__)),
        ]
        if library is not None:  # made at run time, of what it captured
            return (*self._library("made", library, module, name), code.co_name, *parts)
        return ("function", name, self._setting(), self._code(code), *parts, *self._reads(function))

    def _setting(self) -> str:  # which users' code may compute with; the package does not
        return str(sys.modules["torch"].get_default_dtype())

    def _cell(self, name: str, cell: Any) -> Parts:
        try:
            content = cell.cell_contents
        except ValueError:
            return (name, "empty")
        return (name, *(("module",) if isinstance(content, ModuleType) else self.of(content, name)))

    def _code(self, code: CodeType) -> Parts:
        """What code does, without where it stands."""
        constants = [self.of(constant) for constant in code.co_consts]
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        text = (code.co_code.hex(), code.co_exceptiontable.hex())
        return ("code", code.co_name, str(counts), str(names), *text, *constants)

    def _reads(self, function: FunctionType) -> Iterator[Parts]:
        """What the function reads from its module, and of modules that it captured."""
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        used = sources.attributes(function.__code__)
        for read in dict.fromkeys(sources.reads(function.__code__)):
            if read.kind == "import":
                yield self._import(function, read, used)
            elif read.kind == "global":
                try:
                    found = sources.global_of(function, read.names[0])
                except KeyError:
                    yield (read.names[0], "missing")
                else:
                    yield self._dotted(found, read.names, used)
            else:
                with suppress(ValueError):
                    if isinstance(content := cells[read.names[0]].cell_contents, ModuleType):
                        yield self._dotted(content, read.names, used)

    def _dotted(self, thing: Any, names: tuple[str, ...], used: set[str] | None = None) -> Parts:
        """What a dotted name stands for, as far as it leads through modules."""
        for at, name in enumerate(names[1:], start=1):
            if not isinstance(thing, ModuleType):
                return self.of(thing, ".".join(names[:at]))
            if not hasattr(thing, name):
                return (*names, "missing")
            thing = getattr(thing, name)
        if isinstance(thing, ModuleType) and (library := sources.library_of_module(thing.__name__)):
            return self._whole_library(library, thing.__name__, used or set())
        return self.of(thing, ".".join(names))

    def _whole_library(self, library: str, module: str, used: set[str]) -> Parts:
        """A module of a library, of which code may take whatever it takes of anything."""
        for name in sources.found_in(module, used):
            self._library("name", library, module, name)  # for what it refuses
        return self._library("module", library, module, "")

    def _import(self, function: FunctionType, read: Read, used: set[str]) -> Parts:
        """What a function imports when it runs; packages are not imported for that."""
        library = sources.library_of_import(read.module) if not read.level else None
        if library is not None and not read.names:
            return self._whole_library(library, read.module, used)
        package = str(function.__globals__.get("__package__") or "")
        try:
            module = import_module("." * read.level + read.module, package if read.level else None)
        except ImportError:
            return ("import", read.module, "missing")
        if not read.names:
            root = module.__name__.partition(".")[0]
            return (self.of(sys.modules[root], root), self.of(module, module.__name__))
        return tuple(self._taken(module, name) for name in read.names)

    def _taken(self, module: ModuleType, name: str) -> Parts:
        if name != "*" and not hasattr(module, name):
            with suppress(ImportError):
                import_module(f"{module.__name__}.{name}")
        if name != "*" and hasattr(module, name):
            return self._dotted(module, (module.__name__, name))
        return self.of(module, module.__name__)

    # Classes and modules

    def _class(self, kind: type) -> Parts:
        module, name = str(kind.__module__), kind.__qualname__
        library = sources.library_of_module(module)
        if library is not None and sources.known_as(kind, module, name, kind.__name__):
            patches = [self.of(value, name) for name, value in _sorted(vars(kind)) if sources.is_patch(value)]
            bases = [self.of(base) for base in kind.__bases__ if base is not object]
            return (*self._library("class", library, module, name), *patches, *bases)
        parts: list[Parts] = [self.of(base) for base in kind.__bases__]
        if type(kind) is not type:
            parts.append(self.of(type(kind)))
        if sources.is_compiled(kind) and library is None and module in sys.modules:
            parts.append(self.of(sys.modules[module]))
        for part, value in _sorted(vars(kind)):
            if part == "__dataclass_fields__":
                value = [(f.name, f.default, f.default_factory, dict(f.metadata)) for f in value.values()]
            if part not in sources.NO_PART_OF_A_CLASS:
                parts.append((part, self.of(value, part)))
        return ("class", name, *parts)

    def _module(self, module: ModuleType) -> Parts:
        name = module.__name__
        library = sources.library_of_module(name)
        if library is not None:
            return self._library("module", library, name, "")
        file = str(getattr(module, "__file__", None) or "")
        if file.endswith((".so", ".pyd")):
            with open(file, "rb") as content:
                return ("compiled", name, hashlib.sha256(content.read()).hexdigest())
        parts: list[Parts] = []
        for part, value in _sorted(vars(module)):
            if isinstance(value, ModuleType) and sources.library_of_module(value.__name__):
                parts.append((part, "library", value.__name__))  # functions say what they take of it
            elif part not in sources.NO_PART_OF_A_MODULE:
                parts.append((part, self.of(value, part)))
        return ("module", name, *parts)

    # Instances

    def _instance(self, thing: Any) -> Parts:
        kind = type(thing)
        module = str(kind.__module__)
        if isinstance(thing, enum.Enum):
            return ("enum", self.of(kind), str(thing.name), self.of(thing.value))
        if module == "torch._ops":
            return self._library("operation", "torch", "torch.ops", str(thing))
        if kind is _CACHE:
            return ("cached", self.of(thing.__wrapped__, "what it wraps"))
        if isinstance(thing, (set, frozenset)):
            return ("object", self.of(kind), self._set(thing), *self._attributes(thing))
        if module not in sys.modules or sources.library_of_module(module) or sources.is_compiled(kind):
            return self._reduced(thing)
        foreign = [base for base in kind.__mro__[:-1] if sources.library_of_module(str(base.__module__))]
        inherited = [self._reduced(thing)] if foreign else []
        return ("object", self.of(kind), *self._attributes(thing), *inherited)

    def _attributes(self, thing: Any) -> Iterator[Parts]:
        """Attributes of an instance; cached ones follow from the others."""
        kind: type = type(thing)
        for name, value in _sorted(getattr(thing, "__dict__", {})):
            if not isinstance(getattr(kind, name, None), functools.cached_property):
                yield (name, self.of(value, name))
        for owner in kind.__mro__:
            for name, member in _sorted(vars(owner)):
                if isinstance(member, MemberDescriptorType):
                    with suppress(AttributeError):
                        yield (name, self.of(member.__get__(thing), name))

    def _reduced(self, thing: Any) -> Parts:
        """An instance of which the way is known to make another one like it."""
        reduce = copyreg.dispatch_table.get(type(thing))
        try:
            reduced = thing.__reduce_ex__(4) if reduce is None else reduce(thing)
        except Exception:  # whatever the object raises
            raise self._unknown(thing, "cannot be read as a value") from None
        if isinstance(reduced, str):
            return self._named(thing, reduced)
        parts = [list(part) if i in (3, 4) and part is not None else part for i, part in enumerate(reduced)]
        return ("object", *(self.of(part) for part in parts))

    def _named(self, thing: Any, name: str) -> Parts:
        """Something that says of itself that it is known to a module under a name."""
        module = sources.home(thing, name)
        if module is None:
            raise self._unknown(thing, "cannot be read as a value")
        library = sources.library_of_module(module)
        if library is None:
            return ("global", name, self.of(sys.modules[module]))
        return self._library("global", library, module, name)

    # Values

    def _sequence(self, thing: Any) -> Parts:
        with self._inside(thing):
            return (type(thing).__name__, *(self.of(part) for part in thing))

    def _mapping(self, thing: Any) -> Parts:
        with self._inside(thing):
            pairs = [(self.of(k), self.of(v, k if isinstance(k, str) else "")) for k, v in thing.items()]
        return ("mapping", *pairs)

    def _set(self, thing: Any) -> Parts:
        """In an order that does not depend on where its members are in memory."""
        by_name: dict[str, object] = {}
        for part in thing:
            if isinstance(part, (FunctionType, type, ModuleType)):
                name = f"{getattr(part, '__module__', '')}.{part.__name__}"
            else:
                name = repr(Walk(self._trail).of(part))
            if name in by_name:
                raise self._unknown(thing, "does not say in which order its members are")
            by_name[name] = part
        kind = "frozenset" if isinstance(thing, frozenset) else "set"
        return (kind, *(self.of(by_name[name]) for name in sorted(by_name)))

    def _array(self, thing: Any) -> Parts:
        if thing.dtype.hasobject:
            return ("array", str(thing.shape), self.of(list(thing.flat)))
        return ("array", *contents.of_array(thing))

    def _tensor(self, thing: Any) -> Parts:
        try:
            return ("tensor", *contents.of_tensor(thing))
        except Exception:  # sparse ones, or those without memory
            raise self._unknown(thing, "cannot be read as a value") from None

    def _builtin(self, thing: Any) -> Parts:
        """A function written in C, or a method of one object."""
        owner, name = thing.__self__, str(thing.__qualname__)
        if getattr(sys.modules.get("torch"), "__dict__", {}).get(name.rpartition(".")[2]) is thing:
            return self._library("builtin", "torch", "torch", name.rpartition(".")[2])
        if owner is not None and not isinstance(owner, (ModuleType, type)):
            return ("bound", name, self.of(owner, f"the owner of {name}"))
        module = str(
            thing.__module__ or getattr(owner, "__module__", None) or getattr(owner, "__name__", None)
        )
        library = sources.library_of_module(module)
        if library is not None:
            return self._library("builtin", library, module, name)
        if module not in sys.modules:
            raise self._unknown(thing, "comes from no module")
        return ("builtin", name, self.of(sys.modules[module]))


def _sorted(attributes: Any) -> list[tuple[str, Any]]:
    return sorted(attributes.items(), key=lambda pair: str(pair[0]))


def _kind(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}".removeprefix("builtins.")


def _text(walk: Walk, thing: Any) -> Parts:
    return (type(thing).__name__, str(thing))


# How values of exactly these types are described, no subclasses; libraries are named, and not imported.
_VALUES: list[tuple[tuple[type | str, ...], Callable[[Walk, Any], Parts]]] = [
    ((type(None), bool, type(...), type(NotImplemented), str), _text),
    ((int,), lambda walk, thing: ("int", hex(thing))),
    ((float,), lambda walk, thing: ("float", thing.hex())),
    ((complex,), lambda walk, thing: ("complex", thing.real.hex(), thing.imag.hex())),
    ((bytes, bytearray), lambda walk, thing: (type(thing).__name__, thing.hex())),
    ((tuple, list), Walk._sequence),
    ((dict, types.MappingProxyType), Walk._mapping),
    ((set, frozenset), Walk._set),
    ((CodeType,), Walk._code),
    ((BuiltinFunctionType,), Walk._builtin),
    ((types.MethodType,), lambda walk, thing: ("method", walk.of(thing.__func__), walk.of(thing.__self__))),
    ((types.MethodWrapperType,), lambda walk, thing: ("method", thing.__name__, walk.of(thing.__self__))),
    ((staticmethod, classmethod), lambda walk, thing: (type(thing).__name__, walk.of(thing.__func__))),
    ((property,), lambda walk, thing: ("property", *map(walk.of, (thing.fget, thing.fset, thing.fdel)))),
    ((functools.cached_property,), lambda walk, thing: ("cached property", walk.of(thing.func))),
    ((MemberDescriptorType, types.GetSetDescriptorType), lambda walk, thing: ("slot", thing.__name__)),
    (
        (types.MethodDescriptorType, types.ClassMethodDescriptorType, types.WrapperDescriptorType),
        lambda walk, thing: ("descriptor", thing.__name__, walk.of(thing.__objclass__)),
    ),
    (("numpy.ndarray",), Walk._array),
    (("torch.Tensor",), Walk._tensor),
    (("torch.dtype", "torch.device", "torch.layout", "torch.memory_format"), _text),
    (("torch._C.Generator",), lambda walk, it: ("generator", str(it.device), walk.of(it.get_state()))),
]
