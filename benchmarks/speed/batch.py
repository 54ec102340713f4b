"""Molecules per second: single points, relaxations and conformers of drug-like molecules.

Beside `polcalc batch` on one core stand a loop over the same calculator, and one over GFN2-xTB
(tblite) through ASE. Contestants take turns, molecule by molecule of a chunk; medians of processor
time, because other work may run on the machine.

    python -m benchmarks.speed.batch --molecules 20 --rounds 3
"""

from __future__ import annotations

import argparse
import json
import statistics
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import torch
from ase import Atoms

from md_runs.batch.chunks import Chunk, Job, compute
from md_runs.batch.inputs import Molecule, Smiles
from md_runs.conformers.search import Settings
from md_runs.session import ModelOptions
from md_runs.structures.smiles import build
from md_runs.surfaces.relax import relax
from polcalc import PolarizedCalculator
from potentials.datasets.pieces import Piece

DRUGS = {
    "paracetamol": "CC(=O)Nc1ccc(O)cc1",
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "ibuprofen": "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "caffeine": "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
    "nicotine": "CN1CCC[C@H]1c1cccnc1",
    "lidocaine": "CCN(CC)CC(=O)Nc1c(C)cccc1C",
    "propranolol": "CC(C)NCC(O)COc1cccc2ccccc12",
    "salbutamol": "CC(C)(C)NCC(O)c1ccc(O)c(CO)c1",
    "metoprolol": "COCCc1ccc(OCC(O)CNC(C)C)cc1",
    "procaine": "CCN(CC)CCOC(=O)c1ccc(N)cc1",
    "naproxen": "COc1ccc2cc(ccc2c1)C(C)C(=O)O",
    "mexiletine": "CC(N)COc1c(C)cccc1C",
    "phenytoin": "O=C1NC(=O)C(N1)(c1ccccc1)c1ccccc1",
    "amphetamine": "CC(N)Cc1ccccc1",
    "atenolol": "CC(C)NCC(O)COc1ccc(CC(N)=O)cc1",
    "melatonin": "COc1ccc2[nH]cc(CCNC(C)=O)c2c1",
    "diphenhydramine": "CN(C)CCOC(c1ccccc1)c1ccccc1",
    "bupivacaine": "CCCCN1CCCCC1C(=O)Nc1c(C)cccc1C",
    "benzocaine": "CCOC(=O)c1ccc(N)cc1",
    "tryptophan": "N[C@@H](Cc1c[nH]c2ccccc12)C(=O)O",
}
FMAX_EV_PER_A, STEPS = 0.01, 500
EMBED = 10  # geometries of a molecule, and as many with turned bonds

Contestant = Callable[[Sequence[Atoms]], None]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_plain)
    parser.add_argument("--molecules", type=int, default=len(DRUGS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/batch.json"))
    parser.add_argument("--model", default="organic")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    smiles = list(DRUGS.values())[: asked.molecules]
    frames = [build(text).frames[0] for text in smiles]
    chosen = ModelOptions(asked.model, "cpu", "float64")
    measured: dict[str, Any] = {
        "molecules": len(frames),
        "atoms": statistics.mean(map(len, frames)),
        "rounds": asked.rounds,
        "threads": 1,
    }
    loop = PolarizedCalculator(asked.model, device="cpu", dtype="float64")
    for work, contestants in (
        ("energy", {"batch": _batch(chosen, "energy", {}), "one by one": _forces(loop)}),
        ("relax", {"batch": _batch(chosen, "relax", _search()), "one by one": _relax(loop)}),
    ):
        if work == "energy":
            contestants["GFN2-xTB"] = _forces(_xtb)
        else:
            contestants["GFN2-xTB"] = _relax(_xtb)
        measured[work] = turns(contestants, frames, asked.rounds)
        _say(work, measured[work])
    settings = Settings(embed=EMBED)._asdict()
    search = {"batch": _batch(chosen, "conformers", settings, smiles[:3])}
    measured["conformers"] = turns(search, frames[:3], 1)
    _say("conformers", measured["conformers"])
    asked.output.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


def turns(
    contestants: dict[str, Contestant], frames: Sequence[Atoms], rounds: int
) -> dict[str, float]:
    """Molecules per second of processor time of each contestant, the median of the rounds."""
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, contestant in contestants.items():
            if not number and len(frames) > 1:  # warm
                contestant([frames[0].copy()])
                continue
            copies = [atoms.copy() for atoms in frames]
            start = process_time()
            contestant(copies)
            speeds[name].append(len(frames) / (process_time() - start))
    return {name: statistics.median(some) for name, some in speeds.items()}


def _batch(
    chosen: ModelOptions, name: str, options: dict[str, Any], smiles: Sequence[str] = ()
) -> Contestant:
    job = Job(name, options, 32)

    def contest(frames: Sequence[Atoms]) -> None:
        contents = [Smiles(text) for text in smiles] or [Piece(".xyz", atoms) for atoms in frames]
        some = [Molecule("", str(n), "", content) for n, content in enumerate(contents)]
        done = compute(Chunk(0, some[: len(frames)], chosen, job, 1))
        assert not any(row["problem"] for row in done.rows), done.rows

    return contest


def _forces(calculator: Any) -> Contestant:
    def contest(frames: Sequence[Atoms]) -> None:
        for atoms in frames:
            atoms.calc = calculator() if callable(calculator) else calculator
            atoms.get_forces()

    return contest


def _relax(calculator: Any) -> Contestant:
    def contest(frames: Sequence[Atoms]) -> None:
        for atoms in frames:
            atoms.calc = calculator() if callable(calculator) else calculator
            relax(atoms, fmax_eV_per_A=FMAX_EV_PER_A, steps=STEPS, saddles="ignore")

    return contest


def _search() -> dict[str, Any]:
    return {
        "optimizer": "auto",
        "fmax_eV_per_A": FMAX_EV_PER_A,
        "steps": STEPS,
        "saddles": "ignore",  # as a loop that a user would write
    }


def _xtb() -> Any:
    from tblite.ase import TBLite

    return TBLite(method="GFN2-xTB", verbosity=0)


def _say(work: str, speeds: dict[str, float]) -> None:
    print(work, ", ".join(f"{name}: {x:.3g} molecules/s" for name, x in speeds.items()), flush=True)


_plain = partial(argparse.RawDescriptionHelpFormatter)

if __name__ == "__main__":
    main()
