"""Saddle points of reactions of GSCDB's BH28 from their reference geometries, beside GFN2-xTB.

Neutral closed shells of more than three atoms. GFN2-xTB (tblite) is searched by Sella alone,
without an analytic Hessian and without a look at its modes.

    python -m benchmarks.science.saddles --reactions 10
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from time import process_time
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import minimize_rotation_and_translation

from md_runs.reactions.saddle import find_saddle
from polcalc import PolarizedCalculator
from potentials.datasets.sets.gscdb import read_reactions

FMAX_EV_PER_A, STEPS = 0.01, 100


def main(arguments: Sequence[str] | None = None) -> None:
    """Search and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--reactions", type=int, default=10)
    parser.add_argument("--model", default="organic")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    calculator = PolarizedCalculator(asked.model, dtype="float64")
    print("saddle point, contestant, found, steps, distance from the reference (Å), seconds")
    for name, atoms in list(transition_states().items())[: asked.reactions]:
        for contestant, search in (("polcalc", ours(calculator)), ("GFN2-xTB", xtb)):
            moved, start = atoms.copy(), process_time()
            found, steps = search(moved)
            seconds = process_time() - start
            print(
                f"{name}, {contestant}, {found}, {steps}, {apart(atoms, moved):.2f}, {seconds:.1f}",
                flush=True,
            )


def transition_states() -> dict[str, Atoms]:
    """Return the reference geometries."""
    reactions = read_reactions("gscdb:BH28")
    names = [s for e in reactions.entries for c, s in e.stoichiometry if c > 0 and s.endswith("ts")]
    states = {name: reactions.species[name] for name in names}
    return {
        name: atoms
        for name, atoms in states.items()
        if (atoms.info["charge"], atoms.info["multiplicity"]) == (0, 1) and len(atoms) > 3
    }


def ours(calculator: PolarizedCalculator) -> Any:
    def search(atoms: Atoms) -> tuple[bool, int]:
        found = find_saddle(atoms, calculator, FMAX_EV_PER_A, STEPS)
        return found.is_saddle_point, found.steps[-1].step

    return search


def xtb(atoms: Atoms) -> tuple[bool, int]:
    from sella import Sella
    from tblite.ase import TBLite

    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    search = Sella(atoms, order=1, internal=False, logfile=None)
    return bool(search.run(fmax=FMAX_EV_PER_A, steps=STEPS)), search.nsteps


def apart(reference: Atoms, found: Atoms) -> float:
    """Root mean square distance in Å."""
    moved = found.copy()
    minimize_rotation_and_translation(reference, moved)
    return float(np.sqrt(((reference.positions - moved.positions) ** 2).sum(1).mean()))


if __name__ == "__main__":
    main()
