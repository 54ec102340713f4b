"""What a configuration stands for: structures, their statistics, and the spec completed by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols

from potentials.build import build
from potentials.checkpoint import Model, load
from potentials.datasets import (
    Frames,
    fit_reference_energies,
    fit_state_energies,
    join,
    load_frames,
    split,
    subtract_reference_energies,
)
from potentials.experts import Experts
from potentials.training.config import DTYPES, REST, Config
from potentials.training.start import like_start, take_over


class Material(NamedTuple):
    """What a configuration stands for, read and checked before anything is written."""

    config: Config
    train: Frames
    validation: Frames
    test: Frames | None
    references: dict[int, float]  # atomic number -> eV
    scale: float  # σ of the loss, eV and eV/Å
    spec: dict[str, Any]
    start: Model | None = None  # whose weights the training starts from
    n_rehearsed: int = 0  # of the structures to train on, the last ones: labelled by a model


def prepare(config: Config, data: str | Path | None = None) -> Material:
    """Read the structures and complete the spec with their statistics.

    Raises
    ------
    FileNotFoundError, ValueError   what is wrong with data or configuration
    """
    wanted = config.data
    frames = load_frames(wanted.train, data=data)
    train, validation, rest = split(
        frames, wanted.n_train, wanted.n_validation, wanted.split_seed, wanted.split
    )
    if not len(validation):
        raise ValueError(
            "`n_validation` must be at least 1; got 0. Leave some structures to watch the"
            " training by."
        )
    train, validation = (_of_states(part, wanted.states) for part in (train, validation))
    rehearsed = (
        _of_states(load_frames(wanted.rehearsal, data=data), wanted.states)
        if wanted.rehearsal
        else None
    )
    if len(train) < config.training.batch_size:
        raise ValueError(
            f"`batch_size` must be at most n_train = {len(train)}; got"
            f" {config.training.batch_size}. Take a smaller one."
        )
    test = (
        rest
        if wanted.test == REST
        else load_frames(wanted.test, data=data)
        if wanted.test
        else None
    )
    if wanted.test == REST and not len(rest):
        raise ValueError(
            f"`n_train` + `n_validation` must leave structures of {wanted.train} to test; got none"
            " left. Take fewer."
        )
    return assemble(
        config,
        train,
        validation,
        None if test is None else _of_states(test, wanted.states),
        rehearsed,
    )


def assemble(
    config: Config,
    train: Frames,
    validation: Frames,
    test: Frames | None,
    rehearsed: Frames | None = None,
) -> Material:
    """Complete the spec with the statistics of the data and the scale of the model to start from.

    Raises
    ------
    FileNotFoundError, ValueError   what is wrong with the spec or the model to start from
    """
    by_state = any(
        term.get("name") == "state_energies" for term in config.potential.get("terms", ())
    )
    references, states = (
        fit_state_energies(train) if by_state else (fit_reference_energies(train), {})
    )
    scale = _scale(train, references)
    start = _load_start(config, train) if config.training.start else None
    wished = like_start(config.potential, start.potential.spec) if start else config.potential
    spec = _complete(
        wished, scale, references, states, (float(train.energy.std()), float(train.energy.mean()))
    )
    potential = build(spec)  # a wrong spec is said now
    if start is not None:
        take_over(potential, start.potential)  # and a start that does not fit it
    if rehearsed is None:
        return Material(config, train, validation, test, references, scale, spec, start)
    both = join([replace(part, partial_charges=None, dipole=None) for part in (train, rehearsed)])
    return Material(config, both, validation, test, references, scale, spec, start, len(rehearsed))


def _of_states(frames: Frames, states: list[list[int]]) -> Frames:
    """Take the structures of some states, or of all where none is named."""
    if not states:
        return frames
    chosen = np.zeros(len(frames), dtype=bool)
    for charge, multiplicity in states:
        chosen |= (frames.total_charge == charge) & (frames.multiplicity == multiplicity)
    if not chosen.any():
        raise ValueError(
            f"`states` must be among those of the data; got {states}, of which there is none."
            " Correct [data]."
        )
    return frames.select(np.flatnonzero(chosen))


def _load_start(config: Config, train: Frames) -> Model:
    """Open the model to start from.

    Of experts that of the state to be trained, or what they share where there are several.
    """
    try:
        start = load(config.training.start, DTYPES[config.training.dtype])
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"`start` of [training]: {error}") from error
    if not isinstance(start.potential, Experts):
        return start
    states = set(zip(train.total_charge.tolist(), train.multiplicity.tolist(), strict=True))
    return start._replace(
        potential=start.potential.of(*states.pop()) if len(states) == 1 else start.potential.shared
    )


def _scale(train: Frames, references: dict[int, float]) -> float:
    """Root mean square of the force components in eV/Å.

    Without forces, that of the energies per √atom in eV.
    """
    if train.forces is not None:
        return float(np.sqrt(np.mean(train.forces**2)))
    return float(
        np.sqrt(np.mean(subtract_reference_energies(train, references) ** 2 / train.n_atoms))
    )


def _complete(
    spec: Mapping[str, Any],
    scale: float,
    references: dict[int, float],
    states: dict[tuple[int, int], float],
    labels: tuple[float, float] = (1.0, 0.0),
) -> dict[str, Any]:
    """Fill in scale and shift of the readouts and the energies of elements and states left open.

    Parameters
    ----------
    labels : float, float   standard deviation and mean of what stands for the energy
    """
    given: dict[str, dict[str, Any]] = {
        "readout": {"scale": scale},
        "mean_readout": {"scale": labels[0] or 1.0, "shift": labels[1]},
        "reference_energies": {
            "energies_eV": {chemical_symbols[z]: energy for z, energy in references.items()}
        },
        "state_energies": {
            "energies_eV": [
                [charge, multiplicity, energy] for (charge, multiplicity), energy in states.items()
            ]
        },
    }
    terms = spec.get("terms", [{"name": "readout"}, {"name": "reference_energies"}])
    return {**spec, "terms": [given.get(term.get("name", ""), {}) | dict(term) for term in terms]}
