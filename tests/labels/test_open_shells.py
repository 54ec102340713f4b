"""Labels of open shells: the method, what it refuses, jobs, and the scale of the energies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.data import chemical_symbols

from potentials.datasets import load_frames
from potentials.datasets.formats.hdf5 import read_hdf5
from potentials.datasets.formats.units import BOHR, HARTREE
from potentials.datasets.frames import Frames, make_frames
from potentials.datasets.sets.own import SHIPPED, card
from potentials.datasets.shifts import fit_shifts, shifted
from potentials.labels.method import Failed
from potentials.labels.teacher import is_installed

HYDROXYL = np.array([8, 1]), np.array([[0.0, 0.0, 0.0], [0.1, 0.2, 0.9]])  # Å
ALL_ELEMENTS = {1, 6, 7, 8, 9, 15, 16, 17, 35, 53}


def frames_of(numbers: list[list[int]], energy: list[float]) -> Frames:
    n_atoms = np.array([len(z) for z in numbers])
    flat = np.concatenate([np.array(z) for z in numbers])
    return make_frames(n_atoms, flat, np.arange(3.0 * len(flat)).reshape(-1, 3), np.array(energy))


def test_a_radical_has_forces_charges_and_its_electron() -> None:
    pytest.importorskip("pyscf", reason="needs PySCF")
    from potentials.labels.wb97m import wb97m

    numbers, positions = HYDROXYL
    label, step = wb97m(numbers, positions, 0, 2), np.zeros((2, 3))
    step[1, 2] = 2e-3
    ahead, behind = (wb97m(numbers, positions + s * step, 0, 2).energy for s in (1, -1))
    assert label.forces[1, 2] == pytest.approx((behind - ahead) / 4e-3, abs=3e-3)
    assert abs(label.forces.sum(0)).max() < 1e-3  # the grid moves with the atoms
    assert label.charges.sum() == pytest.approx(0, abs=1e-6) and label.charges[0] < -0.2
    assert label.magmoms is not None and label.magmoms.sum() == pytest.approx(1, abs=1e-6)
    assert label.magmoms[0] > 0.9
    assert label.spin_squared == pytest.approx(0.75, abs=0.01)
    assert label.dipole is not None and label.dipole[2] > 0.2  # from O to H


def test_dispersion_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The functional that differs in its dispersion alone, and D3(BJ) of another package."""
    pytest.importorskip("pyscf", reason="needs PySCF")
    d3 = pytest.importorskip("dftd3.interface", reason="needs dftd3")
    from potentials.labels import wb97m

    numbers, positions = np.array([1, 17]), np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.3]])
    with_it = wb97m.wb97m(numbers, positions, 0, 1)
    monkeypatch.setattr(wb97m, "LEVEL", wb97m.LEVEL._replace(functional="wb97m_v"))
    without = wb97m.wb97m(numbers, positions, 0, 1)
    damping = d3.RationalDampingParam(s6=1.0, s8=0.3908, a1=0.566, a2=3.128, s9=0.0)
    known = d3.DispersionModel(numbers, positions / BOHR).get_dispersion(damping, grad=True)
    energy, forces = known["energy"] * HARTREE, -known["gradient"] * HARTREE / BOHR
    assert with_it.energy - without.energy == pytest.approx(energy, abs=1e-6) and energy < -1e-3
    np.testing.assert_allclose(with_it.forces - without.forces, forces, atol=1e-5)
    assert abs(forces).max() > 5e-5


@pytest.mark.parametrize(
    ("number", "charge", "multiplicity", "reason"),
    [(7, 0, 2, "<S²> is 1.75"), (6, 0, 1, "unpair"), (1, -1, 1, "not bound")],
)
def test_what_is_no_state_is_refused(
    number: int, charge: int, multiplicity: int, reason: str
) -> None:
    pytest.importorskip("pyscf", reason="needs PySCF")
    from potentials.labels.wb97m import wb97m

    with pytest.raises(Failed, match=reason):
        wb97m(np.array([number]), np.zeros((1, 3)), charge, multiplicity)


