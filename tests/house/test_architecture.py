"""The order of the layers, the fences around foreign packages and the lengths, read off the syntax trees."""

import ast
import functools
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import rooms
from places import FOLDERS, ROOT, sources

from resnet_sde.parts import LAWS

# A module imports from strictly lower layers only, a package also from itself.
LAYERS = [
    {"_gaussian", "_json", "_names", "_threads", "_version", "checks", "parts"},
    {"streams"},
    {"activations", "estimate", "fractional", "paths", "states", "runs"},
    {"claims", "laws", "matrices", "datasets"},
    {"blocks", "empirical", "short_memory", "watched"},
    {"contracts"},
    {"model"},
    {"propagate"},
    {"_observed", "jacobians"},
    {"networks", "monte_carlo", "limits", "meanfield"},
    {"coupling", "observables", "finite_width"},
    {"studies", "plots", "testing"},
    {"theorems", "training", "practice"},
    {"report"},
    {"__init__"},
    {"cli", "pytest_plugin"},
    {"__main__"},
]
LEVEL = {module: level for level, modules in enumerate(LAYERS) for module in modules}

# Who may import what, besides the standard library and EVERYWHERE. FREE folders may import anything.
EVERYWHERE = {"torch", "numpy", "scipy", "typing_extensions"}
FENCES = {
    "torchsde": {"limits"},
    "torchdiffeq": {"limits"},
    "xarray": {"studies", "plots", "practice", "experiments", "paper_figs"},
    "matplotlib": {"plots", "practice", "paper_figs"},  # practice names types only
    "concurrent": {"runs"},  # of the standard library: `runs` alone hands work to others
    "multiprocessing": {"runs"},
    "cloudpickle": {"runs"},  # comes with distributed
    "distributed": {"runs"},
    "sklearn": {"datasets"},
    "fbm": {"fractional"},
    "click": {"cli"},
    "jinja2": {"report"},
    "latex2mathml": {"report"},
    "lazy_loader": {"__init__"},
    "markupsafe": {"report"},
    "tqdm": {"runs"},
    "transformers": {"experiments"},
    "PIL": {"paper_figs"},  # comes with matplotlib
    "threadpoolctl": {"paper_figs", "paths", "runs"},
    "pytest": {"pytest_plugin", "testing"},
    "resnet_sde": {"experiments", "paper_figs"},  # within itself the layers decide
    "experiments": {"experiments", "paper_figs"},
    "paper_figs": {"paper_figs"},
}
UNFENCED = EVERYWHERE | (sys.stdlib_module_names - FENCES.keys())
FREE = {"tests", "benchmarks"}
# Laws are asked for facts, not for their class, but where formulas are written out apart from the laws.
LAWS_OF_THE_PACKAGE = {part.home.partition(":")[2] for part in LAWS.values()} | {"EmpiricalNoise"}
ASK_FOR_CLASSES = ("resnet_sde/laws.py", "resnet_sde/theorems/foundations/formulas.py")
DIGESTS = {"runs", "_names", "streams"}  # what makes names, of records and of streams

LINES_PER_FILE = 400
LINES_PER_FUNCTION = 40
LINES_PER_FUNCTION_AT_MOST = 80
SHARE_OF_LONG_FUNCTIONS = 0.05


def unit(dotted: str) -> str:
    """What the rules speak of: a module or package of the library, else the top-level name."""
    top, _, rest = dotted.partition(".")
    if top != "resnet_sde":
        return top
    name = rest.partition(".")[0]
    return name if name in LEVEL else "__init__"


