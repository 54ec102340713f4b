"""Dynamics of molecules, each a run of its own, of which frames and means are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from md_runs.batch.rows import STRUCTURE, Ready, told
from md_runs.dynamics.driver import Dynamics, DynamicsOptions
from md_runs.records.convert import TRAJECTORY
from md_runs.records.structures import to_extxyz
from md_runs.records.trajectory import read_trajectory
from polcalc import PolarizedCalculator

KEPT = ("temperature_K", "temperature_error_K", "drift_meV_per_atom_per_ps", "dipole_D")


def work(
    ready: Sequence[Ready], calculator: PolarizedCalculator, options: Mapping[str, Any]
) -> None:
    """Run dynamics; ``options`` are fields of `DynamicsOptions`."""
    for each in ready:
        with told(each.row):
            _run(each, calculator, DynamicsOptions(**options))


def _run(ready: Ready, calculator: PolarizedCalculator, plan: DynamicsOptions) -> None:
    atoms, state, row = ready.frame.atoms, ready.state, ready.row
    calculator.reset()
    atoms.calc = calculator
    atoms.get_forces()
    run = Dynamics(atoms, plan, charge=state.charge, multiplicity=state.multiplicity)
    with TemporaryDirectory() as place:
        result = run.run(Path(place), {"command": "batch md"})
        frames = []
        for frame in read_trajectory(Path(place) / TRAJECTORY):
            frame.info["name"] = ready.frame.name
            frames.append(to_extxyz(frame))
    said = asdict(result.summary)
    potential = result.log.column("potential_energy_eV")
    row |= {
        "time_ps": result.summary.time_ps,
        "mean_potential_energy_eV": float(potential.mean()),
        **{name: said[name] for name in KEPT if said[name] is not None},
        STRUCTURE: "".join(frames),
    }
