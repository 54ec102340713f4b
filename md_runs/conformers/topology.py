"""The molecule that conformers are of: its bonds, its configuration, its electronic state.

Bonds come from a SMILES, or from the distances in a structure. Stereocentres and double bonds that
are left open are settled once, by the seed, so that all conformers are of one stereoisomer.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from ase import Atoms
from scipy.spatial.distance import pdist

from md_runs.errors import InputError, as_input_error
from md_runs.structures.smiles import build, check_rdkit, embed, read_smiles
from polcalc.calculator.electrons import ElectronicState, resolve

Floats = npt.NDArray[np.float64]

STAGGERED_DEG = (180.0, 60.0, -60.0)
CLASH_A = 0.7
MOST_TRIES = 100_000  # at orders of bonds that fit the charge, before they are given up


class Topology(NamedTuple):
    """What no conformer changes."""

    molecule: Any  # of RDKit, with all hydrogens in the order of the atoms, its configuration set
    template: Atoms  # elements, isotopes, charge and multiplicity, and a geometry to start from
    n_open: int  # stereocentres and double bonds that were left open


def of_smiles(smiles: str, seed: int) -> Topology:
    """Read a SMILES.

    Raises
    ------
    InputError   RDKit is missing, not a SMILES, several molecules, no geometry
    """
    check_rdkit()
    from rdkit import Chem

    molecule = Chem.AddHs(read_smiles(smiles))
    _check_single(molecule, smiles)
    start = build(smiles, seed=seed)
    settled = with_positions(molecule, [start.frames[0].positions])
    Chem.AssignStereochemistryFrom3D(settled)
    return Topology(settled, start.frames[0], start.n_open)


def of_structure(
    atoms: Atoms, charge: int | None = None, multiplicity: int | None = None
) -> Topology:
    """Find the bonds of a structure that fit its charge.

    Raises
    ------
    InputError   RDKit is missing, no such bonds, several molecules, a periodic structure
    """
    check_rdkit()
    if atoms.pbc.any():
        raise InputError("`STRUCTURE` must be a molecule; got a periodic one. Cut one out.")
    with as_input_error():
        state = resolve(atoms, charge, multiplicity)
    molecule = _bonded(atoms, state)
    _check_single(molecule, str(atoms.symbols))
    return Topology(molecule, atoms, 0)


def with_positions(molecule: Any, positions: Sequence[Floats]) -> Any:
    """Copy a molecule with these geometries, (N, 3) Å each, in place of its own."""
    from rdkit import Chem

    copy = Chem.Mol(molecule)
    copy.RemoveAllConformers()
    for some in positions:
        conformer = Chem.Conformer(molecule.GetNumAtoms())
        conformer.SetPositions(np.ascontiguousarray(some, dtype=np.float64))
        copy.AddConformer(conformer, assignId=True)
    return copy


def configuration(molecule: Any, positions: Floats) -> str:
    """Name the stereoisomer that a geometry is of: the SMILES that it would have."""
    from rdkit import Chem

    copy = with_positions(molecule, [positions])
    Chem.AssignStereochemistryFrom3D(copy)
    return str(Chem.MolToSmiles(copy))


def embedded(topology: Topology, number: int, seed: int) -> list[Floats]:
    """Draw geometries, (N, 3) Å each, of distance geometry and known torsions (ETKDG).

    Raises
    ------
    InputError   there are none
    """
    if topology.molecule.GetNumAtoms() == 1:
        return [topology.template.positions.copy()]
    name = str(topology.template.info.get("smiles", topology.template.symbols))
    drawn = embed(topology.molecule, number, seed, name)
    return [conformer.GetPositions() for conformer in drawn.GetConformers()]


def rotors(topology: Topology) -> list[tuple[int, int, int, int]]:
    """Name the bonds that turn by four atoms each: single, in no ring, with no methyl group."""
    from rdkit import Chem

    def others(atom: Any, partner: Any) -> list[int]:
        """Neighbours beside the partner, heavy ones first; none where turning changes nothing."""
        beside = [n for n in atom.GetNeighbors() if n.GetIdx() != partner.GetIdx()]
        methyl = len(beside) == 3 and all(n.GetAtomicNum() == 1 for n in beside)
        linear = atom.GetHybridization() == Chem.HybridizationType.SP
        ordered = sorted(beside, key=lambda n: (-n.GetAtomicNum(), n.GetIdx()))
        return [] if methyl or linear else [n.GetIdx() for n in ordered]

    found = []
    for bond in topology.molecule.GetBonds():
        if bond.IsInRing() or bond.GetBondType() != Chem.BondType.SINGLE:
            continue
        first, second = bond.GetBeginAtom(), bond.GetEndAtom()
        before, after = others(first, second), others(second, first)
        if before and after:
            found.append((before[0], first.GetIdx(), second.GetIdx(), after[0]))
    return found


def turned(topology: Topology, drawn: Sequence[Floats], number: int, seed: int) -> list[Floats]:
    """Turn the bonds of drawn geometries to anti and gauche: all combinations, or some by chance.

    Where atoms would fall onto each other there is no geometry.
    """
    from rdkit.Chem import rdMolTransforms

    turning = rotors(topology)
    rng = np.random.default_rng(seed)
    combinations = (
        list(product(STAGGERED_DEG, repeat=len(turning)))
        if len(STAGGERED_DEG) ** len(turning) <= number
        else rng.choice(STAGGERED_DEG, (number, len(turning))).tolist()
    )
    geometries = []
    for n, angles in enumerate(combinations if turning else ()):
        copy = with_positions(topology.molecule, [drawn[n % len(drawn)]])
        conformer = copy.GetConformer()
        for four, angle in zip(turning, angles, strict=True):
            rdMolTransforms.SetDihedralDeg(conformer, *four, float(angle))
        positions = conformer.GetPositions()
        if pdist(positions).min() > CLASH_A:
            geometries.append(positions)
    return geometries


def _bonded(atoms: Atoms, state: ElectronicState) -> Any:
    """Assign bonds: with charges on atoms before radicals, or the other way for open shells."""
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdDetermineBonds

    symbols, positions = atoms.get_chemical_symbols(), atoms.positions
    lines = [
        f"{s} {x:.8f} {y:.8f} {z:.8f}" for s, (x, y, z) in zip(symbols, positions, strict=True)
    ]
    with rdBase.BlockLogs():
        raw = Chem.MolFromXYZBlock("\n".join([str(len(atoms)), "", *lines, ""]))
        for charges in sorted((True, False), reverse=state.multiplicity == 1):
            molecule = Chem.Mol(raw)
            try:
                rdDetermineBonds.DetermineBonds(
                    molecule,
                    charge=state.charge,
                    allowChargedFragments=charges,
                    maxIterations=MOST_TRIES,
                )
            except (ValueError, RuntimeError):
                continue
            Chem.AssignStereochemistryFrom3D(molecule)
            return molecule
    raise InputError(
        f"`STRUCTURE` must have bonds that fit {state}; RDKit finds none for {atoms.symbols}. Give"
        " a SMILES."
    )


def _check_single(molecule: Any, name: str) -> None:
    from rdkit import Chem

    parts = len(Chem.GetMolFrags(molecule))
    if parts > 1:
        raise InputError(
            f"`SMILES|STRUCTURE` must be one molecule; got {parts} that no bond connects in"
            f" {name!r}. Take one of them."
        )
