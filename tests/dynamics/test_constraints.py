"""What does not move: fixed atoms, fixed bonds, and the molecule as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.constraints import FixAtoms, FixBondLengths, FixedPlane
from ase.io import read

from md_runs.dynamics.constraints import (
    RigidBonds,
    constrain,
    describe_constraints,
    set_constraints,
)
from md_runs.dynamics.driver import Dynamics, DynamicsOptions, Result
from md_runs.dynamics.momenta import count_degrees_of_freedom, start_thermal
from md_runs.errors import InputError
from md_runs.records.output import claim
from tests.small import sprung

# … of ethanol; the first carbon in ASE is 0, the oxygen 2
HYDROGENS = [[0, 4], [0, 5], [1, 6], [1, 7], [1, 8], [2, 3]]
ENSEMBLES: list[dict[str, Any]] = [
    {"ensemble": "nve"},
    *({"thermostat": name} for name in ("langevin", "bussi", "nose-hoover")),
]


def run(atoms: Atoms, output: Path, **options: Any) -> Result:
    dynamics = Dynamics(atoms, DynamicsOptions(**options), charge=0, multiplicity=1)
    claim(output, {"command": "md"})
    return dynamics.run(output, {"command": "md"})


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr("md_runs.dynamics.phase.write_figure", lambda *_: None)


def lengths(atoms: Atoms, pairs: list[list[int]]) -> np.ndarray:
    return np.array([atoms.get_distance(a, b, mic=True) for a, b in pairs])


# ---- fixed bonds


def test_hydrogen_finds_its_bonds():
    atoms = molecule("CH3CH2OH")
    constrain(atoms, None, "hydrogen")
    found = {frozenset(pair) for pair in atoms.constraints[0].pairs.tolist()}
    assert len(found) == 6
    assert all(1 in atoms.numbers[list(pair)] and atoms.get_distance(*pair) < 1.2 for pair in found)


def test_all_at_once_is_one_by_one():
    """ASE solves bond after bond until all are right; the answer is the same."""
    atoms, rng = molecule("CH3CH2OH"), np.random.default_rng(0)
    pairs = [[0, 1], [0, 2], [2, 3], [1, 6]]
    ours, theirs = (
        RigidBonds(atoms, pairs),
        FixBondLengths(pairs, bondlengths=lengths(atoms, pairs)),
    )
    for adjust, start, scale in (
        ("positions", atoms.positions, 0.05),
        ("momenta", 0 * atoms.positions, 1.0),
    ):
        new = start + rng.normal(scale=scale, size=(9, 3))
        found, expected = new.copy(), new.copy()
        getattr(ours, f"adjust_{adjust}")(atoms, found)
        getattr(theirs, f"adjust_{adjust}")(atoms, expected)
        assert np.abs(found - new).max() > 0.01
        assert np.allclose(found, expected, atol=1e-11)


@pytest.mark.parametrize("options", ENSEMBLES, ids=str)
def test_bonds_keep_their_length_and_energy_is_conserved(options, tmp_path):
    atoms = sprung()
    before = lengths(atoms, HYDROGENS)
    time_fs = {} if "ensemble" in options else {"thermostat_time_fs": 30}
    result = run(
        atoms,
        tmp_path / "run",
        fix_bonds="hydrogen",
        timestep_fs=0.5,
        steps=300,
        log_every=1,
        **options,
        **time_fs,
    )
    pairs = atoms.constraints[0].pairs.tolist()
    assert np.abs(lengths(atoms, pairs) - lengths(molecule("CH3CH2OH"), pairs)).max() < 1e-10
    assert len(before) == len(pairs)
    apart, speed = (
        atoms.positions[[a for a, _ in pairs]] - atoms.positions[[b for _, b in pairs]],
        atoms.get_velocities(),
    )
    along = np.einsum(
        "bk,bk->b", apart, speed[[a for a, _ in pairs]] - speed[[b for _, b in pairs]]
    )
    assert np.abs(along).max() < 1e-10
    kinetic, conserved = (
        result.log.column("kinetic_energy_eV"),
        result.log.column("conserved_energy_eV"),
    )
    assert np.std(conserved) < 0.02 * np.std(kinetic)
    assert result.summary.degrees_of_freedom == (
        21 if options.get("thermostat") == "langevin" else 15
    )


@pytest.mark.parametrize("options", ENSEMBLES[1:], ids=str)
def test_the_temperature_is_that_of_the_motions_left(options, tmp_path):
    """With the bonds counted as motions it would be 214 K or 233 K."""
    common = {"thermostat_time_fs": 20, "timestep_fs": 1.0, "steps": 2500, "seed": 2}
    summary = run(
        sprung(strength=2.0), tmp_path / "run", fix_bonds="hydrogen", **common, **options
    ).summary
    assert abs(summary.temperature_K - 300) < 4 * summary.temperature_error_K + 2
    assert summary.temperature_error_K < 22


def test_thermal_starts_leave_bonds_alone():
    atoms = molecule("CH3CH2OH")
    constrain(atoms, None, "0-1,0-2")
    start_thermal(atoms, 300, np.random.default_rng(1))
    assert count_degrees_of_freedom(atoms) == 27 - 6 - 2
    assert np.abs(atoms.get_momenta().sum(0)).max() < 1e-12


def test_a_bond_to_a_fixed_atom_turns_around_it(tmp_path):
    """ASE's own constraints would move the fixed atom, or stretch the bond."""
    atoms = sprung()
    start = atoms.get_positions()
    pairs = [[0, 4], [1, 6]]
    run(atoms, tmp_path / "run", fix_atoms="0", fix_bonds="0-4,1-6", thermostat="bussi", steps=200)
    assert np.array_equal(atoms.positions[0], start[0])
    assert np.abs(atoms.positions[4] - start[4]).max() > 1e-3
    assert np.abs(lengths(atoms, pairs) - lengths(molecule("CH3CH2OH"), pairs)).max() < 1e-10
    assert count_degrees_of_freedom(atoms) == 24 - 2


