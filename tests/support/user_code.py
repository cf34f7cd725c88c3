"""Things that a user may write, in modules of text, each with an edit that changes numbers."""

HEAD = """
import functools
from dataclasses import dataclass
import numpy as np
import torch
import torch.nn.functional as F
import resnet_sde as rs
from resnet_sde.observables import observable
import helpers
import helpers as aliased
from helpers import helper
"""
HELPERS = """
import numpy as np
SCALE = 1.5
TABLE = {"a": [1.0, 2.0]}
def helper(x):
    return inner(x) * SCALE
def inner(x):
    return x + 1
class Base:
    factor = 2.0
    def run(self, x):
        return self.step(x) * self.factor
    def step(self, x):
        return x
def decorate(f):
    import functools
    @functools.wraps(f)
    def wrapper(*args):
        return f(*args) * 3
    return wrapper
def unused():
    return 7
"""

# What a user may write, and an edit of it that changes numbers.
EDITS = {
    "a function itself": ("def thing(t): return t + 1", "+ 1", "+ 2"),
    "an operation": ("def thing(t): return t + 1", "+ 1", "- 1"),
    "a constant's type": ("def thing(t): return t + 1", "+ 1", "+ 1.0"),
    "a constant's sign": ("def thing(t): return t * 0.0", "0.0", "-0.0"),
    "where an error is caught": (
        "def thing(t):\n    try: t = t / 0\n    except ZeroDivisionError: t = 1\n    return t",
        "except ZeroDivisionError",
        "except KeyError",
    ),
    "a global": ("S = 2.0\ndef thing(t): return t * S", "S = 2.0", "S = 3.0"),
    "a global array": (
        "S = np.arange(9000.)\ndef thing(t): return t * S",
        "arange(9000.)",
        "arange(9000.)[::-1]",
    ),
    "a global tensor": ("S = torch.ones(3)\ndef thing(t): return t * S", "torch.ones(3)", "torch.ones(4)"),
    "a global dictionary": ("S = {'a': [1]}\ndef thing(t): return S['a']", "[1]", "[2]"),
    "a global of an inner function": (
        "S = 2.0\ndef thing(t):\n    def inner(x): return x * S\n    return inner(t)",
        "S = 2.0",
        "S = 3.0",
    ),
    "a global of a comprehension": ("S = 2\ndef thing(t): return [x * S for x in t]", "S = 2", "S = 3"),
    "a helper": ("def h(x): return x\ndef thing(t): return h(t)", "return x", "return x + 1"),
    "a helper of a helper": (
        "def g(x): return x\ndef h(x): return g(x)\ndef thing(t): return h(t)",
        "return x",
        "return -x",
    ),
    "functions in a circle": (
        "def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n != 0 and even(n - 1)\ndef thing(t): "
        "return even(t)",
        "n != 0",
        "n != 2",
    ),
    "a default": ("def thing(t, by=1): return t * by", "by=1", "by=2"),
    "a keyword default": ("def thing(t, *, by=1): return t * by", "by=1", "by=2"),
    "a default array": ("def thing(t, by=np.zeros(3)): return t * by", "zeros", "ones"),
    "what was captured": (
        "def make(by):\n    def thing(t): return t * by\n    return thing\nthing = make(2)",
        "make(2)",
        "make(3)",
    ),
    "a lambda in a list": (
        "F_ = [lambda x: x, lambda x: x * 2]\ndef thing(t): return [f(t) for f in F_]",
        "x * 2",
        "x * 3",
    ),
    "a partial function": (
        "def f(by, t): return by * t\nthing = functools.partial(f, 2.0)",
        "f, 2.0",
        "f, 2.5",
    ),
    "a partial function's function": (
        "def f(by, t): return by * t\nthing = functools.partial(f, 2.0)",
        "by * t",
        "by + t",
    ),
    "a cached function": (
        "@functools.lru_cache\ndef f(n): return n\ndef thing(t): return f(3)",
        "return n",
        "return n + 1",
    ),
    "what is decorated": ("@helpers.decorate\ndef thing(t): return t", "return t", "return -t"),
    "what the package decorates": ("@observable('input')\ndef thing(t): return t", "return t", "return -t"),
    "attributes of a function": ("def thing(t): return t\nthing.dims = ('a',)", "('a',)", "('b',)"),
    "a field of an instance": (
        "class C:\n    def __init__(self, by): self.by = by\n    def __call__(self, t): return t * self.by\n"
        "thing = C(2)",
        "C(2)",
        "C(3)",
    ),
    "a method of an instance": (
        "class C:\n    def __call__(self, t): return self.g(t)\n    def g(self, t): return t\nthing = C()",
        "return t\nthing",
        "return t + 1\nthing",
    ),
    "a bound method": (
        "class C:\n    by = 2\n    def g(self, t): return t * self.by\nthing = C().g",
        "by = 2",
        "by = 3",
    ),
    "a class attribute": (
        "class C:\n    by = [1]\n    def __call__(self, t): return t * self.by[0]\nthing = C()",
        "[1]",
        "[2]",
    ),
    "a property": (
        "class C:\n    @property\n    def by(self): return 2\n    def __call__(self, t): return t * self.by\n"
        "thing = C()",
        "return 2",
        "return 3",
    ),
    "a slot": (
        "class C:\n    __slots__ = ('by',)\n    def __init__(self): self.by = 2\n"
        "    def __call__(self, t): return t * self.by\nthing = C()",
        "self.by = 2",
        "self.by = 3",
    ),
    "the rest of a dictionary of one's own": (
        "class D(dict): pass\nS = D(a=1)\ndef thing(t): return S['a']",
        "a=1",
        "a=2",
    ),
    "a long array in a frozen field": (
        "@dataclass(frozen=True)\nclass Phi(rs.Activation):\n    w: object\n"
        "    def __call__(self, x): return x * self.w[2500]\n    def prime(self, x): return self.w[2500]\n"
        "w = np.zeros(5000)\nw[2500] = 1.0\nthing = rs.SingleLayer(Phi(w))",
        "= 1.0",
        "= 2.0",
    ),
    "an activation's code": (
        "@dataclass(frozen=True)\nclass Phi(rs.Activation):\n    def __call__(self, x): return x * 1.5\n"
        "    def prime(self, x): return x * 0 + 1.5\n"
        "thing = rs.Model(rs.SingleLayer(Phi()), rs.WhiteNoise(), 4, beta=1.0)",
        "1.5",
        "3.5",
    ),
    "a function in a field": (
        "@dataclass(frozen=True)\nclass Phi(rs.Activation):\n    f: object = F.silu\n"
        "    def __call__(self, x): return self.f(x)\n    def prime(self, x): return x\nthing = Phi()",
        "F.silu",
        "F.mish",
    ),
    "a default of a field": (
        "@dataclass\nclass C:\n    by: float = 1.0\ndef thing(t): return C().by * t",
        "= 1.0",
        "= 2.0",
    ),
    "a law's code": (
        "class Law(rs.WhiteNoise):\n    def filler(self, source): return source.normal_\nthing = Law()",
        "source.normal_",
        "source.uniform_",
    ),
    "a weight of a module": (
        "class Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.w = torch.nn.Parameter(torch.ones(2))\n    def forward(self, t): return t * self.w\n"
        "thing = Net()",
        "torch.ones(2)",
        "torch.zeros(2)",
    ),
    "a module's forward pass": (
        "class Net(torch.nn.Module):\n    def forward(self, t): return t\nthing = Net()",
        "return t",
        "return -t",
    ),
    "a layer of a module": (
        "thing = torch.nn.Sequential(torch.nn.ReLU())",
        "torch.nn.ReLU()",
        "torch.nn.Tanh()",
    ),
    "a function of torch": ("def thing(t): return F.relu(t)", "F.relu", "F.silu"),
    "a function of numpy": ("thing = np.add", "np.add", "np.subtract"),
    "a function of numpy by its way": ("def thing(t): return np.linalg.norm(t)", "linalg.norm", "linalg.det"),
    "a function of torch in a variable": ("f = F.relu\ndef thing(t): return f(t)", "F.relu", "F.silu"),
    "a function that was put into torch": (
        "def mine(x): return x\nF.of_mine = mine\ndef thing(t): return F.of_mine(t)",
        "return x",
        "return x + 1",
    ),
    "a method that was put into a class of the package": (
        "def mine(self, x): return x\nrs.Model.of_mine = mine\n"
        "thing = rs.Model(rs.SingleLayer(rs.RELU), rs.WhiteNoise(), 4)",
        "return x",
        "return x + 1",
    ),
    "code without a file": (
        "space = {'__name__': '__main__'}\nexec('def f(x): return x', space)\nthing = space['f']",
        "return x",
        "return x + 1",
    ),
    "code without a file and a name": (
        "space = {}\nexec('class C:\\n    def __call__(self, x): return x', space)\nthing = space['C']()",
        "return x",
        "return x + 1",
    ),
    "an enumeration": (
        "import enum\nclass E(enum.Enum):\n    A = 1\n    B = 2\nS = E.A\ndef thing(t): return S.value",
        "S = E.A",
        "S = E.B",
    ),
    "a value of an enumeration": (
        "import enum\nclass E(enum.Enum):\n    A = 1\nS = E.A\ndef thing(t): return S.value",
        "A = 1",
        "A = 5",
    ),
    "the state of a generator": (
        "S = np.random.default_rng(1)\ndef thing(t): return S.random()",
        "rng(1)",
        "rng(2)",
    ),
    "the order of a dictionary": (
        "S = {'a': 1, 'b': 2}\ndef thing(t): return list(S)",
        "'a': 1, 'b': 2",
        "'b': 2, 'a': 1",
    ),
    "a set": ("S = {'a', 'b'}\ndef thing(t): return 'b' in S", "'b'}", "'c'}"),
    "a set in the code": ("def thing(t): return t in {'a', 'b'}", "'b'}", "'c'}"),
    "a pattern": ("import re\nS = re.compile('a')\ndef thing(t): return S.match(t)", "'a'", "'b'"),
    **{
        f"a function within {name} of a library": (
            f"import contextlib\n@{decorator}\ndef helped(x): return x + 1\ndef thing(t): return helped(t)",
            "x + 1",
            "x + 2",
        )
        for name, decorator in (
            ("no_grad", "torch.no_grad()"),
            ("inference_mode", "torch.inference_mode()"),
            ("contextmanager", "contextlib.contextmanager"),
            ("vectorize", "np.vectorize"),
        )
    },
    "a method within no_grad": (
        "class C:\n    @torch.no_grad()\n    def __call__(self, t): return t + 1\nthing = C()",
        "t + 1",
        "t + 2",
    ),
    "the order of an array in memory": ("S = np.eye(3)\ndef thing(t): return t @ S", "eye(3)", "eye(3).T"),
    "the order of a tensor in memory": (
        "S = torch.ones(2, 3)\ndef thing(t): return t @ S",
        "ones(2, 3)",
        "ones(3, 2).T",
    ),
    "a name that is bound later": (
        "def thing(t): return later(t)",
        "def thing",
        "def later(t): return t\ndef thing",
    ),
}