def test_species_follow_from_rules() -> None:
    pytest.importorskip("rdkit", reason="needs RDKit")
    from potentials.labels.open_shells.species import species

    known = {s.smiles: s for s in species()}
    for smiles in ("[H]", "[CH3]", "[CH2]", "[O]O", "[CH]=C", "O=O", "[C]#N", "[CH2]O", "[NH4+]"):
        assert smiles in known
    assert known["[CH3]"].states == ((0, 2), (1, 1), (-1, 1))
    assert (1, 3) in known["[OH]"].states
    assert (-1, 2) not in known["CC"].states  # a saturated molecule binds no electron more
    assert len({s.number for s in known.values()}) == len(known)


def test_jobs_are_the_same_and_their_beginning_is_balanced() -> None:
    pytest.importorskip("rdkit", reason="needs RDKit")
    from potentials.labels.open_shells import geometries as open_shells

    jobs = open_shells.jobs()
    assert list(jobs) == list(open_shells.jobs()) and len(jobs) > 15_000
    first = [job for job in jobs.values() if isinstance(job, open_shells.Geometry)][:500]
    closed = [job for job in first if job.state == (0, 1) and job.draw == 0]
    assert len(closed) > 60
    numbers = {z for job in closed for z in open_shells.embedded(job.species)[0]}
    assert numbers == ALL_ELEMENTS
    atoms = [job.species.smiles for job in first if job.species.n_atoms == 1]
    assert len(atoms) == len(ALL_ELEMENTS)


def test_a_run_has_several_states_and_goes_on(tmp_path: Path) -> None:
    """Hydrogen stretched: its minimum is found and labelled first; nothing is done twice."""
    for name in ("pyscf", "rdkit", "tblite"):
        pytest.importorskip(name, reason=f"needs {name}")
    from potentials.labels.open_shells import geometries as open_shells

    every = open_shells.jobs()
    (stretched,) = (
        key
        for key, job in every.items()
        if isinstance(job, open_shells.Geometry)
        and job.species.smiles == "[H][H]"
        and job.state == (0, 1)
        and job.draw == 2
    )
    (impossible,) = (
        key
        for key, job in every.items()
        if isinstance(job, open_shells.Geometry)
        and job.species.smiles == "FF"
        and job.state == (0, 3)
        and job.draw == 0
    )
    chosen = {key: every[key] for key in (stretched, impossible)}
    done = dict(open_shells.run_jobs(chosen, open_shells.work(tmp_path), tmp_path))
    assert done == {stretched: "", impossible: "it rearranged"}
    frames = open_shells.collect(tmp_path)
    assert len(frames) == 6 and frames.group is not None and len(set(frames.group.tolist())) == 1
    assert set(zip(frames.total_charge.tolist(), frames.multiplicity.tolist(), strict=True)) == {
        (0, 1),
        (0, 3),
        (1, 2),
    }
    lengths = np.linalg.norm(frames.positions[1::2] - frames.positions[::2], axis=1)
    assert lengths[0] == pytest.approx(0.75, abs=0.03)
    np.testing.assert_allclose(lengths[3:], 1.1 * lengths[0], rtol=1e-6)
    (tmp_path / f"{stretched}.npz").unlink()  # as if the process had been killed
    again = dict(open_shells.run_jobs(chosen, open_shells.work(tmp_path), tmp_path))
    assert list(again) == [stretched]
    np.testing.assert_array_equal(open_shells.collect(tmp_path).energy, frames.energy)


@pytest.mark.parametrize(
    ("symbols", "states"),
    [("HH", (1, 3)), ("OO", (1, 3, 5)), ("CN", (2, 4, 6)), ("NF", (3, 5))],
)
def test_atoms_couple_their_spins(symbols: str, states: tuple[int, ...]) -> None:
    from potentials.labels.open_shells.curves import _coupled, _shares

    numbers = np.array([chemical_symbols.index(s) for s in symbols])
    assert _coupled(numbers) == states
    for multiplicity in states:
        assert _shares(numbers, multiplicity).sum() == pytest.approx(multiplicity - 1)
    assert _shares(np.array([6, 7]), 2) == pytest.approx([-2 / 3, 5 / 3])


