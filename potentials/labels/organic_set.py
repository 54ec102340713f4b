"""The set `organic`: what the finished jobs of all purposes become, with a card that says how.

Labels about which the networks of the teacher disagree are left out. Labels of open shells are on
another level of theory: they are put on the teacher's scale by one shift of energy for each
element, fitted on the closed shells that are labelled both ways. Two atoms are labelled by that
other level alone, in all states: the teacher is wrong by electronvolts where a bond breaks.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import covalent_radii

from potentials.datasets.checksum import checksum
from potentials.datasets.formats.hdf5 import read_hdf5, write_hdf5
from potentials.datasets.frames import Array, Frames, join, make_frames
from potentials.datasets.sets.organic import COMMAND, FAR, NAME, ORGANIC, SAMPLE, TEST, TRAIN
from potentials.datasets.shifts import fit_shifts, shifted
from potentials.datasets.statistics import states
from potentials.labels import teacher
from potentials.labels.closed_shells.geometries import ENERGY_RANGE, MOST_FORCE

PURPOSES = ("molecules", "clusters")
MOST_DISAGREEMENT = 0.3  # eV/Å, root mean square over the components of the forces of a structure
MOST_ENERGY_DISAGREEMENT = 0.02  # eV/atom
CLOSEST = 0.68  # of the sum of two covalent radii: nearer the teacher knows no repulsion
NEAR = ("relaxed", "dynamics", "shaken")  # scenes of the test; the others are a test of their own
# in the names of scenes whose bonds are not those of the SMILES: their formal charges are unknown
BROKEN = ("stretched", "transferred", "shared proton", "reaction")
SAMPLE_FRAMES = 400
OPEN_SHARE, MOST_COPIES = 0.15, 30  # of open shells, compared with the closed ones
TWO_ATOMS = 2  # up to here only the level of the open shells tells
LEAST_OUTLIER = 0.02  # eV, of a difference between two levels of theory
PER_ATOM = ("atomic_numbers", "positions", "forces", "partial_charges", "formal_charges")
LABELLED = ("n_atoms", "atomic_numbers", "positions", "energy", "forces")
STATE = ("total_charge", "multiplicity", "group")
BESIDE = ("energy_std", "forces_std")  # what is stored beside the labels that are trained on


def write_set(folder: Path, open_shells: Path | None = None) -> dict[str, Any]:
    """Write the files of the set from the jobs that are done; return the card.

    Parameters
    ----------
    folder : Path              holds a folder of each purpose; the files are written into it
    open_shells : Path or None   labels of open shells, a file of `polcalc labels open-shells`

    Raises
    ------
    ValueError                 no job is done
    """
    paths = {purpose: sorted((folder / purpose).glob("*.npz")) for purpose in PURPOSES}
    trained = [path for found in paths.values() for path in found if not _is_test(path)]
    tested = [path for found in paths.values() for path in found if _is_test(path)]
    if not trained:
        raise ValueError(
            f"`folder` must hold labels of {NAME}; got none in {folder}. Run them first."
        )
    counts: Counter[str] = Counter()
    arrays = _collected(trained, counts)
    frames, beside = _frames(arrays), _beside(arrays)
    about = _card(frames, counts)
    write_hdf5(folder / f"{SAMPLE}.h5", sample(frames))
    if open_shells is not None:
        further, shifts = on_the_scale(read_hdf5(open_shells))
        copies = copies_of(len(further), len(frames))
        repeated = further.select(np.tile(np.arange(len(further)), copies))
        frames, beside = _with_open_shells(frames, beside, repeated)
        counted = {"labels": len(further), "each is there so often": copies}
        about |= {"open shells": shifts | counted | {"states": states(further)}}
    write_hdf5(folder / TRAIN, frames, beside)
    if tested:
        arrays = _collected(tested, Counter())
        thermal = np.isin(arrays["scene"], NEAR)
        test, beside = _frames(arrays), _beside(arrays)
        for name, which in ((TEST, thermal), (FAR, ~thermal)):
            of_atoms = np.repeat(which, arrays["n_atoms"])
            chosen = {
                k: a[of_atoms if len(a) == len(of_atoms) else which] for k, a in beside.items()
            }
            write_hdf5(folder / name, test.select(np.flatnonzero(which)), chosen)
        about |= {"test labels": len(test), "test molecules": _n_groups(test)}
        about |= {"test labels near minima and in dynamics": int(thermal.sum())}
    return about | {
        "labels": len(frames),
        "states": states(frames),
        "command": COMMAND,
        "sha256": {
            name: checksum(folder / name)
            for name in (TRAIN, TEST, FAR)
            if (folder / name).is_file()
        },
    }


def copies_of(n_open: int, n_closed: int) -> int:
    """Say how often each open shell is there: few as they are, a training must meet them."""
    return int(np.clip(round(OPEN_SHARE * n_closed / max(n_open, 1)), 1, MOST_COPIES))


def sample(frames: Frames) -> Frames:
    """Draw a few structures of small size, for tests."""
    rng = np.random.default_rng(0)
    small = np.flatnonzero(frames.n_atoms <= 24)
    return frames.select(np.sort(rng.permutation(small)[:SAMPLE_FRAMES]))


def sample_card(about: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Describe the sample that was written."""
    path = folder / f"{SAMPLE}.h5"
    frames = read_hdf5(path)
    same = ("theory", "programs", "checks", "licence", "citation", "url")
    return {
        "name": SAMPLE,
        "description": f"{len(frames)} structures of {NAME}, closed shells, for tests",
        **{name: about[name] for name in same},
        "labels": len(frames),
        "states": states(frames),
        "sha256": checksum(path),
    }