# Edits of another module of the user's, as seen from these.
THROUGH = {
    "by name": "def thing(t): return helper(t)",
    "by attribute": "def thing(t): return helpers.helper(t)",
    "by another name": "def thing(t): return aliased.helper(t)",
    "by an import when it runs": "def thing(t):\n    import helpers\n    return helpers.helper(t)",
    "by another import when it runs": "def thing(t):\n    from helpers import helper as h\n    return h(t)",
    "by a star": "from helpers import *\ndef thing(t): return helper(t)",
    "by a name in a string": "def thing(t): return getattr(helpers, 'hel' + 'per')(t)",
    "by a captured module": (
        "def make():\n    import helpers\n    def thing(t): return helpers.helper(t)\n    return thing\n"
        "thing = make()"
    ),
    "by a captured module within": (
        "def make():\n    import helpers\n    def thing(t): return [helpers.helper(x) for x in t]\n"
        "    return thing\n"
        "thing = make()"
    ),
    "by a module in a field": (
        "class C:\n    def __init__(self): self.m = helpers\n"
        "    def __call__(self, t): return self.m.helper(t)\n"
        "thing = C()"
    ),
    "by a partial function": "thing = functools.partial(helpers.helper)",
    "by a value in a list": "ALL = [helper]\ndef thing(t): return ALL[0](t)",
}

