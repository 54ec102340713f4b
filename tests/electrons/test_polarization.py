"""What moving points did: columns of files, a picture, a table, and who is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.io import read, write
from typer.testing import CliRunner, Result

from md_runs.cli.app import app
from md_runs.electrons.drawing import DIPOLE_A, LABEL_A, Polarized, draw, principal_axes
from md_runs.electrons.polarization import magnification, numbers, table, turned_degrees
from md_runs.records.structures import write_structures
from md_runs.records.trajectory import read_trajectory
from polcalc import PolarizedCalculator
from potentials.build import build
from potentials.checkpoint import Card, save
from potentials.training import prepare, read_config
from tests.polar import write_polar_model
from tests.small import write_small_model


def polcalc(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model with points that move far, and differently for a cation."""
    torch.manual_seed(0)
    spec = {
        "cutoff": 4.5,
        "architecture": {"name": "tensornet", "channels": 8, "n_layers": 2},
        "radial": {"name": "exp_normal", "n_radial": 8},
        "points": {"name": "moving"},
        "state_factor": {"attributes": ["total_charge"], "strength": "per_channel"},
        "embeddings": [{"name": "species"}, {"name": "total_charge"}],
    }
    potential = build(spec)
    with torch.no_grad():
        potential.trunk.points.weights.mul_(100.0)
    path = tmp_path_factory.mktemp("model") / "moving.pt"
    save(path, potential, Card(name="moving", elements=[1, 6, 8], states=[[0, 1, 10], [1, 2, 10]]))
    return path


@pytest.fixture
def methanol(tmp_path: Path) -> Path:
    path = tmp_path / "methanol.xyz"
    write(path, molecule("CH3OH"))
    return path


def test_relaxed_structures_carry_their_vectors(
    model: Path, methanol: Path, tmp_path: Path
) -> None:
    done = polcalc(
        "relax", methanol, "--model", model, "--steps", 2, "--output", tmp_path / "relaxed"
    )
    assert done.exit_code in (0, 1), done.output
    atoms = read(tmp_path / "relaxed" / "relaxed.extxyz")
    fresh = Atoms(
        atoms.numbers, atoms.positions, calculator=PolarizedCalculator(str(model), dtype="float64")
    )
    fresh.get_potential_energy()
    assert np.abs(fresh.calc.polarization_vectors).max() > 1e-3
    assert np.allclose(
        atoms.arrays["polarization_vectors"], fresh.calc.polarization_vectors, atol=1e-6
    )
    assert np.allclose(atoms.arrays["virtual_points"], fresh.calc.virtual_points, atol=1e-6)


def test_runs_carry_them_in_every_file(model: Path, methanol: Path, tmp_path: Path) -> None:
    words = [
        "--ensemble",
        "nve",
        "--bonds",
        "free",
        "--temperature-K",
        10,
        "--steps",
        4,
        "--trajectory-every",
        2,
        "--dtype",
        "float64",
    ]
    done = polcalc(
        "md", methanol, "--model", model, *words, "--extxyz", "--output", tmp_path / "run"
    )
    assert done.exit_code == 0, done.output
    frames, texts = (
        list(read_trajectory(tmp_path / "run" / "trajectory.h5md")),
        read(tmp_path / "run" / "trajectory.extxyz", ":"),
    )
    assert len(frames) == len(texts) == 3
    for frame, text in zip(frames, texts, strict=True):
        assert np.abs(frame.arrays["polarization_vectors"]).max() > 1e-3
        assert np.allclose(
            frame.arrays["virtual_points"] - frame.positions, frame.arrays["polarization_vectors"]
        )
        assert np.allclose(
            text.arrays["polarization_vectors"], frame.arrays["polarization_vectors"], atol=1e-7
        )
    final = read(tmp_path / "run" / "final.extxyz")
    assert np.allclose(
        final.arrays["polarization_vectors"], texts[-1].arrays["polarization_vectors"], atol=1e-7
    )


def test_vectors_of_another_model_or_structure_are_not_written(
    model: Path, methanol: Path, tmp_path: Path
) -> None:
    """A file with columns, used with a model of fixed points.

    And a calculator that has gone on to another structure.
    """
    with_columns = molecule("CH3OH")
    with_columns.calc = PolarizedCalculator(str(model))
    with_columns.get_potential_energy()
    write_structures(tmp_path / "columns.extxyz", [with_columns])
    assert "virtual_points" in read(tmp_path / "columns.extxyz").arrays
    fixed = write_small_model(tmp_path / "fixed.pt")
    done = polcalc(
        "relax",
        tmp_path / "columns.extxyz",
        "--model",
        fixed,
        "--steps",
        1,
        "--output",
        tmp_path / "relaxed",
    )
    assert done.exit_code in (0, 1), done.output
    assert "polarization_vectors" not in read(tmp_path / "relaxed" / "relaxed.extxyz").arrays
    moved = with_columns.copy()
    moved.rattle(0.1)
    moved.calc = with_columns.calc
    moved.get_potential_energy()
    write_structures(tmp_path / "stale.extxyz", [with_columns])
    assert "polarization_vectors" not in read(tmp_path / "stale.extxyz").arrays


