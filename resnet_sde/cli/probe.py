"""`resnet-sde probe`: the residual stream of one network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from resnet_sde.cli.networks import BATCH_OPTIONS, batch_of, leave_results, show
from resnet_sde.cli.options import RUN_OPTION, Command, with_options
from resnet_sde.cli.own import named_object
from resnet_sde.runs.versions import current_versions

if TYPE_CHECKING:
    from resnet_sde.practice import Profile


@click.command("probe", cls=Command)
@click.argument("target", metavar="MODULE:FUNCTION")
@with_options(BATCH_OPTIONS)
@with_options([RUN_OPTION["seed"], RUN_OPTION["json"]])
def probe_command(**given: Any) -> None:
    """Follow the residual stream of one network: its norms, branches and what writes to it.

    FUNCTION takes no argument and returns a torch.nn.Module, or is one. The module may be in the current
    folder.
    """
    from torch import nn

    from resnet_sde.practice import probe
    from resnet_sde.practice.check import drawn_batch
    from resnet_sde.streams import seeded

    target = given["target"]
    found = named_object("TARGET", target)
    batch = drawn_batch(batch_of(given), given["seed"])
    with seeded(given["seed"], "probe"):
        module = found if isinstance(found, nn.Module) else found()
    profile = probe(module, batch, blocks=given["blocks"], seed=given["seed"])
    header = {"target": target, "seed": given["seed"], "versions": current_versions()}
    document = {**header, **profile.document()}
    leave_results(given["out"], "probe", document, profile.figure())
    show(document, "\n".join(_table(profile)), given["as_json"])


def _table(profile: Profile) -> Iterator[str]:
    yield f"stream   {profile.names[0]} … {profile.names[-1]}: {profile.kind}, {len(profile.names)} blocks"
    yield f"skip     {profile.skip:.3f}, degree {profile.degree:.3f} (1 homogeneous, 0 normalized branches)"
    predicted = f"predicted {profile.predicted_growth:.4g} for independent layers"
    sizes = f"S {profile.action:.3g}, τ {profile.logarithmic_time:.3g}"
    yield f"growth   {profile.growth:.4g} ({predicted}); {sizes}"
    yield f"layers   coherence {profile.coherence:.2f} (1/2 independent, 1 coherent)"
    yield from (f"note     {note}" for note in profile.layers.notes())
    writers = "   ".join(f"{w.coefficient:.3g} {w.name or 'block'} ({w.size:.3g})" for w in profile.writers)
    yield f"writers  {writers or 'not found'}"
    yield from (f"note     {note}" for note in profile.notes)
