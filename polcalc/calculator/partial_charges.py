"""Partial charges: where they come from, and why they stay the same however a molecule moves.

A network that was conditioned on fixed charges must not be given others at every step: its forces
would lack their derivative.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from numpy.typing import NDArray

from potentials.structure.states import SUM_TOLERANCE

Floats = NDArray[np.float64]

GASTEIGER = "gasteiger"
BONDED = 1.3  # of the sum of covalent radii; below it two atoms count as bonded


class PartialCharges:
    """The charge of each atom: as given, from the bonds, or the structure's initial charges.

    Parameters
    ----------
    given : None, "gasteiger" or (N,)   None: `initial_charges` of the structure
    needed : bool                       whether the model sees partial charges

    Raises
    ------
    ValueError                          charges for a model that sees none, another word
    """

    def __init__(self, given: str | Sequence[float] | Floats | None, needed: bool) -> None:
        self.needed = needed
        self._of_molecule: dict[tuple[bytes, bytes, int], Floats] = {}
        self._given: str | Floats | None = None
        if given is None:
            return
        if not needed:
            raise ValueError(
                "`partial_charges` must be left out: the model does not see them. Use one"
                " conditioned on partial charges."
            )
        if isinstance(given, str):
            if given != GASTEIGER:
                raise ValueError(
                    f"`partial_charges` must be one number per atom or {GASTEIGER!r}; got"
                    f" {given!r}. Pass one of these."
                )
            self._given = given
        else:
            self._given = np.array(given, dtype=np.float64)

    def of(self, atoms: Atoms, charge: int) -> Floats | None:
        """Return the charges of a structure in e, (N,).

        From its bonds only when this molecule is first met.

        Raises
        ------
        ValueError   none where the model needs them, another number of atoms, a sum that is not the
                     charge
        """
        charges = self._found(atoms, charge)
        if self.needed:
            _check(charges, atoms, charge)
        return charges

    def _found(self, atoms: Atoms, charge: int) -> Floats | None:
        if self._given is None:
            found: Floats | None = atoms.arrays.get("initial_charges")
            return found
        if not isinstance(self._given, str):
            return self._given
        # isomers may have the same atoms in the same order
        key = (atoms.numbers.tobytes(), _bonds(atoms), charge)
        if key not in self._of_molecule:
            self._of_molecule[key] = gasteiger(atoms, charge)
        return self._of_molecule[key]


def gasteiger(atoms: Atoms, charge: int) -> Floats:
    """Compute Gasteiger charges in e, (N,), from the bonds that RDKit finds between the atoms.

    Raises
    ------
    ImportError   RDKit is not installed
    ValueError    no bonds that fit the charge, as in radicals; an element without parameters
    """
    try:
        from rdkit import Chem, rdBase
        from rdkit.Chem import rdDetermineBonds, rdPartialCharges
    except ImportError as error:
        raise ImportError(
            "`partial_charges` from topology need RDKit. Install it: pip install"
            " 'polcalc[chemistry]'."
        ) from error
    lines = [
        str(len(atoms)),
        "",
        *(
            f"{s} {x:.6f} {y:.6f} {z:.6f}"
            for s, (x, y, z) in zip(atoms.symbols, atoms.positions, strict=True)
        ),
    ]
    with rdBase.BlockLogs():
        molecule = Chem.MolFromXYZBlock("\n".join(lines) + "\n")
        try:
            rdDetermineBonds.DetermineBonds(molecule, charge=charge)
        except (ValueError, RuntimeError) as error:
            raise ValueError(
                f"`partial_charges` must come from bonds that fit charge {charge:+d}; RDKit finds"
                f" none for {atoms.symbols}: {str(error).strip().splitlines()[0]}. Pass one number"
                " per atom."
            ) from error
        rdPartialCharges.ComputeGasteigerCharges(molecule)
    charges = np.array([atom.GetDoubleProp("_GasteigerCharge") for atom in molecule.GetAtoms()])
    if not np.isfinite(charges).all():
        unknown = sorted({chemical_symbols[z] for z in atoms.numbers[~np.isfinite(charges)]})
        raise ValueError(
            f"`partial_charges` must be known for {', '.join(unknown)}; Gasteiger's are not. Pass"
            " one number per atom."
        )
    return charges


def _bonds(atoms: Atoms) -> bytes:
    """Name which atoms are bonded, by distance."""
    radii = covalent_radii[atoms.numbers]
    bonded = atoms.get_all_distances() < BONDED * (radii[:, None] + radii[None])
    return np.packbits(bonded).tobytes()


def _check(charges: Floats | None, atoms: Atoms, charge: int) -> None:
    if charges is None:
        raise ValueError(
            "`partial_charges` must be given: the model sees them; got none. Pass one number per"
            f" atom, or {GASTEIGER!r} for those of the bonds."
        )
    if charges.shape != (len(atoms),):
        raise ValueError(
            f"`partial_charges` must be one number for each of {len(atoms)} atoms; got"
            f" {charges.shape}. Pass as many."
        )
    if not abs(charges.sum() - charge) <= SUM_TOLERANCE:
        raise ValueError(
            f"`partial_charges` must add up to the charge {charge:+d}; got {charges.sum():+.3f} e."
            " Correct them, or pass charge."
        )