# What reads something from outside the program, which may be another thing the next time.
OUTSIDE = {
    "a file by its path": "from pathlib import Path\ndef thing(t): return Path('f').read_text()",
    "a file by a path of the module": "import pathlib\nP = pathlib.Path('f')\ndef thing(t): return P.stat()",
    "a file of text": "import codecs\ndef thing(t): return codecs.open('f').read()",
    "a compressed file": "import gzip\ndef thing(t): return gzip.open('f').read()",
    "a handle": "import os\ndef thing(t): return os.read(os.open('f', 0), 9)",
    "lines": "import linecache\ndef thing(t): return linecache.getline('f', 1)",
    "settings": "import configparser\ndef thing(t): return configparser.ConfigParser().read('f')",
    "a table": "import pandas\ndef thing(t): return pandas.read_csv('f')",
    "a dataset": "import xarray\ndef thing(t): return xarray.open_dataset('f')",
    "a file of Matlab": "from scipy.io import loadmat\ndef thing(t): return loadmat('f')",
    "a file of arrays, imported when it runs": "def thing(t):\n    import numpy as n\n    return n.load('f')",
    "a file of arrays, by another name": "N = np\ndef thing(t):\n    n = N\n    return n.load('f')",
    "a network": "from resnet_sde import networks\ndef thing(t): return networks.load('f')",
    "the size of a file": "import os\ndef thing(t): return os.path.getsize('f')",
    "a folder": "import glob\ndef thing(t): return glob.glob('*')",
    "where it runs": "from os import getcwd\ndef thing(t): return getcwd()",
    "the environment": "import os\ndef thing(t): return os.path.expandvars('$A')",
    "the environment, imported when it runs": "def thing(t):\n    import os\n    return os.getenv('A')",
    "the environment, by another name": "import os\nO = os\ndef thing(t): return getattr(O, 'getenv')('A')",
    "a program": "import subprocess\ndef thing(t): return subprocess.check_output(['f'])",
    "a script": "import runpy\ndef thing(t): return runpy.run_path('f')",
    "the day": "from datetime import date\ndef thing(t): return date.today()",
    "a helper that does": "import os\ndef other(): return os.getcwd()\ndef thing(t): return other()",
}
