"""`resnet-sde depth-check`: how a network scales with its depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from resnet_sde.cli.networks import BATCH_OPTIONS, batch_of, leave_results, show
from resnet_sde.cli.options import RUN_OPTION, Command, Number, with_options
from resnet_sde.cli.own import named_object

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn
    from torch.optim import Optimizer

    from resnet_sde.practice import DepthCheck

_KNOWN = ("sgd", "adam", "adamw")


@click.command("depth-check", cls=Command)
@click.argument("target", metavar="MODULE:FACTORY")
@with_options(BATCH_OPTIONS)
@click.option(
    "--depth",
    "depths",
    type=Number(int, 3, 10**6, "24"),
    multiple=True,
    default=(8, 24, 64),
    show_default=True,
    help="Of networks to build. Repeatable.",
)
@click.option(
    "--seeds", type=Number(int, 1, 10**4, "3"), default=3, show_default=True, help="Networks of each depth."
)
@click.option(
    "--optimizer", metavar="NAME", help="For rates: sgd, adam, adamw, or MODULE:FUNCTION of a network."
)
@click.option(
    "--expect-beta", type=Number(float, -20, 20, "0.5"), help="Leave with 1 unless branches fall like L^-X."
)
@click.option("--copied-is-fine", is_flag=True, help="Do not expect layers to be independent.")
@with_options([RUN_OPTION["seed"], RUN_OPTION["json"]])
def depth_check_command(**given: Any) -> int:
    """How branches, initial weights and learning rates of a network scale with its depth.

    FACTORY takes the number of blocks and returns a torch.nn.Module. The module may be in the current folder.
    The exit status is 1 if the network does not scale as --expect-beta says.
    """
    if given["copied_is_fine"] and given["expect_beta"] is None:
        raise click.UsageError("--copied-is-fine says what is not expected; give it with --expect-beta 1.")
    check = _checked(given)
    failures = _failures(check, given)
    document = {**check.document(), "target": given["target"]}
    if failures is not None:
        document["expected"] = {"beta": given["expect_beta"], "met": not failures, "failures": failures}
    leave_results(given["out"], "depth-check", document, check.figure())
    words = [check.table(), *(f"wrong    {sentence}" for sentence in failures or ())]
    show(document, "\n".join(words), given["as_json"])
    return int(bool(failures))


def _checked(given: dict[str, Any]) -> DepthCheck:
    from resnet_sde.practice import depth_check
    from resnet_sde.runs.progress import progress_bar

    factory, batch = named_object("TARGET", given["target"]), batch_of(given)
    optimizer = _optimizer(given["optimizer"])
    networks = len(set(given["depths"])) * (given["seeds"] + (8 if optimizer is not None else 0)) + 2
    with progress_bar(total=networks, unit="network", delay=2) as bar:

        def counted(depth: int) -> nn.Module:
            bar.update()
            made: nn.Module = factory(depth)
            return made

        return depth_check(
            counted,
            batch,
            depths=given["depths"],
            seeds=given["seeds"],
            optimizer=optimizer,
            blocks=given["blocks"],
            seed=given["seed"],
        )


def _optimizer(name: str | None) -> Callable[[nn.Module], Optimizer] | None:
    if name is None:
        return None
    import torch

    if name not in _KNOWN:
        if ":" not in name:
            raise click.UsageError(f"--optimizer {name}: give {', '.join(_KNOWN)} or MODULE:FUNCTION.")
        made: Callable[[nn.Module], Optimizer] = named_object("--optimizer", name)
        return made
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    return lambda module: kinds[name](module.parameters(), lr=1e-3)


def _failures(check: DepthCheck, given: dict[str, Any]) -> list[str] | None:
    from resnet_sde.practice import DepthMismatch

    if given["expect_beta"] is None:
        return None
    try:
        check.expect(given["expect_beta"], independent=not given["copied_is_fine"])
    except DepthMismatch as error:
        return list(error.failures)
    return []