def test_the_command_draws_and_tells_how_arrows_turn(
    model: Path, methanol: Path, tmp_path: Path
) -> None:
    picture, numbers = tmp_path / "p.png", tmp_path / "p.json"
    done = polcalc(
        "polarization",
        methanol,
        "--model",
        model,
        "--charges",
        "0,1",
        "--output",
        picture,
        "--json",
        numbers,
    )
    assert done.exit_code == 0, done.output
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "not dipoles" in done.output and "turned" in done.output
    found = json.loads(numbers.read_text())
    neutral, cation = found["states"]
    assert (
        neutral["charge"],
        neutral["multiplicity"],
        cation["charge"],
        cation["multiplicity"],
    ) == (0, 1, 1, 2)
    atoms = molecule("CH3OH")
    atoms.calc = PolarizedCalculator(str(model), dtype="float64", charge=1)
    atoms.get_potential_energy()
    assert np.allclose(
        cation["polarization_vectors_A"], atoms.calc.polarization_vectors, atol=1e-12
    )
    assert (
        max(neutral["turned_degrees"]) == pytest.approx(0, abs=1e-4)
        and max(cation["turned_degrees"]) > 1
    )


def test_one_state_is_that_of_the_structure(model: Path, tmp_path: Path) -> None:
    atoms = molecule("CH3OH")
    atoms.info |= {"charge": 1, "multiplicity": 2}
    write(tmp_path / "cation.extxyz", atoms)
    words = "polarization", tmp_path / "cation.extxyz", "--model", model, "--magnify", 3
    done = polcalc(*words, "--output", tmp_path / "a.png")
    assert (
        done.exit_code == 0
        and "charge +1, multiplicity 2" in done.output
        and "3 times" in done.output
    )
    done = polcalc(*words, "--charges", 0, "--output", tmp_path / "b.png")
    assert done.exit_code == 0 and "charge 0, multiplicity 1" in done.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output", "p.pdf"], "must end in .png"),
        (["--charges", "0,one"], "must be whole numbers"),
        (["--charges", "0,1", "--charge", "1"], "must stand alone"),
        (["--charges", "3"], "charge"),
        (["--magnify", "0"], "must be positive"),
    ],
)
def test_what_is_refused(
    words: list[str], message: str, model: Path, methanol: Path, tmp_path: Path
) -> None:
    words = words if "--output" in words else [*words, "--output", str(tmp_path / "p.png")]
    done = polcalc("polarization", methanol, "--model", model, *words)
    assert done.exit_code == 2 and message in done.stderr
    assert not list(tmp_path.glob("*.png"))


def test_fixed_points_cannot_be_drawn_and_files_are_kept(
    model: Path, methanol: Path, tmp_path: Path
) -> None:
    done = polcalc(
        "polarization",
        methanol,
        "--model",
        write_small_model(tmp_path / "fixed.pt"),
        "--output",
        tmp_path / "p.png",
    )
    assert done.exit_code == 2 and "must have moving points" in done.stderr
    (tmp_path / "p.png").write_bytes(b"mine")
    done = polcalc("polarization", methanol, "--model", model, "--output", tmp_path / "p.png")
    assert done.exit_code == 2 and "exists" in done.stderr
    assert (tmp_path / "p.png").read_bytes() == b"mine"


