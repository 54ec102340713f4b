"""``polcalc learn``: active learning against any reference, resumable after any kill.

What is done stands on disk: ``labels.jsonl`` has a line for each label, written when it is there;
``round-N`` holds what a round explored, chose, found and learnt.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ase import Atoms

from md_runs import session
from md_runs.errors import NotConverged, as_input_error
from md_runs.learning import rounds
from md_runs.learning.exploration import exploration_of
from md_runs.learning.references import reference_of
from md_runs.learning.report import draw, round_line, say
from md_runs.learning.rounds import MODEL, Learning, with_labels
from md_runs.records.journal import Journal
from md_runs.records.manifest import make_manifest
from md_runs.records.output import check_free, to_json, write_figure
from md_runs.records.resume import resumable
from md_runs.records.structures import set_state, write_structures
from md_runs.screen import screen
from md_runs.session import ModelOptions
from polcalc.calculator.electrons import resolve
from potentials.files import replacing, write_text
from potentials.shipped import DEFAULT
from potentials.shipped import resolve as model_file

JOURNAL, LABELS, REPORT, PAGE, FIGURE = (
    "labels.jsonl",
    "labels.extxyz",
    "report.json",
    "report.txt",
    "learning.png",
)


def learn(
    structures: Sequence[Path],
    reference: str = "xtb",
    explore: str = "md 500 K, 20 ps",
    model: str | None = None,
    output: Path = Path("polcalc-learn"),
    labels: int = 300,
    per_round: int = 20,
    minutes: float = 3.0,
    target_meV_per_A: float = 60.0,
    max_uncertainty_eV_per_A: float = 0.5,
    rehearsal_share: float = 0.25,
    jobs: int = 1,
    limit_s: float = 600.0,
    charge: int | None = None,
    multiplicity: int | None = None,
    device: str = "auto",
    seed: int = 0,
    resume: bool = False,
) -> dict[str, Any]:
    """Explore, label what the model does not know, fine-tune it, repeat; return the report.

    Ends where every exploration passes whole and the error of forces on frames chosen of it is
    below the target, or where the labels are spent. Writes model.pt (with its card and its
    uncertainty), labels.extxyz, report.json, report.txt, learning.png and the rounds.

    Raises
    ------
    InputError     bad input; nothing is written
    NotConverged   the labels are spent before an exploration passes
    """
    output = Path(output)
    if not resume:
        check_free(output)
    exploration = exploration_of(explore)
    frames = session.read_named_frames([Path(path) for path in structures])
    with as_input_error():
        reference_of(reference)
        base = model_file(model or DEFAULT)
        starts = [_in_state(frame.atoms, charge, multiplicity) for frame in frames]
    options = {
        "reference": reference,
        "explore": explore,
        "labels": labels,
        "per_round": per_round,
        "minutes": minutes,
        "target_meV_per_A": target_meV_per_A,
        "max_uncertainty_eV_per_A": max_uncertainty_eV_per_A,
        "rehearsal_share": rehearsal_share,
        "seed": seed,
    }
    chosen = ModelOptions(str(base), device)
    manifest = make_manifest(
        "learn",
        options,
        structures=[session.fingerprint(Path(path)) for path in structures],
        **session.describe_model(session.make_calculator(chosen)),
    )
    learning = Learning(
        reference,
        exploration,
        per_round,
        minutes,
        jobs,
        limit_s,
        max_uncertainty_eV_per_A,
        rehearsal_share,
        chosen,
        seed,
    )
    with resumable(output, manifest, resume):
        journal = Journal(output / JOURNAL)
        found, last = _learn(starts, str(base), journal, learning, labels, target_meV_per_A, output)
        report = options | {
            "passed": _passed(found[-1], target_meV_per_A),
            "labels_spent": len(journal.numbers),
            "rounds": found,
        }
        with replacing(output / MODEL) as temporary:
            shutil.copyfile(last, temporary)
        write_structures(output / LABELS, with_labels(journal.read()))
        write_text(output / REPORT, to_json(report))
        write_text(output / PAGE, say(report, output))
        write_figure(output / FIGURE, draw(report))
        manifest |= {"passed": report["passed"]}
    screen.print(say(report, output))
    if not report["passed"]:
        raise NotConverged(
            f"{labels} labels are spent, and no exploration with errors below"
            f" {target_meV_per_A:g} meV/Å has passed; {output / PAGE} tells the rounds."
        )
    return report


def _learn(
    starts: Sequence[Atoms],
    base: str,
    journal: Journal,
    learning: Learning,
    budget: int,
    target_meV_per_A: float,
    output: Path,
) -> tuple[list[dict[str, Any]], str]:
    """Do round after round; return what each found, and the last model."""
    found: list[dict[str, Any]] = []
    model, number = base, 0
    while True:
        folder = output / f"round-{number}"
        folder.mkdir(exist_ok=True)
        runs = rounds.explored(starts, model, learning, number, folder)
        spent = sum(row["labels"] for row in found)
        count = min(learning.per_round, budget - spent)
        structures = rounds.choose(starts, journal, learning, number, folder, count)
        rounds.label(structures, journal, learning, number)
        found.append(rounds.compare(model, journal, runs, learning, number, folder))
        screen.print(round_line(found[-1]))
        if _passed(found[-1], target_meV_per_A) or not structures:
            return found, model
        rounds.tune(model, journal, learning, number, folder)
        model, number = str(folder / MODEL), number + 1


def _passed(found: dict[str, Any], target_meV_per_A: float) -> bool:
    """Say whether all explorations came to their end, with errors below the target."""
    error = found["forces_mae_meV_per_A"]
    right = error is not None and error <= target_meV_per_A
    return right and not any(run["why"] for run in found["explored"])


def _in_state(atoms: Atoms, charge: int | None, multiplicity: int | None) -> Atoms:
    """Return a structure that says its charge and multiplicity."""
    state = resolve(atoms, charge, multiplicity)
    start: Atoms = atoms.copy()
    set_state(start, state.charge, state.multiplicity)
    return start
