"""Runs in an electric field: the conserved energy, an oscillating field, a restart in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from ase.build import molecule
from ase.io import write

from md_runs.dynamics.driver import Dynamics, DynamicsOptions, Result
from md_runs.dynamics.md import md
from md_runs.errors import InputError
from md_runs.records.output import claim
from polcalc import PolarizedCalculator
from potentials.quantities import DEBYE
from tests.polar import polar_model, write_polar_model

FIELD = (0.1, -0.2, 0.3)  # V/Å


def run(output: Path, charge: int, **asked: Any) -> Result:
    atoms = molecule("H2O")
    atoms.calc = PolarizedCalculator(
        polar_model(),
        dtype="float64",
        engine="eager",
        device="cpu",
        charge=charge,
        electric_field_V_per_A=FIELD,
    )
    options = DynamicsOptions(
        ensemble="nve",
        temperature_K=50,
        velocities="thermal",
        electric_field_V_per_A=FIELD,
        log_every=1,
        **asked,
    )
    claim(output, {})
    dynamics = Dynamics(atoms, options, charge=charge, multiplicity=1 + charge % 2)
    return dynamics.run(output, {})


def deviation(result: Result, column: str) -> float:
    """Largest difference from the start, meV."""
    values = result.log.column(column)
    return float(1000 * np.abs(values - values[0]).max())


@pytest.mark.parametrize(("charge", "frequency_THz"), [(1, None), (0, 40.0), (1, 40.0)])
def test_the_conserved_energy_stays(
    tmp_path: Path, charge: int, frequency_THz: float | None
) -> None:
    """Also where the field does work: the error falls with the square of the time step."""
    runs = [
        run(
            tmp_path / f"{steps}",
            charge,
            steps=steps,
            timestep_fs=10.0 / steps,
            electric_field_THz=frequency_THz,
        )
        for steps in (40, 80)
    ]
    dipoles = [runs[0].log.column(f"dipole_{axis}_e_A") for axis in "xyz"]
    sizes = np.linalg.norm(dipoles, axis=0)
    late = sizes[len(sizes) // 5 :]  # what the means are of
    if charge:  # it depends on the origin
        assert runs[0].summary.dipole_D is None
    else:
        assert runs[0].summary.dipole_D == pytest.approx(late.mean() / DEBYE)
    coarse, fine = (deviation(result, "conserved_energy_eV") for result in runs)
    assert coarse < 0.2
    assert 3 < coarse / fine < 5
    total = deviation(runs[0], "total_energy_eV")
    assert total > 20 * coarse if frequency_THz else total == coarse


def test_a_restart_in_an_oscillating_field_ends_with_the_same_bits(tmp_path: Path) -> None:
    write_polar_model(tmp_path / "model.pt")
    write(tmp_path / "water.xyz", molecule("H2O"))
    asked: dict[str, Any] = {
        "model": str(tmp_path / "model.pt"),
        "ensemble": "nve",
        "temperature_K": 50.0,
        "timestep_fs": 0.5,
        "engine": "eager",
        "electric_field_V_per_A": FIELD,
        "electric_field_THz": 40.0,
        "trajectory_every": 1,
        "log_every": 1,
    }
    md(tmp_path / "water.xyz", steps=12, output=tmp_path / "whole", **asked)
    md(tmp_path / "water.xyz", steps=5, output=tmp_path / "parts", **asked)
    md(restart=tmp_path / "parts", steps=12, given={"restart", "steps"})
    logs = [(tmp_path / name / "log.csv").read_text() for name in ("whole", "parts")]
    assert logs[0] == logs[1]
    for series in ("particles/trajectory/position/value", "parameters/velocities/dipole"):
        kept = []
        for name in ("whole", "parts"):
            with h5py.File(tmp_path / name / "trajectory.h5md") as file:
                kept.append(file[series][()])
        assert np.array_equal(*kept) and len(kept[0]) > 3


def test_a_field_of_the_structure_file_is_there_after_a_restart(tmp_path: Path) -> None:
    write_polar_model(tmp_path / "model.pt")
    atoms = molecule("H2O")
    atoms.info["electric_field_V_per_A"] = np.array(FIELD)
    write(tmp_path / "water.extxyz", atoms)
    asked: dict[str, Any] = {
        "model": str(tmp_path / "model.pt"), "ensemble": "nve", "temperature_K": 50.0,
        "engine": "eager", "log_every": 1,
    }  # fmt: skip
    md(tmp_path / "water.extxyz", steps=4, output=tmp_path / "whole", **asked)
    md(tmp_path / "water.extxyz", steps=2, output=tmp_path / "parts", **asked)
    md(restart=tmp_path / "parts", steps=4, given={"restart", "steps"})
    logs = [(tmp_path / name / "log.csv").read_text() for name in ("whole", "parts")]
    assert logs[0] == logs[1]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"electric_field_THz": 10.0}, "must come with --electric-field-V-per-A"),
        ({"electric_field_V_per_A": FIELD, "electric_field_THz": 200.0}, "at most 100 THz"),
        ({"electric_field_V_per_A": FIELD, "electric_field_THz": 0.0}, "must be positive"),
    ],
)
def test_fields_that_steps_cannot_follow_are_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DynamicsOptions(**asked)