def test_shells_charges_and_the_dipole_are_drawn(methanol: Path, tmp_path: Path) -> None:
    """Of an ion about its centre of mass: where it lies does not matter."""
    write_polar_model(tmp_path / "m.pt")
    moved = read(methanol)
    moved.translate((5, 6, 7))
    write(tmp_path / "moved.xyz", moved)
    facts = []
    for name in ("methanol", "moved"):
        picture, numbers = tmp_path / f"{name}.png", tmp_path / f"{name}.json"
        done = polcalc(
            "polarization", tmp_path / f"{name}.xyz", "--model", tmp_path / "m.pt", "--charges",
            "0,1", "--output", picture, "--json", numbers,
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        assert "shells of electrons" in done.output and "about the centre of mass" in done.output
        facts.append(json.loads(numbers.read_text())["states"])
    for here, there in zip(*facts, strict=True):
        assert here["dipole_D"] == pytest.approx(there["dipole_D"]) and here["dipole_D"] > 0.1
        assert sum(here["charges_e"]) == pytest.approx(here["charge"])
        assert f"dipole {here['dipole_D']:.2f} D" in done.output
    atoms = molecule("CH3OH")
    atoms.calc = PolarizedCalculator(str(tmp_path / "m.pt"), dtype="float64")
    atoms.get_potential_energy()
    vectors = np.array(facts[0][0]["polarization_vectors_A"])
    assert np.allclose(vectors, atoms.calc.quantities["shells"], atol=1e-12)
    assert np.allclose(atoms.calc.virtual_points, atoms.positions + vectors)


def test_arrows_of_the_dipole_are_to_scale() -> None:
    atoms = Atoms("OHH", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    dipole = np.array([0.2, 0.3, 0.0])
    figure = draw(atoms, [Polarized(0, 1, None, charges=np.zeros(3), dipole=dipole)], 1.0, "water")
    (arrow,) = [text for text in figure.axes[0].texts if text.arrow_patch is not None]
    axes = principal_axes(atoms.positions)
    assert np.subtract(arrow.xy, arrow.xyann) == pytest.approx((axes @ dipole * DIPOLE_A)[:2])


def test_angles_between_vectors() -> None:
    first = np.array([[1.0, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0]])
    second = np.array([[0, 2.0, 0], [-3, 0, 0], [1, 1, 0], [1, 0, 0]])
    assert turned_degrees(first, second)[:3] == pytest.approx([90, 180, 45])
    assert np.isnan(turned_degrees(first, second)[3])


@pytest.mark.parametrize(
    ("longest", "factor"), [(0.01, 100), (0.04, 20), (0.19, 5), (0.3, 2), (0.0, 1)]
)
def test_arrows_are_magnified_by_a_round_number(longest: float, factor: float) -> None:
    assert magnification([np.array([[0, 0, longest]]), np.zeros((1, 3))]) == pytest.approx(factor)


def test_arrows_are_drawn_where_they_point(methanol: Path) -> None:
    """To scale, and none for a vector of zero; a flat molecule is drawn from the front alone."""
    atoms = Atoms("OHH", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    vectors = np.array([[0.1, 0.02, 0], [0, 0, 0], [0, 0, 0]])
    assert len(draw(atoms, [Polarized(0, 1, vectors)], 10.0, "water").axes) == 1
    atoms = molecule("CH3OH")
    vectors = np.array([[0.1, 0.02, 0.0], *np.zeros((5, 3))])
    figure = draw(atoms, [Polarized(0, 1, vectors)], 10.0, "methanol")
    front, above = figure.axes
    axes = principal_axes(atoms.positions)
    assert np.allclose(axes @ axes.T, np.eye(3)) and np.linalg.det(axes) == pytest.approx(1)
    (arrow,) = [text for text in front.texts if text.arrow_patch is not None]
    assert np.subtract(arrow.xy, arrow.xyann) == pytest.approx((axes @ vectors[0] * 10)[:2])
    (arrow,) = [text for text in above.texts if text.arrow_patch is not None]
    expected = [1, -1] * (axes @ vectors[0] * 10)[[0, 2]]
    assert np.subtract(arrow.xy, arrow.xyann) == pytest.approx(expected)


def test_nothing_is_written_over_another_label() -> None:
    """The atom behind is left without; a dipole that is none has no arrow."""
    atoms = Atoms("CHHHH", [[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    atoms.positions[1:] *= 0.62 * np.array([1.5, 1.0, 1.0])
    nothing = Polarized(0, 1, None, charges=np.zeros(5), dipole=np.full(3, 1e-9))
    for panel in draw(atoms, [nothing], 1.0, "methane").axes:
        assert all(text.arrow_patch is None for text in panel.texts)
        places = np.array([text.xy for text in panel.texts])
        apart = abs(places[:, None] - places) > np.array(LABEL_A)
        assert (apart.any(-1) | np.eye(len(places), dtype=bool)).all()
        assert 1 < len(places) <= 5


def test_unpaired_electrons_and_formal_charges_are_listed() -> None:
    """Where there are any."""
    atoms = Atoms("OH", [[0, 0, 0], [0.97, 0, 0]])
    said = {"formal_charges": np.array([-1.0, 0]), "unpaired": np.array([1.0, 0.0])}
    radical = Polarized(0, 2, None, charges=np.zeros(2), **said)
    listed = table(atoms, radical, radical)
    columns = {column.header: list(column.cells) for column in listed.columns}
    assert columns["formal (e)"] == ["-1.00", ""] and columns["unpaired"] == ["1.00", ""]
    silent = Polarized(0, 1, None, charges=np.zeros(2), unpaired=np.zeros(2))
    assert [column.header for column in table(atoms, silent, silent).columns] == [
        "atom",
        "charge (e)",
    ]
    facts = numbers(atoms, [radical], 1.0)["states"][0]
    assert facts["unpaired_electrons"] == [1, 0] and facts["formal_charges_e"] == [-1, 0]


def test_the_configuration_of_the_documented_example() -> None:
    """Its set comes with the package; the potential has moving points and sees the charge."""
    spec = prepare(read_config(Path(__file__).parents[2] / "examples" / "moving_points.toml")).spec
    assert build(spec).trunk.points.reach > 0 and {"name": "total_charge"} in spec["embeddings"]
