"""Infrared and Raman spectra of normal modes: what ``polcalc vib`` adds where it is asked to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms

from md_runs.errors import InputError
from md_runs.records.output import write_figure
from md_runs.spectra.intensities import Array, infrared_intensities, raman_activities
from md_runs.spectra.lines import Lines, plot, to_csv
from md_runs.surfaces.vibrations import Mode
from polcalc import PolarizedCalculator
from potentials.files import write_text

Columns = dict[str, Array]


class Kind(NamedTuple):
    """One kind of spectrum: what it takes, and what it makes of it."""

    name: str  # of its option and its files
    reads: str  # quantity whose derivatives it takes
    shown: str  # what its heights are, for people
    unit: str  # of a line, for people
    area: str  # the column that holds the areas of lines, "KIND_UNIT"
    of: Callable[[Sequence[Mode], Array], Columns]

    def columns(
        self, atoms: Atoms, calculator: PolarizedCalculator, modes: Sequence[Mode]
    ) -> Columns:
        """Return what it says of each mode, (M,) by the name of a column."""
        return self.of(modes, calculator.get_derivative(atoms, self.reads))

    def lines(self, modes: Sequence[Mode], columns: Mapping[str, Array]) -> Lines:
        """Choose the lines of real modes."""
        per_cm = np.array([mode.per_cm for mode in modes])
        real = per_cm > 0
        key = self.area.removeprefix(f"{self.name}_")
        areas = columns[self.area][real]
        return Lines(self.name, self.shown, self.unit, key, per_cm[real], areas)


def _infrared(modes: Sequence[Mode], derivative: Array) -> Columns:
    return {"infrared_km_per_mol": infrared_intensities(modes, derivative)}


def _raman(modes: Sequence[Mode], derivative: Array) -> Columns:
    found = raman_activities(modes, derivative)
    return {"raman_A4_per_u": found.activity, "depolarization": found.depolarization}


INFRARED = Kind(
    "infrared", "dipole", "infrared intensity", "km/mol", "infrared_km_per_mol", _infrared
)
RAMAN = Kind("raman", "polarizability", "Raman activity", "Å⁴/u", "raman_A4_per_u", _raman)
HEADINGS = {
    "infrared_km_per_mol": "infrared (km/mol)",
    "raman_A4_per_u": "Raman (Å⁴/u)",
    "depolarization": "depolarization",
}


def check_predicted(calculator: PolarizedCalculator, kinds: Sequence[Kind]) -> None:
    """Refuse spectra of a quantity that the model does not predict.

    Raises
    ------
    InputError
    """
    for kind in kinds:
        if kind.reads not in calculator.model.potential.predicts:
            raise InputError(
                f"`--{kind.name}` must be asked of a model that predicts the {kind.reads};"
                f" {calculator.parameters['model']} does not. Drop it, or take another model."
            )


def write_spectrum(output: Path, lines: Lines, title: str) -> None:
    """Write numbers and picture of a spectrum into a directory."""
    write_text(output / f"{lines.kind}.csv", to_csv(lines))
    write_figure(output / f"{lines.kind}.png", plot(lines, title))
