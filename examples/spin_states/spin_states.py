"""Make the structures, the scan and the gaps of docs/spin_states.md.

python examples/spin_states/spin_states.py structures FOLDER
python examples/spin_states/spin_states.py scan MODEL FOLDER
python examples/spin_states/spin_states.py gaps FOLDER
python examples/spin_states/spin_states.py fill FOLDER
    # put what the commands printed, FOLDER/NAME.txt, into the page
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read, write
from matplotlib.figure import Figure
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from polcalc import PolarizedCalculator

MOLECULES = {"methylene": "[CH2]", "pentadienylidene": "[CH]C=CC=C"}
SINGLET, TRIPLET = "#2a6fbb", "#d9722c"


def from_smiles(smiles: str) -> Atoms:
    """Embed a SMILES in three dimensions; hydrogens in brackets are all that an atom has."""
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMolecule(molecule, randomSeed=1)
    return Atoms(
        [atom.GetSymbol() for atom in molecule.GetAtoms()], molecule.GetConformer().GetPositions()
    )


def structures(folder: Path) -> None:
    """Write a structure file of each molecule."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, smiles in MOLECULES.items():
        write(folder / f"{name}.xyz", from_smiles(smiles))


def bent(length: float, angle: float) -> Atoms:
    """Make a symmetric methylene (Å, degrees)."""
    half = np.radians(angle) / 2
    x, z = length * np.sin(half), length * np.cos(half)
    return Atoms("CH2", [[0, 0, 0], [x, 0, z], [-x, 0, z]])


def scan(model: str, folder: Path) -> None:
    """Look for the lowest crossing of methylene on a grid, and compare it with the search."""
    calculator = PolarizedCalculator(model, dtype="float64")
    lengths, angles = np.arange(1.0, 1.3, 0.005), np.arange(85.0, 180.1, 1.0)
    grid = [bent(length, angle) for length in lengths for angle in angles]
    energies = []
    for multiplicity in (1, 3):
        for atoms in grid:
            atoms.info = {"charge": 0, "multiplicity": multiplicity}
        energies.append(
            np.array([r["energy"] for r in calculator.calculate_many(grid)]).reshape(
                len(lengths), len(angles)
            )
        )
    lowest = min(e.min() for e in energies)
    seam = [(*where, energy - lowest) for where, energy in _on_seam(lengths, angles, *energies)]
    crossing = read(folder / "states" / "crossing.extxyz", index=0)
    found = crossing.info["energy_multiplicity1_eV"] - lowest
    if seam:
        length, angle, energy = min(seam, key=lambda place: place[2])
        print(f"scan:   {energy:.4f} eV at {length:.3f} Å, {angle:.1f}°")
    print(
        f"search: {found:.4f} eV at {crossing.get_distance(0, 1):.3f} Å,"
        f" {crossing.get_angle(1, 0, 2):.1f}°"
    )
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    for energy, colour, name in zip(
        energies, (SINGLET, TRIPLET), ("singlet", "triplet"), strict=True
    ):
        axes.plot(
            angles,
            energy.min(0) - lowest,
            color=colour,
            label=f"{name}, best length for each angle",
        )
    if seam:
        axes.plot(
            [place[1] for place in seam],
            [place[2] for place in seam],
            ".",
            color="#8a8a8a",
            ms=3,
            label="on the seam, by the scan",
        )
    axes.plot(
        crossing.get_angle(1, 0, 2),
        found,
        "x",
        color="#3f8f4f",
        ms=10,
        mew=2,
        label="--crossing 1,3",
    )
    axes.set_xlabel("H-C-H angle (°)")
    axes.set_ylabel("energy above the lowest (eV)")
    axes.set_ylim(-0.05, 2.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(folder / "scan.png", dpi=150)


def _on_seam(lengths, angles, singlet, triplet):  # type: ignore[no-untyped-def]
    """Interpolate to where the two energies are the same.

    On each line of one length, and on each line of one angle.
    """
    gap = singlet - triplet
    for i, length in enumerate(lengths):
        for j in np.nonzero(np.diff(np.sign(gap[i])))[0]:
            part = gap[i, j] / (gap[i, j] - gap[i, j + 1])
            yield (
                (length, angles[j] + part * (angles[1] - angles[0])),
                singlet[i, j] + part * (singlet[i, j + 1] - singlet[i, j]),
            )
    for j, angle in enumerate(angles):
        for i in np.nonzero(np.diff(np.sign(gap[:, j])))[0]:
            part = gap[i, j] / (gap[i, j] - gap[i + 1, j])
            yield (
                (lengths[i] + part * (lengths[1] - lengths[0]), angle),
                singlet[i, j] + part * (singlet[i + 1, j] - singlet[i, j]),
            )


def gaps(folder: Path) -> None:
    """Draw the vertical gap along the triplet trajectory."""
    content = json.loads((folder / "gaps" / "states.json").read_text(encoding="utf-8"))
    values = np.array([structure["gaps"][0]["vertical_eV"] for structure in content["structures"]])
    print(
        f"E(3) - E(1) along the triplet trajectory: {values.mean():+.3f} eV, standard deviation"
        f" {values.std():.3f} eV"
    )
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    series, histogram = figure.subplots(1, 2, width_ratios=(3, 1), sharey=True)
    series.plot(0.01 * np.arange(len(values)), values, color=TRIPLET, lw=0.7)
    series.set_xlabel("time (ps)")
    series.set_ylabel("E(triplet) - E(singlet) (eV)")
    histogram.hist(values, bins=40, orientation="horizontal", color=TRIPLET)
    histogram.set_xlabel("frames")
    for axes in (series, histogram):
        axes.axhline(0, color="#8a8a8a", lw=0.8, ls="--")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / "gaps.png", dpi=150)


def fill(folder: Path) -> None:
    """Put printed results behind their marks in the text, in place of earlier ones."""
    page = Path(__file__).parents[2] / "docs" / "spin_states.md"
    text = page.read_text(encoding="utf-8")
    for output in sorted(folder.glob("*.txt")):
        lines = output.read_text(encoding="utf-8").replace(str(folder), "spin-states").splitlines()
        printed = "\n".join(line.rstrip() for line in lines)
        mark = f"<!-- output: {output.stem} -->"
        text = re.sub(
            rf"{mark}\n(\n```text\n.*?```\n)?",
            lambda _, m=mark, p=printed: f"{m}\n\n```text\n{p}\n```\n",
            text,
            flags=re.DOTALL,
        )
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    command, *words = sys.argv[1:]
    {"structures": structures, "scan": scan, "gaps": gaps, "fill": fill}[command](
        *(words[:-1]), Path(words[-1])
    )
