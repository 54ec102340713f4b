"""``polcalc data``: list known reference data, fetch them, check a file before training on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from md_runs.errors import as_input_error
from md_runs.records.output import check_writable, to_json
from md_runs.screen import errors, screen
from potentials.datasets.catalogue import RECIPES, data_folders, find_file, load_frames, part_of
from potentials.datasets.checks.lint import Report, lint
from potentials.datasets.download import Watch, fetch
from potentials.datasets.formats.labels import Wanted
from potentials.datasets.formats.units import Units, declared_units
from potentials.datasets.frames import Frames
from potentials.datasets.sets.own import shipped


def list_sets(
    data: Path | None = None,
    json: bool = False,
) -> None:
    """List the known data sets, and how many of their parts are on this machine."""
    sets = {name: _about(name, data) for name in RECIPES}
    print(to_json(sets), end="") if json else screen.print(_sets_table(sets))


def fetch_set(
    name: str,
    output: Path | None = None,
) -> None:
    """Download the files of a known set; files that are there already are left as they are."""
    folder = output or data_folders()[0]
    check_writable(folder)
    with as_input_error():
        recipe, part = part_of(name)
        with _progress() as watch:
            paths = [shipped(file) or fetch(file, folder, watch) for file in part.files]
    for path, file in zip(paths, part.files, strict=True):
        screen.print(
            f"{path}  {'checksum right' if file.sha256 else 'no checksum published'}",
            markup=False,
            soft_wrap=True,
        )
    screen.print(
        f"licence: {recipe.provenance.licence}; cite:"
        f" {recipe.provenance.citation or recipe.provenance.url}",
        markup=False,
    )


def check(
    source: str,
    against: str | None = None,
    data: Path | None = None,
    energy_unit: str | None = None,
    length_unit: str | None = None,
    forces_unit: str | None = None,
    stress_unit: str | None = None,
    energy: str | None = None,
    forces: str | None = None,
    stress: str | None = None,
    json: bool = False,
) -> None:
    """Look through labelled structures: units, electrons, repeats, overlap, contacts, ranges.

    Exit code 1 when something is wrong with them, 2 when they cannot be read.
    """
    with as_input_error():
        units = declared_units(
            energy_unit or "", length_unit or "", forces_unit or "", stress_unit or ""
        )
        wanted = Wanted(energy or "", forces or "", stress or "")
        frames = _load(source, data, units, wanted)
        report = lint(frames, None if against is None else _load(against, data, None, Wanted()))
    print(to_json(asdict(report)), end="") if json else _show(report)
    if report.n_errors:
        raise typer.Exit(1)


def _load(source: str, data: Path | None, units: Units | None, wanted: Wanted) -> Frames:
    """Read whatever is readable; what is wrong with the numbers comes out in the report."""
    return load_frames(source, data=data, units=units, wanted=wanted, check=lambda frames: None)


def _about(name: str, data: Path | None) -> dict[str, Any]:
    recipe = RECIPES[name]
    here = [n for n in recipe.names if all(find_file(file, data) for file in part_of(n)[1].files)]
    about = recipe.provenance
    return {
        "form": recipe.form,
        "example": recipe.example,
        "description": about.description,
        "theory": about.theory,
        "licence": about.licence,
        "citation": about.citation,
        "url": about.url,
        "units": str(about.units),
        "n_parts": len(recipe.names),
        "here": here,
    }


def _sets_table(sets: dict[str, dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("name", no_wrap=True)
    table.add_column("what", overflow="fold")
    table.add_column("parts here", justify="right", no_wrap=True)
    for about in sets.values():
        name = about["form"].replace(":", "\n  :", 1)
        details = f"{about['theory']}; {about['licence']}; for example {about['example']}"
        what = Text.assemble(about["description"], "\n", (details, "dim"))
        table.add_row(name, what, f"{len(about['here'])} of {about['n_parts']}")
    return table


@contextmanager
def _progress() -> Iterator[Watch]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def watch(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total)
            progress.update(tasks[name], completed=done, total=total)

        yield watch


def _show(report: Report) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for title, value in _rows(report).items():
        table.add_row(title, value)
    screen.print(table)
    for finding in report.findings:
        level = Text(finding.level, "red" if finding.level == "error" else "yellow")
        screen.print(Text.assemble(level, f" ({finding.code}): {finding.message}"))
    if not report.findings:
        screen.print(Text("nothing wrong found", "green"))


def _rows(report: Report) -> dict[str, str]:
    low, high = report.n_atoms
    energies = (
        "{:.3f} to {:.3f} eV; {:+.3f} to {:+.3f} eV/atom beside fitted references; {:.3f} of free"
        " atoms".format(
            *report.energy_eV, *report.energy_eV_per_atom, report.energy_over_free_atoms
        )
    )
    rows = {
        "set": report.name,
        "structures": (
            f"{report.n_structures} of {low} atoms"
            if low == high
            else f"{report.n_structures} of {low} to {high} atoms"
        ),
        "elements": " ".join(report.elements),
        "labels": ", ".join(["energy", *report.labels]),
        "units of the file": report.units,
        "states": "\n".join(f"charge {q:+d}, multiplicity {m}: {n}" for q, m, n in report.states),
        "energies": energies,
        "closest distances": ", ".join(
            f"{pair} {distance:.2f} Å" for pair, distance in report.closest_distances_A.items()
        ),
        "repeats": str(report.n_repeats),
    }
    if report.forces_max_eV_per_A is not None:
        rows["forces"] = (
            f"{report.forces_rms_eV_per_A:.3f} eV/Å root mean square, up to"
            f" {report.forces_max_eV_per_A:.2f} eV/Å"
        )
    if report.free_atoms_eV:
        rows["free atoms"] = ", ".join(
            f"{symbol} {energy:.3f} eV" for symbol, energy in report.free_atoms_eV.items()
        )
    if report.n_overlap is not None:
        rows["overlap"] = str(report.n_overlap)
    return rows
