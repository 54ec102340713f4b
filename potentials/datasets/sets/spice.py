"""SPICE: drug-like molecules, dimers and peptides, neutral and charged; MBIS charges in part.

``spice:SUBSET`` is one of the subsets below; ``spice:SUBSET:mbis`` those of its molecules alone
that have MBIS charges, as partial charges. One HDF5 group a molecule: ``subset``, ``smiles``,
``atomic_numbers`` (N,), ``conformations`` (M, N, 3) bohr, and in hartree ``dft_total_energy`` (M,)
and ``dft_total_gradient`` (M, N, 3) per bohr; ``mbis_charges`` (M, N, 1) in some. The charge is
that of the SMILES, held against the sum of MBIS charges. Conformations with a force beyond
`MAX_FORCE` are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from potentials.datasets.formats.units import BOHR, HARTREE, Units
from potentials.datasets.frames import Frames, Provenance, make_frames
from potentials.datasets.recipe import Part, Recipe, RemoteFile, choose, padded

FORM = "spice:SUBSET[:mbis]"
SUBSETS = {  # words that the subset of a molecule begins with
    "pubchem": "SPICE PubChem",
    "solvated-pubchem": "SPICE Solvated PubChem",
    "dipeptides": "SPICE Dipeptides",
    "solvated-amino-acids": "SPICE Solvated Amino Acids",
    "des-monomers": "SPICE DES Monomers",
    "des370k": "SPICE DES370K",
    "amino-acid-ligand": "SPICE Amino Acid Ligand",
    "ion-pairs": "SPICE Ion Pairs",
    "water-clusters": "SPICE Water Clusters",
    "all": "SPICE",
}
MAX_FORCE = HARTREE / BOHR  # eV/Å, the largest component: 1 hartree/bohr
CHARGE_TOLERANCE = 0.1  # e, of MBIS charges of a molecule together
UNITS = Units("hartree", "bohr")
FILE = RemoteFile("SPICE-2.0.1.hdf5", "https://zenodo.org/records/10975225/files/SPICE-2.0.1.hdf5")
BRACKET = re.compile(r"\[[^\]]*?(\++\d*|-+\d*)(?::\d+)?\]")


def read_spice(paths: Sequence[Path], subset: str = "all", mbis: bool = False) -> Frames:
    """Read the molecules of a subset.

    Raises
    ------
    ValueError   no such molecules, a charge that is not that of the SMILES
    """
    with h5py.File(paths[0], "r") as file:
        molecules = [
            found
            for n, name in enumerate(file)
            for found in _molecule(file[name], n, SUBSETS[subset], mbis)
        ]
    if not molecules:
        raise ValueError(
            f"`{paths[0].name}` must hold molecules of {SUBSETS[subset]}; got none. Check the"
            " subset."
        )
    arrays: dict[str, Any] = {
        key: np.concatenate([m[key] for m in molecules]) for key in molecules[0]
    }
    return make_frames(**arrays, units=UNITS)


def formal_charge(smiles: str) -> int:
    """Add up the charges in the brackets of a SMILES: [NH4+:1], [O-], [Ca+2], [Ca++]."""
    total = 0
    for sign in BRACKET.findall(smiles):
        size = int(sign.lstrip("+-") or len(sign))
        total += size if sign[0] == "+" else -size
    return total


def part(fields: list[str]) -> Part:
    """Find the subset behind the fields of a name."""
    subset, mbis = padded(fields, 2, FORM)
    choose(subset, tuple(SUBSETS), "subset", FORM)
    choose(mbis, ("", "mbis"), "charges", FORM)
    return Part((FILE,), partial(read_spice, subset=subset, mbis=bool(mbis)))


def _molecule(group: h5py.Group, number: int, subset: str, mbis: bool) -> Iterator[dict[str, Any]]:
    """Yield the flat arrays of one molecule, if it is wanted; units are those of the file."""
    if not _string(group["subset"]).startswith(subset) or (mbis and "mbis_charges" not in group):
        return
    gradient = group["dft_total_gradient"][()]
    kept = np.abs(gradient).max(axis=(1, 2)) * HARTREE / BOHR <= MAX_FORCE  # (M,)
    n_kept, n_atoms = int(kept.sum()), len(group["atomic_numbers"])
    if not n_kept:
        return
    charge = formal_charge(_string(group["smiles"]))
    arrays = {
        "n_atoms": np.full(n_kept, n_atoms),
        "atomic_numbers": np.tile(group["atomic_numbers"][()], n_kept),
        "positions": group["conformations"][()][kept].reshape(-1, 3),
        "energy": group["dft_total_energy"][()][kept],
        "forces": -gradient[kept].reshape(-1, 3),
        "total_charge": np.full(n_kept, charge),
        "group": np.full(n_kept, number),
    }
    if "mbis_charges" in group:
        charges = group["mbis_charges"][()].reshape(-1, n_atoms)[kept]
        if (wrong := np.abs(charges.sum(1) - charge).max()) > CHARGE_TOLERANCE:
            raise ValueError(
                f"`smiles` must have the charge of the MBIS charges; differs by {wrong:.2f} e for"
                f" {group.name}. Check the file."
            )
        if mbis:
            arrays["partial_charges"] = charges.ravel()
    yield arrays


def _string(dataset: h5py.Dataset) -> str:
    value = np.asarray(dataset[()]).ravel()[0]
    return value.decode() if isinstance(value, bytes) else str(value)


SPICE = Recipe(
    form=FORM,
    example="spice:pubchem",
    names=tuple(f"spice:{subset}{mbis}" for subset in SUBSETS for mbis in ("", ":mbis")),
    part=part,
    provenance=Provenance(
        name="SPICE",
        description=(
            "drug-like molecules, dimers, peptides, ions: 2 million conformations with charges;"
            " largest force 1 hartree/bohr"
        ),
        theory="ωB97M-D3(BJ)/def2-TZVPPD",
        licence="CC0-1.0",
        citation=(
            "P. Eastman et al., Sci. Data 10, 11 (2023); J. Chem. Theory Comput. 20, 8583 (2024)"
        ),
        url="https://doi.org/10.5281/zenodo.10975225",
        units=UNITS,
    ),
)
