"""The structures of the experiment on polarization: which are drawn, and that dipoles are new."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import molecule

from benchmarks.science.small_labels import drawn, relabelled
from potentials.datasets import Frames
from potentials.datasets.frames import make_frames


def _frames(names: list[str], of_dft: list[bool]) -> Frames:
    """Molecules with charges of 0, or none where DFT labelled them."""
    found = [molecule(name) for name in names]
    n_atoms = np.array([len(atoms) for atoms in found])
    numbers = np.concatenate([atoms.numbers for atoms in found])
    return make_frames(
        n_atoms,
        numbers,
        np.concatenate([atoms.positions for atoms in found]),
        energy=-1.0 * np.array([atoms.numbers.sum() for atoms in found]),
        forces=np.zeros((len(numbers), 3)),
        partial_charges=np.where(np.repeat(of_dft, n_atoms), np.nan, 0.0),
        group=np.unique(names, return_inverse=True)[1],
        dipole=np.zeros((len(found), 3)),
    )


def test_small_ones_are_drawn_and_those_of_dft_once() -> None:
    names = ["H2O", "trans-butane", "isobutane", "CH3", "CH3", "OH", "NH3"]
    frames = _frames(names, [name in ("CH3", "OH") for name in names])
    chosen = drawn(frames, count=5)
    formulas = [str(atoms.symbols) for atoms in chosen]
    assert formulas == ["OH2", "CH3", "NH3"]  # butanes are too large, OH has two atoms
    assert len(drawn(frames, count=1)) == 2


def test_dipoles_are_those_of_the_method_and_not_of_its_charges() -> None:
    frames = relabelled(_frames(["H2O"], [False]))
    assert frames.dipole is not None and frames.partial_charges is not None
    of_charges = frames.partial_charges @ frames.positions
    assert np.linalg.norm(frames.dipole[0]) == pytest.approx(0.46, abs=0.05)  # e Å: 2.2 D
    assert np.linalg.norm(frames.dipole[0] - of_charges) > 0.05
