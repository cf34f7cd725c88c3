"""What every other theorem stands on: the numbers that networks draw, plain loops, Gaussian moments.

These statements are definitions more than results. They are checked because an error here would be shared by
both sides of the comparisons that other theorems make, or vanishes in networks as wide as theirs.
"""

from importlib import import_module

for _name in ("drawn", "shared", "plain", "derivative", "duals", "coupled"):
    import_module(f"{__name__}.{_name}")
