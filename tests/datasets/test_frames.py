from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.units import Bohr, Hartree, kcal, kJ, mol

from polcalc.calculator import electrons
from potentials.datasets import (
    Frames,
    Units,
    fit_reference_energies,
    graphs,
    join,
    make_frames,
    make_units,
    split,
    statistics,
    subtract_reference_energies,
    targets,
)
from potentials.datasets.checks.plausible import unit_problems
from potentials.datasets.formats.hdf5 import read_hdf5, write_hdf5
from potentials.datasets.formats.units import ENERGIES, LENGTHS
from potentials.datasets.statistics import atom_energies
from potentials.structure.graph import collate, from_ase
from tests.datasets.structures import mixed, waters


def test_units_agree_with_those_of_ase() -> None:
    """ASE uses CODATA 2014: the two differ by parts in 1e8."""
    assert ENERGIES["kcal/mol"] == pytest.approx(kcal / mol, rel=1e-7)
    assert ENERGIES["kJ/mol"] == pytest.approx(kJ / mol, rel=1e-7)
    assert ENERGIES["hartree"] == pytest.approx(Hartree, rel=1e-7)
    assert LENGTHS["bohr"] == pytest.approx(Bohr, rel=1e-7)
    assert Units("hartree", "bohr").force_eV_per_A == pytest.approx(Hartree / Bohr, rel=1e-7)
    assert Units("hartree", "Å", "bohr").force_eV_per_A == pytest.approx(Hartree / Bohr, rel=1e-7)


def test_spellings_of_units() -> None:
    assert make_units("KCAL/MOL", "Ang") == Units("kcal/mol", "Å")
    with pytest.raises(ValueError, match=r"`energy` unit must be one of eV, .* got 'cal'"):
        make_units("cal")


