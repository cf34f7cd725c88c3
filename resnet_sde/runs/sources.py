"""Where code comes from, and what it reads from outside of itself."""

from __future__ import annotations

import builtins
import dis
import re
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, FunctionType, MethodDescriptorType, ModuleType, WrapperDescriptorType
from typing import Any, NamedTuple

PACKAGE = Path(__file__).resolve().parent.parent
_STANDARD = tuple({sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib")})
_INSTALLED = {"site-packages", "dist-packages"}
_READS_GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
_READS_CELL = {"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"}
_READS_ATTRIBUTE = {"LOAD_ATTR", "LOAD_METHOD"}
_SKIPPED = {"EXTENDED_ARG", "PUSH_NULL", "NOP", "CACHE", "PRECALL", "RESUME"}

# What these give is decided elsewhere: by files, clocks, the environment, states and names of the moment.
_ELSEWHERE = {
    *(f"builtins.{name}" for name in ("open", "input", "eval", "exec", "compile", "globals", "__import__")),
    *(f"time.{name}" for name in ("time", "time_ns")),
    *(f"numpy.{name}" for name in ("fromfile", "memmap", "genfromtxt", "get_printoptions")),
    *(f"torch.{name}{like}" for name in ("rand", "randn", "randint") for like in ("", "_like")),
    *(f"torch.{name}" for name in ("randperm", "normal", "bernoulli", "multinomial", "poisson")),
    "resnet_sde.networks.files.load",
}
_ASKS = {  # modules of Python for files, folders, other programs, machines and the moment
    *("os", "posix", "nt", "posixpath", "ntpath", "genericpath", "pathlib", "io", "_io", "glob", "shutil"),
    *("tempfile", "mmap", "linecache", "fileinput", "configparser", "gzip", "bz2", "lzma", "zipfile"),
    *("tarfile", "sqlite3", "_sqlite3", "dbm", "shelve", "importlib", "pkgutil", "runpy", "zipimport"),
    *("subprocess", "socket", "_socket", "ssl", "http", "urllib", "platform", "sysconfig", "getpass"),
    *("pwd", "grp", "locale", "_locale", "datetime", "_datetime", "zoneinfo"),
}
_READERS = {  # packages that are for files and other machines
    *("h5py", "h5netcdf", "netCDF4", "zarr", "tables", "pyarrow", "PIL", "imageio", "tifffile", "dotenv"),
    *("fsspec", "requests", "httpx", "aiohttp", "urllib3", "psutil"),
}
_READS_FILES = re.compile(r"(read|load|open|fetch|imread)(_|$)|(load|read)(txt|mat|arff|wav|sav)$")

NO_PART_OF_A_CLASS = {
    *("__dict__", "__weakref__", "__module__", "__doc__", "__annotations__", "__annotate__"),
    *("__annotate_func__", "__annotations_cache__", "__firstlineno__", "__static_attributes__"),
    *("__abstractmethods__", "_abc_impl", "__parameters__", "__orig_bases__", "__dataclass_params__"),
    "__slotnames__",  # pickle's own note
}
NO_PART_OF_A_MODULE = {
    *("__builtins__", "__spec__", "__loader__", "__cached__", "__file__", "__doc__", "__name__"),
    *("__package__", "__path__", "__annotations__", "__annotate__", "__warningregistry__"),
}


class Read(NamedTuple):
    """Something that code reads: a dotted name, or a module that it imports.

    kind: "global", "cell" or "import".
    names: the parts of a dotted name as far as they follow each other; of an import what is taken from the
        module, or nothing for the module itself.
    module, level: of an import.
    """

    kind: str
    names: tuple[str, ...]
    module: str = ""
    level: int = 0


def reads(code: CodeType) -> Iterator[Read]:
    """What the code and the functions defined in it read, in the order in which it stands there."""
    steps = [step for step in dis.get_instructions(code) if step.opname not in _SKIPPED]
    seeded = _is_seeded(code)
    for at, step in enumerate(steps):
        if step.opname in _READS_GLOBAL or (step.opname in _READS_CELL and step.argval in code.co_freevars):
            names = [step.argval]
            while steps[at + len(names)].opname in _READS_ATTRIBUTE:
                names.append(steps[at + len(names)].argval)
            if seeded and len(names) > 1 and f"torch.{names[-1]}" in _ELSEWHERE:
                names.pop()
            yield Read("cell" if step.opname in _READS_CELL else "global", tuple(names))
        elif step.opname == "IMPORT_NAME":
            level, taken = (steps[at - back].argval for back in (2, 1))
            yield Read("import", tuple(taken or ()), step.argval, int(level or 0))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from (r for r in reads(constant) if r.kind != "cell" or r.names[0] in code.co_freevars)


def attributes(code: CodeType) -> set[str]:
    """Names of all that the code and the functions defined in it take from other things."""
    names = {name for name in code.co_names if f"torch.{name}" not in _ELSEWHERE or not _is_seeded(code)}
    return names.union(*(attributes(part) for part in code.co_consts if isinstance(part, CodeType)))


def _is_seeded(code: CodeType) -> bool:
    """Whether its draws are from a generator that is handed over; they are decided by what hands it over."""
    return any(isinstance(names, tuple) and "generator" in names for names in code.co_consts)


def found_in(module: str, names: set[str]) -> list[str]:
    """Those of the names that a module has; all of them if it has not been imported yet."""
    found = sys.modules.get(module)
    return sorted(name for name in names if found is None or hasattr(found, name))


def library_of_module(name: str) -> str | None:
    """The library that a module belongs to, "builtins" for the standard one; None for a user's module."""
    root = name.partition(".")[0]
    module = sys.modules.get(root)
    file = getattr(module, "__file__", None)
    if root == "__main__" or (module is None and root not in sys.stdlib_module_names):
        return None
    if file is None and root in sys.stdlib_module_names:
        return "builtins"
    if file is None:  # a namespace of several folders
        paths = list(getattr(module, "__path__", ()))
        return root if paths and all(_INSTALLED & set(Path(path).parts) for path in paths) else None
    return library_of_file(str(file))


@lru_cache(maxsize=4096)
def library_of_file(file: str) -> str | None:
    """The library that a file of code belongs to; None for a user's file, or for what is no file."""
    if file.startswith("<frozen "):
        return "builtins"
    if file.startswith("<"):
        return None
    path = Path(file).absolute()
    parts = path.parts
    for at in range(len(parts) - 1, 0, -1):
        if parts[at - 1] in _INSTALLED:
            return parts[at].partition(".")[0]
    if path.resolve().is_relative_to(PACKAGE):
        return "resnet_sde"
    return "builtins" if str(path).startswith(_STANDARD) else None


def library_of_function(function: FunctionType) -> str | None:
    """The library whose text a function is; that of the module for code that was made at run time."""
    file = function.__code__.co_filename
    if file.startswith("<") and not file.startswith("<frozen "):
        return library_of_module(str(function.__globals__.get("__name__", "")))
    return library_of_file(file)


def library_of_import(name: str) -> str | None:
    """The library that an import would find, without importing it."""
    root = name.partition(".")[0]
    if root in sys.modules:
        return library_of_module(root)
    if root in sys.stdlib_module_names:
        return "builtins"
    try:
        spec = find_spec(root)
    except (ImportError, ValueError):
        return None
    places = [spec.origin] if spec is not None and spec.origin else []
    return library_of_file(places[0]) if places else None


@lru_cache(maxsize=256)
def version_of(library: str) -> str | None:
    """The version of a library; None if it has none. Python's and this package's are those of all results."""
    if library in ("builtins", "resnet_sde"):
        return ""
    for name in _distributions(library):
        with suppress(metadata.PackageNotFoundError, ValueError):
            return metadata.version(name)
    found = getattr(sys.modules.get(library), "__version__", None)
    return None if found is None else str(found)


def _distributions(library: str) -> Iterator[str]:
    """Names under which a library may have been installed; the second and later ones take long to find."""
    yield library
    yield from metadata.packages_distributions().get(library, ())


def is_elsewhere(library: str, module: str, name: str) -> bool:
    """Whether what something of a library gives is decided outside of this program, by its name."""
    if f"{module}.{name}" in _ELSEWHERE or library in _READERS:
        return True
    if library == "builtins" and module.partition(".")[0] in _ASKS:
        return True
    # Images that this package reads are named by their source, and taken for what their name says.
    return library != "resnet_sde" and _READS_FILES.match(name.rpartition(".")[2]) is not None


def known_as(thing: Any, module: str, *names: str) -> bool:
    """Whether a module has this very thing under one of these dotted names."""
    for name in names:
        first, *rest = name.split(".")
        found: Any = getattr(sys.modules.get(module), "__dict__", {}).get(first)
        for part in rest:
            found = getattr(found, part, None)
        if found is thing:
            return True
    return False


def home(thing: Any, name: str) -> str | None:
    """The module that has a thing written in C under its name; None if there is none."""
    stated = str(getattr(thing, "__module__", None) or type(thing).__module__)
    if type(thing).__name__ == "cython_function_or_method" and stated in sys.modules:
        return stated  # its methods are made anew whenever they are asked for
    return next((module for module in (stated, *sorted(sys.modules)) if known_as(thing, module, name)), None)


def is_patch(value: object) -> bool:
    """Whether a user put this function into a class of a library."""
    return isinstance(value, FunctionType) and library_of_function(value) is None


def is_compiled(kind: type) -> bool:
    """Whether a class is written in C, so that its attributes do not say what its instances are."""
    own = (value for name, value in vars(kind).items() if name not in ("__dict__", "__weakref__"))
    return any(isinstance(value, (MethodDescriptorType, WrapperDescriptorType)) for value in own)


def global_of(function: FunctionType, name: str) -> Any:
    """What a function finds under a name. Raises KeyError if that is nothing."""
    if name in function.__globals__:
        return function.__globals__[name]
    found = function.__globals__.get("__builtins__", builtins)
    return vars(found)[name] if isinstance(found, ModuleType) else found[name]
