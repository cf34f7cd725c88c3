"""Which checks there are of a part, and what becomes of those that fail."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING
from unittest import SkipTest

from resnet_sde.activations import Activation
from resnet_sde.blocks import Block
from resnet_sde.laws import PathLaw
from resnet_sde.testing import activations, blocks, laws

if TYPE_CHECKING:
    import pytest

_KINDS: tuple[tuple[type, ModuleType], ...] = ((PathLaw, laws), (Block, blocks), (Activation, activations))


def checks(part: PathLaw | Block | Activation, *, seed: int = 0) -> dict[str, Callable[[], None]]:
    """The checks of a law, a block or an activation: a dict from names to functions without arguments.

    A check raises AssertionError with one sentence where the part fails, and `unittest.SkipTest`, with the
    reason, where it cannot be judged; pytest shows that as a skipped test.

    Args:
        part: of one's own, or of the package.
        seed: of all random numbers.

    Raises:
        ValueError: it is none of these.
    """
    for kind, module in _KINDS:
        if isinstance(part, kind):
            return {check.__name__: partial(_run, check, part, seed) for check in module.checks_of(part)}
    raise ValueError(
        f"a law, a block or an activation is checked, got {part!r}; give for example MyBlock(), or "
        "Activation.of(f) of a function f"
    )


def check_law(law: PathLaw, *, seed: int = 0) -> None:
    """Run every check of a law of weights, for some seconds.

    A variance that is 2 % off is seen at every layer and depth, as long as the fourth moment of the weights
    carries an estimate; an error of 0.02 in a correlation between layers, entries or networks likewise.

    Args:
        law: of one's own, or of the package.
        seed: of all random numbers.

    Raises:
        AssertionError: some fail; the message has a sentence for each.
        ValueError: it is no law.

    Warns:
        UserWarning: some could not judge, and why.

    Example:
        >>> from resnet_sde import WhiteNoise
        >>> check_law(WhiteNoise())
    """
    _check(part=law, kind=PathLaw, seed=seed)


def check_block(block: Block, *, seed: int = 0) -> None:
    """Run every check of a block, for some seconds; arguments and errors as of `check_law`.

    Errors of 1e-6 in an adjoint are seen, of 2 % in a dual (of 10 % where matrices are read in full), and of
    1/5 in a critical exponent.
    """
    _check(part=block, kind=Block, seed=seed)


def check_activation(phi: Activation, *, seed: int = 0) -> None:
    """Run every check of an activation, for some seconds; arguments and errors as of `check_law`.

    Errors of 1e-13 in a derivative are seen, and of 1e-6 in a Gaussian moment that it states where
    quadrature to 1e-10 is possible; of 0.1 % elsewhere.
    """
    _check(part=phi, kind=Activation, seed=seed)


def parametrize_with_checks(
    parts: Iterable[PathLaw | Block | Activation], *, seed: int = 0
) -> pytest.MarkDecorator:
    """A mark of pytest that makes a test of each check of each part; its argument is called `check`.

    Example:
        >>> from resnet_sde import WhiteNoise
        >>> @parametrize_with_checks([WhiteNoise()])
        ... def test_my_parts(check):
        ...     check()
    """
    import pytest

    return pytest.mark.parametrize(
        "check",
        [
            pytest.param(check, id=f"{part}-{name}")
            for part in parts
            for name, check in checks(part, seed=seed).items()
        ],
    )


def _run(check: Callable[..., None], part: object, seed: int) -> None:
    try:
        check(part, seed)
    except (AssertionError, SkipTest):
        raise
    except ValueError as error:
        raise AssertionError(str(error)) from error
    except Exception as error:
        raise AssertionError(f"{part} fails by {type(error).__name__}: {error}") from error


def _check(part: PathLaw | Block | Activation, kind: type, seed: int) -> None:
    if not isinstance(part, kind):
        raise ValueError(f"a {kind.__name__} is checked, got {part!r}")
    found, failed = checks(part, seed=seed), []
    for name, check in found.items():
        try:
            check()
        except SkipTest as reason:
            warnings.warn(f"{name} cannot judge {part}: {reason}", stacklevel=3)
        except AssertionError as error:
            failed.append(f"{name}: {error}")
    if failed:
        sentences = "\n".join(failed)
        raise AssertionError(f"{part} fails {len(failed)} of {len(found)} checks:\n{sentences}")
