"""Rehearsal: what a model says of its own structures, learnt again beside new labels.

So it forgets less of them. Structures of the sets that models of the package were trained on come
with it, as samples; of other models they have to be named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from potentials.card import Card
from potentials.datasets import Frames, join, load_frames, split
from potentials.datasets.sets.own import OWN
from potentials.potential import Potential, predict
from potentials.training.data import StructureSet
from potentials.training.evaluate import BATCH_ATOMS

# names of sets of the package that hold structures of a set
SAMPLES = ("{}", "{}-sample", "{}-open-shells")
HELD_OUT, MOST_HELD_OUT = 0.2, 150  # of the structures of a set, kept to measure what is forgotten


class OldDomain(NamedTuple):
    """Structures of the kind that a model was trained on, with their labels."""

    rehearsed: Frames  # to train on
    held_out: Frames  # to measure what is forgotten


def old_domain(
    card: Card,
    sources: Sequence[str] = (),
    *,
    data: str | Path | None = None,
    seed: int = 0,
) -> OldDomain | None:
    """Find structures that a model knows, or None where there are none.

    Parameters
    ----------
    card : Card              of the model; what it does not know is left out
    sources : files or sets  where they are; none: those of its set that come with the package
    data : Path              folder with the files of known sets
    seed : int               another one holds out others
    """
    own = str(card.dataset.get("name", "")).partition(":")[0]
    names = sources or [name for form in SAMPLES if (name := form.format(own)) in OWN]
    known = {(q, m) for q, m, _ in card.states}
    parts = []
    for name in names:
        frames = bare(load_frames(name, data=data))
        frames = frames.select(_known(frames, set(card.elements), known))
        if not len(frames):
            continue
        n_held_out = max(1, min(MOST_HELD_OUT, int(HELD_OUT * len(frames))))
        held_out, _, rehearsed = split(frames, n_held_out, 0, seed)
        parts.append([replace(part, group=None) for part in (rehearsed, held_out)])
    if not parts:
        return None
    return OldDomain(*(join(column) for column in zip(*parts, strict=True)))


def bare(frames: Frames) -> Frames:
    """Keep structures, groups, energies and forces."""
    return replace(frames.without_labels(), forces=frames.forces, group=frames.group)


def labelled_by(potential: Potential, frames: Frames) -> Frames:
    """Label structures by what a potential says of them."""
    structures = StructureSet(frames, potential.cutoff)
    said = [predict(potential, graph) for graph, _ in structures.batches(BATCH_ATOMS)]
    energy = torch.cat([one.energy for one in said if one.energy is not None])
    forces = torch.cat([one.forces for one in said if one.forces is not None])
    return replace(frames, energy=energy.double().numpy(), forces=forces.double().numpy())


def repeated(frames: Frames, count: int) -> Frames:
    """Take so many structures, in turns where there are fewer."""
    return frames.select(np.arange(count) % len(frames))


def _known(frames: Frames, elements: set[int], states: set[tuple[int, int]]) -> np.ndarray:
    """Say which structures (S,) consist of some elements and are in one of some states."""
    foreign = ~np.isin(frames.atomic_numbers, sorted(elements))
    whole = np.add.reduceat(foreign, frames.first[:-1]) == 0
    own = zip(frames.total_charge.tolist(), frames.multiplicity.tolist(), strict=True)
    known: np.ndarray = whole & np.array([(int(charge), m) in states for charge, m in own])
    return known