def test_a_bond_ends_in_atoms() -> None:
    """Hydrogen by broken symmetry, and its triplet that is nowhere bound."""
    pytest.importorskip("pyscf", reason="needs PySCF")
    from potentials.labels.open_shells.curves import curve
    from potentials.labels.wb97m import wb97m

    hydrogens, atom = np.array([1, 1]), wb97m(np.array([1]), np.zeros((1, 3)), 0, 2).energy
    distances = [0.74, 1.1, 1.7, 2.4, 3.7]
    singlet, triplet = (curve(hydrogens, distances, 0.74, 0, m) for m in (1, 3))
    bound = [singlet[r].energy - 2 * atom for r in distances]
    assert bound[0] == pytest.approx(-4.7, abs=0.1) and abs(bound[-1]) < 0.02
    assert bound == sorted(bound)
    assert all(triplet[r].energy > singlet[r].energy - 0.02 for r in distances)
    assert singlet[3.7].magmoms == pytest.approx([-1, 1], abs=0.05) or singlet[
        3.7
    ].magmoms == pytest.approx([1, -1], abs=0.05)


def test_shifts_are_found_and_added() -> None:
    numbers = [[1, 1], [6, 1, 1, 1, 1], [8, 1, 1], [6, 8], [8, 8]]
    known = {"H": -0.01, "C": -0.07, "O": -0.05}
    frames = frames_of(numbers, [-31.0, -1100.0, -2079.0, -3083.0, -4090.0])
    other = shifted(frames, known)
    found = fit_shifts(frames, other.energy)
    assert found.per_element == pytest.approx(known) and found.residual < 1e-9
    noise = np.array([0.01, -0.01, 0.01, -0.01, 0.01])
    assert 0 < fit_shifts(frames, other.energy + noise).residual < 0.011
    with pytest.raises(ValueError, match="O"):
        shifted(frames, {"H": 0.0, "C": 0.0})
    with pytest.raises(ValueError, match="structures"):
        fit_shifts(frames.select([1]), np.zeros(1))


def test_the_set_of_the_package_is_consistent() -> None:
    """Charges and unpaired electrons add up; nothing pulls; energies are on the teacher's scale."""
    frames, about = load_frames("organic-open-shells"), card("organic-open-shells")
    assert len(frames) == about["labels"] and set(frames.atomic_numbers.tolist()) == ALL_ELEMENTS
    assert frames.forces is not None and frames.partial_charges is not None
    assert frames.magmoms is not None and frames.spin_squared is not None
    first, spin = frames.first[:-1], (frames.multiplicity - 1) / 2
    for array, whole in ((frames.partial_charges, frames.total_charge), (frames.magmoms, 2 * spin)):
        np.testing.assert_allclose(np.add.reduceat(array, first), whole, atol=1e-4)
    np.testing.assert_allclose(np.add.reduceat(frames.forces, first), 0, atol=5e-3)
    excess = abs(frames.spin_squared - spin * (spin + 1))
    assert excess[frames.n_atoms != 2].max() < 0.101  # bonds that break are of no one spin
    raw = read_hdf5(SHIPPED / "organic-open-shells.h5")
    added = np.array([about["shifts_eV"][chemical_symbols[z]] for z in raw.atomic_numbers])
    np.testing.assert_allclose(frames.energy - raw.energy, np.add.reduceat(added, first), atol=1e-8)
    assert about["residual_eV"] < 0.05


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.skipif(not is_installed(), reason="needs the teacher")
def test_the_scale_is_that_of_the_teacher() -> None:
    from potentials.labels.open_shells.scale import scale_of

    about = card("organic-open-shells")
    scale = scale_of(read_hdf5(SHIPPED / "organic-open-shells.h5"))
    assert scale.shifts.per_element == pytest.approx(about["shifts_eV"], abs=1e-4)
    assert scale.closed_shells == about["closed shells labelled both ways"]
    assert scale.forces < 0.15
