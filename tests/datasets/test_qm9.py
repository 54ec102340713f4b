"""QM9 in the form of its authors.

A sample of the archive, written here, its targets in their units, and a training on it.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.data import atomic_numbers

from polcalc import PolarizedCalculator
from potentials.datasets import load_frames
from potentials.datasets.formats.units import HARTREE
from potentials.datasets.sets import qm9
from potentials.datasets.sets.qm9 import (
    QUANTITIES,
    STANDS_FOR,
    TARGETS,
    read_left_out,
    read_molecule,
)
from potentials.datasets.statistics import atom_energies
from potentials.deviations import named_errors
from potentials.training import Training, prepare, write_model
from potentials.training.config import from_dict

METHANE = """5
gdb 1\t157.7118\t157.70997\t157.70699\t0.\t13.21\t-0.3877\t0.1171\t0.5048\t35.3641\
\t0.044749\t-40.47893\t-40.476062\t-40.475117\t-40.498597\t6.469
C\t-0.0126981359\t 1.0858041578\t 0.0080009958\t-0.535689
H\t 0.002150416\t-0.0060313176\t 0.0019761204\t 0.133921
H\t 1.0117308433\t 1.4637511618\t 2.765748*^-4\t 0.133922
H\t-0.540815069\t 1.4475266138\t-0.8766437152\t 0.133923
H\t-0.5238136345\t 1.4379326443\t 0.9063972942\t 0.133923
1341.307\t1341.3284\t1341.365\t1562.6731\t1562.7453\t3038.3205\t3151.6034\t3151.6788\t3151.7078
C\tC\t
InChI=1S/CH4/h1H4\tInChI=1S/CH4/h1H4
"""
HEAD = [
    "3054 molecules of the set",
    "",
    "Index of the molecule",
    "Initial",
    "Relaxed",
    "",
    "",
    " Index Initial Relaxed",
    "-----",
]
LEFT_OUT = "\n".join([*HEAD, "     7    C1CC1    CC=C", "-----"]) + "\n"
NAMES = (
    "CH3OH",
    "NH3",
    "H2O",
    "C2H2",
    "HCN",
    "H2CO",
    "C2H6",
    "CH3CHO",
    "CF4",
    "N2H4",
    "C2H4",
    "CH3CN",
)  # of which number 7 is left out


def as_file(number: int, name: str, rng: np.random.Generator) -> str:
    """One molecule in the form of the archive, with properties of a plausible size."""
    atoms = molecule(name)
    total = float(atom_energies(atoms.numbers).sum()) / HARTREE
    n = len(atoms)
    values = [
        1.0 + 0.1 * n,
        8.0 * n,
        -0.25,
        0.05,
        0.30,
        60.0 * n,
        0.01 * n,
        *[total - 0.1 * n] * 4,
        3.0 * n,
    ]
    lines = [str(n), "gdb " + "\t".join(map(repr, [number, 10.0, 5.0, 3.0, *map(float, values)]))]
    atoms.rattle(0.02, rng=rng)
    lines += [
        f"{s}\t{x:.10f}\t{y:.10f}\t{z:.10f}\t0.0"
        for s, (x, y, z) in zip(atoms.symbols, atoms.positions, strict=True)
    ]
    return "\n".join([*lines, "1000.0", "C\tC", "InChI\tInChI"]) + "\n"


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small archive and list under the names of the set.

    Their checksums cannot be those of the whole.
    """
    rng = np.random.default_rng(0)
    with tarfile.open(tmp_path / qm9.ARCHIVE.name, "w:bz2") as archive:
        texts = [
            METHANE,
            *(as_file(number, NAMES[number % len(NAMES)], rng) for number in range(2, 38)),
        ]
        for number, text in reversed(list(enumerate(texts, start=1))):  # an archive has no order
            member = tarfile.TarInfo(f"dsgdb9nsd_{number:06d}.xyz")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    (tmp_path / qm9.LEFT_OUT.name).write_text(LEFT_OUT)
    for name in ("ARCHIVE", "LEFT_OUT"):
        monkeypatch.setattr(qm9, name, getattr(qm9, name)._replace(sha256=""))
    return tmp_path


def test_methane_is_read_exactly() -> None:
    found = read_molecule(METHANE, "dsgdb9nsd_000001.xyz")
    assert (found.number, found.atomic_numbers) == (1, [6, 1, 1, 1, 1])
    assert found.positions[0] == [-0.0126981359, 1.0858041578, 0.0080009958]
    assert found.positions[2][2] == pytest.approx(2.765748e-4)
    expected = (
        0.0,
        13.21,
        -0.3877,
        0.1171,
        0.5048,
        35.3641,
        0.044749,
        -40.47893,
        -40.476062,
        -40.475117,
        -40.498597,
        6.469,
    )
    assert tuple(found.properties.values()) == expected


