"""``polcalc scan``: the energy along one or two bonds, angles or dihedral angles."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from md_runs import session
from md_runs.dynamics.constraints import constrain
from md_runs.errors import NotConverged
from md_runs.records.manifest import make_manifest
from md_runs.records.output import check_free, recorded, to_json, write_figure
from md_runs.records.structures import write_structures
from md_runs.scans.coordinates import check_coordinates, read_coordinate
from md_runs.scans.report import HYSTERESIS_EV, facts, plot_scan, scan_csv, structures
from md_runs.scans.sweep import Directions, Settings, relaxed, rigid
from md_runs.screen import errors, screen, tracked
from md_runs.session import Frame, ModelOptions
from md_runs.surfaces.energy import Point, all_results, with_results
from md_runs.surfaces.flight import flight
from md_runs.surfaces.relax import choose_optimizer
from md_runs.surfaces.vib import check_positive
from potentials.files import write_text
from potentials.shipped import DEFAULT


def scan(
    structure: Path,
    coordinates: list[str],
    model: str | None = None,
    frame: int | None = None,
    mode: Literal["relaxed", "rigid"] = "relaxed",
    directions: Directions = "both",
    optimizer: str = "auto",
    fmax_eV_per_A: float = 0.01,
    steps: int = 500,
    fix_atoms: str | None = None,
    charge: int | None = None,
    multiplicity: int | None = None,
    electric_field_V_per_A: tuple[float, float, float] | None = None,
    device: str = "auto",
    dtype: str = "float64",
    engine: str = "auto",
    output: Path = Path("polcalc-scan"),
) -> None:
    """Scan the energy along one or two coordinates.

    Writes scan.csv, scan.png, scan.extxyz (the lowest geometry of each point), scan.json and
    manifest.json.

    Raises
    ------
    InputError     bad input
    NotConverged   points without a result, or that did not converge
    """
    check_positive(fmax_eV_per_A=fmax_eV_per_A)
    read = [read_coordinate(text) for text in coordinates]
    check_free(output)
    atoms = session.read_structure(structure, frame)
    check_coordinates(read, atoms)
    constrain(atoms, fix_atoms, None)
    choose_optimizer(optimizer, len(atoms))
    calculator = session.make_calculator(
        ModelOptions(
            model,
            device,
            dtype,
            engine,
            charge,
            multiplicity,
            electric_field_V_per_A=electric_field_V_per_A,
        )
    )
    atoms.calc = calculator
    session.evaluate_first(atoms)
    state = calculator.state
    assert state is not None
    settings = Settings(optimizer, fmax_eV_per_A, steps)
    asked = settings._asdict() | {
        "coordinates": coordinates,
        "mode": mode,
        "directions": directions,
        "fix_atoms": fix_atoms,
        "electric_field_V_per_A": electric_field_V_per_A,
    }
    manifest = make_manifest(
        "scan", asked, structures=[session.fingerprint(structure)], **session.describe(calculator)
    )

    def progress(items: Iterable[Any], total: int) -> Iterable[Any]:
        return tracked(items, "scanning", total)

    with recorded(output, manifest):
        screen.print(f"{atoms.get_chemical_formula()}, {state}")
        how = flight(calculator)
        if mode == "rigid":
            found = rigid(atoms, read, how, progress)
        else:
            found = relaxed(atoms, read, how, settings, directions, progress)
        placed = structures(found)
        if not placed:
            reason = next(iter(next(iter(found.sweeps.values())).values())).problem
            raise NotConverged(f"no point of the scan has an energy: {reason}")
        said = facts(found)
        frames = []
        for (here, beside), evaluation in zip(
            placed, calculator.evaluate_many([here for here, _ in placed]), strict=True
        ):
            name = str(atoms.info.get("name") or structure.name)
            frames.append(with_results(Point(Frame(name, here), state, all_results(evaluation))))
            frames[-1].info |= beside
        write_structures(output / "scan.extxyz", frames)
        write_text(output / "scan.csv", scan_csv(found))
        write_text(output / "scan.json", to_json(said))
        title = f"{atoms.get_chemical_formula()}, {model or DEFAULT}, {mode}"
        write_figure(output / "scan.png", plot_scan(found, title))
    screen.print(table_of(said))
    if said["hysteresis_eV"] > HYSTERESIS_EV:
        errors.print(
            f"warning: the ways forth and back differ by up to {said['hysteresis_eV']:.3f} eV:"
            " there are several valleys. scan.csv tells both; energies are the lower ones."
        )
    screen.print(f"Results in {output}")
    if wrong := said["not_converged"]:
        total = sum(len(sweep) for sweep in found.sweeps.values())
        raise NotConverged(
            f"{wrong} of {total} points did not converge, {said['problems']} of them with a reason"
            f" in {output / 'scan.csv'}."
        )


def table_of(said: dict[str, Any]) -> Table:
    """Lay out the minima of the grid."""
    table = Table(box=None, pad_edge=False)
    for one in said["coordinates"]:
        unit = "Å" if one["kind"] == "bond" else "°"
        atoms = "-".join(map(str, one["atoms"]))
        table.add_column(f"{one['kind']} {atoms} ({unit})", justify="right")
    table.add_column("energy - lowest (eV)", justify="right")
    table.add_column("")
    for name, points in (("minimum", said["minima"]), ("highest", [said["highest"]])):
        for point in points:
            values = [f"{value:.3f}" for value in point["values"]]
            table.add_row(*values, f"{point['relative_energy_eV']:.4f}", name)
    return table
