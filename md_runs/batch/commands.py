"""The commands of `polcalc batch`: what is done with each molecule, by which options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from md_runs.batch.chunks import Job
from md_runs.batch.geometries import Geometries
from md_runs.batch.run import Where, run
from md_runs.conformers.search import Settings
from md_runs.dynamics.driver import DynamicsOptions
from md_runs.session import ModelOptions
from md_runs.surfaces.states import integers
from md_runs.surfaces.vib import check_positive

SIDE_BY_SIDE = 32  # molecules of a chunk, of energies
RELAXED = {"cpu": 8, "cuda": 256}  # likewise of relaxations; on a GPU many are in flight
FEW = 4  # likewise of longer searches


def energies(
    inputs: list[Path],
    model: str | None = None,
    charge: int | None = None,
    multiplicity: int | None = None,
    device: str = "auto",
    dtype: str = "float64",
    engine: str = "auto",
    jobs: int = 1,
    dask: str | None = None,
    output: Path = Path("polcalc-batch"),
    resume: bool = False,
    geometries: Geometries = "extxyz",
    parquet: bool = False,
) -> None:
    """Evaluate molecules as they are, into a directory.

    Raises
    ------
    InputError     bad input
    NotConverged   some molecules have no result
    """
    job = Job("energy", {}, SIDE_BY_SIDE)
    run(
        inputs,
        ModelOptions(model, device, dtype, engine, charge, multiplicity),
        job,
        Where(jobs, dask, output, resume, geometries, parquet),
    )


def minima(
    inputs: list[Path],
    model: str | None = None,
    optimizer: str = "auto",
    fmax_eV_per_A: float = 0.01,
    steps: int = 500,
    allow_saddle: bool = False,
    charge: int | None = None,
    multiplicity: int | None = None,
    device: str = "auto",
    dtype: str = "float64",
    engine: str = "auto",
    jobs: int = 1,
    dask: str | None = None,
    output: Path = Path("polcalc-batch"),
    resume: bool = False,
    geometries: Geometries = "extxyz",
    parquet: bool = False,
) -> None:
    """Relax molecules, into a directory.

    Raises
    ------
    InputError     bad input
    NotConverged   some molecules have no result, did not converge, or came to rest on a saddle
    """
    search = _search(optimizer, fmax_eV_per_A, steps, allow_saddle)
    job = Job("relax", search, RELAXED[_device(device)])
    run(
        inputs,
        ModelOptions(model, device, dtype, engine, charge, multiplicity),
        job,
        Where(jobs, dask, output, resume, geometries, parquet),
    )


def states(
    inputs: list[Path],
    model: str | None = None,
    charges: str = "auto",
    multiplicities: str = "auto",
    relax: bool = False,
    fmax_eV_per_A: float = 0.01,
    steps: int = 500,
    device: str = "auto",
    dtype: str = "float64",
    engine: str = "auto",
    jobs: int = 1,
    dask: str | None = None,
    output: Path = Path("polcalc-batch"),
    resume: bool = False,
    geometries: Geometries = "extxyz",
    parquet: bool = False,
) -> None:
    """Compare the electronic states of molecules, into a directory.

    Raises
    ------
    InputError     bad input
    NotConverged   some molecules have no result, or minima that did not converge
    """
    check_positive(fmax_eV_per_A=fmax_eV_per_A)
    options = {
        "charges": integers("--charges", charges),
        "multiplicities": integers("--multiplicities", multiplicities),
        "relax": relax,
        "fmax_eV_per_A": fmax_eV_per_A,
        "steps": steps,
    }
    job = Job("states", options, FEW)
    run(
        inputs,
        ModelOptions(model, device, dtype, engine),
        job,
        Where(jobs, dask, output, resume, geometries, parquet),
    )


def vibrations(
    inputs: list[Path],
    model: str | None = None,
    temperature_K: float = 298.15,
    pressure_bar: float = 1.0,
    optimizer: str = "auto",
    fmax_eV_per_A: float = 0.0001,
    steps: int = 500,
    allow_saddle: bool = False,
    charge: int | None = None,
    multiplicity: int | None = None,
    device: str = "auto",
    dtype: str = "float64",
    engine: str = "auto",
    jobs: int = 1,
    dask: str | None = None,
    output: Path = Path("polcalc-batch"),
    resume: bool = False,
    geometries: Geometries = "extxyz",
    parquet: bool = False,
) -> None:
    """Relax molecules and find their modes and thermochemistry, into a directory.

    Raises
    ------
    InputError     bad input
    NotConverged   some molecules have no result, did not converge, or came to rest on a saddle
    """
    check_positive(temperature_K=temperature_K, pressure_bar=pressure_bar)
    search = _search(optimizer, fmax_eV_per_A, steps, allow_saddle)
    options = {"search": search, "temperature_K": temperature_K, "pressure_bar": pressure_bar}
    job = Job("vib", options, FEW)
    run(
        inputs,
        ModelOptions(model, device, dtype, engine, charge, multiplicity),
        job,
        Where(jobs, dask, output, resume, geometries, parquet),
    )


def conformers(
    inputs: list[Path],
    model: str | None = None,
    embed: int | None = None,
    window_eV: float = 0.3,
    temperature_K: float = 298.15,
    optimizer: str = "auto",
    fmax_eV_per_A: float = 0.005,
    steps: int = 500,
    seed: int = 0,
    charge: int | None = None,
    multiplicity: int | None = None,
    device: str = "auto",
    dtype: str = "float64",
    engine: str = "auto",
    jobs: int = 1,
    dask: str | None = None,
    output: Path = Path("polcalc-batch"),
    resume: bool = False,
    geometries: Geometries = "extxyz",
    parquet: bool = False,
) -> None:
    """Find the conformers of molecules, into a directory.

    Raises
    ------
    InputError     bad input
    NotConverged   some molecules have no conformer
    """
    check_positive(window_eV=window_eV, temperature_K=temperature_K, fmax_eV_per_A=fmax_eV_per_A)
    settings = Settings(embed, window_eV, temperature_K, optimizer, fmax_eV_per_A, steps, seed)
    job = Job("conformers", settings._asdict(), 1)
    run(
        inputs,
        ModelOptions(model, device, dtype, engine, charge, multiplicity),
        job,
        Where(jobs, dask, output, resume, geometries, parquet),
    )


def dynamics(
    inputs: list[Path],
    model: str | None = None,
    steps: int = 2000,
    timestep_fs: float = 0.5,
    temperature_K: float = 300.0,
    relax_first: bool = False,
    trajectory_every: int = 100,
    seed: int = 0,
    charge: int | None = None,
    multiplicity: int | None = None,
    device: str = "auto",
    dtype: str = "float64",
    engine: str = "auto",
    jobs: int = 1,
    dask: str | None = None,
    output: Path = Path("polcalc-batch"),
    resume: bool = False,
    geometries: Geometries = "extxyz",
    parquet: bool = False,
) -> None:
    """Run dynamics of molecules, into a directory.

    Raises
    ------
    InputError     bad input
    NotConverged   some runs broke down
    """
    options: dict[str, Any] = {
        "steps": steps,
        "timestep_fs": timestep_fs,
        "temperature_K": temperature_K,
        "relax_first": relax_first,
        "trajectory_every": trajectory_every,
        "velocities_every": 0,
        "seed": seed,
    }
    DynamicsOptions(**options)  # which refuses what cannot be
    job = Job("md", options, 1)
    run(
        inputs,
        ModelOptions(model, device, dtype, engine, charge, multiplicity),
        job,
        Where(jobs, dask, output, resume, geometries, parquet),
    )


def _search(optimizer: str, fmax_eV_per_A: float, steps: int, allow_saddle: bool) -> dict[str, Any]:
    """Name the arguments of `relaxing`."""
    check_positive(fmax_eV_per_A=fmax_eV_per_A)
    saddles = "keep" if allow_saddle else "leave"
    return {
        "optimizer": optimizer,
        "fmax_eV_per_A": fmax_eV_per_A,
        "steps": steps,
        "saddles": saddles,
    }


def _device(name: str) -> str:
    """Name the kind of a device."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name.partition(":")[0] if name.startswith(tuple(RELAXED)) else "cpu"
