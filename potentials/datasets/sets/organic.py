"""organic-xtb: files that `polcalc labels organic` writes; nobody publishes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from potentials.datasets.formats.hdf5 import read_hdf5
from potentials.datasets.formats.units import EV_ANGSTROM
from potentials.datasets.frames import Frames, join
from potentials.datasets.recipe import RemoteFile
from potentials.datasets.sets.charged import row

NAME = "organic-xtb"
SHARDS = 16  # of the structures to train on; a molecule belongs to one by its number
TRAIN = tuple(f"{NAME}-train-{n:02d}.h5" for n in range(SHARDS))
TEST = f"{NAME}-test.h5"
SAMPLE = f"{NAME}-sample"  # comes with the package
COMMAND = "polcalc labels organic"
ABOUT = {
    "description": (
        "small molecules of H, C, N, O, F, S, Cl with their ions and radicals, charge -1 … +1,"
        " multiplicity 1 … 3; energies, forces, atomic charges, dipoles"
    ),
    "theory": "GFN2-xTB, spin-polarised for open shells",
    "licence": "CC0-1.0",
    "citation": (
        "C. Bannwarth, S. Ehlert, S. Grimme, J. Chem. Theory Comput. 15, 1652 (2019), for the"
        " method"
    ),
    "url": "https://doi.org/10.1021/acs.jctc.8b01176",
}


def _read(paths: Sequence[Path]) -> Frames:
    return join([read_hdf5(path) for path in paths])


ORGANIC = row(
    NAME,
    {
        "train": tuple(RemoteFile(name, "", made_by=COMMAND) for name in TRAIN),
        "test": (RemoteFile(TEST, "", made_by=COMMAND),),
    },
    _read,
    units=EV_ANGSTROM,
    **ABOUT,
)
