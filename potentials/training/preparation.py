"""What a configuration stands for: structures, their statistics, and the spec completed by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols

from potentials.build import build, check_form
from potentials.checkpoint import Model, load
from potentials.datasets import (
    Frames,
    fit_electron_energies,
    fit_reference_energies,
    fit_state_energies,
    join,
    load_frames,
    split,
    subtract_reference_energies,
)
from potentials.datasets.formats.labels import Wanted
from potentials.datasets.formats.units import declared_units
from potentials.datasets.statistics import states as state_counts
from potentials.experts import Experts
from potentials.potential import Potential
from potentials.quantities import QUANTITIES
from potentials.training.config import DTYPES, REST, Config, DataConfig
from potentials.training.initial_weights import inherited, like_start, take_over

FITTED = {"reference_energies", "state_energies", "zbl"}  # terms that learn nothing
SMALLEST = 1e-9  # eV or eV/Å; labels below it are rounding


class TrainingTask(NamedTuple):
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
    repeats: int = 1  # times that each of the others stands among the structures to train on
    spreads: Mapping[str, float] = {}  # σ of the loss for each quantity beyond energy and forces
    remarks: tuple[str, ...] = ()  # what of data and spec may not be meant

    @property
    def labelled(self) -> Frames:
        """The structures to train on that have labels of their own, each once."""
        n_labelled = (len(self.train) - self.n_rehearsed) // self.repeats
        return self.train.select(slice(0, n_labelled))


def prepare(config: Config, data: str | Path | None = None) -> TrainingTask:
    """Read the structures and complete the spec with their statistics.

    Raises
    ------
    FileNotFoundError, ValueError   what is wrong with data or configuration
    """
    train, validation, test = divided(config, data)
    wanted = config.data
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
    return assemble(config, train, validation, test, rehearsed)


def divided(config: Config, data: str | Path | None = None) -> tuple[Frames, Frames, Frames | None]:
    """Read the structures that a configuration names.

    Returns
    -------
    those to train on, those to choose when to stop by, and those to test on, if there are any

    Raises
    ------
    FileNotFoundError, ValueError   no such data, or too few of them
    """
    wanted = config.data
    frames = _read(wanted.train, wanted, data)
    n_train, n_validation = (
        _count(value, len(frames)) for value in (wanted.n_train, wanted.n_validation)
    )
    train, validation, rest = split(frames, n_train, n_validation, wanted.split_seed, wanted.split)
    if not len(validation):
        raise ValueError(
            f"`n_validation` must be at least one of {len(frames)} structures; got"
            f" {wanted.n_validation}. Leave some to watch the training by."
        )
    test = (
        rest if wanted.test == REST else _read(wanted.test, wanted, data) if wanted.test else None
    )
    if wanted.test == REST and not len(rest):
        raise ValueError(
            f"`n_train` + `n_validation` must leave structures of {wanted.train} to test; got none"
            " left. Take fewer."
        )
    return (
        _of_states(train, wanted.states),
        _of_states(validation, wanted.states),
        None if test is None else _of_states(test, wanted.states),
    )


def _read(source: str, wanted: DataConfig, data: str | Path | None) -> Frames:
    """Read a file as the configuration declares it, or a known set, which declares itself."""
    if not Path(source).expanduser().is_file():
        return load_frames(source, data=data)
    return load_frames(
        source,
        data=data,
        units=declared_units(
            wanted.energy_unit, wanted.length_unit, wanted.forces_unit, wanted.stress_unit
        ),
        wanted=Wanted(wanted.energy, wanted.forces, wanted.stress),
    )


def _count(share: float, n_structures: int) -> int:
    """Count the structures of a share: a number of them, or a fraction."""
    return share if isinstance(share, int) else int(share * n_structures + 1e-9)


def assemble(
    config: Config,
    train: Frames,
    validation: Frames,
    test: Frames | None,
    rehearsed: Frames | None = None,
) -> TrainingTask:
    """Complete the spec with the statistics of the data and the scale of the model to start from.

    Raises
    ------
    FileNotFoundError, ValueError   what is wrong with the spec or the model to start from
    """
    start = _load_start(config, train) if config.training.start else None
    asked = config.potential
    if start is not None and "architecture" not in asked:
        asked = inherited(asked, start.potential.spec)
    check_form(asked)
    references, constants = _fitted(train, [term["name"] for term in asked.get("terms", ())])
    scale = _scale(train, references)
    _check_terms(asked)
    wished = like_start(asked, start.potential.spec) if start else asked
    spec = _complete(wished, scale, references, constants, train)
    potential = build(spec)  # a wrong spec is said now
    if start is not None:
        take_over(potential, start.potential)  # and a start that does not fit it
    _check_learnable(potential, train, config)
    _check_labels_vary(train, scale)
    spreads = {name: _spread(train.label(name)) for name in potential.predicts}
    task = TrainingTask(config, train, validation, test, references, scale, spec, start)
    task = task._replace(remarks=(*train.remarks, *_unseen_states(potential, train)))
    task = task._replace(spreads={name: x for name, x in spreads.items() if x})
    if rehearsed is None:
        return task
    return task._replace(train=join([train, rehearsed]), n_rehearsed=len(rehearsed))


def _check_learnable(potential: Potential, train: Frames, config: Config) -> None:
    """See that there is something to learn, and that no weight is given in vain."""
    labelled = [name for name in QUANTITIES if train.label(name) is not None]
    learnt = [name for name in potential.predicts if name in labelled]
    if not any(config.loss.weights.get(name, 1.0) for name in learnt):
        raise ValueError(
            f"`terms` must predict what the data tell, {', '.join(labelled)}; they predict"
            f" {', '.join(potential.predicts)}. Add a term, or take other data."
        )
    if vain := [n for n, w in config.loss.weights.items() if w and n not in learnt]:
        raise ValueError(
            f"`weights` of [loss] must be of quantities that the data tell and the terms predict:"
            f" {', '.join(learnt)}; got {', '.join(vain)}. Remove it, or add the term or labels."
        )


def _check_terms(spec: Mapping[str, Any]) -> None:
    """See that some term learns."""
    names = [term["name"] for term in spec.get("terms", [{"name": "readout"}])]
    if not set(names) - FITTED:
        raise ValueError(
            "`terms` must hold one that learns, such as readout; got"
            f' {", ".join(names) or "none"}. Add {{ name = "readout" }}.'
        )


def _check_labels_vary(train: Frames, scale: float) -> None:
    """Refuse labels that leave nothing to learn: the loss is divided by their size."""
    if scale > SMALLEST:
        return
    what = "forces are all zero" if train.known_forces is not None else "energies are all the same"
    raise ValueError(
        f"`train` of [data] must hold labels that differ; its {what}, but for the energies of the"
        " elements: copies, single atoms or a label that was never computed. Take other data"
        + (", or leave the forces out of the file." if train.known_forces is not None else ".")
    )


def _unseen_states(potential: Potential, train: Frames) -> list[str]:
    """Say which states of the data the potential cannot tell apart."""
    if isinstance(potential, Experts):
        return []
    seen = set(potential.state_inputs)
    sees_charge = bool(seen & {"total_charge", "partial_charges"})
    sees_spin = "unpaired_electrons" in seen
    known = {(charge, multiplicity) for charge, multiplicity, _ in state_counts(train)}
    visible = {(q if sees_charge else 0, m if sees_spin else 1) for q, m in known}
    if len(visible) == len(known):
        return []
    named = ", ".join(f"{q:+d}/{m}" for q, m in sorted(known))
    return [
        f"the data have {len(known)} states (charge/multiplicity: {named}) and this potential sees"
        f" {len(visible)} of them: it ignores the"
        f" {' and the '.join(_ignored(sees_charge, sees_spin))}. Add to [potential]:"
        ' state_factor = { attributes = ["total_charge", "unpaired_electrons"] }, or'
        ' embeddings = [{ name = "species" }, { name = "total_charge" }, { name ='
        ' "multiplicity" }]'
    ]


def _ignored(sees_charge: bool, sees_spin: bool) -> list[str]:
    names = (("charge", sees_charge), ("multiplicity", sees_spin))
    return [name for name, sees in names if not sees]


def _spread(labels: np.ndarray | None) -> float:
    """Root mean square of known labels about their mean, over all components; 0 for none."""
    if labels is None or np.isnan(labels).all():
        return 0.0
    return float(np.sqrt(np.nanmean((labels - np.nanmean(labels, axis=0)) ** 2)))


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
    """Open the model to start from."""
    try:
        start = load(config.training.start, DTYPES[config.training.dtype])
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"`start` of [training]: {error}") from error
    return of_states(start, train)


def of_states(start: Model, train: Frames) -> Model:
    """Of a model with experts, take that of the state of structures.

    Or what they share where the structures are in several states.
    """
    if not isinstance(start.potential, Experts):
        return start
    states = set(zip(train.total_charge.tolist(), train.multiplicity.tolist(), strict=True))
    return start._replace(
        potential=start.potential.of(*states.pop()) if len(states) == 1 else start.potential.shared
    )


def _fitted(
    train: Frames, terms: Sequence[str]
) -> tuple[dict[int, float], dict[str, dict[str, Any]]]:
    """Fit energies of elements together with the constants of those terms that have any.

    Returns
    -------
    references : dict   atomic number -> eV
    constants : dict    arguments by the name of the term
    """
    if "state_energies" in terms:
        references, states = fit_state_energies(train)
        return references, {"state_energies": {"energies_eV": [[*s, e] for s, e in states.items()]}}
    if "electron_energies" in terms:
        references, costs = fit_electron_energies(train)
        return references, {"electron_energies": costs}
    return fit_reference_energies(train), {}


def _scale(train: Frames, references: dict[int, float]) -> float:
    """Root mean square of the force components in eV/Å.

    Without forces, that of the energies per √atom in eV.
    """
    if train.known_forces is not None:
        return float(np.sqrt(np.mean(train.known_forces**2)))
    return float(
        np.sqrt(np.mean(subtract_reference_energies(train, references) ** 2 / train.n_atoms))
    )


def _complete(
    spec: Mapping[str, Any],
    scale: float,
    references: dict[int, float],
    constants: Mapping[str, dict[str, Any]],
    train: Frames,
) -> dict[str, Any]:
    """Give terms the numbers of the data that the spec leaves open.

    Scale and shift of read-outs, energies of elements, and constants by the name of their term.
    """
    by_element = {chemical_symbols[z]: energy for z, energy in references.items()}
    given: dict[str, dict[str, Any]] = {
        "readout": {"scale": scale},
        "reference_energies": {"energies_eV": by_element},
        **constants,
    }
    terms = spec.get("terms", [{"name": "readout"}, {"name": "reference_energies"}])
    return {
        **spec,
        "terms": [_of_labels(t, train) | given.get(t.get("name", ""), {}) | dict(t) for t in terms],
    }


def _of_labels(term: Mapping[str, Any], train: Frames) -> dict[str, Any]:
    """Scale and shift of a term that reads out one quantity of a structure."""
    per_atom = {"mean_readout": np.ones(len(train)), "sum_readout": train.n_atoms}
    quantity = term.get("quantity", "orbital_energy")
    if term.get("name") not in per_atom or quantity not in QUANTITIES:
        return {}
    labels = train.label(quantity)
    if labels is None:
        return {}
    shares = labels / per_atom[term["name"]]
    return {"scale": float(shares.std()) or 1.0, "shift": float(shares.mean())}
