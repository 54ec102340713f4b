"""Parts on labels of molecules that no model learnt: energies, forces, charges, dipoles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from ase import Atoms

from benchmarks.science.organic.contestants import Answer, Contestant
from benchmarks.science.organic.settings import Missing, Settings, there
from md_runs.models.validation import Comparison, metrics
from potentials.datasets import Frames
from potentials.datasets.gaps import geometry_key
from potentials.quantities import DEBYE

OTHER_ZERO = 1000.0  # meV/atom; energies that differ by more are of another zero


def labels(contestant: Contestant, settings: Settings) -> dict[str, Any]:
    """Errors on the teacher's labels, neutral ones and ions apart."""
    return on_labels(contestant, there(settings.frames, "--frames"))


def open_shells(contestant: Contestant, settings: Settings) -> dict[str, Any]:
    """Errors on our own DFT of radicals, their ions and triplets: forces and vertical energies."""
    return on_labels(contestant, there(settings.open_shells, "--open-shells"))


def charges(contestant: Contestant, settings: Settings) -> dict[str, Any]:
    """Errors of dipoles and charges against the teacher, of dipoles against our own DFT."""
    found = _electrons(contestant, there(settings.frames, "--frames"), "")
    if settings.open_shells is not None:
        against_dft = _electrons(contestant, settings.open_shells, "dft_")
        found |= {name: x for name, x in against_dft.items() if "dipole" in name}
    return found


def on_labels(contestant: Contestant, frames: Frames) -> dict[str, Any]:
    """Errors overall, by state, and of differences between states at one geometry."""
    structures = list(frames)
    answers = contestant.evaluate(structures)
    compared = [
        _comparison(atoms, answer)
        for atoms, answer in zip(structures, answers, strict=True)
        if not isinstance(answer, str)
    ]
    if not compared:
        raise Missing(f"{contestant.name} answers for none of these states")
    report: dict[str, Any] = {"source": frames.provenance.name, "n_frames": len(compared)}
    for name, chosen in (
        ("neutral", [c for c in compared if c.charge == 0]),
        ("ions", [c for c in compared if c.charge != 0]),
        ("open", [c for c in compared if c.multiplicity > 1]),
        ("all", compared),
    ):
        if chosen:
            report |= {f"{key}_{name}": value for key, value in _errors(metrics(chosen)).items()}
    states = [
        {key: state[key] for key in ("charge", "multiplicity", "n_frames")} | _errors(state)
        for state in metrics(compared)["by_state"]
    ]
    return report | _vertical(compared) | {"by_state": states}


def _electrons(contestant: Contestant, frames: Frames, prefix: str) -> dict[str, Any]:
    """Mean absolute errors: charges in e, dipoles in D per component, formal charges in percent."""
    structures = list(frames)
    errors: dict[str, list[np.ndarray]] = defaultdict(list)
    right: list[bool] = []
    for n, answer in enumerate(contestant.electrons(structures)):
        if isinstance(answer, str):
            continue
        atoms = slice(*frames.first[n : n + 2])
        state = _kind(frames, n)
        assert frames.dipole is not None and frames.partial_charges is not None
        errors[f"dipole_D_{state}"].append((answer.dipole - frames.dipole[n]) / DEBYE)
        errors[f"charges_e_{state}"].append(answer.charges - frames.partial_charges[atoms])
        wanted = frames.more.get("formal_charges")
        if answer.formal_charges is not None and wanted is not None:
            right.append(bool(np.all(np.round(answer.formal_charges) == wanted[atoms])))
    if not errors:
        raise Missing(f"{contestant.name} predicts no charges")
    found: dict[str, Any] = {
        prefix + name: float(np.abs(np.concatenate(each)).mean()) for name, each in errors.items()
    }
    found |= {
        f"{prefix}n_{name}": len(errors[name]) for name in errors if name.startswith("dipole")
    }
    return found | ({f"{prefix}formal_charges_percent": 100 * np.mean(right)} if right else {})


def _kind(frames: Frames, n: int) -> str:
    if frames.multiplicity[n] > 1:
        return "open"
    return "ions" if frames.total_charge[n] else "neutral"


def _errors(found: Mapping[str, Any]) -> dict[str, float]:
    """Pick forces, and energies unless their zero is another than that of the labels."""
    errors = {"forces_meV_per_A": found["forces_mae_meV_per_A"]}
    if found["energy_mae_meV_per_atom"] < OTHER_ZERO:
        errors["energy_meV_per_atom"] = found["energy_mae_meV_per_atom"]
    return errors


def _vertical(compared: Sequence[Comparison]) -> dict[str, Any]:
    """Errors in eV of gaps, ionisation energies and electron affinities at one geometry."""
    by_geometry: dict[bytes, list[Comparison]] = defaultdict(list)
    for c in compared:
        by_geometry[c.geometry].append(c)
    errors: dict[str, list[float]] = {"gap": [], "ip": [], "ea": []}
    for states in by_geometry.values():
        for a, b in combinations(sorted(states, key=lambda c: (c.charge, c.multiplicity)), 2):
            apart = b.charge - a.charge, abs(b.multiplicity - a.multiplicity)
            kind = {(0, 2): "gap", (1, 1): "ip" if a.charge == 0 else "ea"}.get(apart)
            if kind:
                wanted, got = (b.energies[k] - a.energies[k] for k in (0, 1))
                errors[kind].append(abs(got - wanted))
    found = {f"{kind}_mae_eV": float(np.mean(values)) for kind, values in errors.items() if values}
    return found | {f"{kind}_n": len(values) for kind, values in errors.items() if values}


def _comparison(atoms: Atoms, answer: Answer) -> Comparison:
    wanted = atoms.calc.results
    return Comparison(
        int(atoms.info["charge"]),
        int(atoms.info["multiplicity"]),
        (wanted["energy"], answer.energy),
        (wanted["forces"], answer.forces),
        len(atoms),
        geometry_key(atoms.numbers, atoms.positions, atoms.cell.array),
    )
