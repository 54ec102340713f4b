"""``polcalc validate``: errors of a model against reference energies and forces."""

from __future__ import annotations

from md_runs.cli import options as opt
from md_runs.cli.commands import does


@does("models.validate", "validate")
def command(
    data: opt.Data,
    model: opt.Model = None,
    json: opt.JsonFile = None,
    output: opt.MaybeOutput = None,
    entries: opt.Entries = False,
    partial_charges: opt.PartialCharges = None,
    fragments: opt.Fragments = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float32",
    engine: opt.Engine = "auto",
) -> None:
    """Compare a model with reference energies and forces, or with energies of reactions.

    Prints mean absolute, root mean square and largest errors, overall and by charge and
    multiplicity; of reactions set by set.
    """
