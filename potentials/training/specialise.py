"""From one model to experts: a training for each electronic state, of labels of that state alone, and one model of all of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from potentials.checkpoint import Model, load, save
from potentials.datasets import load_frames
from potentials.experts import Experts, compact, expanded
from potentials.training.config import Config
from potentials.training.data import StructureSet
from potentials.training.evaluate import errors
from potentials.training.finish import MODEL, described, finish
from potentials.training.fit import Training
from potentials.training.loss import Gradients
from potentials.training.material import prepare

State = tuple[int, int]  # charge in e, multiplicity


def expert_config(config: Config, base: Model, state: State) -> Config:
    """Return the configuration of the training of one expert: that of all of them, from the base, on labels of its state."""
    return replace(
        config,
        name=f"{config.name} {_folder(state)}",
        data=replace(config.data, states=[list(state)]),
        potential=base.potential.spec,
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
    """Train the expert of a state in a folder of its own, unless it is there already; what was cut off goes on. Say what came of it."""
    folder = output / _folder(state)
    if (folder / MODEL).is_file():
        return f"{_folder(state)}: done before"
    folder.mkdir(parents=True, exist_ok=True)
    training = Training(prepare(expert_config(config, base, state), data), folder, device="cpu", resume=True, gradients=gradients)
    before = errors(training.potential, training.validation)
    training.run()
    report = finish(training, command)
    return f"{_folder(state)}: {_words(before)} -> {_words(report['errors']['validation'])} on {before['n_frames']} structures"


def combine(base: Model, experts: Sequence[Model]) -> Experts:
    """Put experts of one state each together with the model that they started from.

    Raises
    ------
    ValueError   an expert of several states, of one that is there already, or of another spec
    """
    states: list[State] = []
    for expert in experts:
        of = [(charge, multiplicity) for charge, multiplicity, _ in expert.card.states]
        if len(of) != 1 or of[0] in states:
            raise ValueError(f"`experts` must know one state each, and no two the same; {expert.path} knows {of}. Train them one by one.")
        if expert.potential.spec != base.potential.spec:
            raise ValueError(f"`experts` must have the spec of the base; {expert.path} has another. Start its training from the base.")
        states.append((int(of[0][0]), int(of[0][1])))
    combined = Experts(copy.deepcopy(base.potential), states)
    for state, expert in zip(states, experts, strict=True):
        combined.of(*state).load_state_dict(expert.potential.state_dict())
    return combined


def save_combined(
    config: Config, base: Model, output: Path, *, data: Path | None = None, command: str = "", text: str = ""
) -> dict[str, Any]:
    """Write the model of all experts in a folder, with the errors of the whole in its card; return these."""
    experts = [load(path) for path in sorted(output.glob(f"*/{MODEL}"))]
    potential = combine(base, experts)
    potential.load_state_dict(expanded(compact(potential.state_dict())))  # as rounded in the file
    test = load_frames(config.data.test, data=data)
    found = errors(potential, StructureSet(test, potential.cutoff))
    training: dict[str, Any] = {
        **base.card.training,
        "experts": {_folder(_state(e)): e.card.training | {"configuration_text": ""} for e in experts},
        "configuration_text_of_experts": text,
        "n_parameters": sum(p.numel() for p in potential.parameters()),
    }
    training.pop("validation_errors", None)  # of the base
    card = replace(
        base.card,
        name=config.name,
        description=config.description,
        limits=config.limits,
        test_errors={"dataset": described(test), **found},
        training=training,
        command=command,
        audit={},
    )
    save(output / MODEL, potential, card)
    return found


def _state(model: Model) -> State:
    charge, multiplicity, _ = model.card.states[0]
    return int(charge), int(multiplicity)


def _folder(state: State) -> str:
    charge, multiplicity = state
    return f"charge{charge:+d}-multiplicity{multiplicity}"


def _words(found: Mapping[str, Any]) -> str:
    forces = found["forces_mae_meV_per_A"]
    return f"{found['energy_mae_meV_per_atom']:.2f} meV/atom" + ("" if forces is None else f", {forces:.1f} meV/Å")