@pytest.mark.parametrize(
    ("target", "value"),
    [
        ("mu", 0.0), ("alpha", 13.21), ("r2", 35.3641), ("Cv", 6.469),
        ("homo", -0.3877 * 27.211386), ("lumo", 0.1171 * 27.211386), ("gap", 0.5048 * 27.211386),
        ("zpve", 0.044749 * 27.211386), ("U0", -40.47893 * 27.211386),
        ("U", -40.476062 * 27.211386), ("H", -40.475117 * 27.211386),
        ("G", -40.498597 * 27.211386), ("U0-atomization", -17.1722), ("U-atomization", -17.2868),
        ("H-atomization", -17.3897), ("G-atomization", -16.1519),
    ],
)  # fmt: skip
def test_targets_in_their_units(target: str, value: float, sample: Path) -> None:
    """The four atomisation energies of methane are those that other readers of QM9 give."""
    frames = load_frames(f"qm9:{target}", data=sample)
    quantity = STANDS_FOR.get(target, "energy")
    labels = frames.label(quantity)
    assert labels is not None and labels[0] == pytest.approx(value, rel=1e-5)
    assert frames.energy[0] < 0
    assert frames.provenance.name == f"qm9:{target}"
    assert frames.provenance.quantity.startswith(QUANTITIES[target.removesuffix("-atomization")])
    assert target in TARGETS


def test_molecules_of_the_list_are_left_out_and_the_rest_is_in_order(sample: Path) -> None:
    frames = load_frames("qm9:alpha", data=sample)
    # methane, H2O and C2H2 as numbers 2 and 3
    assert len(frames) == 36 and list(frames.n_atoms[:3]) == [5, 3, 4]
    assert (
        frames.forces is None and set(frames.multiplicity) == {1} and not frames.total_charge.any()
    )
    train, test = (load_frames(f"qm9:alpha:{part}", data=sample) for part in ("train", "test"))
    assert (len(train), len(test)) == (32, 4)
    assert not {x.tobytes() for x in np.split(test.positions, test.first[1:-1])} & {
        x.tobytes() for x in np.split(train.positions, train.first[1:-1])
    }


def test_the_list_lies_between_nine_lines_of_text_and_one() -> None:
    assert read_left_out(LEFT_OUT, "x") == {7}
    for wrong in (
        "",
        LEFT_OUT.replace("     7", "seven"),
        LEFT_OUT.replace("     7", "700000"),
        LEFT_OUT.replace("-----\n", "", 1),
    ):
        with pytest.raises(ValueError, match="`x` must list molecules of QM9"):
            read_left_out(wrong, "x")


@pytest.mark.parametrize(
    ("old", "new"),
    [("gdb", "abc"), ("\t6.469", ""), ("5\n", "9\n"), ("C\t-0.01", "Q\t-0.01"), (METHANE, "")],
)
def test_another_form_is_refused(old: str, new: str) -> None:
    with pytest.raises(ValueError, match=r"`m.xyz` must be a molecule of QM9"):
        read_molecule(METHANE.replace(old, new, 1), "m.xyz")


def test_names_that_do_not_exist(sample: Path) -> None:
    for name, message in (
        ("qm9", "target"),
        ("qm9:energy", "target"),
        ("qm9:mu:validation", "part"),
        ("qm9:mu:train:1", "form"),
    ):
        with pytest.raises(ValueError, match=message):
            load_frames(name, data=sample)


def test_another_archive_is_refused(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.raises(ValueError, match="must have SHA-256 3a63848ac8"):
        load_frames("qm9:mu", data=sample)


@pytest.mark.parametrize(
    ("target", "terms"),
    [
        ("U0", [{"name": "readout"}, {"name": "reference_energies"}]),
        ("gap", [{"name": "mean_readout"}]),
        ("mu", [{"name": "dipole_moment"}]),
        ("r2", [{"name": "spatial_extent"}]),
    ],
)
def test_a_training(target: str, terms: list[dict[str, str]], sample: Path, tmp_path: Path) -> None:
    """Every head learns in a few steps, its card says what it answers, and no one runs dynamics."""
    pytest.importorskip("lightning")
    config = {
        "name": target,
        "data": {
            "train": f"qm9:{target}:train",
            "n_train": 24,
            "n_validation": 8,
            "test": f"qm9:{target}:test",
        },
        "potential": {
            "cutoff": 4.0,
            "architecture": {"name": "schnet", "channels": 16, "n_layers": 2},
            "terms": terms,
        },
        "loss": {"name": "mae"},
        "optimizer": {"learning_rate": 1e-2},
        "schedule": {"max_epochs": 8, "warm_up_steps": 2},
        "training": {"batch_size": 4, "ema_decay": 0.5, "validate_every_epochs": 1},
    }
    (tmp_path / target).mkdir()
    training = Training(prepare(from_dict(config), sample), tmp_path / target, device="cpu")
    training.run()
    report = write_model(training, "test")
    (_, name), *_ = named_errors(report["history"][0]).items()
    if target != "U0":
        *_, (_, name) = named_errors(report["history"][0]).items()
    history = [row[name.format("mae")] for row in report["history"]]
    assert np.isfinite(history).all() and history[-1] < history[0]
    assert report["errors"]["test"]["n_frames"] == 4
    assert json.loads((tmp_path / target / "report.json").read_text())["name"] == target
    with pytest.raises(ValueError, match="must predict energies"):
        PolarizedCalculator(str(tmp_path / target / "model.pt"))


def test_free_atoms_have_all_elements() -> None:
    assert all(
        set(table) == {"H", "C", "N", "O", "F"} and set(table) <= set(atomic_numbers)
        for table in qm9.FREE_ATOMS.values()
    )