def on_the_scale(frames: Frames) -> tuple[Frames, dict[str, Any]]:
    """Put energies of another level on the teacher's scale: one shift an element.

    The shifts are fitted on the closed shells of more than two atoms, which the teacher labels too;
    these are left out then, since the teacher has said more of their kind.

    Returns
    -------
    Frames   the open shells, and all of one or two atoms
    dict     the shifts in eV, how many labels they come from, what is left of the differences
    """
    closed = np.flatnonzero((frames.multiplicity == 1) & (frames.n_atoms > TWO_ATOMS))
    both = frames.select(closed)
    taught, within = _taught(both), np.ones(len(closed), dtype=bool)
    for _ in range(3):  # what the teacher does not know is not fitted
        shifts = fit_shifts(both.select(np.flatnonzero(within)), taught[within])
        left = np.abs(taught - shifted(both, shifts.per_element).energy)
        within = left < max(3 * float(np.median(left)), LEAST_OUTLIER)
    about = {
        "theory": frames.provenance.theory,
        "shifts in eV": {name: round(shift, 4) for name, shift in shifts.per_element.items()},
        "closed shells labelled both ways": len(closed),
        "of these fitted": int(within.sum()),
        "median of what is left in eV": round(float(np.median(left)), 4),
        "root mean square of what is left of the fitted in eV": round(shifts.residual, 4),
    }
    few = frames.n_atoms <= TWO_ATOMS
    further = frames.select(np.flatnonzero((frames.multiplicity > 1) | few))
    return shifted(further, shifts.per_element), about


def _taught(frames: Frames) -> Array:
    """Let the teacher say energies (S,) eV."""
    numbers = np.split(frames.atomic_numbers, frames.first[1:-1])
    positions = np.split(frames.positions, frames.first[1:-1])
    energy = np.zeros(len(frames))
    for n, (z, x, charge) in enumerate(zip(numbers, positions, frames.total_charge, strict=True)):
        energy[n] = teacher.teacher().label(teacher.pad([z], [x], [int(charge)])).energy[0]
    return energy


def _with_open_shells(
    frames: Frames, beside: dict[str, Array], further: Frames
) -> tuple[Frames, dict[str, Array]]:
    """Join both; what only the teacher says is not known (NaN) of the others.

    Charges of open shells are another method's. No group of theirs has a formal charge: a charge
    is shared by all their atoms. A lone ion with a closed shell has its own; which of two atoms
    has that of a closed shell is not known.
    """
    closed = (further.multiplicity == 1) * further.total_charge.astype(np.float64)  # (S,) e
    closed[(closed != 0) & (further.n_atoms > 1)] = np.nan
    formal = np.repeat(closed, further.n_atoms)
    plain = replace(further, partial_charges=None, spin_squared=None)
    unknown = np.full(len(further), np.nan)
    joined = {name: np.concatenate([array, unknown]) for name, array in beside.items()}
    return join([frames, plain.with_arrays({"formal_charges": formal})]), joined


