"""Reference data: structures with energies, forces, charge and multiplicity, in eV and Å."""

from potentials.datasets.catalogue import RECIPES, load_frames
from potentials.datasets.frames import Frames, Provenance, graphs, join, make_frames, targets
from potentials.datasets.statistics import (
    Split,
    Statistics,
    fit_reference_energies,
    fit_state_energies,
    split,
    statistics,
    subtract_reference_energies,
)
from potentials.datasets.units import Units, make_units

__all__ = [
    "RECIPES",
    "Frames",
    "Provenance",
    "Split",
    "Statistics",
    "Units",
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
