"""MD17: molecules at 500 K with their original labels; the coupled-cluster sets of the same group.

``md17:MOLECULE`` is the full trajectory; ``md17:MOLECULE:SPLIT[:PART]`` are the frames of the rMD17
split with the original energies and forces, which rMD17's files carry too. Not to be mixed with
rMD17: another functional.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from potentials.datasets.formats.npz import read_npz
from potentials.datasets.frames import Frames, Provenance, join, make_frames
from potentials.datasets.recipe import Part, Recipe, RemoteFile, choose, padded
from potentials.datasets.sets.rmd17 import PARTS, SPLITS, UNITS, split_files

SGDML = (  # the files carry a fingerprint of their own, which the reader checks
    "http://www.quantum-machine.org/gdml/data/npz"
)
FORM = "md17:MOLECULE[:SPLIT[:PART] | :SAMPLE]"
FILES = {
    "aspirin": "md17_aspirin.npz",
    "benzene": "md17_benzene2017.npz",
    "ethanol": "md17_ethanol.npz",
    "malonaldehyde": "md17_malonaldehyde.npz",
    "naphthalene": "md17_naphthalene.npz",
    "salicylic": "md17_salicylic.npz",
    "toluene": "md17_toluene.npz",
    "uracil": "md17_uracil.npz",
}
SAMPLES = {  # ethanol, 2,000 frames each, small enough to try
    "first2000": RemoteFile(
        "md17_ethanol_first2000_mlff.npz",
        "https://raw.githubusercontent.com/thorben-frank/mlff/02107c2b625d0db028d1fe614e3dd5ebb37f46ce/tests/test_data/ethanol.npz",
        "1f5919561e69c12754e10b335721be7cc59ce9fbba3970188303f88d462cdd57",
    ),
    "random2000": RemoteFile(
        "md17_ethanol_random2000_so3lr.npz",
        "https://raw.githubusercontent.com/general-molecular-simulations/so3lr/5ec39b9d8d83872107cd3f1bc5904387eb9ff4c8/examples/data/ethanol.npz",
        "97cee208c0e13046c910b41af9e3eb8f613a89d3cb499eb74b647cc5afdd3be5",
    ),
}

COUPLED_CLUSTER_FORM = "md17-ccsdt:MOLECULE:PART"
COUPLED_CLUSTER = {  # aspirin: CCSD/cc-pVDZ, the others CCSD(T)
    "aspirin": "aspirin_ccsd",
    "benzene": "benzene_ccsd_t",
    "ethanol": "ethanol_ccsd_t",
    "malonaldehyde": "malonaldehyde_ccsd_t",
    "toluene": "toluene_ccsd_t",
}
ETHANOL_TRAIN = RemoteFile(
    "ethanol_ccsd_t-train.npz",
    "https://raw.githubusercontent.com/learningmatter-mit/NeuralForceField/07fec92f9f09b98677763e32d8d32719e2c6c78c/tutorials/data/ethanol_ccsd_t-train.npz",
    "c94db6a0cfac60c5172c9a22dbc5276a3a6e725fcb2f3ecbde67f0081dca5be2",
)


def part(fields: list[str]) -> Part:
    """Find the files behind the fields of an MD17 name."""
    molecule, split, piece = padded(fields, 3, FORM)
    choose(molecule, tuple(FILES), "molecule", FORM)
    if not split:
        return Part((RemoteFile(FILES[molecule], f"{SGDML}/{FILES[molecule]}"),), _read)
    choose(split, (*SPLITS, *SAMPLES) if molecule == "ethanol" else SPLITS, "split", FORM)
    if split in SAMPLES:
        return Part((SAMPLES[split],), _read)
    return Part(split_files(molecule, split, piece, FORM), _read_original_labels)


def coupled_cluster_part(fields: list[str]) -> Part:
    """Find the file behind the fields of a coupled-cluster name."""
    molecule, piece = padded(fields, 2, COUPLED_CLUSTER_FORM)
    choose(molecule, tuple(COUPLED_CLUSTER), "molecule", COUPLED_CLUSTER_FORM)
    choose(piece, PARTS, "part", COUPLED_CLUSTER_FORM)
    name = f"{COUPLED_CLUSTER[molecule]}-{piece}.npz"
    archive = f"{COUPLED_CLUSTER[molecule]}.zip"
    archived = RemoteFile(name, f"{SGDML}/{archive}", archive=archive, member=name)
    return Part((ETHANOL_TRAIN if name == ETHANOL_TRAIN.name else archived,), _read)


def _read(paths: Sequence[Path]) -> Frames:
    return join([read_npz(path, UNITS) for path in paths])


def _read_original_labels(paths: Sequence[Path]) -> Frames:
    return join([_original_labels(path) for path in paths])


def _original_labels(path: Path) -> Frames:
    new = read_npz(path, UNITS)
    with np.load(path) as file:
        return make_frames(
            new.n_atoms,
            new.atomic_numbers,
            file["coords"],
            file["old_energies"],
            forces=file["old_forces"],
            units=UNITS,
        )


MD17 = Recipe(
    form=FORM,
    example="md17:ethanol:01:train",
    names=(
        *(f"md17:{m}" for m in FILES),
        *(f"md17:{m}:{s}:{p}" for m in FILES for s in SPLITS for p in PARTS),
        *(f"md17:ethanol:{s}" for s in SAMPLES),
    ),
    part=part,
    provenance=Provenance(
        name="MD17",
        description="eight molecules at 500 K, energies and forces",
        theory="PBE+TS",
        licence="not stated (sgdml.org); split files CC0-1.0, samples MIT",
        citation="S. Chmiela et al., Sci. Adv. 3, e1603015 (2017)",
        url="http://www.sgdml.org",
        units=UNITS,
    ),
)
MD17_CCSDT = Recipe(
    form=COUPLED_CLUSTER_FORM,
    example="md17-ccsdt:ethanol:train",
    names=tuple(f"md17-ccsdt:{m}:{p}" for m in COUPLED_CLUSTER for p in PARTS),
    part=coupled_cluster_part,
    provenance=Provenance(
        name="MD17 CCSD(T)",
        description="five molecules at 500 K, coupled-cluster energies and forces",
        theory="CCSD(T)/cc-pVTZ (ethanol), CCSD(T)/cc-pVDZ, CCSD/cc-pVDZ (aspirin)",
        licence="not stated (sgdml.org); ethanol train file MIT",
        citation="S. Chmiela et al., Nat. Commun. 9, 3887 (2018)",
        url="http://www.sgdml.org",
        units=UNITS,
    ),
)
