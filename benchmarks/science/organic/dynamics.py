"""Parts on dynamics: whether molecules hold together, and what liquid water is like.

Runs are those of `polcalc md`, with all its guards; only models run, the others take hours.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import read

from benchmarks.dynamics import complete, status
from benchmarks.science.organic.contestants import Contestant, key_of
from benchmarks.science.organic.liquid import liquid
from benchmarks.science.organic.settings import Missing, Settings, molecules_of, there
from md_runs.records.structures import write_structures
from md_runs.records.trajectory import read_trajectory

TIMESTEP_FS = 1.0
TEMPERATURES_K = (300, 500)
AMU_PER_A3 = 1.66053907  # g/cm³
LIQUID = (1.0, 2.8)  # g/cm³, and Å of the first peak of O–O


def stable(contestant: Contestant, settings: Settings) -> dict[str, Any]:
    """Run molecules at 300 K and at 500 K, a fifth of them open shells: no guard may end a run."""
    _only_models(contestant)
    n_open = 0 if settings.open_shells is None else settings.runs // 5
    molecules = list(molecules_of(there(settings.frames, "--frames"), settings.runs - n_open))
    if settings.open_shells is not None:
        molecules += molecules_of(settings.open_shells, n_open)
    found: dict[str, Any] = {"n_run": len(molecules), "length_ps": settings.length_ps}
    for temperature in TEMPERATURES_K:
        folder = _folder(contestant, settings) / f"{temperature}K"
        broken = [
            {"formula": atoms.get_chemical_formula("hill"), **atoms.info}
            for seed, atoms in enumerate(molecules)
            if not _holds(contestant, atoms, temperature, seed, folder, settings)
        ]
        found |= {
            f"n_stable_{temperature}K": len(molecules) - len(broken),
            f"percent_{temperature}K": 100 * (1 - len(broken) / len(molecules)),
            f"broken_{temperature}K": broken,
        }
    return found


def water(contestant: Contestant, settings: Settings) -> dict[str, Any]:
    """Run 64 molecules of water at 300 K and 1 bar: density, first peak of O–O, drift."""
    _only_models(contestant)
    directory = _folder(contestant, settings) / f"water-{settings.water_ps:g}"
    try:
        complete(
            directory,
            _start(settings.store / "water.extxyz"),
            model=contestant.path,
            ensemble="npt",
            relax_first=True,
            temperature_K=300,
            equilibrate_ps=settings.water_ps / 2,
            timestep_fs=TIMESTEP_FS,
            barostat_time_fs=500,
            steps=round(1000 * settings.water_ps / TIMESTEP_FS),
            trajectory_every=50,
            log_every=20,
        )
    except RuntimeError as error:  # not even begun
        return {"crashed": str(error).splitlines()[-1]}
    manifest = json.loads((directory / "manifest.json").read_text())
    if status(directory) != "finished":
        return {"crashed": str(manifest["alarms"][-1])}
    summary = manifest["summary"]
    frames = list(read_trajectory(directory / "trajectory.h5md"))
    scale = float(frames[0].get_masses().sum()) * AMU_PER_A3
    volume, error = summary["volume_A3"], summary["volume_error_A3"]  # None of a short run
    density = scale / volume
    peak = _first_peak(frames)
    return {
        "length_ps": settings.water_ps,
        "ms_per_step": summary["ms_per_step"],
        "density_g_per_cm3": density,
        "density_error_g_per_cm3": None if error is None else density * error / volume,
        "first_peak_A": peak,
        "drift_meV_per_atom_per_ps": abs(summary["drift_meV_per_atom_per_ps"]),
        "density_off_g_per_cm3": abs(density - LIQUID[0]),
        "first_peak_off_A": abs(peak - LIQUID[1]),
    }


def _holds(
    contestant: Contestant,
    atoms: Atoms,
    temperature_K: int,
    seed: int,
    folder: Path,
    settings: Settings,
) -> bool:
    directory = folder / key_of([atoms])
    try:
        complete(
            directory,
            atoms,
            model=contestant.path,
            relax_first=True,
            temperature_K=temperature_K,
            timestep_fs=TIMESTEP_FS,
            steps=round(1000 * settings.length_ps / TIMESTEP_FS),
            seed=seed,
            trajectory_every=200,
            log_every=200,
        )
    except RuntimeError:  # not even begun
        return False
    return status(directory) == "finished"


def _first_peak(frames: list[Atoms]) -> float:
    """Find the O–O distance in Å at which most neighbours are, by shells of one volume."""
    edges = np.arange(2.3, 4.0, 0.05)
    middles = (edges[1:] + edges[:-1]) / 2
    counts = np.zeros(len(middles))
    for atoms in frames:
        oxygens = atoms[atoms.numbers == 8]
        distances = oxygens.get_all_distances(mic=True)
        counts += np.histogram(distances[np.triu_indices(len(oxygens), 1)], edges)[0]
    return float(middles[np.argmax(counts / middles**2)])


def _start(path: Path) -> Atoms:
    """Make the liquid to start from, or read it."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_structures(path, [liquid()])
    atoms = read(path)
    assert isinstance(atoms, Atoms)
    return atoms


def _folder(contestant: Contestant, settings: Settings) -> Path:
    return settings.store / f"runs-{contestant.identity[:12]}"


def _only_models(contestant: Contestant) -> None:
    if not contestant.path:
        raise Missing(f"{contestant.name} takes too long for dynamics")
