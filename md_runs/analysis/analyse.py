"""``polcalc analyse``: read runs, fill the sections, write the report."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from rich.progress import track

from md_runs.analysis import dynamics, html, spectra, structure, thermodynamics
from md_runs.analysis.runs import Run, read_runs
from md_runs.analysis.section import STYLE, Section, Table, shown
from md_runs.records.manifest import make_manifest, now
from md_runs.records.output import check_free, recorded
from md_runs.screen import errors, screen
from potentials.files import write_bytes, write_text

REPORT = "report.html"

SECTIONS: tuple[Callable[[Sequence[Run]], Section | str | None], ...] = (
    thermodynamics.energies,
    thermodynamics.temperatures,
    thermodynamics.ensemble_pairs,
    thermodynamics.drift,
    thermodynamics.further_columns,
    structure.bonds,
    structure.angles,
    structure.dihedrals,
    structure.distances,
    structure.radial,
    dynamics.autocorrelation,
    dynamics.vibrations,
    spectra.infrared,
    spectra.raman,
    dynamics.diffusion,
    structure.polarization,
)


def analyse(
    runs: list[Path],
    output: Path = Path("polcalc-analyse"),
    skip_ps: float | None = None,
    frames_every: int = 1,
) -> None:
    """Write a report on one or several runs.

    Writes report.html, which needs no other file, each figure as PNG and its numbers as CSV, into
    the output directory.
    """
    check_free(output)
    found = read_runs(runs, skip_ps, frames_every)
    chosen = {"runs": [str(run) for run in runs], "skip_ps": skip_ps, "frames_every": frames_every}
    manifest = make_manifest("analyse", chosen)
    with recorded(output, manifest), matplotlib.rc_context(STYLE):
        answers = [
            fill(found)
            for fill in track(SECTIONS, description="analysing", console=errors, transient=True)
        ]
        sections = [answer for answer in answers if isinstance(answer, Section)]
        left_out = [answer for answer in answers if isinstance(answer, str)]
        images = {section.key: write_section(section, output) for section in sections}
        report = html.render(
            _title(found), _subtitle(found), overview(found), sections, images, left_out
        )
        write_text(output / REPORT, report)
        warnings = [warning for section in sections for warning in section.warnings]
        manifest["warnings"] = [*left_out, *warnings]
    for warning in manifest["warnings"]:
        errors.print(f"warning: {warning}")
    screen.print(f"Report in {output / REPORT}")


def write_section(section: Section, output: Path) -> bytes:
    """Write figure and numbers of a section; return the figure as PNG."""
    image = _png(section.figure)
    write_bytes(output / f"{section.key}.png", image)
    for suffix, table in ((".csv", section.data), ("_summary.csv", section.table)):
        if table.rows:
            write_text(output / f"{section.key}{suffix}", to_csv(table))
    return image


def overview(runs: Sequence[Run]) -> Table:
    """List what was analysed."""
    header = (
        "run",
        "formula",
        "model",
        "ensemble",
        "time step (fs)",
        "length (ps)",
        "averaged from (ps)",
        "frames",
        "status",
    )
    rows = [
        (
            run.name,
            run.atoms.get_chemical_formula(),
            _model(run),
            _ensemble(run.options),
            shown(run.options.get("timestep_fs", float("nan")), "g"),
            f"{run.log['time_ps'][-1]:g}",
            f"{run.log['time_ps'][run.first_row]:g}",
            len(run.trajectory.time_fs),
            run.manifest.get("status", "–"),
        )
        for run in runs
    ]
    return Table(header, rows)


def to_csv(table: Table) -> str:
    """Format a table with as many digits as floats have."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.header)
    writer.writerows(
        [f"{cell:.10g}" if isinstance(cell, float) else cell for cell in row] for row in table.rows
    )
    return text.getvalue()


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _title(runs: Sequence[Run]) -> str:
    formulas = list(dict.fromkeys(run.atoms.get_chemical_formula() for run in runs))
    return f"Molecular dynamics of {', '.join(formulas)}"


def _subtitle(runs: Sequence[Run]) -> str:
    length = sum(float(run.log["time_ps"][-1]) for run in runs)
    many = f"{len(runs)} runs" if len(runs) > 1 else "One run"
    return f"{many}, {length:g} ps in all. {now()[:10]}"


def _ensemble(options: dict[str, Any]) -> str:
    words = [str(options.get("ensemble", "–")).upper()]
    for name, form in (
        ("thermostat", "{}"),
        ("barostat", "{}"),
        ("temperature_K", "{:g} K"),
        ("pressure_GPa", "{:g} GPa"),
    ):
        value = options.get(name)
        if value is not None and not (name == "temperature_K" and words == ["NVE"]):
            words.append(form.format(value))
    return ", ".join(words)


def _model(run: Run) -> str:
    model = run.manifest.get("model", {})
    name = Path(str(model.get("name", "–"))).name
    return f"{name} ({str(model.get('sha256', ''))[:8]}), {run.manifest.get('dtype', '')}"
