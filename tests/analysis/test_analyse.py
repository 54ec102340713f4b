"""Reports on runs: what is in them, that numbers are those of the run, and what is refused."""

from __future__ import annotations

import csv
import html.parser
import json
import re
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from matplotlib.image import imread
from typer.testing import CliRunner

from md_runs.analysis import analyse, dynamics, structure, thermodynamics
from md_runs.analysis.motion import PER_CM
from md_runs.analysis.runs import read_runs
from md_runs.analysis.section import with_error
from md_runs.cli.app import app
from md_runs.dynamics.recorder import COLUMNS
from md_runs.records.output import to_json
from md_runs.records.trajectory import TrajectoryWriter
from tests.small import Springs

VOID = {"meta", "img", "br", "link", "input", "hr"}
HEAT_K = 300.0


class Outline(html.parser.HTMLParser):
    """Headings, images and cells of a page; complains of tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: dict[str, list[str]] = {"img": [], "h2": [], "td": [], "p": []}
        self.links: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [value for name, value in given.items() if name in ("src", "href") and value]
        if tag == "img":
            self.found["img"].append(given["src"] or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in self.found:
            self.found[self.open[-1]].append(data)


def make_run(
    directory: Path,
    atoms: Atoms,
    n_frames: int = 200,
    interval_fs: float = 4.0,
    seed: int = 0,
    **options: Any,
) -> Path:
    """Write a run as `polcalc md` leaves it.

    Thermal velocities and small vibrations around a structure, both made up.
    """
    rng = np.random.default_rng(seed)
    directory.mkdir(parents=True)
    degrees = 3 * len(atoms)
    given = {
        "ensemble": "nvt",
        "thermostat": "langevin",
        "temperature_K": HEAT_K,
        "timestep_fs": 0.5,
    } | options
    manifest = {
        "status": "finished",
        "options": given,
        "model": {"name": "springs", "sha256": "0" * 64},
        "dtype": "float64",
    }
    (directory / "manifest.json").write_text(to_json(manifest))
    frame: Atoms = atoms.copy()
    frame.calc = Springs(atoms)
    writer = TrajectoryWriter(
        directory / "trajectory.h5md", frame, charge=0, multiplicity=1, interval_fs=5.0
    )
    lines = [",".join(COLUMNS)]
    for n in range(n_frames):
        frame.positions = atoms.positions + 0.05 * rng.normal(size=(len(atoms), 3))
        frame.set_momenta(
            rng.normal(size=(len(atoms), 3))
            * np.sqrt(units.kB * given["temperature_K"] * atoms.get_masses())[:, None]
        )
        writer.append(n, n * interval_fs, frame)
        kinetic, potential = (
            frame.get_kinetic_energy(),
            units.kB * given["temperature_K"] * rng.gamma(degrees / 2),
        )
        temperature = 2 * kinetic / (degrees * units.kB)
        row = (
            n,
            n * interval_fs / 1000,
            potential,
            kinetic,
            potential + kinetic,
            1.0 + 1e-3 * n,
            temperature,
        )
        lines.append(",".join(f"{x:.9g}" for x in row))
    writer.flush()
    (directory / "log.csv").write_text("\n".join(lines) + "\n")
    return directory


@pytest.fixture
def only(monkeypatch):
    """Return a function that leaves some sections in the report, since figures take their time."""
    return lambda *sections: monkeypatch.setattr(analyse, "SECTIONS", sections)


def test_velocities_alone_make_the_spectrum_and_nothing_is_folded_back(tmp_path):
    """Frames every 10 fs, as by default, show motion up to 1668 cm⁻¹; velocities every 2 fs all."""
    run = make_run(tmp_path / "run", molecule("H2O"), interval_fs=10.0)
    rare = dynamics.vibrations(read_runs([run], None, 1))
    assert "velocities every 10 fs" in rare.warnings[0] and "1668 cm⁻¹" in rare.warnings[0]
    atoms = molecule("H2O")
    moments = 2.0 * np.arange(1000)  # fs
    with h5py.File(run / "trajectory.h5md", "r+") as file:
        for name, rows in (
            ("step", 4 * np.arange(1000)),
            ("time", moments),
            ("value", np.cos(2 * np.pi * 3000 / PER_CM * moments)[:, None, None] * np.ones((3, 3))),
        ):
            file[f"parameters/velocities/{name}"].resize(1000, axis=0)
            file[f"parameters/velocities/{name}"][:] = rows
    [found] = read_runs([run], 0.0, 1)
    assert found.trajectory.velocity_interval_fs == 2.0 and found.trajectory.interval_fs == 10.0
    section = dynamics.vibrations([found])
    assert not section.warnings
    peak = max((row for row in section.data.rows if row[1] == "all"), key=lambda row: float(row[3]))
    assert peak[2] == pytest.approx(3000, abs=170)  # ten blocks of 0.2 ps
    assert len(found.trajectory.positions) == 200 and len(found.atoms) == len(atoms)


def invoke(*words: Any) -> Any:
    return CliRunner().invoke(app, ["analyse", *map(str, words)])


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_what_a_short_run_cannot_tell_is_a_dash(only, tmp_path):
    only(thermodynamics.temperatures, thermodynamics.drift)
    run = make_run(tmp_path / "short", molecule("H2O"), n_frames=2)
    done = invoke(run, "--output", tmp_path / "report")
    assert done.exit_code == 0, done.output
    assert "short: too short for a drift, 2 rows in its log; three are the least." in done.stderr
    page = Outline((tmp_path / "report" / "report.html").read_text(encoding="utf-8"))
    assert "–" in page.found["td"] and not {"nan", "inf", "+nan"} & set(page.found["td"])


def test_the_report_needs_no_other_file(tmp_path):
    run = make_run(tmp_path / "ethanol", molecule("CH3CH2OH"))
    done = invoke(run, "--output", tmp_path / "report")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    page = Outline(text)
    assert page.found["h2"] == [
        *("Energies", "Temperature", "Energy drift", "Bonds", "Angles", "Dihedrals"),
        *("Distances", "Velocity autocorrelation", "Vibrational density of states"),
    ]
    assert len(page.found["img"]) == len(page.found["h2"])
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in page.links)
    assert "<script" not in text
    pictures = {path.stem for path in (tmp_path / "report").glob("*.png")}
    assert pictures == {
        "energies",
        "temperature",
        "drift",
        "bonds",
        "angles",
        "dihedrals",
        "distances",
        "vacf",
        "vdos",
    }
    assert all(imread(tmp_path / "report" / f"{name}.png").std() > 0.01 for name in pictures)
    assert all((tmp_path / "report" / f"{name}.csv").is_file() for name in pictures)
    assert json.loads((tmp_path / "report" / "manifest.json").read_text())["status"] == "finished"
    assert not list((tmp_path / "report").glob(".*"))


def test_numbers_are_those_of_the_run(only, tmp_path):
    only(
        thermodynamics.energies, thermodynamics.temperatures, thermodynamics.drift, structure.bonds
    )
    run = make_run(tmp_path / "ethanol", molecule("CH3CH2OH"))
    assert invoke(run, "--output", tmp_path / "report", "--skip-ps", 0.2).exit_code == 0
    log = np.genfromtxt(run / "log.csv", delimiter=",", names=True)
    (energies,) = rows_of(tmp_path / "report" / "energies_summary.csv")
    assert float(energies["kinetic (eV)"].split("\u00a0")[0]) == pytest.approx(
        log["kinetic_energy_eV"][50:].mean(), abs=5e-4
    )
    (drift,) = rows_of(tmp_path / "report" / "drift_summary.csv")
    assert float(drift["drift (meV/atom/ps)"].split("\u00a0")[0]) == pytest.approx(
        1 / 0.004 / 9, rel=1e-3
    )
    bonds = {row["kind"]: row for row in rows_of(tmp_path / "report" / "bonds_summary.csv")}
    assert {name: int(row["how many"]) for name, row in bonds.items()} == {
        "C(H2O)–C(H3)": 1,
        "C(CH2)–H": 3,
        "C(CHO)–H": 2,
        "C(CH2)–O(H)": 1,
        "H–O(C)": 1,
    }
    (seen,) = read_runs([run], 0.2, 1)
    lengths = np.linalg.norm(
        seen.trajectory.positions[:, 1] - seen.trajectory.positions[:, 0], axis=1
    )
    assert float(bonds["C(H2O)–C(H3)"]["mean (Å)"].split("\u00a0")[0]) == pytest.approx(
        lengths.mean(), abs=5e-4
    )
    (temperature,) = rows_of(tmp_path / "report" / "temperature_summary.csv")
    assert int(temperature["degrees of freedom"]) == 27
    assert float(temperature["p (KS)"]) > 1e-3


def test_several_runs_are_drawn_together_and_compared(only, tmp_path):
    only(structure.bonds, thermodynamics.ensemble_pairs)
    cold = make_run(tmp_path / "a" / "run", molecule("H2O"), temperature_K=300)
    hot = make_run(tmp_path / "b" / "run", molecule("H2O"), temperature_K=360, seed=1)
    assert invoke(cold, hot, "--output", tmp_path / "report").exit_code == 0
    text = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "Two temperatures" in Outline(text).found["h2"]
    assert {row["run"] for row in rows_of(tmp_path / "report" / "bonds.csv")} == {"a/run", "b/run"}
    (pair,) = rows_of(tmp_path / "report" / "ensemble_summary.csv")
    assert float(pair["theory (1/eV)"]) == pytest.approx((1 / 300 - 1 / 360) / units.kB, abs=1e-3)
    assert float(pair["p"]) > 1e-3


def test_a_wrong_temperature_is_pointed_out(only, tmp_path):
    only(thermodynamics.temperatures)
    run = make_run(tmp_path / "run", molecule("CH3CH2OH"), n_frames=1000)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["options"]["temperature_K"] = 330
    (run / "manifest.json").write_text(json.dumps(manifest))
    done = invoke(run, "--output", tmp_path / "report")
    assert "the mean of the kinetic energy is not canonical" in done.stderr
    assert "not canonical" in (tmp_path / "report" / "report.html").read_text()


def test_a_periodic_run_has_radial_distributions_and_diffusion(only, tmp_path):
    only(structure.distances, structure.radial, dynamics.diffusion)
    atoms = bulk("Cu", cubic=True).repeat(2)
    run = make_run(tmp_path / "run", atoms, n_frames=100)
    assert invoke(run, "--output", tmp_path / "report").exit_code == 0
    pictures = {path.stem for path in (tmp_path / "report").glob("*.png")}
    assert {"rdf", "msd"} == pictures
    rdf = np.array(
        [(float(row["r_A"]), float(row["g"])) for row in rows_of(tmp_path / "report" / "rdf.csv")]
    )
    assert rdf[rdf[:, 1].argmax(), 0] == pytest.approx(atoms.get_distance(0, 1), abs=0.15)


def test_without_mdanalysis_the_report_says_what_to_install(only, tmp_path, monkeypatch):
    only(structure.radial)
    monkeypatch.setattr("md_runs.analysis.structure.has_mdanalysis", lambda: False)
    run = make_run(tmp_path / "run", bulk("Cu", cubic=True), n_frames=100)
    done = invoke(run, "--output", tmp_path / "report")
    assert done.exit_code == 0
    assert 'pip install "polcalc[analysis]"' in done.stderr
    assert not (tmp_path / "report" / "rdf.png").exists()


def test_rare_frames_are_no_spectrum(only, tmp_path):
    only(dynamics.vibrations)
    run = make_run(tmp_path / "run", molecule("H2O"), interval_fs=10)
    done = invoke(run, "--output", tmp_path / "report")
    assert "up to 1668 cm⁻¹ only" in done.stderr


def test_what_moving_points_did_is_shown(only, tmp_path):
    """A real run of an untrained model with moving points.

    Its trajectory keeps their displacements.
    """
    only(structure.polarization)
    model = write_moving_model(tmp_path / "model.pt")
    molecule("H2O").write(tmp_path / "water.xyz")
    words = (
        f"--model {model} --ensemble nve --bonds free --temperature-K 10 --steps 60"
        " --trajectory-every 1 --dtype float64".split()
    )
    done = CliRunner().invoke(
        app, ["md", str(tmp_path / "water.xyz"), *words, "--output", str(tmp_path / "run")]
    )
    assert done.exit_code == 0, done.output
    (run,) = read_runs([tmp_path / "run"], 0.0, 1)
    assert run.trajectory.polarization is not None
    assert run.trajectory.polarization.shape == (61, 3, 3)
    assert np.abs(run.trajectory.polarization).max() > 0
    assert invoke(tmp_path / "run", "--output", tmp_path / "report").exit_code == 0
    assert {
        row["element"] for row in rows_of(tmp_path / "report" / "polarization_summary.csv")
    } == {"H", "O"}


def write_moving_model(path: Path) -> Path:
    import torch

    from potentials.build import build
    from potentials.checkpoint import Card, save

    torch.manual_seed(0)
    spec = {
        "cutoff": 4.5,
        "architecture": {"name": "tensornet", "channels": 8, "n_layers": 2},
        "radial": {"name": "exp_normal", "n_radial": 8},
        "points": {"name": "moving"},
    }
    save(path, build(spec), Card(name="moving", elements=[1, 8], states=[[0, 1, 10]]))
    return path


def test_a_run_that_was_killed_can_be_read(tmp_path):
    run = make_run(tmp_path / "run", molecule("H2O"))
    with (run / "log.csv").open("a") as log:
        log.write("200,0.8,1.0")
    (found,) = read_runs([run], None, 1)
    assert len(found.log["time_ps"]) == 200
    assert found.first_row == 40
    assert found.trajectory.time_fs[0] == 160
    (equilibrated,) = read_runs(
        [make_run(tmp_path / "other", molecule("H2O"), equilibrate_ps=1.0)], None, 1
    )
    assert equilibrated.first_row == 0


@pytest.mark.parametrize(
    ("prepare", "words", "said"),
    [
        (lambda run: None, ["--skip-ps", "5"], "`--skip-ps` must be shorter than the run"),
        (lambda run: (run / "trajectory.h5md").unlink(), [], "without trajectory.h5md"),
        (
            lambda run: (run / "log.csv").write_text(",".join(COLUMNS) + "\n"),
            [],
            "some rows in its log",
        ),
        (lambda run: None, ["--frames-every", "500"], "at least 2 frames"),
    ],
)
def test_what_cannot_be_analysed_is_refused(prepare, words, said, tmp_path):
    run = make_run(tmp_path / "run", molecule("H2O"))
    prepare(run)
    done = invoke(run, "--output", tmp_path / "report", *words)
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())
    assert not (tmp_path / "report").exists()


def test_a_run_is_named_once_and_a_report_not_overwritten(tmp_path):
    run = make_run(tmp_path / "run", molecule("H2O"))
    assert "twice" in invoke(run, run, "--output", tmp_path / "report").stderr
    shutil.copytree(run, tmp_path / "copy")
    assert invoke(run, "--output", tmp_path / "copy").exit_code == 2


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (1.23456, 0.0123, "1.235\u00a0±\u00a00.012"),
        (512.3, 20.0, "512\u00a0±\u00a020"),
        (2.5e-9, 1e-10, "(2.50\u00a0±\u00a00.10)·10^-9"),
        (1.5, float("nan"), "1.5"),
        (float("nan"), 1.0, "–"),
    ],
)
def test_numbers_are_written_with_their_errors(value, error, expected):
    assert with_error(value, error) == expected


def test_text_is_escaped():
    from md_runs.analysis import html as page
    from md_runs.analysis.section import Table

    text = page.render("a<b", "&", Table(("x",), [("<script>",), ("2·10^-5",)]), [], {}, ["<i>"])
    assert not re.search(r"<script>|<i>|a<b", text)
    assert "10<sup>−5</sup>" in text
    assert analyse.to_csv(Table(("a",), [(0.1,), ("x,y",)])) == 'a\n0.1\n"x,y"\n'


def test_what_else_was_logged_is_shown(only, tmp_path):
    only(thermodynamics.further_columns)
    run = make_run(tmp_path / "run", molecule("H2O"))
    header, *lines = (run / "log.csv").read_text().splitlines()
    longer = [f"{line},{1000 + n % 2},0.1" for n, line in enumerate(lines)]
    (run / "log.csv").write_text("\n".join([f"{header},volume_A3,pressure_GPa", *longer]) + "\n")
    assert invoke(run, "--output", tmp_path / "report").exit_code == 0
    means = {
        row["quantity"]: row["mean"] for row in rows_of(tmp_path / "report" / "more_summary.csv")
    }
    assert set(means) == {"volume_A3", "pressure_GPa"}
    assert float(means["volume_A3"].split("\u00a0")[0]) == pytest.approx(1000.5, abs=0.1)
    assert (
        "Further columns of the log"
        in Outline((tmp_path / "report" / "report.html").read_text(encoding="utf-8")).found["h2"]
    )
