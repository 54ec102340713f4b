"""Fine-tuning, from a model and labelled structures to a model of both.

The model is put on the level of theory of the labels, trained on them while it rehearses what it
said of its own structures before, and compared with what it was: on labels that it was not trained
on, and on its old domain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols, ground_state_magnetic_moments

from potentials.build import build
from potentials.card import Card, joint_domain
from potentials.checkpoint import Model, cast_network, load
from potentials.datasets import Frames, Provenance, join, make_frames, split
from potentials.finetuning.levels import Level, fit_level, spec_on_level, to_level
from potentials.finetuning.recipe import Sizes, configuration, learning_rate, sizes
from potentials.finetuning.rehearsal import OldDomain, bare, labelled_by, old_domain, repeated
from potentials.potential import Potential
from potentials.training.config import DTYPES, DataConfig
from potentials.training.data import StructureSet
from potentials.training.evaluate import errors
from potentials.training.fit import Training
from potentials.training.initial_weights import take_over
from potentials.training.preparation import TrainingTask, assemble, of_states
from potentials.training.results import write_model

FEWEST_GROUPS = 10  # that a split can be drawn of


class FineTuning(NamedTuple):
    """A fine-tuning that is ready to be run: everything is read, and nothing written."""

    base: Model
    on_level: Potential  # the base on the level of the labels
    level: Level
    size: Sizes
    task: TrainingTask
    old: OldDomain | None


def base_of(model: str, frames: Frames) -> Model:
    """Open the model to start from.

    Of a model with weights for each state, those of the state of the structures, whose card then
    knows this state alone; or those that all states share where there are several.
    """
    whole = load(model, DTYPES["float32"])
    base = of_states(whole, frames)
    own = {(int(q), int(m)) for q, m in zip(frames.total_charge, frames.multiplicity, strict=True)}
    known = [[q, m, n] for q, m, n in whole.card.states if (q, m) in own]
    if base.potential is whole.potential or len(own) > 1 or not known:
        return base
    return base._replace(card=replace(base.card, states=known))


def plan(
    base: Model,
    parts: Sequence[Frames],
    *,
    name: str,
    start: str,
    minutes: float = 20.0,
    test: Frames | None = None,
    validation: Frames | None = None,
    rehearsal: Sequence[str] = (),
    rehearsal_share: float = 0.5,
    data: str | Path | None = None,
    gradients: str = "autograd",
    seed: int = 0,
) -> FineTuning:
    """Put a model on the level of labels, and choose how it is trained on them.

    Parameters
    ----------
    base : Model             as `base_of` opens it
    parts : list of Frames   labelled structures, one or several files of them
    name : str               of the model to be made
    start : str              file or name of the base
    minutes : float          of training at most
    test : Frames            to compare before and after; None: the structures of validation
    validation : Frames      to choose when to stop by; None: a share of the structures
    rehearsal : list         files or sets of structures that the base knows; none: those that come
                             with the package
    rehearsal_share : float  of the structures that are trained on
    data : Path              folder with the files of known sets
    gradients : str          how the loss is differentiated
    seed : int               of the split and the order

    Raises
    ------
    FileNotFoundError, ValueError   what is wrong with structures or options
    """
    frames = joined(parts)
    old = old_domain(base.card, rehearsal, data=data, seed=seed) if rehearsal_share else None
    n_old, together = 0 if old is None else len(old.rehearsed), _together(frames)
    if validation is None:
        size = sizes(len(frames), n_old, rehearsal_share)
        n_validation = len(frames) - size.n_train
        train, validation, _ = split(frames, size.n_train, n_validation, seed, together)
    else:
        size = sizes(len(frames) + len(validation), n_old, rehearsal_share)
        train, validation = frames, bare(validation)
    if not len(validation):
        raise ValueError(
            f"`DATA` must hold structures that differ; got {len(frames)}, of which none are left to"
            " validate on. Add others."
        )
    size = size._replace(n_train=len(train), n_validation=len(validation))
    level, on_level = _on_level(base, train, frames.references)
    trained = [replace(train, group=None)] * size.repeats
    if old is not None:
        rehearsed = labelled_by(on_level, repeated(old.rehearsed, size.n_rehearsed))
        trained.append(rehearsed)
        old = old._replace(held_out=to_level(old.held_out, level))
    config = configuration(
        size,
        DataConfig(
            train=frames.provenance.name,
            n_train=len(train),
            n_validation=len(validation),
            split_seed=seed,
            split=together,
            rehearsal=" + ".join(rehearsal) or ("its own" if old is not None else ""),
        ),
        dict(on_level.spec),
        name=name,
        start=start,
        minutes=minutes,
        learning_rate=learning_rate(
            size.n_train, set(train.atomic_numbers.tolist()) - set(base.card.elements)
        ),
        gradients=gradients,
        seed=seed,
    )
    tested = None if test is None else replace(bare(test), group=None)
    task = assemble(config, train, validation, tested, None)
    task = task._replace(
        train=join(trained),
        n_rehearsed=size.n_rehearsed,
        repeats=size.repeats,
        references=_references(on_level),
        remarks=tuple(
            dict.fromkeys(
                (*task.remarks, *(r for part in parts for r in part.remarks), *_lost(base, task))
            )
        ),
    )
    return FineTuning(base, on_level, level, size, task, old)


def finish(tuning: FineTuning, training: Training, command: str = "") -> dict[str, Any]:
    """Compare before and after, write model.pt with its card and report.json; return the report.

    Parameters
    ----------
    tuning : FineTuning
    training : Training   of its task, after `Training.run`
    command : str         the line of the shell that made the model
    """
    return write_model(
        training,
        command,
        compared=compared(tuning, training.potential),
        complete=lambda card: _completed(card, tuning),
    )


def compared(tuning: FineTuning, tuned: Potential) -> dict[str, Any]:
    """Compare a model before and after: on the new labels and on its old domain.

    Returns
    -------
    dict   ``before`` and ``after``; ``old_before`` and ``old_after`` where there is an old domain
    """
    device = next(tuned.parameters()).device
    new = tuning.task.validation if tuning.task.test is None else tuning.task.test
    sets = {"": new} | ({} if tuning.old is None else {"old_": tuning.old.held_out})
    found = {}
    for kind, frames in sets.items():
        structures = StructureSet(frames, tuned.cutoff, device)
        found[f"{kind}before"] = errors(tuning.on_level.to(device), structures)
        found[f"{kind}after"] = errors(tuned, structures)
    return found


def _lost(base: Model, task: TrainingTask) -> list[str]:
    """Say which states of the model are left behind."""
    kept = {(q, m) for q, m, _ in base.card.states}
    whole = [] if task.start is None else task.start.card.states
    if not (lost := [f"{q:+d}/{m}" for q, m, _ in whole if (q, m) not in kept]):
        return []
    return [
        f"{base.card.name} has weights for each state and goes on with those of the structures"
        f" alone; the result does not know {', '.join(lost)}"
    ]


def _together(frames: Frames) -> str:
    """Choose what a split keeps together: groups of the file, or else states of one geometry."""
    groups = frames.group is not None and len(np.unique(frames.group)) >= FEWEST_GROUPS
    return "group" if groups else "geometry"


def _on_level(base: Model, train: Frames, atoms: Mapping[int, float]) -> tuple[Level, Potential]:
    """Put a model on the level of labels, and of the free atoms beside them, eV."""
    spec = base.potential.spec
    level = fit_level(
        train,
        labelled_by(base.potential, train).energy,
        {z: energy - _alone(base, z) for z, energy in atoms.items()},
        by_state=any(term["name"] == "state_energies" for term in spec["terms"]),
    )
    on_level = build(spec_on_level(spec, level))
    cast_network(on_level, base.potential.dtype)
    take_over(on_level, base.potential)
    return level, on_level


def _completed(card: Card, tuning: FineTuning) -> Card:
    """Have the card tell what the base knew, where it was rehearsed, and what was fine-tuned."""
    base, found = tuning.base.card, card.training["compared"]
    training = card.training | {
        "level": {
            "per_element_eV": tuning.level.per_element,
            "per_state_eV": [[*state, energy] for state, energy in tuning.level.per_state.items()],
        },
        "rehearsal_share": tuning.size.n_rehearsed / len(tuning.task.train),
    }
    new = card.dataset["name"]
    card = replace(
        card,
        training=training,
        description=f"{base.name} fine-tuned on {card.dataset['n_train']} structures of {new}",
    )
    if tuning.old is None:
        return replace(
            card, limits=f"Knows {new} alone: nothing of {base.name} was rehearsed. {base.limits}"
        )
    forces = [found[key]["forces_mae_meV_per_A"] for key in ("old_before", "old_after")]
    forgotten = f" by {forces[0]:.0f} meV/Å before, {forces[1]:.0f} now" if all(forces) else ""
    counts = {(q, m): n for q, m, n in base.states}
    for charge, multiplicity, n in card.states:
        counts[charge, multiplicity] = counts.get((charge, multiplicity), 0) + n
    return replace(
        card,
        **joint_domain([base, card]),
        states=[[*state, n] for state, n in sorted(counts.items())],
        known_errors=[row for row in base.known_errors if (row[1], row[2]) in counts],
        dataset=base.dataset
        | {
            "theory": _theories(new, card.dataset["theory"], str(base.dataset.get("theory", ""))),
            "fine_tuned_on": card.dataset,
            "n_rehearsed": tuning.size.n_rehearsed,
        },
        limits=(
            f"Beyond {new} it is what {base.name} was and somewhat worse: forces of structures of"
            f" the old kind err{forgotten}. {base.limits}"
        ),
    )


def _theories(new: str, theory: str, base: str) -> str:
    """Say which structures are on which level of theory."""
    own = f"{theory or 'that of its labels'} for {new}"
    return f"{own}; beyond: {base}" if base and base != theory else own


def joined(parts: Sequence[Frames]) -> Frames:
    """Put labelled structures of several files together; energies and forces count.

    Forces that a file does not have are unknown.
    """
    if len(parts) == 1:
        return replace(bare(parts[0]), references=parts[0].references)
    sums = {name: x for part in parts for name, x in part.provenance.sha256.items()}
    about = Provenance(name=" + ".join(part.provenance.name for part in parts), sha256=sums)
    references = {z: energy for part in parts for z, energy in part.references.items()}
    joined = join([replace(bare(part), group=None) for part in parts], about)
    return replace(joined, references=references)


def _alone(base: Model, atomic_number: int) -> float:
    """Ask a model for the energy of a free atom in its ground state, eV."""
    atom = make_frames(
        n_atoms=np.array([1]),
        atomic_numbers=np.array([atomic_number]),
        positions=np.zeros((1, 3)),
        energy=np.zeros(1),
        multiplicity=1 + int(ground_state_magnetic_moments[atomic_number]),
    )
    return float(labelled_by(base.potential, atom).energy[0])


def _references(potential: Potential) -> dict[int, float]:
    """Read the energies of elements of a potential, eV."""
    (term,) = (t for t in potential.spec["terms"] if t["name"] == "reference_energies")
    return {chemical_symbols.index(symbol): x for symbol, x in term["energies_eV"].items()}
