"""``polcalc doctor``: is this model fit for this structure, and how should it be run?"""

from __future__ import annotations

from md_runs.cli import options as opt
from md_runs.cli.commands import does


@does("models.doctor", "doctor")
def command(
    structure: opt.Structure,
    model: opt.Model = None,
    frame: opt.Frame = None,
    charge: opt.Charge = None,
    multiplicity: opt.Multiplicity = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float32",
    engine: opt.Engine = "auto",
    json: opt.AsJson = False,
) -> None:
    """Check a model on a structure before a long run, in less than a minute.

    Exit code 1 when a check fails, 2 when the model cannot evaluate the structure at all.
    """
