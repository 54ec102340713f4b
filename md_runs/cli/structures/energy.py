"""``polcalc energy``: energies, forces and whatever else a model says of structures as they are."""

from __future__ import annotations

from md_runs.cli import options as opt
from md_runs.cli.commands import does


@does("surfaces.energy", "energy")
def command(
    structures: opt.Structures,
    model: opt.Model = None,
    charge: opt.Charge = None,
    multiplicity: opt.Multiplicity = None,
    partial_charges: opt.PartialCharges = None,
    fragments: opt.Fragments = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float64",
    engine: opt.Engine = "auto",
    output: opt.MaybeOutput = None,
) -> None:
    """Evaluate structures as they are: energy, forces, and what else the model predicts.

    With --output: energy.extxyz, each frame with its results and the state that they are of,
    energy.csv and manifest.json. A structure that cannot be evaluated costs its row, with the
    reason, and exit code 1.
    """
