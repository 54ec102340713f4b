"""organic-open-shells: radicals, radical ions, triplets, and closed shells beside them, all small.

Every species is relaxed in each of its states (GFN2-xTB, then PBE0/def2-SVP); what rearranges is
left out. Geometries are the minimum, thermal displacements from it, and bonds that are stretched
or compressed; of two atoms, distances. At each geometry several states are labelled: at a minimum
all of the species, so that ionisation energies, electron affinities and gaps are there, vertical
and adiabatic. A state that is none (<S²> of another multiplicity, an electron that is not bound)
is left out.

The order of the jobs makes the set useful at any length: atoms, closed shells that put the
energies on another level's scale, then geometries of small species and, ever more, of larger
ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase.data import covalent_radii
from scipy.sparse.csgraph import connected_components

from potentials.datasets.frames import Frames, Provenance, make_frames
from potentials.labels.gfn2 import gfn2
from potentials.labels.jobs import failures, results, run_jobs
from potentials.labels.method import Failed, Floats, Integers, Label
from potentials.labels.open_shells import diatomics
from potentials.labels.open_shells.diatomics import Diatomic
from potentials.labels.open_shells.scale import scale_of
from potentials.labels.open_shells.species import Species, species
from potentials.labels.sampling import hessian, relax, thermal_displacements
from potentials.labels.wb97m import THEORY, pbe0, program, wb97m
from potentials.structure.graph import State

NAME = "organic-open-shells"
SEED = 20261130
TEMPERATURES_K = (300.0, 600.0)  # in turn
STRETCHED_EVERY, STRETCH = 3, (0.88, 1.35)  # every third geometry; of the length of a bond
# of two atoms, of that at the minimum
DISTANCES = (1.0, 0.9, 1.1, 1.25, 0.95, 1.4, 1.05, 0.82, 1.6, 1.17, 1.8)
# geometries of an open shell, by the number of heavy atoms; 1 for more
DRAWS = {1: 16, 2: 8, 3: 4, 4: 2}
CLOSED_DRAWS = {1: 6, 2: 3, 3: 2}
BOND = 1.3  # of the sum of covalent radii
ROUGH, FINE = 0.05, 0.1  # eV/Å, forces that are left after each relaxation
BOTH_WAYS = 0.25  # of the closed shells of three heavy atoms begin the set, beside all smaller ones
FIRST = {0: 0.0, 1: 0.2, 2: 0.5, 3: 0.9}  # where in the order so many heavy atoms begin; 4 for more
PACE = {0: 0.1, 1: 0.2, 2: 0.3, 3: 0.8}  # how far in the order the next one is; 2 for more
LATE_ELEMENT = 0.4  # how much further for each atom of a rare element
LATE_STATE = 0.3  # how much further for other states than that of the SMILES


class Geometry(NamedTuple):
    """A job: the minimum of a state for draw 0, a geometry near it for others."""

    species: Species
    state: State  # in which the species is relaxed
    draw: int

    @property
    def key(self) -> str:
        """Name the job, the same in every run and every list."""
        return f"{_key(self.species, self.state)}-{self.draw:02d}"

    @property
    def states(self) -> tuple[State, ...]:
        """Name the states that are labelled, that of the geometry first."""
        others = tuple(s for s in self.species.states if s != self.state)
        if self.draw == 0 or self.species.n_atoms <= 2 or self.state[1] == 1:
            return (self.state, *others)
        closed = tuple(s for s in others if s[1] == 1)
        return (self.state, *closed[:1]) if self.draw % 2 == 0 else (self.state,)

    @property
    def order(self) -> float:
        """Place the job among all."""
        where = np.random.default_rng((SEED, self.species.number, *_positive(self.state))).random()
        size, first = self.species.n_heavy, self.state == self.species.states[0]
        if self.draw == 0 and self.state == (0, 1) and first:
            if size < 3:
                return 0.6 * where * (1 + self.species.n_rare)
            if size == 3 and where < BOTH_WAYS:
                return 0.3 + where / BOTH_WAYS
        late = LATE_ELEMENT * self.species.n_rare + LATE_STATE * (not first) if size > 1 else 0.0
        return FIRST.get(size, 4.0) + PACE.get(size, 2.0) * (self.draw + where) + late


def jobs() -> dict[str, Geometry | Diatomic]:
    """Make all jobs: two atoms, then the others in an order of which each part is a fair one."""
    every = [
        Geometry(s, state, draw)
        for s in species()
        for state in _relaxed(s)
        for draw in range(_n_draws(s, state))
    ]
    ordered = sorted(every, key=lambda j: (j.order, j.key))
    two_atoms: dict[str, Geometry | Diatomic] = {job.key: job for job in diatomics.diatomics()}
    return two_atoms | {job.key: job for job in ordered}


def work(folder: Path) -> Callable[[Geometry | Diatomic], dict[str, Any]]:
    """Make the function that does a job of a run in this folder."""
    return partial(compute, folder=folder)


def compute(job: Geometry | Diatomic, folder: Path) -> dict[str, Any]:
    """Label one geometry in its states, or two atoms at many distances.

    Raises
    ------
    Failed   no minimum, or no label of the state of the geometry there or here
    """
    if isinstance(job, Diatomic):
        return diatomics.compute(job)
    if job.draw:
        _need(folder, job._replace(draw=0).key, job._replace(draw=0), work(folder))
    minimum = _need(folder / "minima", _key(job.species, job.state), job, find_minimum)
    numbers, positions = minimum["atomic_numbers"], _moved(job, minimum)
    # what is stored is what is labelled
    positions = positions.astype(np.float32).astype(np.float64)
    labels = {job.states[0]: _label(numbers, positions, job.states[0])}
    refused = []
    for state in job.states[1:]:
        try:
            labels[state] = _label(numbers, positions, state)
        except Failed as error:
            refused.append(f"{state}: {error}")
    return {
        "smiles": np.array(job.species.smiles),
        "atomic_numbers": numbers,
        "positions": positions.astype(np.float32),
        "total_charge": np.array([charge for charge, _ in labels]),
        "multiplicity": np.array([multiplicity for _, multiplicity in labels]),
        "energy": np.array([x.energy for x in labels.values()]),
        "forces": np.array([x.forces for x in labels.values()]),
        "charges": np.array([x.charges for x in labels.values()]),
        "magmoms": np.array([x.magmoms for x in labels.values()]),
        "dipole": np.array([x.dipole for x in labels.values()]),
        "spin_squared": np.array([x.spin_squared for x in labels.values()]),
        "refused": np.array(refused, dtype=str),
    }


def find_minimum(job: Geometry) -> dict[str, Any]:
    """Relax a species in one state, and find the Hessian of GFN2-xTB there."""
    numbers, start, bound = embedded(job.species)
    if len(numbers) == 1:
        return {
            "atomic_numbers": numbers,
            "positions": np.zeros((1, 3)),
            "hessian": np.zeros((3, 3)),
        }
    rough = relax(gfn2, numbers, start, *job.state, fmax=ROUGH)
    _check_bonds(numbers, rough, bound)
    stiffness = hessian(gfn2, numbers, rough, *job.state)
    fine = relax(pbe0, numbers, rough, *job.state, fmax=FINE, stiffness=stiffness, max_steps=30)
    _check_bonds(numbers, fine, bound)
    return {"atomic_numbers": numbers, "positions": fine, "hessian": stiffness}


def collect(folder: Path) -> Frames:
    """Put the labels that are there together, state after state, geometry after geometry."""
    every = jobs()
    found = results(folder, list(every))
    if not found:
        raise ValueError(
            f"`folder` must hold labels of {NAME}; got none in {folder}. Run them first."
        )
    labels = [
        (_number(every[key]), g, k) for key, g in found.items() for k in range(len(g["energy"]))
    ]
    return make_frames(
        n_atoms=np.array([len(g["atomic_numbers"]) for _, g, _ in labels]),
        atomic_numbers=np.concatenate([g["atomic_numbers"] for _, g, _ in labels]),
        positions=np.concatenate(
            [np.broadcast_to(g["positions"], g["forces"].shape)[k] for _, g, k in labels]
        ),
        energy=np.array([g["energy"][k] for _, g, k in labels]),
        forces=np.concatenate([g["forces"][k] for _, g, k in labels]).astype(np.float32),
        total_charge=np.array([g["total_charge"][k] for _, g, k in labels]),
        multiplicity=np.array([g["multiplicity"][k] for _, g, k in labels]),
        partial_charges=np.concatenate([g["charges"][k] for _, g, k in labels]).astype(np.float32),
        magmoms=np.concatenate([g["magmoms"][k] for _, g, k in labels]).astype(np.float32),
        dipole=np.array([g["dipole"][k] for _, g, k in labels]).astype(np.float32),
        spin_squared=np.array([g["spin_squared"][k] for _, g, k in labels]).astype(np.float32),
        group=np.array([number for number, _, _ in labels]),
        provenance=PROVENANCE,
    )


def card(name: str, frames: Frames) -> Mapping[str, Any]:
    """Say how the set was made."""
    states = zip(
        frames.total_charge.astype(int).tolist(), frames.multiplicity.tolist(), strict=True
    )
    counts: dict[str, int] = {}
    for charge, multiplicity in sorted(states):
        counts[f"{charge:+d}, {multiplicity}"] = counts.get(f"{charge:+d}, {multiplicity}", 0) + 1
    return {
        "name": name,
        "description": PROVENANCE.description,
        "theory": THEORY,
        "programs": program() | {"tblite": version("tblite"), "rdkit": version("rdkit")},
        "sampling": "minima of each state with GFN2-xTB and then PBE0/def2-SVP, and geometries "
        "around them from the thermal distribution of the modes of GFN2-xTB at "
        f"{' and '.join(f'{t:g}' for t in TEMPERATURES_K)} K in turn, in every third of them a "
        f"bond {STRETCH[0]:g} to {STRETCH[1]:g} times as long; of two atoms distances "
        f"{min(DISTANCES):g} to {max(DISTANCES):g} times that at the minimum",
        "charges": "intrinsic atomic orbitals",
        "seed": SEED,
        "labels": len(frames),
        "species": len(set(frames.group.tolist())) if frames.group is not None else 0,
        "labels by charge and multiplicity": counts,
        **scale_of(frames).card(),
        "command": "polcalc labels open-shells",
        "licence": "CC0-1.0",
    }


def _number(job: Geometry | Diatomic) -> int:
    """Number the species of a job: all its structures go to training or to validation."""
    return job.number if isinstance(job, Diatomic) else job.species.number


def _relaxed(found: Species) -> tuple[State, ...]:
    """Name the states in which a species is relaxed; the geometry of an atom is there once."""
    return found.states[:1] if found.n_atoms == 1 else found.states


def _n_draws(found: Species, state: State) -> int:
    if found.n_atoms <= 2:
        return {1: 1, 2: len(DISTANCES)}[found.n_atoms]
    return (CLOSED_DRAWS if state[1] == 1 else DRAWS).get(found.n_heavy, 1)


def _moved(job: Geometry, minimum: Mapping[str, Any]) -> Floats:
    """Move the atoms of a minimum as the draw says."""
    numbers, positions = minimum["atomic_numbers"], minimum["positions"]
    if len(numbers) == 2:
        return np.asarray(positions * DISTANCES[job.draw])
    if job.draw == 0:
        return np.asarray(positions)
    rng = np.random.default_rng((SEED, job.species.number, *_positive(job.state), job.draw))
    moved = positions + thermal_displacements(
        minimum["hessian"], numbers, TEMPERATURES_K[(job.draw - 1) % 2], rng
    )
    return _stretched(numbers, moved, positions, rng) if job.draw % STRETCHED_EVERY == 0 else moved


def _stretched(
    numbers: Integers, moved: Floats, minimum: Floats, rng: np.random.Generator
) -> Floats:
    """Make one bond longer or shorter; what hangs on it moves along, in a ring one atom alone."""
    bound = _bonds(numbers, minimum)
    pairs = np.argwhere(np.triu(bound))
    i, j = pairs[rng.integers(len(pairs))]
    bound[i, j] = bound[j, i] = False
    part = connected_components(bound, directed=False)[1]
    moving = part == part[j] if part[i] != part[j] else np.arange(len(numbers)) == j
    stretched: Floats = moved + moving[:, None] * (rng.uniform(*STRETCH) - 1) * (
        moved[j] - moved[i]
    )
    return stretched


def _label(numbers: Integers, positions: Floats, state: State) -> Label:
    try:
        return wb97m(numbers, positions, *state)
    except (
        ArithmeticError,
        LookupError,
        RuntimeError,
        ValueError,
    ) as error:  # PySCF has no error of its own
        raise Failed(f"{type(error).__name__}: {error}".splitlines()[0]) from error


def _need(
    folder: Path, key: str, job: Geometry, do: Callable[[Geometry], dict[str, Any]]
) -> dict[str, Any]:
    """Read the result of another job; do it first if it is not there."""
    for _ in run_jobs({key: job}, do, folder):
        pass
    if reason := failures(folder, [key]):
        raise Failed(reason[key])
    return results(folder, [key])[key]


def embedded(found: Species) -> tuple[Integers, Floats, Any]:
    """Place the atoms of a species (N, 3) Å; tell which are bound (N, N)."""
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdDistGeom

    with rdBase.BlockLogs():  # it wonders at radicals
        molecule = Chem.AddHs(Chem.MolFromSmiles(found.smiles))
    numbers = np.array([a.GetAtomicNum() for a in molecule.GetAtoms()])
    bound = np.asarray(Chem.GetAdjacencyMatrix(molecule)).astype(bool)
    if len(numbers) == 1:
        return numbers, np.zeros((1, 3)), bound
    parameters: Any = rdDistGeom.ETKDGv3()
    parameters.randomSeed = (SEED + found.number) % 2**31
    parameters.useRandomCoords = True
    with rdBase.BlockLogs():
        if rdDistGeom.EmbedMolecule(molecule, parameters) < 0:
            raise Failed("there is no conformer")
    return numbers, molecule.GetConformer().GetPositions(), bound


def _check_bonds(numbers: Integers, positions: Floats, bound: Any) -> None:
    if not np.array_equal(_bonds(numbers, positions), bound):
        raise Failed("it rearranged")


def _bonds(numbers: Integers, positions: Floats) -> Any:
    radii = covalent_radii[numbers]
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    return (distances < BOND * (radii[:, None] + radii[None])) & ~np.eye(len(numbers), dtype=bool)


def _key(found: Species, state: State) -> str:
    return f"{found.number:08x}{state[0]:+d}{state[1]}"


def _positive(state: State) -> tuple[int, int]:
    return state[0] + 8, state[1]


PROVENANCE = Provenance(
    name=NAME,
    description="atoms, radicals, radical ions, triplets and closed shells of few heavy atoms "
    "(H, C, N, O, F, P, S, Cl, Br, I), several states at a geometry; energies, forces, dipoles, "
    "charges, unpaired electrons",
    theory=THEORY,
    licence="CC0-1.0",
    citation="A. Najibi, L. Goerigk, J. Chem. Theory Comput. 14, 5725 (2018), for the functional",
    url="https://doi.org/10.1021/acs.jctc.8b00842",
)
