"""Many charges that cancel: zwitterions, rows of salt bridges, three ions of each kind in a box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from benchmarks.physics.ions.contestants import Contestant, Said
from benchmarks.physics.ions.molecules import apart, facing, joined, molecule, stretched
from polcalc.engines.native import _native
from potentials.terms.coulomb import Coulomb

ZWITTERIONS = tuple(f"[NH3+]{'C' * n}C(=O)[O-]" for n in (1, 2, 4, 6, 8, 12)) + tuple(
    "[NH3+]C" + "C(=O)NC" * n + "C(=O)[O-]" for n in (1, 3, 5)
)
BRIDGES = (1, 2, 4, 8)  # methylammonium and acetate, 2 Å from proton to oxygen
BRIDGE_A, BETWEEN_A = 2.0, 8.0
BOXES = (("[NH4+]", "[Cl-]"), ("c1c[nH]c[nH+]1", "O=[N+]([O-])[O-]"))
EDGES_A = (14.0, 28.0)
N_EACH = 3


def measure(contestant: Contestant) -> list[dict[str, Any]]:
    """Find how far the ions of each crowd are from ±1 e."""
    rows = []
    for smiles in ZWITTERIONS:
        atoms = stretched(smiles)
        rows.append(_row(contestant, smiles, atoms, _ends(atoms), [1, -1]))
    for n in BRIDGES:
        bridge = joined(facing(molecule("C[NH3+]"), molecule("CC(=O)[O-]"), "O", BRIDGE_A))
        n_cation = len(molecule("C[NH3+]"))
        atoms = joined(apart([bridge] * n, BETWEEN_A))
        places = np.arange(len(atoms)) % len(bridge)
        parts = 2 * (np.arange(len(atoms)) // len(bridge)) + (places >= n_cation)
        rows.append(_row(contestant, f"{n} salt bridges", atoms, parts, [1, -1] * n))
    return rows


def measure_boxes(contestant: Contestant) -> list[dict[str, Any]]:
    """Ask for three ions of each kind in a cube: charges, and the energy of point charges."""
    return [_box(contestant, *pair, edge) for pair in BOXES for edge in EDGES_A]


def box(cation: str, anion: str, edge_A: float) -> tuple[Atoms, list[Atoms], np.ndarray]:
    """Put three of each on a lattice of half the edge, turned at random.

    Returns
    -------
    the box, its ions, and the ion of each atom
    """
    rng = np.random.default_rng(0)
    ions, places = [], list(np.ndindex(2, 2, 2))
    for n in range(2 * N_EACH):
        ion = molecule((cation, anion)[n % 2])
        ion.positions -= ion.positions.mean(axis=0)
        ion.euler_rotate(*(360 * rng.random(3)))
        ion.positions += np.array(places[n]) * edge_A / 2 + edge_A / 4
        ions.append(ion)
    whole = joined(ions)
    whole.cell, whole.pbc = [edge_A] * 3, True
    return whole, ions, np.repeat(np.arange(len(ions)), [len(ion) for ion in ions])


def ewald_eV(atoms: Atoms, charges: np.ndarray) -> float:
    """Sum the Coulomb energy of charges, periodic or open, by the code of the native engine."""
    widths = Coulomb(channels=1).widths_A.detach().double().numpy()
    found = _native.coulomb(
        species=atoms.numbers.astype(np.int64),
        positions=atoms.positions,
        lattice=atoms.cell.array if atoms.pbc.all() else None,
        charges=charges,
        widths=widths,
    )
    return float(found["energies"].sum())


def _box(contestant: Contestant, cation: str, anion: str, edge_A: float) -> dict[str, Any]:
    whole, ions, parts = box(cation, anion, edge_A)
    name = f"3 {cation}, 3 {anion}, {edge_A:g} Å"
    row = _row(contestant, name, whole, parts, [1, -1] * N_EACH)
    alone = contestant.ask(ions)
    if row["excess"] is None or any(each.charges is None for each in alone):
        return row | {"off_ewald_meV": None}
    [said] = contestant.ask([whole])
    charges = [each.charges for each in alone if each.charges is not None]
    expected = ewald_eV(whole, np.concatenate(charges)) + sum(
        each.energy - ewald_eV(ion, q) for each, ion, q in zip(alone, ions, charges, strict=True)
    )
    return row | {"off_ewald_meV": 1000 * (said.energy - expected)}


def _row(
    contestant: Contestant, name: str, atoms: Atoms, parts: np.ndarray, wanted: Sequence[int]
) -> dict[str, Any]:
    if not contestant.covers(atoms):
        return {"system": name, "excess": None, "charges": None}
    [said] = contestant.ask([atoms])
    return {"system": name, **_off(said, parts, wanted)}


def _off(said: Said, parts: np.ndarray, wanted: Sequence[int]) -> dict[str, float | None]:
    """Say how far sums over ions are from their charges, at most."""

    def largest(values: np.ndarray | None) -> float | None:
        if values is None:
            return None
        sums = np.bincount(parts, values, minlength=len(wanted))
        return float(np.abs(sums - wanted).max())

    return {"excess": largest(said.excess), "charges": largest(said.charges)}


def _ends(atoms: Atoms) -> np.ndarray:
    """Divide a zwitterion: 0 for atoms nearer to the ammonium nitrogen, 1 for the others."""
    nitrogen = int(np.flatnonzero(atoms.symbols == "N")[0])
    oxygens = np.flatnonzero(atoms.symbols == "O")
    distances = atoms.get_all_distances()
    last = oxygens[np.argmax(distances[nitrogen, oxygens])]
    found: np.ndarray = (distances[:, nitrogen] > distances[:, last]).astype(int)
    return found
