"""``make demo``: relax ethanol, run it at 300 K and at constant energy, compare with references.

Everything goes through the functions behind the ``polcalc`` commands. Results:
``demo/ethanol.png``, ``demo/summary.json``, and one numbered directory per run that is never
written again.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.build import molecule
from rich.text import Text

from md_runs.dynamics.driver import Dynamics, DynamicsOptions, Result
from md_runs.dynamics.md import dynamics_table
from md_runs.dynamics.progress import watch_dynamics
from md_runs.errors import InputError, NotConverged, clear_endings
from md_runs.models.errors_table import errors_table
from md_runs.models.validation import compare, metrics, read_labelled
from md_runs.records.figures import plot_dynamics
from md_runs.records.manifest import make_manifest
from md_runs.records.output import claim, to_json, write_figure
from md_runs.records.structures import write_structures
from md_runs.screen import screen
from md_runs.session import ModelOptions, describe, evaluate_first, make_calculator, provenance
from md_runs.surfaces.relax import relax
from polcalc import PolarizedCalculator
from potentials.files import write_text

MODEL, DATA, OUTPUT = "ethanol-rmd17", "rmd17:ethanol:01:test", Path("demo")
TIMESTEP_FS, TEMPERATURE_K = 0.5, 300.0
NVT_PS, NVE_PS = 20, 10
SEED = 1


def run_demo(
    output: Path = OUTPUT, nvt_ps: float = NVT_PS, nve_ps: float = NVE_PS, model: str = MODEL
) -> dict[str, Any]:
    """Run the demonstration and return its numbers."""
    directory = _next_directory(output)
    atoms: Atoms = molecule("CH3CH2OH")
    chosen = ModelOptions(model)
    calculator = make_calculator(chosen)
    atoms.calc = calculator
    evaluate_first(atoms)
    screen.print(
        Text(f"Ethanol with the model {model}", "bold"), f"{calculator.engine}, in {directory}"
    )

    relaxed = _relax(atoms, directory / "relax", calculator)
    energy, fmax = relaxed["energy_eV"], relaxed["fmax_eV_per_A"]
    screen.print(
        Text("\nRelaxed", "bold"),
        f"in {relaxed['steps']} steps: {energy:.4f} eV, largest force {fmax:.4f} eV/Å",
    )
    common: dict[str, Any] = {
        "timestep_fs": TIMESTEP_FS,
        "temperature_K": TEMPERATURE_K,
        "seed": SEED,
        "log_every": 5,
    }
    nvt = DynamicsOptions(ensemble="nvt", steps=_steps(nvt_ps), **common)
    nve = DynamicsOptions(ensemble="nve", steps=_steps(nve_ps), velocities="structure", **common)
    results = []
    for options, title in ((nvt, f"At {TEMPERATURE_K:g} K, Langevin"), (nve, "At constant energy")):
        results.append(_run(atoms, options, directory / options.ensemble, calculator, chosen))
        screen.print(Text(f"\n{title}", "bold"), dynamics_table(results[-1].summary), sep="\n")
    errors = _validate(calculator)

    nvt_found, nve_found = (asdict(result.summary) for result in results)
    found = {
        "model": describe(calculator),
        "relax": relaxed,
        "nvt": nvt_found,
        "nve": nve_found,
        "validation": errors,
    }
    write_figure(
        output / "ethanol.png",
        plot_dynamics(
            [r.log for r in results],
            [r.summary for r in results],
            [*nvt.phases(), *nve.phases()],
            atoms,
        ),
    )
    write_text(output / "summary.json", to_json(found))
    screen.print(
        f"\nFigure: {output / 'ethanol.png'}   Numbers: {output / 'summary.json'}   Trajectories:"
        f" {directory}"
    )
    return found


def _relax(atoms: Atoms, directory: Path, calculator: PolarizedCalculator) -> dict[str, Any]:
    search: dict[str, Any] = {"optimizer": "bfgs", "fmax_eV_per_A": 0.01, "steps": 200}
    claim(directory, make_manifest("relax", search, status="finished", **describe(calculator)))
    result = relax(atoms, **search)
    write_structures(directory / "relaxed.extxyz", [atoms])
    if not result.converged:
        raise NotConverged(
            f"ethanol must relax to 0.01 eV/Å; got {result.fmax_eV_per_A:.3g} eV/Å. The model may"
            " be damaged."
        )
    return {
        "steps": result.steps[-1].step,
        "energy_eV": result.energy_eV,
        "fmax_eV_per_A": result.fmax_eV_per_A,
    }


def _run(
    atoms: Atoms,
    options: DynamicsOptions,
    directory: Path,
    calculator: PolarizedCalculator,
    chosen: ModelOptions,
) -> Result:
    facts = {"seed": options.seed, "formula": atoms.get_chemical_formula()} | provenance(
        calculator, chosen
    )
    manifest = make_manifest("md", asdict(options), **facts)
    state = calculator.state
    assert state is not None
    dynamics = Dynamics(atoms, options, charge=state.charge, multiplicity=state.multiplicity)
    claim(directory, manifest)
    return dynamics.run(directory, manifest, partial(watch_dynamics, console=screen))


def _validate(calculator: PolarizedCalculator) -> dict[str, Any] | None:
    """Compare with the test frames, if they are on this machine."""
    try:
        frames = read_labelled(DATA)
    except InputError as reason:
        screen.print(Text("\nNot validated:", "bold"), str(reason))
        return None
    found = metrics(list(compare(calculator, frames)))
    screen.print(
        Text(f"\nErrors on {len(frames)} test frames ({DATA})", "bold"),
        errors_table(found),
        sep="\n",
    )
    return found


def _next_directory(output: Path) -> Path:
    """Name the first run directory that does not exist yet."""
    return next(path for path in (output / f"run-{n:03d}" for n in count(1)) if not path.exists())


def _steps(picoseconds: float) -> int:
    return round(picoseconds * 1000 / TIMESTEP_FS)


if __name__ == "__main__":
    with clear_endings():
        run_demo()