def imported(path: str, tree: ast.AST) -> Iterator[str]:
    """Every absolute dotted name that a file imports, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = Path(path).parts[: -node.level] if node.level else ()
            base = ".".join([*package, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def violations(path: str, source: str) -> list[str]:
    """What is wrong with the imports of the file at `path`, relative to the root."""
    here = unit(path.removesuffix(".py").replace("/", "."))
    if path.startswith("resnet_sde/") and Path(path).parts[1].removesuffix(".py") not in LEVEL:
        return [f"{path} is in no layer"]
    if here in FREE:
        return []
    found = []
    for name in imported(path, tree_of(source)):
        there, top = unit(name), name.partition(".")[0]
        if top == "resnet_sde" and here in LEVEL:
            allowed = here == there or LEVEL[there] < LEVEL[here]
        else:
            allowed = here in FENCES.get(top, ()) or top in UNFENCED
        if not allowed:
            found.append(f"{path} imports {name}")
    return found


def private(path: str, source: str) -> Iterator[str]:
    """The private names that a file takes from a package that it is not in."""
    here = path.removesuffix(".py").replace("/", ".")
    for name in imported(path, tree_of(source)):
        parts = name.split(".")
        for place, part in enumerate(parts):
            inside = f"{here}.".startswith("".join(f"{parent}." for parent in parts[:place]))
            if part.startswith("_") and not part.startswith("__") and parts[0] in FOLDERS and not inside:
                yield ".".join(parts[: place + 1])


def of_figures(path: str, source: str) -> Iterator[str]:
    """The figures that a figure, or a part of some, imports."""
    for name in imported(path, tree_of(source)):
        top, *rest = name.split(".")
        of_a_paper = top == "paper_figs" and len(rest) > 1 and (ROOT / top / rest[0]).is_dir()
        if of_a_paper and not rest[1].startswith("_"):
            yield name


@functools.cache
def tree_of(source: str) -> ast.Module:
    return ast.parse(source)


def asks_for_a_law(source: str) -> list[int]:
    """The lines that compare a class with those of the laws of the package."""
    found = []
    for node in ast.walk(tree_of(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass"):
            parts: list[ast.AST] = [*node.args[1:]]
        elif isinstance(node, ast.Compare | ast.MatchClass):
            parts = [node]
        else:
            continue
        inside = [part for whole in parts for part in ast.walk(whole)]
        made = {call.func for call in inside if isinstance(call, ast.Call)}
        names = {getattr(part, "id", getattr(part, "attr", "")) for part in inside if part not in made}
        if names & LAWS_OF_THE_PACKAGE:
            found.append(node.lineno)
    return found


def function_lengths(source: str) -> dict[str, int]:
    """The number of lines of every function, its docstring included."""
    functions = (
        n for n in ast.walk(tree_of(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return {f"{f.name}:{f.lineno}": f.end_lineno - f.lineno + 1 for f in functions}


def too_long(lengths: dict[str, int]) -> list[str]:
    """The functions that break a limit: any beyond the hard one, or all long ones once they are not rare."""
    long = [name for name, lines in lengths.items() if lines > LINES_PER_FUNCTION]
    if len(long) > SHARE_OF_LONG_FUNCTIONS * len(lengths):
        return long
    return [name for name in long if lengths[name] > LINES_PER_FUNCTION_AT_MOST]


def eagerly_imported(statement: str) -> set[str]:
    """The heavy packages that a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{'xarray', 'matplotlib', 'sklearn'}} & sys.modules.keys())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(run.stdout.split())


def test_imports() -> None:
    found = [violation for path, source in sources().items() for violation in violations(path, source)]
    assert not found, "\n".join(found)


def test_private_names_stay_in_their_package() -> None:
    found = {
        name
        for path, source in sources().items()
        if path.partition("/")[0] not in FREE
        for name in private(path, source)
    }
    assert not found


def test_no_figure_imports_another() -> None:
    found = {
        path: names
        for path, source in sources().items()
        if path.startswith("paper_figs/") and (names := list(of_figures(path, source)))
    }
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "from paper_figs.marion import fig2",
        "from paper_figs.marion.fig2 import draw",
        "import paper_figs.own.orders",
    ],
)
def test_a_figure_in_a_figure_is_noticed(source: str) -> None:
    assert len(list(of_figures("paper_figs/marion/fig1.py", source))) == 1
    assert not list(of_figures("paper_figs/marion/fig1.py", "from paper_figs.marion._white import draw"))


def test_a_private_name_abroad_is_noticed() -> None:
    path = "resnet_sde/limits/sde.py"
    assert list(private(path, "from resnet_sde.meanfield._roots import root")) == [
        "resnet_sde.meanfield._roots"
    ]
    assert list(private(path, "from resnet_sde.model import _scale")) == ["resnet_sde.model._scale"]
    assert not list(private(path, "from resnet_sde._json import number\nfrom resnet_sde.limits._x import y"))


def test_class_names_are_unique() -> None:
    names = Counter(
        node.name
        for path, source in sources().items()
        if path.startswith("resnet_sde/")
        for node in ast.walk(tree_of(source))
        if isinstance(node, ast.ClassDef)
    )
    assert {name for name, count in names.items() if count > 1} == set()


def test_names_are_made_in_one_place() -> None:
    """So that nothing is kept under a name that leaves out what decides it."""
    makers = {
        unit(path.removesuffix(".py").replace("/", "."))
        for path, source in sources().items()
        if "hashlib" in {name.partition(".")[0] for name in imported(path, tree_of(source))}
    }
    assert makers - FREE == DIGESTS


def test_laws_are_asked_for_facts() -> None:
    """So that a law of one's own is no other law than ours."""
    found = {
        path: lines
        for path, source in sources().items()
        if path.startswith("resnet_sde/") and not path.startswith(ASK_FOR_CLASSES)
        if (lines := asks_for_a_law(source))
    }
    assert not found


@pytest.mark.parametrize(
    ("source", "asks"),
    [
        ("isinstance(model.law, WhiteNoise)", True),
        ("isinstance(law, (rs.SmoothNoise, rs.ConstantNoise))", True),
        ("type(law) is FractionalNoise", True),
        ("type(law) not in (WhiteNoise, SmoothNoise)", True),
        ("type(law)._draw is not WhiteNoise._draw", True),
        ("issubclass(type(law), laws.WhiteNoise)", True),
        ("match law:\n    case SmoothNoise():\n        pass", True),
        ("law == WhiteNoise()", False),
        ("isinstance(law, PathLaw)", False),
        ("Model(block, law or rs.FractionalNoise(0.7), 4).law.noise == 'white'", False),
        ("isinstance(paths(WhiteNoise()), dict)", False),
    ],
)
def test_a_question_for_the_class_of_a_law_is_noticed(source: str, asks: bool) -> None:
    assert bool(asks_for_a_law(source)) is asks