def _collected(paths: Iterable[Path], counts: Counter[str]) -> dict[str, Array]:
    """Read the labels of jobs that are sure; count scenes and what is left out."""
    jobs: list[dict[str, Array]] = []
    for path in paths:
        with np.load(path) as file:
            job = dict(file)
        counts.update(
            {f"left out: {k}": n for k, n in json.loads(str(job.pop("left_out"))).items()}
        )
        sure = (job["forces_std"] <= MOST_DISAGREEMENT) & (
            job["energy_std"] <= MOST_ENERGY_DISAGREEMENT * job["n_atoms"]
        )
        counts["left out: the teacher's networks disagree"] += int((~sure).sum())
        apart = _closest(job) >= CLOSEST
        counts["left out: atoms on top of each other"] += int((sure & ~apart).sum())
        sure &= apart
        counts["left out: two atoms"] += int((sure & (job["n_atoms"] <= TWO_ATOMS)).sum())
        sure &= job["n_atoms"] > TWO_ATOMS
        of_atoms = np.repeat(sure, job["n_atoms"])
        job = {k: a[of_atoms if k in PER_ATOM else sure] for k, a in job.items()}
        purpose = path.parent.name
        counts.update(f"{purpose}: {scene}" for scene in job["scene"])
        jobs.append(job)
    return {name: np.concatenate([job[name] for job in jobs]) for name in jobs[0]}


def _closest(job: dict[str, Array]) -> Array:
    """Find the shortest distance (S,) of each structure, as a share of two covalent radii."""
    closest = np.full(len(job["n_atoms"]), np.inf)
    ends = np.cumsum(job["n_atoms"])
    for s, (first, end) in enumerate(zip(ends - job["n_atoms"], ends, strict=True)):
        if end - first > 1:
            radii = covalent_radii[job["atomic_numbers"][first:end]]
            i, j = np.triu_indices(end - first, 1)
            x = job["positions"][first:end]
            closest[s] = (np.linalg.norm(x[i] - x[j], axis=1) / (radii[i] + radii[j])).min()
    return closest


def _frames(arrays: dict[str, Array]) -> Frames:
    """Take the labels; the dipole is that of the charges, about the origin."""
    of_frames: dict[str, Any] = {name: arrays[name] for name in (*LABELLED, *STATE)}
    charges = arrays["partial_charges"].astype(np.float64)
    first = np.cumsum([0, *arrays["n_atoms"][:-1]])
    return make_frames(
        **of_frames,
        partial_charges=charges,
        dipole=np.add.reduceat(charges[:, None] * arrays["positions"], first),
        more={"formal_charges": _formal_charges(arrays)},
        provenance=ORGANIC.provenance,
    )


def _formal_charges(arrays: dict[str, Array]) -> Array:
    """Take the formal charges (N,) e of the SMILES where the bonds are those of the SMILES."""
    broken = np.array([any(word in scene for word in BROKEN) for scene in arrays["scene"]])
    return np.where(np.repeat(broken, arrays["n_atoms"]), np.nan, arrays["formal_charges"])


def _beside(arrays: dict[str, Array]) -> dict[str, Array]:
    """Pick what is stored beside the labels that are trained on."""
    return {name: arrays[name] for name in BESIDE}


def _card(frames: Frames, counts: Counter[str]) -> dict[str, Any]:
    about = ORGANIC.provenance
    return {
        "name": NAME,
        **{k: getattr(about, k) for k in ("description", "theory", "licence", "citation", "url")},
        "programs": {name: metadata.version(name) for name in (teacher.PACKAGE, "rdkit", "torch")},
        "checks": (
            f"forces below {MOST_FORCE:g} eV/Å; energy within {ENERGY_RANGE} eV of the first label"
            " of the same atoms in a job; root mean square deviation of the networks below"
            f" {MOST_DISAGREEMENT:g} eV/Å and {MOST_ENERGY_DISAGREEMENT:g} eV/atom; no two atoms"
            f" nearer than {CLOSEST:g} of the sum of their covalent radii"
        ),
        "closed shells": len(frames),
        "molecules and clusters": _n_groups(frames),
        "labels by scene": _picked(counts, False),
        "left out": _picked(counts, True),
    }


def _picked(counts: Counter[str], left_out: bool) -> dict[str, int]:
    start = "left out: "
    return {
        name.removeprefix(start): n
        for name, n in counts.most_common()
        if name.startswith(start) == left_out
    }


def _is_test(path: Path) -> bool:
    return path.name.startswith("test-")


def _n_groups(frames: Frames) -> int:
    assert frames.group is not None
    return len(np.unique(frames.group))
