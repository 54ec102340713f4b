"""organic: files that `polcalc labels molecules` writes; nobody publishes them."""

from __future__ import annotations

from potentials.datasets.formats.hdf5 import read_hdf5
from potentials.datasets.formats.units import EV_ANGSTROM
from potentials.datasets.recipe import RemoteFile
from potentials.datasets.sets.charged import first_with, row

NAME = "organic"
TRAIN, TEST = f"{NAME}-train.h5", f"{NAME}-test.h5"
FAR = f"{NAME}-test-far.h5"  # stretched, turned, pushed together, with a hydrogen on its way
SAMPLE = f"{NAME}-sample"  # comes with the package
COMMAND = "polcalc labels molecules, polcalc labels clusters, polcalc labels open-shells"
ABOUT = {
    "description": (
        "molecules and clusters of H, C, N, O, F, P, S, Cl, Br, I, up to 14 heavy atoms a molecule,"
        " charge -1 … +1; energies, forces; closed shells of AIMNet2, open shells of DFT"
    ),
    "theory": (
        "closed shells: AIMNet2 ensemble of ωB97M-D3(BJ)/def2-TZVPP; open shells:"
        " ωB97M-D3(BJ)/def2-TZVP(-f), shifted for each element"
    ),
    "licence": "CC0-1.0",
    "citation": "D. M. Anstine, R. Zubatyuk, O. Isayev, Chem. Sci. 16, 10228 (2025), for AIMNet2",
    "url": "https://doi.org/10.1039/D4SC08572H",
}

ORGANIC = row(
    NAME,
    {
        "train": (RemoteFile(TRAIN, "", made_by=COMMAND),),
        "test": (RemoteFile(TEST, "", made_by=COMMAND),),
        "test-far": (RemoteFile(FAR, "", made_by=COMMAND),),
    },
    first_with(read_hdf5),
    units=EV_ANGSTROM,
    **ABOUT,
)
