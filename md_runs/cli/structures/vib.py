"""``polcalc vib``: compute normal modes, zero-point energy and thermochemistry of a structure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from md_runs.cli import options as opt
from md_runs.cli.commands import does

TemperatureK = Annotated[
    float, typer.Option("--temperature-K", help="Of the thermochemistry, in K.")
]
PressureBar = Annotated[float, typer.Option("--pressure-bar", help="Of the ideal gas, in bar.")]
SymmetryNumber = Annotated[
    int | None,
    typer.Option(
        "--symmetry-number",
        min=1,
        help="Rotations that map the molecule onto itself. Default: that of its point group.",
        show_default=False,
    ),
]
Shape = Annotated[
    Literal["auto", "monatomic", "linear", "nonlinear"],
    typer.Option("--geometry", help="What rotates; auto looks at the moments of inertia."),
]
RelaxFirst = Annotated[bool, typer.Option("--relax-first", help="Relax to --fmax-eV-per-A before.")]
FmaxEvPerA = Annotated[
    float,
    typer.Option(
        "--fmax-eV-per-A", help="With --relax-first: the largest force at its end, in eV/Å."
    ),
]

Infrared = Annotated[
    bool,
    typer.Option("--infrared", help="Intensities and spectrum, with a model that has a dipole."),
]
Raman = Annotated[
    bool,
    typer.Option(
        "--raman", help="Activities and spectrum, with a model that has a polarizability."
    ),
]


@does("surfaces.vib", "vib")
def command(
    structure: opt.Structure,
    model: opt.Model = None,
    frame: opt.Frame = None,
    temperature_K: TemperatureK = 298.15,
    pressure_bar: PressureBar = 1.0,
    symmetry_number: SymmetryNumber = None,
    geometry: Shape = "auto",
    relax_first: RelaxFirst = False,
    infrared: Infrared = False,
    raman: Raman = False,
    fmax_eV_per_A: FmaxEvPerA = 1e-4,
    fix_atoms: opt.FixAtoms = None,
    charge: opt.Charge = None,
    multiplicity: opt.Multiplicity = None,
    partial_charges: opt.PartialCharges = None,
    fragments: opt.Fragments = None,
    electric_field_V_per_A: opt.ElectricField = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float64",
    output: opt.Output = Path("polcalc-vib"),
) -> None:
    """Find normal modes, zero-point energy and thermochemistry.

    Writes modes.csv, modes.extxyz (vectors), animations/, spectrum.png, hessian.json (for ASE's
    VibrationsData) and vib.json; with --infrared and --raman also infrared and raman.csv and .png.
    A structure that is not at a minimum is announced, not refused.
    Fixed atoms of the structure file stay fixed, too.
    """