def test_a_bond_through_the_wall_of_a_cell():
    atoms = Atoms("H2", positions=[[0.2, 1, 1], [4.6, 1, 1]], cell=[5, 5, 5], pbc=True)
    bonds = RigidBonds(atoms, [[0, 1]])
    assert bonds.bondlengths == pytest.approx([0.6])
    new = atoms.positions + np.array([[0.1, 0.05, 0], [0, 0, 0.1]])
    bonds.adjust_positions(atoms, new)
    moved = Atoms("H2", positions=new, cell=[5, 5, 5], pbc=True)
    assert moved.get_distance(0, 1, mic=True) == pytest.approx(0.6, abs=1e-12)


def test_bonds_that_cannot_be_restored_end_the_run():
    atoms = molecule("H2O")
    with pytest.raises(ArithmeticError, match="cannot be restored"):
        RigidBonds(atoms, [[0, 1]]).adjust_positions(
            atoms, atoms.positions[[0, 0, 0]] + [[0, 0, 0], [9, 0, 0], [0, 0, 0]]
        )


def test_relaxing_first_fixes_the_lengths_of_the_minimum(tmp_path):
    atoms, minimum = sprung(), molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=1)
    run(atoms, tmp_path / "run", relax_first=True, fix_bonds="0-4", steps=10)
    assert atoms.get_distance(0, 4) == pytest.approx(minimum.get_distance(0, 4), abs=2e-3)


# ---- from the file and from the shell


def test_constraints_of_the_file_count(tmp_path):
    atoms = sprung()
    atoms.set_constraint([FixAtoms([0, 1]), FixBondLengths([[2, 3], [0, 1]])])
    constrain(atoms, "1,7-8", None)
    found = describe_constraints(atoms)
    assert found["fixed"] == [0, 1, 7, 8]
    assert found["bonds"] == [[2, 3]]  # the other is between fixed atoms
    atoms.write(tmp_path / "a.extxyz")
    again = read(tmp_path / "a.extxyz")
    constrain(again, None, None)
    assert describe_constraints(again)["fixed"] == [0, 1, 7, 8]


