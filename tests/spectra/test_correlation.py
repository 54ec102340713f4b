"""Spectra of made-up trajectories whose frequencies and intensities are known."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest
from ase import Atoms, units

from md_runs.analysis.analyse import analyse
from md_runs.dynamics.recorder import COLUMNS
from md_runs.records.output import to_json
from md_runs.records.trajectory import TrajectoryWriter
from md_runs.spectra.correlation import (
    PER_CM,
    Spectrum,
    infrared_spectrum,
    power_of_rate,
    raman_spectrum,
)
from md_runs.spectra.intensities import infrared_intensities, raman_activities
from md_runs.surfaces.vibrations import Mode
from md_runs.surfaces.vibrations import analyse as normal_modes
from tests.spectra.test_intensities import springs

FS_PER_PERIOD = 1 / (units._c * 100) * 1e15  # of 1 cm^-1
INTERVAL_FS, TEMPERATURE_K = 2.0, 350.0
KT = units.kB * TEMPERATURE_K * 1e-10 * units._e / units._amu  # u Å^2/fs^2


class Harmonic(NamedTuple):
    """A molecule of springs whose modes swing as its temperature says, and never meet."""

    atoms: Atoms
    modes: list[Mode]
    positions: np.ndarray  # (F, N, 3) Å


def harmonic(n_frames: int, per_cm: tuple[float, ...], seed: int = 0) -> Harmonic:
    """Let each mode have a mean kinetic energy of kT/2, at wave numbers of our choice.

    It is more at times and less at others, so that there is something to tell of errors.
    """
    atoms, rng = springs(), np.random.default_rng(seed)
    modes = normal_modes(atoms, atoms.calc).modes
    modes = [
        mode._replace(energy=complex(x * units.invcm))
        for mode, x in zip(modes, per_cm, strict=True)
    ]
    time_fs = np.arange(n_frames) * INTERVAL_FS
    positions = np.tile(atoms.positions, (n_frames, 1, 1))
    for mode in modes:
        omega = 2 * np.pi * mode.per_cm / PER_CM
        swing = np.sqrt(2 * KT) / omega * np.cos(omega * time_fs + rng.uniform(0, 2 * np.pi))
        more = 0.3 * np.sin(6e-4 * time_fs + rng.uniform(0, 2 * np.pi))
        swing *= (1 + more) / np.sqrt(np.mean((1 + more) ** 2))
        positions += swing[:, None, None] * mode.vectors
    return Harmonic(atoms, modes, positions)


def areas(spectrum: Spectrum, modes: list[Mode]) -> np.ndarray:
    """Integrate around each mode."""
    near = [abs(spectrum.wavenumber - mode.per_cm) < 60 for mode in modes]
    return np.array([np.trapezoid(spectrum.density[n], spectrum.wavenumber[n]) for n in near])


def test_bands_have_the_places_and_intensities_of_the_modes() -> None:
    """A Fourier transform of the run says what derivatives at the minimum say, also near 4000."""
    found = harmonic(20_000, (900.0, 2100.0, 3900.0))
    calc = found.atoms.calc
    dipoles = np.array([[-0.8, 0.4, 0.4] @ frame for frame in found.positions])
    spectrum = infrared_spectrum(dipoles, INTERVAL_FS, TEMPERATURE_K)
    expected = infrared_intensities(found.modes, calc.get_derivative(found.atoms, "dipole"))
    assert np.allclose(areas(spectrum, found.modes), expected, rtol=0.03)
    strongest = spectrum.wavenumber[spectrum.density.argmax()]
    assert strongest == pytest.approx(found.modes[int(expected.argmax())].per_cm, abs=10)
    assert np.trapezoid(spectrum.density, spectrum.wavenumber) == pytest.approx(
        expected.sum(), rel=0.03
    )


def test_raman_bands_have_the_activities_of_the_modes() -> None:
    found = harmonic(20_000, (900.0, 2100.0, 3900.0))
    derivative = found.atoms.calc.get_derivative(found.atoms, "polarizability")
    steps = found.positions - found.atoms.positions
    tensors = np.tensordot(steps, derivative, axes=2)  # linear: no overtones
    spectrum = raman_spectrum(tensors, INTERVAL_FS, TEMPERATURE_K)
    expected = raman_activities(found.modes, derivative).activity
    assert np.allclose(areas(spectrum, found.modes), expected, rtol=0.03)


def test_the_power_of_a_rate_is_its_mean_square() -> None:
    time_fs = np.arange(8000) * INTERVAL_FS
    slow, fast = (2 * np.pi * x / PER_CM for x in (500.0, 3500.0))
    series = np.column_stack([0.3 * np.cos(slow * time_fs), 1e-3 * np.sin(fast * time_fs) + 7.0])
    wavenumber, power = power_of_rate(series, INTERVAL_FS)
    total = np.trapezoid(power, wavenumber, axis=0)
    assert total == pytest.approx([0.5 * (0.3 * slow) ** 2, 0.5 * (1e-3 * fast) ** 2], rel=0.01)
    # a strong slow motion does not leak into the band of a weak fast one
    apart = power[abs(wavenumber - 3500) < 60, 0]
    assert np.trapezoid(apart) * 10 < 1e-6 * total[1]


def write_run(directory: Path, found: Harmonic, charge: int = 0) -> Path:
    """Write a run as `polcalc md` leaves it, with dipoles and polarizabilities."""
    directory.mkdir()
    options = {"ensemble": "nvt", "thermostat": "langevin", "temperature_K": TEMPERATURE_K}
    manifest = {"status": "finished", "options": options | {"timestep_fs": 0.5}}
    (directory / "manifest.json").write_text(to_json(manifest))
    frame, calc = found.atoms.copy(), found.atoms.calc
    frame.calc = calc
    frame.get_potential_energy()
    writer = TrajectoryWriter(
        directory / "trajectory.h5md",
        frame,
        charge=charge,
        multiplicity=1,
        interval_fs=INTERVAL_FS,
    )
    lines = [",".join(COLUMNS)]
    velocities = np.gradient(found.positions, INTERVAL_FS * units.fs, axis=0)
    heat = np.random.default_rng(1).gamma(4.5, size=len(found.positions))
    heat /= heat.mean()
    drift = np.array([0.0, 0.0, 1e-4])  # Å per frame, of the whole
    for n, positions in enumerate(found.positions):
        frame.positions = positions + n * drift
        frame.set_velocities(velocities[n])
        frame.get_potential_energy()
        calc.results["dipole"] = calc.results["dipole"] + charge * frame.get_center_of_mass()
        writer.append(n, n * INTERVAL_FS, frame)
        kinetic, kelvin = 0.13 * heat[n], TEMPERATURE_K * heat[n]
        energies = f"{0.1 - kinetic},{kinetic},0.1,{1 + 1e-9 * heat[n]}"
        lines.append(f"{n},{n * INTERVAL_FS / 1000},{energies},{kelvin}")
    writer.flush()
    (directory / "log.csv").write_text("\n".join(lines) + "\n")
    tensors = np.array([calc.polarizability(frame.copy()) for _ in range(len(found.positions))])
    for n, positions in enumerate(found.positions):
        frame.positions = positions
        tensors[n] = calc.polarizability(frame)
    with h5py.File(directory / "trajectory.h5md", "r+") as file:
        file["observables/polarizability/value"] = tensors
    return directory


@pytest.mark.parametrize("charge", [0, 1])
def test_the_report_shows_both_spectra(tmp_path: Path, charge: int) -> None:
    """Blocks give error bars that hold the intensities; an ion's drift is no band."""
    found = harmonic(5000, (900.0, 2100.0, 3900.0))
    analyse([write_run(tmp_path / "run", found, charge)], tmp_path / "report", skip_ps=0.0)
    table = np.genfromtxt(
        tmp_path / "report/infrared.csv", delimiter=",", names=True, dtype=None, encoding="utf-8"
    )
    derivative = found.atoms.calc.get_derivative(found.atoms, "dipole")
    expected = infrared_intensities(found.modes, derivative).sum()
    area = np.trapezoid(table["km_per_mol_cm"], table["wavenumber_per_cm"])
    assert area == pytest.approx(expected, rel=0.05)
    summary = (tmp_path / "report/infrared_summary.csv").read_text()
    rows = [line.split(",") for line in summary.splitlines()]
    mean, error = (float(x) for x in rows[1][3].split("±"))
    assert abs(mean - expected) < 3 * error < 0.4 * expected
    places = [float(row[2]) for row in rows[2:]]
    assert places == pytest.approx([mode.per_cm for mode in found.modes], abs=6)
    report = (tmp_path / "report/report.html").read_text()
    assert "Infrared spectrum" in report and "Raman spectrum" in report
    assert "quantum correction factor" in report


def test_runs_without_dipoles_have_no_such_section(tmp_path: Path) -> None:
    found = harmonic(300, (900.0, 2100.0, 3900.0))
    run = write_run(tmp_path / "run", found)
    with h5py.File(run / "trajectory.h5md", "r+") as file:
        del file["observables/dipole"], file["observables/polarizability"]
    analyse([run], tmp_path / "report", skip_ps=0.0)
    assert not (tmp_path / "report/infrared.csv").exists()
