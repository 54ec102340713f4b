"""From one model to experts: a training for each electronic state, and one model of all of them.

The model may have experts already: each training then goes on from that of its state, and those of
other states stay as they are. Embeddings and attention that the configuration names and the model
has not are added to all, silent until they are trained.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from potentials.build import build
from potentials.card import Card, joint_domain
from potentials.checkpoint import Model, cast_network, load, save
from potentials.datasets import load_frames
from potentials.experts import Experts, compact, expanded
from potentials.parts.conditioning import MAX_ATOMIC_NUMBER
from potentials.potential import Potential
from potentials.structure.graph import State
from potentials.training.config import Config
from potentials.training.data import StructureSet
from potentials.training.evaluate import errors
from potentials.training.fit import Training
from potentials.training.initial_weights import take_over
from potentials.training.loss import Gradients
from potentials.training.preparation import prepare
from potentials.training.results import MODEL, described, write_model
from potentials.trust.calibrate import bare

# of a spec: what experts may have more of than the model they start from
GROWING = ("embeddings", "attention", "electrons")


def expert_config(config: Config, base: Model, state: State) -> Config:
    """Return the configuration of the training of one expert.

    That of all of them, from the base or its expert, on labels of its state.
    """
    return replace(
        config,
        name=f"{config.name} {_folder(state)}",
        data=replace(config.data, states=[list(state)]),
        potential={
            **_shared(base).spec,
            **{key: config.potential[key] for key in GROWING if key in config.potential},
        },
        training=replace(config.training, start=str(base.path)),
    )


def train_expert(
    config: Config,
    base: Model,
    state: State,
    output: Path,
    *,
    data: Path | None = None,
    gradients: Mapping[str, Gradients],
    command: str = "",
) -> str:
    """Train the expert of a state in a folder of its own, and say what came of it.

    One that is there is left as it is; one that was cut off goes on.
    """
    folder = output / _folder(state)
    if (folder / MODEL).is_file():
        return f"{_folder(state)}: done before"
    folder.mkdir(parents=True, exist_ok=True)
    training = Training(
        prepare(expert_config(config, base, state), data),
        folder,
        device="cpu",
        resume=True,
        gradients=gradients,
    )
    before = errors(training.potential, training.validation)
    training.run()
    report = write_model(training, command)
    return (
        f"{_folder(state)}: {_words(before)} -> {_words(report['errors']['validation'])} on"
        f" {before['n_frames']} structures"
    )


def combine(base: Model, experts: Sequence[Model]) -> Experts:
    """Join experts of one state each with the model they started from, and with its own experts.

    Raises
    ------
    ValueError   an expert of several states, of one that is there already, or of another spec, but
                 for further embeddings
    """
    shared, made = _grown(_shared(base), experts[0].potential.spec), {}
    for expert in experts:
        of = [(int(charge), int(multiplicity)) for charge, multiplicity, _ in expert.card.states]
        if len(of) != 1 or of[0] in made:
            raise ValueError(
                f"`experts` must know one state each, and no two the same; {expert.path} knows"
                f" {of}. Train them one by one."
            )
        if expert.potential.spec != shared.spec:
            raise ValueError(
                f"`experts` must have the spec of the base; {expert.path} has another. Start its"
                " training from the base."
            )
        made[of[0]] = expert.potential
    if isinstance(base.potential, Experts):
        made = {
            state: _grown(bare(base.potential.of(*state)), shared.spec)
            for state in base.potential.states
            if state not in made
        } | made
    combined = Experts(copy.deepcopy(shared), list(made))
    unseen = sorted(
        set(range(MAX_ATOMIC_NUMBER)).difference(
            *(model.card.elements for model in (base, *experts))
        )
    )
    for state, potential in made.items():
        combined.of(*state).load_state_dict(potential.state_dict())
        _take_rows(combined.of(*state), shared, unseen)
    return combined


@torch.no_grad()
def _take_rows(potential: Potential, shared: Potential, rows: Sequence[int]) -> None:
    """Replace rows of element tables by the shared ones where nothing was learnt.

    A file need not hold them twice.
    """
    for table, theirs in zip(potential.modules(), shared.modules(), strict=True):
        if isinstance(table, nn.Embedding) and isinstance(theirs, nn.Embedding):
            table.weight[rows] = theirs.weight[rows]


def save_combined(
    config: Config,
    base: Model,
    states: Sequence[State],
    output: Path,
    *,
    data: Path | None = None,
    command: str = "",
    text: str = "",
) -> dict[str, Any]:
    """Write the model with the experts of some states in a folder, and return its errors.

    They stand in its card.
    """
    experts = [load(output / _folder(state) / MODEL) for state in states]
    potential = combine(base, experts)
    potential.load_state_dict(expanded(compact(potential.state_dict())))  # as rounded in the file
    test = load_frames(config.data.test, data=data)
    found = errors(potential, StructureSet(test, potential.cutoff))
    training: dict[str, Any] = {
        **base.card.training,
        "experts": (
            base.card.training.get("experts", {})
            | {
                _folder(state): e.card.training | {"configuration_text": ""}
                for state, e in zip(states, experts, strict=True)
            }
        ),
        "configuration_text_of_experts": text,
        "n_parameters": sum(p.numel() for p in potential.parameters()),
    }
    training.pop("validation_errors", None)  # of the base
    card = replace(
        base.card,
        **_seen(base.card, [expert.card for expert in experts]),
        name=config.name,
        description=config.description,
        limits=config.limits,
        test_errors={"dataset": described(test), **found},
        training=training,
        command=command,
        audit={},
        known_errors=[],
    )
    save(output / MODEL, potential, card)
    return found


def _seen(base: Card, experts: Sequence[Card]) -> dict[str, Any]:
    """Put together what the base and the experts were trained on.

    The entries of a card that say what its model knows.
    """
    learnt = {(charge, multiplicity) for card in experts for charge, multiplicity, _ in card.states}
    left = [row for row in base.training_errors if (row[1], row[2]) not in learnt]
    cards = [replace(base, training_errors=left), *experts]
    # what the base was trained on is not forgotten
    rehearsed = any(card.dataset.get("n_rehearsed") for card in experts)
    counts: dict[State, int] = {}
    for card in cards:
        for charge, multiplicity, n in card.states:
            counts[charge, multiplicity] = n + rehearsed * counts.get((charge, multiplicity), 0)
    seen = joint_domain(cards) | {"states": [[*state, n] for state, n in sorted(counts.items())]}
    parts, n_labels = [card.dataset for card in experts], sum(counts.values())
    if rehearsed:
        seen["dataset"] = base.dataset | {
            "sha256": parts[0]["sha256"],
            "n_frames": n_labels,
            "n_train": n_labels,
        }
        seen["dataset"]["n_rehearsed"] = sum(part.get("n_rehearsed", 0) for part in parts)
    elif len(experts) == len(counts):  # nothing is left of what the base was trained on
        seen["dataset"] = parts[0] | {
            name: sum(part[name] for part in parts)
            for name in ("n_frames", "n_train", "n_validation")
        }
    elif base.dataset.get("name") == parts[0]["name"]:  # the same set, and maybe more of it
        seen["dataset"] = base.dataset | {
            "sha256": parts[0]["sha256"],
            "n_frames": n_labels,
            "n_train": n_labels,
        }
    return seen


def _shared(base: Model) -> Potential:
    return bare(base.potential.shared if isinstance(base.potential, Experts) else base.potential)


def _grown(potential: Potential, spec: Mapping[str, Any]) -> Potential:
    """Return the potential, built anew if all that the spec adds are embeddings and attention."""
    own = potential.spec
    lost = [e for e in own.get("embeddings", ()) if e not in spec.get("embeddings", ())]
    if {**own, **{key: spec[key] for key in GROWING if key in spec}} != spec or lost:
        return potential  # of another spec
    grown = build(copy.deepcopy(dict(spec)))
    cast_network(grown, potential.dtype)
    take_over(grown, potential)
    return grown


def _folder(state: State) -> str:
    charge, multiplicity = state
    return f"charge{charge:+d}-multiplicity{multiplicity}"


def _words(found: Mapping[str, Any]) -> str:
    forces = found["forces_mae_meV_per_A"]
    return f"{found['energy_mae_meV_per_atom']:.2f} meV/atom" + (
        "" if forces is None else f", {forces:.1f} meV/Å"
    )
