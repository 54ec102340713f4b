"""Labels of reactions: what reacts, and how it is led from reactants to products."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rdkit", reason="needs RDKit")

from rdkit import Chem

from potentials.labels.closed_shells import reactants, reactions
from potentials.labels.closed_shells.conformers import conformer
from potentials.labels.closed_shells.reactions import Led, Pulled, Reaction
from potentials.labels.closed_shells.substances import canonical, species
from potentials.labels.method import Floats
from potentials.labels.teacher import Structures, is_installed, pad

LISTS = {name: smiles for name, smiles in vars(reactants).items() if name.isupper()}
IN_TURN = {
    "dipole": (reactants.DIPOLES, reactants.DIENOPHILES),
    "diene": (reactants.DIENES, reactants.DIENOPHILES),
    "addition": (reactants.DIENOPHILES, reactants.ADDENDS),
    "substitution": (reactants.ELECTROPHILES, reactants.NUCLEOPHILES),
}


@pytest.mark.parametrize("name", LISTS)
def test_reactants_are_closed_shells_with_their_atoms_numbered(name: str) -> None:
    for smiles in LISTS[name]:
        molecule = Chem.MolFromSmiles(smiles)
        assert not any(a.GetNumRadicalElectrons() for a in molecule.GetAtoms()), smiles
        shape = conformer(smiles, np.random.default_rng(0))
        numbered = reactions._numbered(smiles)
        if name in ("ELECTROPHILES", "NUCLEOPHILES"):
            assert set(numbered) == {1}, smiles
        else:
            one, two = reactions._ends(smiles, shape)
            assert one != two and max(one, two) < len(shape.atomic_numbers), smiles


@pytest.mark.parametrize("kind", reactions.KINDS)
def test_reactions_start_apart_and_end_at_bonds(kind: str) -> None:
    rng = np.random.default_rng(3)
    drawn = reactions._drawn(kind, rng)
    led = reactions.BEGIN[kind](drawn, rng)
    x = led.shape.positions
    assert len(x) == sum(
        len(conformer(s, np.random.default_rng(0)).atomic_numbers) for s in drawn.smiles
    )
    if kind in IN_TURN:
        across = led.shape.bonds_apart == 99
        gaps = np.linalg.norm(x[:, None] - x[None], axis=-1)[across]
        assert gaps.min() > 0.8  # nothing lies on top of each other
    assert np.allclose(led.lengths(0.0), led.start) and np.allclose(led.lengths(1.0), led.end)
    assert (np.abs(led.lengths(0.5) - led.start) > 0.05).any()


def test_no_job_holds_what_is_tested_on_and_jobs_differ() -> None:
    tested = {s.smiles for s in species() if s.test}
    jobs = [reactions.make_job(n) for n in range(4)]
    assert len({job.reactions for job in jobs}) == len(jobs)
    assert reactions.make_job(2) == jobs[2]
    for job in jobs:
        for reaction in job.reactions:
            assert tested.isdisjoint(canonical(reactions.plain(s)) for s in reaction.smiles)
            charges = [Chem.GetFormalCharge(Chem.MolFromSmiles(s)) for s in reaction.smiles]
            assert abs(sum(charges)) <= 1


class Silent:
    """In place of the teacher: no forces."""

    def follow(self, structures: Structures) -> Floats:
        return np.zeros(structures.positions.shape)


def test_springs_pull_along_the_gradient_of_their_energy() -> None:
    shape = conformer("CO", np.random.default_rng(0))
    pairs, lengths = ((0, 1), (0, 3)), np.array([2.0, 1.5])
    led = Led(shape, pairs, lengths, lengths, np.ones(2))

    def energy(x: Floats) -> float:
        distances = np.array([np.linalg.norm(x[i] - x[j]) for i, j in pairs])
        return float(0.5 * reactions.PULL * np.square(distances - lengths).sum())

    x = shape.positions
    structures = pad([shape.atomic_numbers], [x], [0])._replace(positions=x[None])
    forces = Pulled(Silent(), [led], 0.5).follow(structures)[0]
    for n, axis in ((0, 0), (1, 2), (3, 1), (2, 0)):
        step = np.zeros_like(x)
        step[n, axis] = 1e-4
        slope = (energy(x + step) - energy(x - step)) / 2e-4
        assert forces[n, axis] == pytest.approx(-slope, abs=1e-5)


@pytest.mark.skipif(not is_installed(), reason="needs auto3d")
def test_an_addition_is_led_uphill() -> None:
    job = reactions.Job((Reaction("addition", ("[CH2:1]=[CH2:2]", "[FH:2]")),), (1,))
    made = reactions.compute(job)
    way = np.array([not str(scene).endswith("shaken") for scene in made["scene"]])
    energy = made["energy"][way]
    assert energy.max() - energy[0] > 1.0
    places = np.split(made["positions"], np.cumsum(made["n_atoms"])[:-1])
    numbers = np.split(made["atomic_numbers"], np.cumsum(made["n_atoms"])[:-1])[0]
    fluorine, carbons = np.flatnonzero(numbers == 9), np.flatnonzero(numbers == 6)
    first, last = (
        np.linalg.norm(places[n][carbons] - places[n][fluorine], axis=1).min()
        for n in np.flatnonzero(way)[[0, -1]]
    )
    assert first > 2.7 and last < 2.1