def test_the_page_says_where_things_are() -> None:
    assert rooms.PAGE.read_text(encoding="utf-8") == rooms.page(LAYERS), "run: make rooms"


def test_the_layers_are_those_that_there_are() -> None:
    there = {path.split("/")[1].removesuffix(".py") for path in sources() if path.startswith("resnet_sde/")}
    assert there == LEVEL.keys()


def test_files_are_short() -> None:
    long = {path: n for path, source in sources().items() if (n := len(source.splitlines())) > LINES_PER_FILE}
    assert not long


def test_functions_are_short() -> None:
    lengths = {
        f"{path}: {f}": n for path, source in sources().items() for f, n in function_lengths(source).items()
    }
    assert not too_long(lengths)


def test_import_is_light() -> None:
    assert eagerly_imported("import resnet_sde") == set()


def test_a_heavy_import_is_noticed() -> None:
    assert eagerly_imported("import matplotlib") == {"matplotlib"}


def test_the_sources_are_found() -> None:
    assert {"resnet_sde/datasets.py", "tests/house/test_architecture.py"} <= sources().keys()


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("resnet_sde/paths.py", "from resnet_sde import monte_carlo"),
        ("resnet_sde/paths.py", "from resnet_sde.monte_carlo import simulate"),
        ("resnet_sde/paths.py", "from . import monte_carlo"),
        ("resnet_sde/paths.py", "from .monte_carlo import simulate"),
        ("resnet_sde/paths.py", "import resnet_sde.monte_carlo"),
        ("resnet_sde/paths.py", "import resnet_sde"),
        ("resnet_sde/paths.py", "from resnet_sde import *"),
        ("resnet_sde/paths.py", "from resnet_sde import WhiteNoise"),
        ("resnet_sde/paths.py", "def late():\n    import os, resnet_sde.laws"),
        ("resnet_sde/laws.py", "from .matrices import Dense"),
        ("resnet_sde/meanfield/one_time.py", "from ..monte_carlo import simulate"),
        ("resnet_sde/meanfield/__init__.py", "from ..observables import growth"),
        ("resnet_sde/__init__.py", "from .cli import main"),
        ("resnet_sde/model.py", "import torchsde"),
        ("resnet_sde/studies/pool.py", "from concurrent.futures import Executor"),
        ("experiments/marion/plane.py", "import multiprocessing.pool"),
        ("resnet_sde/monte_carlo.py", "from tqdm.auto import tqdm"),
        ("resnet_sde/cli/study.py", "import matplotlib.pyplot as plt"),
        ("resnet_sde/model.py", "import pandas"),
        ("resnet_sde/studies/grid.py", "from experiments import regimes"),
        ("resnet_sde/utils.py", "import os"),
        ("resnet_sde/tools/__init__.py", ""),
        ("experiments/regimes.py", "import paper_figs"),
        ("experiments/regimes.py", "import matplotlib"),
        ("paper_figs/marion/fig1.py", "from tests import conftest"),
    ],
)
def test_a_bad_import_is_noticed(path: str, source: str) -> None:
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("resnet_sde/laws.py", "import os\nimport torch.nn.functional as F\nfrom .paths import Path"),
        (
            "resnet_sde/meanfield/one_time.py",
            "from ..blocks import Block\nfrom . import phases\nfrom .phases import q",
        ),
        (
            "resnet_sde/cli/__init__.py",
            "import click\nimport resnet_sde\nfrom .study import study\nfrom .. import plots",
        ),
        ("resnet_sde/__main__.py", "from .cli import main"),
        ("resnet_sde/__init__.py", "from .theorems import verify"),
        ("resnet_sde/limits.py", "import torchsde, torchdiffeq"),
        ("resnet_sde/runs/execute.py", "import multiprocessing\nfrom concurrent.futures import Executor"),
        (
            "experiments/regimes.py",
            "import resnet_sde as rs\nfrom resnet_sde import observables\nfrom . import common",
        ),
        (
            "paper_figs/marion/fig1.py",
            "import matplotlib, resnet_sde, xarray\nfrom experiments import regimes",
        ),
        ("tests/test_laws.py", "import pandas, resnet_sde"),
    ],
)
def test_a_good_import_passes(path: str, source: str) -> None:
    assert violations(path, source) == []


def test_long_functions_are_measured_and_noticed() -> None:
    source = "def f(x):\n" + "    x += 1\n" * 40 + "\nclass A:\n    async def g(self):\n        return 1\n"
    assert function_lengths(source) == {"f:1": 41, "g:44": 2}
    few, many = dict.fromkeys("abc", 10), {str(i): 10 for i in range(40)}
    assert too_long(few | {"long": 41}) == ["long"]
    assert too_long(many | {"long": 41}) == []
    assert too_long(many | {"long": 80, "longer": 81}) == ["longer"]
