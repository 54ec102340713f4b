"""Does an uncertainty mean what it says? Coverage, ranking and growth of a calibrated model.

    python -m benchmarks.science.uncertainty --model organic --data runs/organic
        --output benchmarks/results/uncertainty.json --figure docs/images/uncertainty.png

New molecules near their minima and in dynamics (`organic:test`), the same distorted (`test-far`:
stretched, turned, pushed together, a hydrogen on its way), and two atoms in all states from pressed
together to apart (`organic-open-shells`), of which the model knows little. Two matrices for forces
are compared, on molecules that set neither: the posterior of the last layer, and that posterior
stretched by the likelihood of errors, as a shallow ensemble of read-outs would spread.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.measure import command_line, machine, write
from md_runs.records.figures import BLUE, GREEN, ORANGE
from potentials.checkpoint import load
from potentials.datasets import Frames, load_frames
from potentials.potential import Potential
from potentials.terms.uncertainty import USUAL, Uncertainty
from potentials.trust.calibrate import LARGE, Rows, bare, rows_of
from potentials.trust.posterior import fitted, posterior
from potentials.trust.scales import coverage, quantiles, ranking

Floats = NDArray[np.float64]
SETS = {
    "new molecules": "organic:test",
    "the same, distorted": "organic:test-far",
    "two atoms, all states": "organic-open-shells",
}
COLORS = dict(zip(SETS, (BLUE, ORANGE, GREEN), strict=True))


def main(given: Sequence[str] | None = None) -> None:
    parser = command_line(__doc__, "--model", "--data", "--output", "--figure")
    arguments = parser.parse_args(given)
    model = load(arguments.model)
    term = next(t for t in model.potential.terms if isinstance(t, Uncertainty))
    plain = bare(model.potential)
    found = {
        name: rows_of(plain, term, _structures(name, source, arguments.data))
        for name, source in SETS.items()
    }
    found = {name: turned(rows) for name, rows in found.items()}
    report = {
        "machine": machine(),
        "model": model.card.name,
        "sets": {name: measured(term, rows) for name, rows in found.items()},
        "by_state": by_state(term, found["new molecules"]),
        "methods": methods(plain, term, arguments.data, found["new molecules"]),
    }
    if arguments.figure:
        draw(term, found).savefig(arguments.figure, dpi=150)
    write(report, text(report), arguments.output)


def _structures(name: str, source: str, data: Path | None) -> Frames:
    frames = load_frames(source, data=data)
    assert isinstance(frames, Frames)
    if name != "two atoms, all states":
        return frames
    known = np.repeat(np.arange(len(frames)), frames.n_atoms)
    labelled = np.isfinite(frames.forces).all(1) if frames.forces is not None else known < 0
    whole = np.bincount(known[labelled], minlength=len(frames)) == frames.n_atoms
    return frames.select(np.flatnonzero((frames.n_atoms == 2) & whole))


def turned(rows: Rows) -> Rows:
    """Turn errors of forces at random: those of two atoms on an axis are along it alone."""
    ways = np.random.default_rng(0).normal(size=rows.forces_errors.shape)
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    sizes = np.linalg.norm(rows.forces_errors, axis=1, keepdims=True)
    return rows._replace(forces_errors=sizes * ways)


def uncertainties(term: Uncertainty, rows: Rows) -> tuple[Floats, Floats]:
    """Return those of energies (S,) eV and of forces (N,) eV/Å."""
    row = term.row_of(*(torch.from_numpy(column) for column in rows.state.T.astype(float)))
    energy = np.linalg.norm(rows.structures @ term.energy_factor.numpy(), axis=1)
    forces = np.linalg.norm(rows.atoms @ term.forces_factor.numpy(), axis=1)
    return (
        energy * term.energy_scales[row, USUAL].numpy(),
        forces * term.forces_scales[row, USUAL].numpy()[rows.batch],
    )


def errors_of_atoms(rows: Rows) -> Floats:
    """Root mean square over the components of each force error: (N,) eV/Å."""
    found: Floats = np.sqrt((rows.forces_errors**2).mean(1))
    return found


def measured(term: Uncertainty, rows: Rows) -> dict[str, Any]:
    """Compare uncertainties with errors."""
    energy, forces = uncertainties(term, rows)
    errors = errors_of_atoms(rows)
    return {
        "structures": len(energy),
        "median_uncertainty_of_forces_eV_per_A": float(np.median(forces)),
        "median_error_of_forces_eV_per_A": float(np.median(errors)),
        "within_68_of_forces": coverage(
            (np.abs(rows.forces_errors) / forces[:, None]).ravel(), np.ones(1)
        )[0],
        "median_uncertainty_of_energy_eV": float(np.median(energy)),
        "ranking_of_forces": ranking(forces, errors > LARGE * errors.mean()),
        "warned_percent": 100 * float((_largest(rows, forces) > float(term.warn_above)).mean()),
    }


def _largest(rows: Rows, forces: Floats) -> Floats:
    """Return the largest uncertainty of a force of each structure (S,)."""
    largest = np.zeros(len(rows.structures))
    np.maximum.at(largest, rows.batch, forces)
    return largest


def by_state(term: Uncertainty, rows: Rows) -> dict[str, Any]:
    """Tell which part of errors lies within 68 % intervals, for each state."""
    energy, forces = uncertainties(term, rows)
    told = {}
    for charge, multiplicity in np.unique(rows.state, axis=0).tolist():
        own = (rows.state == [charge, multiplicity]).all(1)
        atoms = own[rows.batch]
        told[f"{charge:+d}/{multiplicity}"] = {
            "energy": coverage(np.abs(rows.energy_errors[own]) / energy[own], np.ones(1))[0],
            "forces": coverage(
                (np.abs(rows.forces_errors[atoms]) / forces[atoms, None]).ravel(), np.ones(1)
            )[0],
        }
    return told


def methods(plain: Potential, term: Uncertainty, data: Path | None, new: Rows) -> dict[str, Any]:
    """Compare the posterior with one that is stretched, on the molecules that set neither."""
    frames = load_frames("organic:train", data=data)
    assert isinstance(frames, Frames)
    chosen = np.random.default_rng(1).permutation(len(frames))[:3000]
    trained = rows_of(plain, term, frames.select(chosen), forces=False)
    half = new.molecule % 2 == 0
    fit, rest = new.select(half), new.select(~half)
    alone = posterior(trained.atoms)
    of_sums = posterior(trained.structures)
    large = errors_of_atoms(rest) > LARGE * errors_of_atoms(rest).mean()
    factors = {
        "posterior": (alone, of_sums),
        "posterior, stretched": (
            fitted(alone, fit.atoms, errors_of_atoms(fit)),
            fitted(of_sums, fit.structures, np.abs(fit.energy_errors)),
        ),
    }
    told = {}
    for name, (of_atoms, of_structures) in factors.items():
        lengths = [np.linalg.norm(x.structures @ of_structures, axis=1) for x in (fit, rest)]
        scores = np.linalg.norm(rest.atoms @ of_atoms, axis=1)
        energies = np.abs(rest.energy_errors)
        told[name] = {
            "ranking_of_forces": ranking(scores, large),
            "ranking_of_energies": ranking(lengths[1], energies > LARGE * energies.mean()),
            "energies_within_50_68_95": coverage(
                energies / lengths[1], quantiles(np.abs(fit.energy_errors) / lengths[0])
            ),
        }
    return told


def draw(term: Uncertainty, found: dict[str, Rows]) -> Figure:
    """Draw errors of forces over their uncertainty, in bins, and how uncertain each set is."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, rows in found.items():
        forces = uncertainties(term, rows)[1]
        order = np.argsort(forces)
        bins = np.array_split(order, min(20, max(len(order) // 50, 1)))
        x = [float(np.median(forces[b])) for b in bins]
        inside = [np.quantile(np.abs(rows.forces_errors[b]), 0.6827) for b in bins]
        left.loglog(x, inside, "o-", ms=3, color=COLORS[name], label=name)
        right.hist(
            _largest(rows, forces),
            np.logspace(-2, 1.5, 50),
            histtype="step",
            weights=np.full(len(rows.structures), 100 / len(rows.structures)),
            color=COLORS[name],
            label=name,
        )
    edge = np.array([0.01, 10.0])
    left.loglog(edge, edge, color="0.7", zorder=0)
    left.set(
        xlabel="uncertainty of a force (eV/Å)",
        ylabel="68 % of errors lie within (eV/Å)",
    )
    right.axvline(float(term.warn_above), color="0.7", zorder=0)
    right.set(
        xscale="log", xlabel="largest uncertainty in a structure (eV/Å)", ylabel="structures (%)"
    )
    left.legend(frameon=False, fontsize=8)
    return figure


def text(report: dict[str, Any]) -> str:
    """Lay the numbers out."""
    lines = [
        f"`{report['model']}`: what 68 % of errors of force components should lie within.",
        "",
        "| structures | number | median uncertainty, eV/Å | median error, eV/Å | within, % |"
        " ranking | warned of, % |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in report["sets"].items():
        lines.append(
            f"| {name} | {row['structures']} |"
            f" {row['median_uncertainty_of_forces_eV_per_A']:.3f} |"
            f" {row['median_error_of_forces_eV_per_A']:.3f} |"
            f" {row['within_68_of_forces']:.1f} | {row['ranking_of_forces']:.3f} |"
            f" {row['warned_percent']:.1f} |"
        )
    lines += [
        "",
        "| method, on molecules that set neither | ranking, forces | ranking, energies |"
        " energies within 50, 68, 95 % |",
        "|---|---|---|---|",
    ]
    for name, row in report["methods"].items():
        lines.append(
            f"| {name} | {row['ranking_of_forces']:.3f} | {row['ranking_of_energies']:.3f} |"
            f" {', '.join(f'{x:.1f}' for x in row['energies_within_50_68_95'])} |"
        )
    lines += ["", "Within 68 % intervals, new molecules (they set the scales too, in part):", ""]
    lines += [
        f"* {state}: energies {row['energy']:.1f} %, forces {row['forces']:.1f} %"
        for state, row in report["by_state"].items()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