def test_constraints_come_back_as_they_were():
    atoms = sprung()
    constrain(atoms, "0,5", "hydrogen")
    found, again = describe_constraints(atoms), molecule("CH3CH2OH")
    again.rattle(0.01, seed=1)
    set_constraints(again, **found)
    assert describe_constraints(again) == found
    assert np.array_equal(again.constraints[1].coupling, atoms.constraints[1].coupling)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fix_atoms": "0,9"}, "numbers from 0 to 8"),
        ({"fix_atoms": "5-2"}, "numbers from 0 to 8"),
        ({"fix_atoms": "all"}, "numbers from 0 to 8"),
        ({"fix_bonds": "0-0"}, "pairs of two numbers"),
        ({"fix_bonds": "0-9"}, "pairs of two numbers"),
        ({"fix_bonds": "0"}, "pairs of two numbers"),
        ({"fix_atoms": "0-8"}, "leave something to move"),
        ({"fix_atoms": "0", "rigid_motion": "always"}, "must not be always"),
    ],
)
def test_bad_words(options, message):
    with pytest.raises(InputError, match=message):
        Dynamics(sprung(), DynamicsOptions(**options), charge=0, multiplicity=1)


def test_bonds_that_follow_from_others():
    atoms = sprung("CH4")
    every = ",".join(f"{a}-{b}" for a in range(5) for b in range(a))
    with pytest.raises(InputError, match="independent"):
        constrain(atoms, None, every)
    with pytest.raises(InputError, match="with hydrogen"):
        constrain(molecule("CO2"), None, "hydrogen")


def test_constraints_that_nothing_here_obeys():
    atoms = sprung()
    atoms.set_constraint(FixedPlane([0], (0, 0, 1)))
    with pytest.raises(InputError, match="FixedPlane"):
        constrain(atoms, None, None)
    atoms.set_constraint(FixBondLengths([[0, 1]], bondlengths=[1.0]))
    with pytest.raises(InputError, match="at their lengths"):
        constrain(atoms, None, None)


# ---- the molecule as a whole


@pytest.mark.parametrize("options", ENSEMBLES, ids=str)
def test_drift_and_tumbling_are_removed_all_along(options, tmp_path):
    atoms = sprung()
    result = run(atoms, tmp_path / "run", rigid_motion="always", steps=200, log_every=1, **options)
    assert np.abs(atoms.get_momenta().sum(0)).max() < 1e-10
    assert np.abs(atoms.get_angular_momentum()).max() < (
        0.05 if options.get("thermostat") == "langevin" else 1e-10
    )
    assert result.summary.degrees_of_freedom == 21
    kinetic, conserved = (
        result.log.column("kinetic_energy_eV"),
        result.log.column("conserved_energy_eV"),
    )
    assert np.std(conserved) < 0.02 * np.std(kinetic)


def test_settling_during_a_run_stops_what_moves(tmp_path):
    atoms = sprung()
    atoms.set_momenta(np.ones((9, 3)) * atoms.get_masses()[:, None] * 0.01)
    options = {"thermostat": "nose-hoover", "velocities": "structure"}
    run(atoms, tmp_path / "kept", steps=150, **options)
    assert np.abs(atoms.get_momenta().sum(0)).max() > 0.1
    log = run(
        atoms, tmp_path / "stopped", steps=150, rigid_motion="always", log_every=1, **options
    ).log
    assert np.abs(atoms.get_momenta().sum(0)).max() < 1e-10
    assert np.std(log.column("conserved_energy_eV")) < 1e-3


def test_never_keeps_the_drift_of_a_thermal_start(tmp_path):
    atoms = sprung()
    result = run(atoms, tmp_path / "run", ensemble="nve", rigid_motion="never", steps=20)
    assert result.summary.degrees_of_freedom == 27
    assert np.abs(atoms.get_momenta().sum(0)).max() > 0.1
