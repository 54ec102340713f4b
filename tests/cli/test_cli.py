"""The shell: what a chemist types, what comes out, and what bad input gets."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read
from typer.testing import CliRunner, Result

from md_runs.cli import app as cli
from md_runs.records.trajectory import read_trajectory
from potentials.build import build
from potentials.checkpoint import Card, save
from tests.small import SPEC, write_small_model


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """A folder with an untrained model and structures."""
    folder = tmp_path_factory.mktemp("inputs")
    write_small_model(folder / "m.pt")
    molecule("CH3CH2OH").write(folder / "ethanol.xyz")
    molecule("CH3Cl").write(folder / "chloromethane.xyz")
    hydroxide = molecule("OH")
    hydroxide.set_initial_magnetic_moments(None)
    hydroxide.info |= {"charge": -1, "multiplicity": 1}
    hydroxide.write(folder / "hydroxide.extxyz")
    (folder / "noise.xyz").write_text("this is\nno structure\n")
    (folder / "empty.xyz").write_text("")
    used = folder / "used"
    used.mkdir()
    (used / "precious.txt").write_text("mine")
    return folder


@pytest.fixture
def polcalc(inputs, tmp_path, monkeypatch):
    """Run a command in an empty folder; names of inputs are replaced by their paths."""
    monkeypatch.chdir(tmp_path)

    def run(command: str) -> Result:
        words = [
            str(inputs / word) if (inputs / word).exists() else word for word in command.split()
        ]
        return CliRunner().invoke(cli.app, words)

    return run


# ---- what is typed


@pytest.mark.parametrize("command", ["md", "relax", "validate", "info", "states", "audit"])
def test_every_command_explains_itself(command, polcalc):
    result = polcalc(f"{command} --help")
    assert result.exit_code == 0
    assert "MODEL" in result.output.upper()


@pytest.mark.parametrize(
    ("command", "panel"),
    [("md", "Dynamics"), ("relax", "Search"), ("states", "Search"), ("train", "Training")],
)
def test_options_stand_under_what_the_command_does(polcalc, command: str, panel: str) -> None:
    shown = polcalc(f"{command} --help").output
    assert [name for name in ("Dynamics", "Search", "Training") if f"\n{name}:\n" in shown] == [
        panel
    ]


def test_what_a_command_of_several_does_is_not_cut(polcalc) -> None:
    shown = " ".join(polcalc("labels --help").output.split())
    assert "singlet and triplet at every geometry." in shown and "..." not in shown.split("-h,")[1]


def test_options_name_their_units(polcalc):
    """A number with a unit says so in its name."""
    names = {
        name
        for command in ("md", "relax", "validate")
        for name in re.findall(r"--[A-Za-z-]+", polcalc(f"{command} --help").output)
    }
    assert {
        "--temperature-K",
        "--timestep-fs",
        "--thermostat-time-fs",
        "--fmax-eV-per-A",
        "--charge",
        "--multiplicity",
    } <= names
    assert not names & {"--temperature", "--timestep", "--fmax", "--spin"}


# ---- bad input


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("md missing.xyz --model m.pt", "existing file"),
        ("md noise.xyz --model m.pt", "number of atoms in line 1"),
        ("md empty.xyz --model m.pt", "STRUCTURE"),
        ("md ethanol.xyz --model nosuchmodel", "nosuchmodel"),
        ("md ethanol.xyz --model noise.xyz", "model file"),
        ("md ethanol.xyz --model m.pt --multiplicity 2", "26 electrons"),
        ("md ethanol.xyz --model m.pt --charge 1 --multiplicity 1", "25 electrons"),
        ("md chloromethane.xyz --model m.pt", "Cl"),
        ("md ethanol.xyz --model m.pt --device abacus", "device"),
        ("md ethanol.xyz --model m.pt --engine steam", "engine"),
        ("md ethanol.xyz --model m.pt --output used", "in use"),
        ("md ethanol.xyz --model m.pt --output noise.xyz", "must be a directory"),
        ("md ethanol.xyz --model m.pt --ensemble nve --thermostat bussi", "--thermostat"),
        ("md ethanol.xyz --model m.pt --timestep-fs -1", "--timestep-fs"),
        ("md ethanol.xyz --model m.pt --velocities structure", "velocities"),
        ("relax missing.xyz --model m.pt", "existing file"),
        ("relax ethanol.xyz missing.xyz --model m.pt", "existing file"),
        ("relax ethanol.xyz --model m.pt --cell", "--cell"),
        ("relax ethanol.xyz --model m.pt --fmax-eV-per-A 0", "--fmax-eV-per-A"),
        ("relax ethanol.xyz --model m.pt --output used", "in use"),
        ("validate --model m.pt --data missing.npz", "missing.npz"),
        ("validate --model m.pt --data missing.npz --output used", "in use"),
        ("validate --model m.pt --data missing.npz --json noise.xyz", "new file"),
        ("info nosuchmodel", "nosuchmodel"),
        ("info noise.xyz", "model file"),
    ],
)
def test_bad_input_gets_one_line_and_writes_nothing(command, message, polcalc, inputs, tmp_path):
    result = polcalc(command)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []
    assert [p.name for p in (inputs / "used").iterdir()] == ["precious.txt"]


@pytest.mark.parametrize(
    "command", ["md", "md ethanol.xyz --model m.pt --ensemble npt", "nothing", "relax --model m.pt"]
)
def test_unknown_and_missing_options_end_with_two(command, polcalc, tmp_path):
    result = polcalc(command)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


# ---- dynamics


def test_md(polcalc, inputs, tmp_path):
    result = polcalc(
        "md ethanol.xyz --model m.pt --ensemble nvt --thermostat bussi --temperature-K 200 --steps"
        " 40 --seed 4 --output run"
    )
    assert result.exit_code == 0, result.output
    assert "energy drift" in result.stdout
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert (
        manifest["options"]["thermostat"],
        manifest["options"]["temperature_K"],
        manifest["seed"],
    ) == ("bussi", 200, 4)
    assert len(manifest["model"]["sha256"]) == 64
    assert manifest["state"]["multiplicity"] == 1
    assert manifest["engine"]
    assert {"polcalc", "torch", "ase", "python"} <= set(manifest["versions"])
    # resolved, not left to the default of some version
    assert manifest["options"]["thermostat_time_fs"] == 100


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(polcalc, tmp_path):
    result = polcalc("md ethanol.xyz --model m.pt --steps 2000 --equilibrate-ps 0.5 --dry-run")
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    assert "1,000 steps of 0.5 fs: 0.5 ps" in said and "2,000 steps of 0.5 fs: 1 ps" in said
    assert "101 frames" in said and "charge +0 (default)" in said
    assert list(tmp_path.iterdir()) == []
    assert polcalc("md ethanol.xyz --model m.pt --output used --dry-run").exit_code == 2


def test_md_takes_charge_and_spin_from_the_file_or_the_shell(polcalc, tmp_path):
    assert polcalc("md hydroxide.extxyz --model m.pt --steps 5 --output a").exit_code == 0
    assert (
        polcalc("md ethanol.xyz --model m.pt --multiplicity 3 --steps 5 --output b").exit_code == 0
    )
    states = [
        (f.info["charge"], f.info["multiplicity"])
        for run in "ab"
        for f in read_trajectory(tmp_path / run / "trajectory.h5md")
    ]
    assert states == [(-1, 1), (0, 3)]
    final = read(tmp_path / "a" / "final.extxyz")
    assert (final.info["charge"], final.info["multiplicity"]) == (-1, 1)


def test_md_goes_on_from_where_it_ended(polcalc, tmp_path):
    assert polcalc("md ethanol.xyz --model m.pt --steps 10 --output first").exit_code == 0
    result = polcalc(
        f"md {tmp_path}/first/final.extxyz --model m.pt --ensemble nve --velocities structure"
        " --steps 10 --output second"
    )
    assert result.exit_code == 0, result.output
    last = read(tmp_path / "first" / "final.extxyz")
    first = next(read_trajectory(tmp_path / "second" / "trajectory.h5md"))
    assert np.allclose(last.get_momenta(), first.get_momenta(), atol=1e-7)


def test_a_killed_run_leaves_readable_files(inputs, tmp_path):
    """A polite kill ends with a summary.

    A hard one leaves trajectory, log and manifest readable.
    """
    for sent, code in ((signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)):
        output = tmp_path / sent.name
        words = [
            "md",
            inputs / "ethanol.xyz",
            "--model",
            inputs / "m.pt",
            "--steps",
            "1000000",
            "--bonds",
            "free",
            "--log-every",
            "1",
        ]
        command = [
            sys.executable,
            "-m",
            "md_runs.cli.app",
            *map(str, words),
            "--output",
            str(output),
        ]
        with subprocess.Popen(
            command,
            cwd=Path(__file__).parents[2],
            env=os.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as run:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline and not (
                (output / "log.csv").exists() and (output / "log.csv").stat().st_size > 2000
            ):
                time.sleep(0.05)
            run.send_signal(sent)
            _, said = run.communicate(timeout=120)
        assert run.returncode == code
        rows = np.genfromtxt(output / "log.csv", delimiter=",", names=True, invalid_raise=False)
        assert len(rows) > 10
        frames = list(read_trajectory(output / "trajectory.h5md"))
        manifest = json.loads((output / "manifest.json").read_text())
        if sent == signal.SIGTERM:
            assert b"Traceback" not in said
            assert manifest["status"] == "interrupted"
            assert frames
        else:
            assert manifest["status"] == "running"


# ---- relax, validate, info


def test_relax_says_when_it_did_not_converge(polcalc, tmp_path):
    result = polcalc(
        "relax ethanol.xyz hydroxide.extxyz --model m.pt --steps 1 --fmax-eV-per-A 1e-9"
    )
    assert result.exit_code == 1
    assert "2 of 2 structures did not reach" in result.stderr
    relaxed = read(tmp_path / "polcalc-relax" / "relaxed.extxyz", ":")
    assert [bool(a.info["converged"]) for a in relaxed] == [False, False]
    assert (
        json.loads((tmp_path / "polcalc-relax" / "manifest.json").read_text())["not_converged"] == 2
    )


def test_relax(polcalc, tmp_path):
    result = polcalc(
        "relax ethanol.xyz hydroxide.extxyz --model m.pt --optimizer fire --fmax-eV-per-A 50"
        " --output out"
    )
    assert result.exit_code == 0, result.output
    assert "ethanol.xyz" in result.stdout
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "relaxed.extxyz",
        "relax.csv",
        "manifest.json",
    }


def test_validate(polcalc, tmp_path, monkeypatch):
    atoms = molecule("CH3CH2OH")
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.zeros((9, 3)))
    monkeypatch.setattr("md_runs.models.validate.read_labelled", lambda data: [atoms, atoms])
    result = polcalc("validate --model m.pt --data some --json errors.json --output out")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "errors.json").read_text())
    assert found["n_frames"] == 2
    keys = {
        "energy_mae_meV",
        "energy_rmse_meV",
        "forces_mae_meV_per_A",
        "forces_rmse_meV_per_A",
        "energy_max_meV",
        "by_state",
    }
    assert keys <= set(found)
    assert (tmp_path / "out" / "parity.png").stat().st_size > 5000


def test_info(polcalc):
    result = polcalc("info m.pt --json")
    facts = json.loads(result.stdout)
    assert facts["card"]["elements"] == [1, 6, 8]
    assert len(facts["sha256"]) == 64
    assert facts["parameters"] > 1000
    table = polcalc("info m.pt").stdout
    assert "H C O" in table
    assert f"{facts['parameters']:,} parameters" in table
    assert "eV/Å" in table


# ---- fragments and partial charges


def test_fragments_and_partial_charges_from_files(polcalc, tmp_path):
    """They reach the calculator, and the manifest holds what was in the files."""
    (tmp_path / "parts.json").write_text('[{"atoms": [0, 1], "charge": -1}]')
    assert (
        polcalc(
            "relax hydroxide.extxyz --model m.pt --fragments parts.json --fmax-eV-per-A 50"
            " --output a"
        ).exit_code
        == 0
    )
    assert (
        json.loads((tmp_path / "a" / "manifest.json").read_text())["state"]["charge_source"]
        == "fragments"
    )
    assert (
        polcalc(
            "md hydroxide.extxyz --model m.pt --fragments parts.json --steps 2 --output b"
        ).exit_code
        == 0
    )
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert manifest["calculator"]["fragments"] == [{"atoms": [0, 1], "charge": -1}]
    (tmp_path / "q.txt").write_text("0.1 -0.1\n")
    refused = polcalc("relax hydroxide.extxyz --model m.pt --partial-charges q.txt")
    assert refused.exit_code == 2 and "the model does not see them" in refused.stderr
    assert polcalc("md hydroxide.extxyz --model m.pt --fragments q.txt").exit_code == 2
    assert polcalc("md hydroxide.extxyz --model m.pt --partial-charges missing.txt").exit_code == 2


def test_a_restart_keeps_the_partial_charges_of_the_start(polcalc, tmp_path):
    pytest.importorskip("rdkit")
    potential = build(SPEC | {"state_factor": {"attributes": ["partial_charges"]}})
    save(tmp_path / "charged.pt", potential, Card(elements=[1, 6, 8], states=[[0, 1, 5]]))
    assert (
        polcalc(
            "md ethanol.xyz --model charged.pt --partial-charges gasteiger --steps 3 --output run"
        ).exit_code
        == 0
    )
    charges = json.loads((tmp_path / "run" / "manifest.json").read_text())["calculator"][
        "partial_charges"
    ]
    assert len(charges) == 9 and abs(sum(charges)) < 1e-6 and min(charges) < -0.3
    assert polcalc("md --restart run --steps 6").exit_code == 0
    assert (
        json.loads((tmp_path / "run" / "manifest.json").read_text())["calculator"][
            "partial_charges"
        ]
        == charges
    )
