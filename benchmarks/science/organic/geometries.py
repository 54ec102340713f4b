"""Relaxed molecules against what the teacher relaxes from the same starts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import minimize_rotation_and_translation
from ase.optimize import BFGS

from benchmarks.science.organic.contestants import TEACHER, Contestant, key_of
from benchmarks.science.organic.settings import Settings, molecules_of, there

FMAX, MOST_STEPS = 0.01, 500  # eV/Å


def relaxed(everybody: Sequence[Contestant], settings: Settings) -> dict[str, Any]:
    """Relax molecules, and superpose each on what the teacher relaxed from the same start."""
    frames = there(settings.frames, "--frames")
    closed = frames.select(frames.multiplicity == 1)
    molecules = list(molecules_of(closed, settings.molecules))
    teacher = next(contestant for contestant in everybody if contestant.name == TEACHER)
    found = {}
    for contestant in everybody:
        rmsd, failed = [], 0
        for start in molecules:
            mine, its = (_minimum(c, start, settings) for c in (contestant, teacher))
            failed += mine is None
            if mine is not None and its is not None:
                rmsd.append(_rmsd(mine, its))
        found[contestant.name] = {
            "n_relaxed": len(molecules),
            "not_converged": failed,
            "converged_percent": 100 * (1 - failed / len(molecules)),
            "median_rmsd_A": float(np.median(rmsd)) if rmsd else None,
            "rmsd_90_percent_A": float(np.quantile(rmsd, 0.9)) if rmsd else None,
        }
    return found


def _minimum(contestant: Contestant, start: Atoms, settings: Settings) -> Atoms | None:
    """Relax, or read what was relaxed before; None where that did not converge."""
    path = settings.store / f"relaxed-{contestant.identity[:12]}" / f"{key_of([start])}.json"
    if not path.is_file():
        moving = start.copy()
        moving.calc = contestant.calculator(moving)
        try:
            converged = bool(BFGS(moving, logfile=None).run(fmax=FMAX, steps=MOST_STEPS))
        except Exception:  # whatever a calculator says of an absurd geometry
            converged = False
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            json.dumps({"converged": converged, "positions": moving.positions.tolist()})
        )
    read = json.loads(path.read_text())
    if not read["converged"]:
        return None
    return Atoms(start.numbers, read["positions"])


def _rmsd(a: Atoms, b: Atoms) -> float:
    """Distance of atoms after superposition in Å, root mean square."""
    minimize_rotation_and_translation(b, a)
    return float(np.sqrt(((a.positions - b.positions) ** 2).sum(1).mean()))