@pytest.mark.parametrize(
    "units", [Units("kcal/mol"), Units("hartree", "bohr"), Units("kJ/mol", "nm")], ids=str
)
def test_conversion_at_the_boundary(units: Units) -> None:
    converted, original = waters(5, units=units), waters(5)
    np.testing.assert_allclose(converted.positions, original.positions, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(converted.energy, original.energy, rtol=1e-14)
    np.testing.assert_allclose(converted.forces, original.forces, rtol=1e-12, atol=1e-14)
    assert converted.energy.dtype == np.float64


def test_atoms_carry_labels_and_the_state_that_the_calculator_reads() -> None:
    frames = mixed()
    for index, atoms in enumerate(frames):
        rows = frames.slice_of(index)
        assert electrons.resolve(atoms)[:2] == (
            frames.total_charge[index],
            frames.multiplicity[index],
        )
        assert atoms.get_potential_energy() == frames.energy[index]
        np.testing.assert_array_equal(atoms.get_forces(), frames.forces[rows])
        np.testing.assert_allclose(atoms.get_stress(voigt=False), frames.stress[index], rtol=1e-15)
        np.testing.assert_array_equal(atoms.get_charges(), frames.partial_charges[rows])
        np.testing.assert_array_equal(atoms.pbc, frames.pbc[index])


def test_graphs_equal_those_made_from_atoms() -> None:
    frames = mixed()
    for made, atoms, charge, multiplicity in zip(
        graphs(frames, 4.0), frames, frames.total_charge, frames.multiplicity, strict=True
    ):
        expected = from_ase(
            atoms,
            4.0,
            charge=charge,
            multiplicity=multiplicity,
            partial_charges=atoms.get_charges(),
        )
        for name, value in expected._asdict().items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(getattr(made, name), value), name
        assert made.cutoff == 4.0 and made.fragments is None


def test_targets_lie_as_the_collated_graphs() -> None:
    frames = mixed()
    batch, labels = collate(graphs(frames, 4.0)), targets(frames)
    assert labels.energy.dtype == torch.float64
    assert labels.forces is not None
    assert labels.forces.shape == batch.positions.shape
    picked = targets(frames.select([2])).forces
    assert picked is not None
    assert torch.equal(picked, labels.forces[batch.batch == 2])


def test_select_in_any_order() -> None:
    frames = mixed()
    picked = frames.select([2, 0])
    assert [len(atoms) for atoms in picked] == [2, 3]
    np.testing.assert_array_equal(picked.positions[2:], frames.positions[:3])
    assert (
        len(frames.select(np.array([True, False, True]))) == len(frames.select(slice(1, None))) == 2
    )
    assert len(frames.select([])) == 0


def test_join() -> None:
    frames = mixed()
    again = join([frames.select([0]), frames.select([1, 2])])
    for name, array in frames.arrays().items():
        np.testing.assert_array_equal(getattr(again, name), array)
    with pytest.raises(ValueError, match="same labels; got group in some only"):
        join([frames, replace(frames, group=None)])


def test_what_only_one_source_knows_is_unknown_of_the_others(tmp_path: Path) -> None:
    """Forces, charges and dipoles may be; groups must be there in all or none."""
    plain = waters(3)
    charges = np.linspace(-1.0, 1.0, len(plain.atomic_numbers))
    known = replace(plain, partial_charges=charges, more={"formal_charges": charges.round()})
    both = join([plain, known])
    assert np.isnan(both.partial_charges[: len(charges)]).all()
    assert np.array_equal(both.more["formal_charges"][len(charges) :], charges.round())
    write_hdf5(tmp_path / "both.h5", both)
    again = read_hdf5(tmp_path / "both.h5")
    for name, array in both.arrays().items():
        assert np.array_equal(again.arrays()[name], array, equal_nan=array.dtype.kind == "f")
    some = join([replace(plain, forces=None), known])
    assert np.isnan(some.forces[: len(charges)]).all() and not np.isnan(some.energy).any()
    assert np.array_equal(some.known_forces, plain.forces)
    assert replace(plain, forces=np.full_like(plain.forces, np.nan)).known_forces is None
    assert statistics(some).force_max_eV_per_A == statistics(plain).force_max_eV_per_A
    assert not list(unit_problems(some))
    assert [set(atoms.calc.results) >= {"forces"} for atoms in some] == [False] * 3 + [True] * 3


def test_labels_must_fit_and_be_finite() -> None:
    frames = mixed()
    with pytest.raises(ValueError, match="`forces` must have 6 rows; got 5"):
        replace(frames, forces=frames.forces[:5])
    energy = frames.energy.copy()
    energy[1] = np.nan
    with pytest.raises(ValueError, match="`energy` must be finite; got nan in structure 1"):
        replace(frames, energy=energy)
    positions = frames.positions.copy()
    positions[4, 1] = np.inf
    with pytest.raises(ValueError, match=r"`positions` must be finite; .* in structure 2"):
        replace(frames, positions=positions)


def test_split_is_disjoint_complete_and_repeatable() -> None:
    frames = waters(40)
    parts = split(frames, 25, 5, seed=3)
    assert [len(part) for part in parts] == [25, 5, 10]
    together = np.sort(np.concatenate([part.energy for part in parts]))
    np.testing.assert_array_equal(together, np.sort(frames.energy))
    np.testing.assert_array_equal(split(frames, 25, 5, seed=3).train.energy, parts.train.energy)
    assert not np.array_equal(split(frames, 25, 5, seed=4).train.energy, parts.train.energy)
    with pytest.raises(ValueError, match=r"at most 40, .* got 39 \+ 2"):
        split(frames, 39, 2, seed=0)


def test_split_keeps_groups_together() -> None:
    frames = waters(60, group=np.arange(60) // 4)
    parts = split(frames, 30, 10, seed=0)
    members = [set(part.group.tolist()) for part in parts]
    assert (
        not members[0] & members[1] and not members[1] & members[2] and not members[0] & members[2]
    )
    assert [len(part) for part in parts] == [32, 8, 20]  # whole groups of four


def test_reference_energies_recover_atomic_energies() -> None:
    generator = np.random.default_rng(0)
    counts = generator.integers(1, 6, size=(30, 3))
    energies = np.array([-13.6, -1030.0, -2041.3])
    numbers = np.concatenate([np.repeat([1, 6, 8], row) for row in counts])
    frames = far_apart(counts.sum(1), numbers, counts @ energies)
    assert fit_reference_energies(frames) == pytest.approx(
        dict(zip([1, 6, 8], energies, strict=True)), rel=1e-9
    )
    np.testing.assert_allclose(
        subtract_reference_energies(frames, fit_reference_energies(frames)), 0, atol=1e-8
    )


def far_apart(n_atoms: np.ndarray, numbers: np.ndarray, energy: np.ndarray) -> Frames:
    """Structures with these atoms, far apart."""
    return make_frames(n_atoms, numbers, np.arange(3 * len(numbers)).reshape(-1, 3), energy)


def test_reference_energies_of_one_molecule_stay_near_free_atoms() -> None:
    frames = waters(10)
    found = fit_reference_energies(frames)
    assert found[8] / found[1] == pytest.approx(
        float(atom_energies(np.array([8]))[0] / atom_energies(np.array([1]))[0]), rel=1e-6
    )
    assert abs(subtract_reference_energies(frames, found).mean()) < 1e-9
    with pytest.raises(ValueError, match="every element; got none for O"):
        subtract_reference_energies(frames, {1: 0.0})


@pytest.mark.parametrize(
    ("number", "hartree"),
    [(1, -0.5), (6, -37.845), (7, -54.589), (8, -75.067), (9, -99.734), (17, -460.15)],
)
def test_estimated_atomic_energies(number: int, hartree: float) -> None:
    """Exact total energies of free atoms (Chakravorty and others, Phys. Rev. A 47, 3649)."""
    assert atom_energies(np.array([number]))[0] / ENERGIES["hartree"] == pytest.approx(
        hartree, rel=0.09 if number == 1 else 0.015
    )


def test_statistics() -> None:
    frames = mixed()
    found = statistics(frames)
    assert found.elements == [1, 6, 7, 8, 11]
    assert found.states == [[-1, 1, 1], [0, 3, 1], [1, 1, 1]]
    assert found.closest_distances_A["C-N"] == pytest.approx(1.17)
    assert found.closest_distances_A["H-O"] == pytest.approx(np.hypot(0.763, 0.596), abs=1e-9)
    assert found.closest_distances_A["Na-Na"] == pytest.approx(5.0)  # its own image
    assert found.force_max_eV_per_A == pytest.approx(np.sqrt((frames.forces**2).sum(1)).max())
    shifted = statistics(frames, {1: 0.0, 6: 0.0, 7: 0.0, 8: 0.0, 11: 0.0})
    assert shifted.energy_range_eV == pytest.approx([-4400.1, -693.0])
