"""Reference data: structures with energies, forces, charge and multiplicity, in eV and Å."""

from potentials.datasets.catalogue import RECIPES, load_frames
from potentials.datasets.formats.units import Units, make_units
from potentials.datasets.frames import Frames, Provenance, graphs, join, make_frames, targets
from potentials.datasets.splits import TOGETHER, Split, split
from potentials.datasets.statistics import (
    Statistics,
    fit_electron_energies,
    fit_reference_energies,
    fit_state_energies,
    statistics,
    subtract_reference_energies,
)

__all__ = [
    "RECIPES",
    "TOGETHER",
    "Frames",
    "Provenance",
    "Split",
    "Statistics",
    "Units",
    "fit_electron_energies",
    "fit_reference_energies",
    "fit_state_energies",
    "graphs",
    "join",
    "load_frames",
    "make_frames",
    "make_units",
    "split",
    "statistics",
    "subtract_reference_energies",
    "targets",
]
