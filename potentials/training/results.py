"""The end of a training: errors on the test structures, the card, the model file and a report."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ase.data import chemical_symbols

from potentials.card import Card
from potentials.checkpoint import save
from potentials.datasets import Frames, statistics
from potentials.files import write_text
from potentials.training.data import StructureSet
from potentials.training.evaluate import errors, wrong_species
from potentials.training.fit import Training

MODEL, REPORT = "model.pt", "report.json"
NOTHING: Mapping[str, Any] = {}
PACKAGES = ("polcalc", "torch", "lightning", "ase", "numpy", "vesin")


def write_model(
    training: Training,
    command: str,
    config_text: str = "",
    *,
    compared: Mapping[str, Any] = NOTHING,
    complete: Callable[[Card], Card] = lambda card: card,
) -> dict[str, Any]:
    """Write model.pt and report.json; return the report.

    Parameters
    ----------
    training : Training    after `Training.run`
    command : str          the line of the shell that made the model
    config_text : str      its configuration as written
    compared : dict        further errors, for the report and for ``training`` of the card
    complete : callable    what else the card tells
    """
    task, potential = training.task, training.potential
    found = {"validation": errors(potential, training.validation)}
    if task.test is not None:
        found["test"] = errors(
            potential, StructureSet(task.test, potential.cutoff, training.fabric.device)
        )
    summary: dict[str, Any] = {
        "epochs": training.progress.step / training.steps_per_epoch,
        "steps": training.progress.step,
        "minutes": training.progress.elapsed_s / 60,
        "stopped_early": training.progress.stopped,
        "n_parameters": sum(p.numel() for p in potential.parameters()),
        "force_scale_eV_per_A": task.scale,
        "device": str(training.fabric.device.type),
        "devices": training.fabric.world_size,
    }
    if task.start is not None:
        start = task.start
        summary["start"] = {
            "name": start.card.name,
            "sha256": start.sha256,
            "dataset": start.card.dataset.get("name", ""),
        }
    if compared:
        summary["compared"] = dict(compared)
    card = complete(_card(training, found, summary, command, config_text))
    checksum = save(training.output / MODEL, potential, card)
    report = {
        "name": task.config.name,
        "sha256": checksum,
        "training": summary,
        "errors": found,
        "history": training.progress.history,
    }
    write_text(training.output / REPORT, json.dumps(report, indent=2) + "\n")
    return report


def _card(
    training: Training,
    found: dict[str, Any],
    summary: dict[str, Any],
    command: str,
    config_text: str,
) -> Card:
    task, config = training.task, training.config
    labelled = task.labelled
    known = statistics(labelled, task.references)
    return Card(
        name=config.name,
        description=config.description,
        limits=config.limits,
        elements=known.elements,
        states=known.states,
        elements_of_ions=known.elements_of_ions,
        closest_distances_A=known.closest_distances_A,
        longest_bonds_A=known.longest_bonds_A,
        longest_bonds_of_states_A=known.longest_bonds_of_states_A,
        training_errors=_wrong_species(training, labelled),
        energy_range_eV=known.energy_range_eV,
        force_max_eV_per_A=known.force_max_eV_per_A,
        n_atoms_max=known.n_atoms_max,
        largest_of_states=known.largest_of_states,
        periodic=known.periodic,
        reference_energies_eV={
            chemical_symbols[z]: energy for z, energy in task.references.items()
        },
        dataset=described(labelled)
        | {"n_train": len(labelled), "n_validation": len(task.validation)}
        | ({"n_rehearsed": task.n_rehearsed} if task.n_rehearsed else {}),
        test_errors={} if task.test is None else {"dataset": described(task.test), **found["test"]},
        training={
            **summary,
            "validation_errors": found["validation"],
            "configuration": config.to_dict(),
            "configuration_text": config_text,
        },
        command=command,
        seed=config.seed,
        versions={
            "python": platform.python_version(),
            **{name: _version(name) for name in PACKAGES},
        },
    )


def _wrong_species(training: Training, labelled: Frames) -> list[list[Any]]:
    """List species that the training left wrong; nothing where energies are not learnt as such."""
    if "energy" not in training.potential.predicts or labelled.provenance.quantity:
        return []
    sets = (training.train, len(labelled)), (training.validation, len(training.validation))
    return [
        [formula, charge, multiplicity, round(error_eV, 3)]
        for formula, charge, multiplicity, error_eV in wrong_species(training.potential, sets)
    ]


def described(frames: Frames) -> dict[str, Any]:
    """Say where structures come from, and how many they are."""
    source = asdict(frames.provenance)
    return {
        "name": source.pop("name"),
        "source": source.pop("url"),
        **source,
        "n_frames": len(frames),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
