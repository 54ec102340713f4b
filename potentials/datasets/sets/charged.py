"""Small public sets of ions: one row each.

Units and charge stand here where the files do not tell them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from potentials.datasets.formats.hdf5 import read_hdf5
from potentials.datasets.formats.runner import read_runner
from potentials.datasets.formats.structures import read_structures
from potentials.datasets.formats.units import EV_ANGSTROM, Units
from potentials.datasets.frames import Frames, Provenance
from potentials.datasets.recipe import Part, Recipe, RemoteFile, choose, padded

RAW = "https://raw.githubusercontent.com"
H3O2M = f"{RAW}/arandharamrinal/H3O2M/6dade4a7d9dde00ed9ab2ae10175041d2b9ead81/AbinitioDataset"
LIBRASCAL = (
    f"{RAW}/lab-cosmo/librascal/6c55e99720f9a181f1efc5c7cd4976c87809d79b/examples/i-PI/zundel"
)
N2P2 = f"{RAW}/CompPhysVienna/n2p2/61daa0dfd065c842eaabc40ab283658510e066a5/examples/nnp-train"
AIMNET = f"{RAW}/isayevlab/aimnetcentral/704325e1878c0d5805001c2f648ca07227addb27/tests/data"
COOKBOOK = (
    f"{RAW}/lab-cosmo/atomistic-cookbook/d50df7120657b2c8f284bdd7f7632c65af661a42"
    "/examples/lode-linear"
)
ATOMIC_UNITS = Units("hartree", "bohr")


def h3o2_minus(paths: Sequence[Path]) -> Frames:
    """H3O2-: hartree above the minimum, bohr, hartree/bohr."""
    return with_state(read_structures(paths[0], ATOMIC_UNITS), charge=-1)


def zundel(paths: Sequence[Path]) -> Frames:
    """H5O2+: energies in a file of their own.

    The ion may straddle the box of the simulation, which has no meaning for it.
    """
    frames = with_state(read_structures(paths[0], energies=np.loadtxt(paths[1])), charge=1)
    positions, lengths = (
        frames.positions.reshape(len(frames), -1, 3),
        np.diagonal(frames.cell, axis1=1, axis2=2)[:, None],
    )
    unwrapped = positions - lengths * np.round((positions - positions[:, :1]) / lengths)
    return replace(
        frames,
        positions=unwrapped.reshape(-1, 3),
        cell=np.zeros_like(frames.cell),
        pbc=np.zeros_like(frames.pbc),
    )


def with_state(frames: Frames, charge: float, multiplicity: int = 1) -> Frames:
    """Give all structures one charge and multiplicity."""
    return replace(
        frames,
        total_charge=np.full(len(frames), float(charge)),
        multiplicity=np.full(len(frames), multiplicity, dtype=np.int64),
        remarks=(),
    )


def first_with(read: Callable[[Path], Frames]) -> Callable[[Sequence[Path]], Frames]:
    """Read a set of one file."""
    return lambda paths: read(paths[0])


def row(
    name: str,
    parts: dict[str, tuple[RemoteFile, ...]],
    read: Callable[[Sequence[Path]], Frames],
    **about: object,
) -> Recipe:
    """Make the recipe of a set that has few parts, or one without a name."""
    form = f"{name}:{'|'.join(parts)}" if "" not in parts else name
    names = tuple(f"{name}:{p}" if p else name for p in parts)
    provenance = Provenance(name=name, **about)  # type: ignore[arg-type]
    return Recipe(form, names[0], names, partial(_part, form, parts, read), provenance)


def _part(
    form: str,
    parts: dict[str, tuple[RemoteFile, ...]],
    read: Callable[[Sequence[Path]], Frames],
    fields: list[str],
) -> Part:
    [part] = padded(fields, 1, form) if "" not in parts else ["", *padded(fields, 0, form)]
    return Part(parts[choose(part, tuple(parts), "part", form)], read)


CHARGED = {
    "h3o2-minus": row(
        "h3o2-minus",
        {
            "train": (
                RemoteFile(
                    "h3o2m_traindata.xyz",
                    f"{H3O2M}/h3o2m_traindata.tar",
                    "f51cdabed6db5048c4f5f645ef18d8b56464329f4b0bed15562970d16d7047f0",
                    archive="h3o2m_traindata.tar",
                    member="h3o2m_traindata.xyz",
                ),
            ),
            "validation": (
                RemoteFile(
                    "h3o2m_validation_data.xyz",
                    f"{H3O2M}/h3o2m_validation_data.tar",
                    "1cd7bf901eb29f72feb12f83469c42a9172bbd6bd9e6c1fbe656af8e05c8ef52",
                    archive="h3o2m_validation_data.tar",
                    member="h3o2m_validation_data.xyz",
                ),
            ),
        },
        h3o2_minus,
        description="hydroxide hydrate H3O2-, charge -1; energies above the minimum",
        theory="CCSD(T)/aug-cc-pVTZ",
        licence="GPL-3.0",
        citation="J. Phys. Chem. A 128, 1600 (2024)",
        url="https://github.com/arandharamrinal/H3O2M",
        units=ATOMIC_UNITS,
    ),
    "zundel": row(
        "zundel",
        {
            "": (
                RemoteFile(
                    "zundel_dataset.xyz",
                    f"{LIBRASCAL}/zundel_dataset.xyz",
                    "db61d81d6749b933d627490d854005ebb90d5097e337ed4ee85eedcc1074118a",
                ),
                RemoteFile(
                    "zundel_energies.txt",
                    f"{LIBRASCAL}/zundel_energies.txt",
                    "6119093336ac6458aa3d9c4219e95285863b5eae6350ff504d433141c51bcbb7",
                ),
            ),
        },
        zundel,
        description="Zundel cation H5O2+, charge +1; energies above the minimum",
        theory="surface of Huang, Braams and Bowman, fitted to CCSD(T)",
        licence="LGPL-2.1",
        citation="X. Huang, B. J. Braams, J. M. Bowman, J. Chem. Phys. 122, 044308 (2005)",
        url="https://github.com/lab-cosmo/librascal",
        units=EV_ANGSTROM,
    ),
    "carbon-chain": row(
        "carbon-chain",
        {
            "": (
                RemoteFile(
                    "Carbon_chain_4G.input.data",
                    f"{N2P2}/Carbon_chain_4G/input.data",
                    "65ab9449d62b9b3aafee372f9fe813c7007447cd5d661a6648f1b9e8d08a0b36",
                ),
            ),
        },
        first_with(read_runner),
        description=(
            "C10H2 (charge 0) and C10H3+ (charge +1), 128 structures of the 4G set, Hirshfeld"
            " charges"
        ),
        theory="PBE",
        licence="GPL-3.0",
        citation="T. W. Ko et al., Nat. Commun. 12, 398 (2021)",
        url="https://github.com/CompPhysVienna/n2p2",
        units=ATOMIC_UNITS,
    ),
    "au2-mgo": row(
        "au2-mgo",
        {
            "": (
                RemoteFile(
                    "AlAuMgO_4G.input.data",
                    f"{N2P2}/AlAuMgO_4G/input.data",
                    "323ce581ad1b439dba4248d52d19e1e38699496eb1d11d71491f35dab82339c3",
                ),
            ),
        },
        first_with(read_runner),
        description=(
            "Au2 on MgO with and without Al, periodic, 18 structures of the 4G set, Hirshfeld"
            " charges"
        ),
        theory="PBE",
        licence="GPL-3.0",
        citation="T. W. Ko et al., Nat. Commun. 12, 398 (2021)",
        url="https://github.com/CompPhysVienna/n2p2",
        units=ATOMIC_UNITS,
    ),
    "aimnet-sample": row(
        "aimnet-sample",
        {
            "": (
                RemoteFile(
                    "dataset.h5",
                    f"{AIMNET}/dataset.h5",
                    "26dc09712fb30ae9f5ff3ba174736845a04533105fc7a7e903bbc36880d0ec41",
                ),
            ),
        },
        first_with(read_hdf5),
        description=(
            "195 molecules of 14 elements, charge -3 … +2, multiplicity 1 … 3, atomic charges"
        ),
        theory="not stated with the file",
        licence="MIT",
        citation="",
        url="https://github.com/isayevlab/aimnetcentral",
        units=EV_ANGSTROM,
    ),
    "ion-dimers": row(
        "ion-dimers",
        {
            "": (
                RemoteFile(
                    "charge-charge.xyz",
                    f"{COOKBOOK}/charge-charge.xyz",
                    "9c144f02dc09898605b980a2fe9b24e70fedf6756fc86f782376f16ac37ece4a",
                ),
            ),
        },
        first_with(read_structures),
        description="ten dimers of a cation and an anion at 13 distances, in a box of 30 Å",
        theory="not stated with the file",
        licence="BSD-3-Clause",
        citation="",
        url="https://github.com/lab-cosmo/atomistic-cookbook",
        units=EV_ANGSTROM,
    ),
}
