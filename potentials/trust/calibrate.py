"""Give a potential its uncertainty: a posterior of structures trained on, scales of new ones.

Molecules that were never trained on are dealt out in three: by the first the posterior of forces
is fitted, by the second scales are set and by the third measured; then by both scales are set.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from potentials.datasets import Frames, join
from potentials.datasets.splits import same_geometry
from potentials.experts import Experts, name_of
from potentials.potential import Potential, predict
from potentials.structure.graph import State
from potentials.terms.readout import Readout
from potentials.terms.uncertainty import GAP, RELATIVE, Uncertainty
from potentials.training.data import StructureSet
from potentials.trust.posterior import fitted, posterior
from potentials.trust.scales import coverage, quantiles, ranking, record, rounded

Floats = NDArray[np.float64]

N_SAMPLE, N_OF_STATE = 4000, 400  # structures trained on: at random, and at least of each state
FEWEST = 30  # structures that were never trained on
FEWEST_MOLECULES = 20  # of a state that is to have scales of its own
FEWEST_PAIRS = 40  # of geometries of one molecule, or of states of one geometry
LARGE = 3.0  # times the mean error
RARE = 0.995  # of new molecules stay below what is warned of
BATCH_ATOMS = 512


class Rows(NamedTuple):
    """What a read-out sees of structures, and how wrong the potential is: S structures, N atoms."""

    structures: Floats  # (S, K), sums over the atoms
    atoms: Floats  # (N, K)
    energy_errors: Floats  # (S,) eV, signed
    forces_errors: Floats  # (N, 3) eV/Å; NaN where there is no label
    batch: NDArray[np.int64]  # (N,)
    state: NDArray[np.int64]  # (S, 2) charge and multiplicity
    molecule: NDArray[np.int64]  # (S,)

    def select(self, chosen: NDArray[np.bool_]) -> Rows:
        """Take some structures (S,) with their atoms."""
        atoms = chosen[self.batch]
        places = np.cumsum(chosen) - 1
        return Rows(
            self.structures[chosen],
            self.atoms[atoms],
            self.energy_errors[chosen],
            self.forces_errors[atoms],
            places[self.batch[atoms]],
            self.state[chosen],
            self.molecule[chosen],
        )


def bare(potential: Potential) -> Potential:
    """Return a potential without its uncertainty, on the same weights."""
    terms = [term for term in potential.terms if not isinstance(term, Uncertainty)]
    if len(terms) == len(potential.terms):
        return potential
    kept = [dict(entry) for entry in potential.spec["terms"] if entry["name"] != Uncertainty.name]
    return Potential(potential.trunk, terms, {**potential.spec, "terms": kept})


def calibrated(
    potential: Potential,
    trained: Frames,
    new: Frames,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Potential, dict[str, Any]]:
    """Return a copy of a potential with its uncertainty, and what was measured, for a card.

    Parameters
    ----------
    potential : Potential   one that is there already is replaced
    trained : Frames        that it was trained on
    new : Frames            of other molecules, with energies and forces
    say : callable          told what is done

    Raises
    ------
    ValueError              too few new structures, no forces, or no single read-out
    """
    _check(potential, new)
    rng = np.random.default_rng(seed)
    sample = trained.select(_sample(trained, rng))
    if not isinstance(potential, Experts):
        return _calibrate(potential, sample, new, rng, say)
    # each expert knows the structures of its state, the shared potential all others
    own = set(potential.states)
    shared, found = _calibrate(potential.shared, _others(sample, own), _others(new, own), rng, say)
    whole = Experts(shared, [])
    whole.spec, found["experts"] = {**whole.spec, "experts": potential.spec["experts"]}, {}
    for state in potential.states:
        parts = [frames.select(_are(frames, state)) for frames in (sample, new)]
        if len(parts[1]) < FEWEST:
            parts = [sample, new]
        expert, measured = _calibrate(potential.of(*state), parts[0], parts[1], rng, say)
        whole.experts[name_of(*state)] = expert
        found["experts"][f"{state[0]:+d}/{state[1]}"] = measured
    return whole.eval(), found


def _calibrate(
    potential: Potential,
    sample: Frames,
    new: Frames,
    rng: np.random.Generator,
    say: Callable[[str], None],
) -> tuple[Potential, dict[str, Any]]:
    """Calibrate one set of weights."""
    states = sorted(set(map(tuple, _states(new).tolist())))
    plain = bare(copy.deepcopy(potential))
    readout = next(term for term in plain.terms if isinstance(term, Readout))
    hidden: Any = readout.network[0]
    known = [[int(q), int(m)] for q, m in states]
    term = Uncertainty(hidden.in_features, known)
    term.weight.copy_(hidden.weight.detach())
    term.bias.copy_(hidden.bias.detach())
    made = Potential(
        plain.trunk,
        [*plain.terms, term],
        {
            **plain.spec,
            "terms": [*plain.spec["terms"], {"name": Uncertainty.name, "states": known}],
        },
    )
    say(f"the hidden layer of {len(sample)} structures that were trained on")
    trained = rows_of(plain, term, sample, forces=False)
    say(f"errors of {len(new)} structures of other molecules")
    found = rows_of(plain, term, new)
    third = _thirds(found.molecule, rng)
    fitting, rest = found.select(third == 0), found.select(third > 0)
    term.energy_factor.copy_(torch.from_numpy(posterior(trained.structures)))
    term.forces_factor.copy_(torch.from_numpy(_of_forces(posterior(trained.atoms), fitting)))
    return made.eval(), _scale(term, rest, third[third > 0], new.select(np.flatnonzero(third > 0)))


@torch.no_grad()
def scale_by_own(potential: Potential, own: Frames) -> None:
    """Set what forces of some states are scaled by to errors on structures of one's own alone.

    A model of one molecule is asked about that: what it says of all others would be its bars.

    Parameters
    ----------
    potential : Potential   calibrated; changed
    own : Frames            never trained on, with forces
    """
    term = next(t for t in potential.terms if isinstance(t, Uncertainty))
    with torch.enable_grad():
        rows = rows_of(bare(potential), term, own)
    lengths = np.linalg.norm(rows.atoms @ term.forces_factor.numpy(), axis=1)
    ratios = np.abs(rows.forces_errors) / lengths[:, None]
    for charge, multiplicity in np.unique(rows.state, axis=0):
        chosen = (rows.state == [charge, multiplicity]).all(1)[rows.batch]
        row = term.row_of(torch.tensor([float(charge)]), torch.tensor([float(multiplicity)]))
        term.forces_scales[int(row)] = torch.from_numpy(quantiles(_flat(ratios[chosen])))


def rows_of(potential: Potential, term: Uncertainty, frames: Frames, forces: bool = True) -> Rows:
    """Evaluate structures: what the read-out sees of them, and errors against their labels."""
    seen: list[torch.Tensor] = []
    readout = next(t for t in potential.terms if isinstance(t, Readout))
    hook = readout.register_forward_hook(
        lambda module, given, said: seen.append(term.rows(given[1].scalars.detach()))
    )
    errors: dict[str, list[Floats]] = {"energy": [], "forces": []}
    try:
        for graph, targets in StructureSet(frames, potential.cutoff).batches(BATCH_ATOMS):
            said = predict(potential, graph, forces=forces)
            errors["energy"].append((said.energy - targets.energy).numpy())
            if forces:
                errors["forces"].append((said.forces - targets.forces).numpy())
    finally:
        hook.remove()
    atoms = torch.cat(seen).numpy()
    batch = np.repeat(np.arange(len(frames)), frames.n_atoms)
    first = np.cumsum(frames.n_atoms) - frames.n_atoms
    return Rows(
        np.add.reduceat(atoms, first, axis=0),
        atoms,
        np.concatenate(errors["energy"]),
        np.concatenate(errors["forces"]) if forces else np.full((len(atoms), 3), np.nan),
        batch,
        _states(frames),
        np.arange(len(frames)) if frames.group is None else frames.group,
    )


def _of_forces(factor: Floats, new: Rows) -> Floats:
    """Fit the posterior of atoms to errors of forces, root mean square of the components."""
    errors = np.sqrt((new.forces_errors**2).mean(1))
    known = np.isfinite(errors)
    return fitted(factor, new.atoms[known], errors[known])


def _scale(term: Uncertainty, new: Rows, fold: NDArray[np.int64], frames: Frames) -> dict[str, Any]:
    """Set all scales by both folds; measure by the second what the first alone would set."""
    lengths = np.linalg.norm(new.structures @ term.energy_factor.numpy(), axis=1)
    of_atoms = np.linalg.norm(new.atoms @ term.forces_factor.numpy(), axis=1)
    ratios = {
        "energy": np.abs(new.energy_errors) / lengths,
        "forces": np.abs(new.forces_errors) / of_atoms[:, None],
    }
    scales = {"energy": term.energy_scales, "forces": term.forces_scales}
    owner = {"energy": np.arange(len(lengths)), "forces": new.batch}
    measured: dict[str, Any] = {}
    groups = _groups_of_states(term, new)
    for row, (name, chosen, own) in enumerate(groups):
        measured[name] = {"molecules": len(np.unique(new.molecule[chosen])), "own_scales": own}
        for quantity, ratio in ratios.items():
            parts = [_flat(ratio[(chosen & (fold == k))[owner[quantity]]]) for k in np.unique(fold)]
            scales[quantity][row] = torch.from_numpy(quantiles(np.concatenate(parts)))
            if len(parts) == 2 and min(map(len, parts)) >= FEWEST_MOLECULES:
                measured[name][f"{quantity}_coverage_percent"] = coverage(
                    parts[1], quantiles(parts[0])
                )
    for table in scales.values():
        _fill(table, groups)
    row_of = term.row_of(*(torch.from_numpy(column) for column in new.state.T.astype(float)))
    usual = term.forces_scales[row_of, 1].numpy()[new.batch] * of_atoms
    largest = np.zeros(len(lengths))
    np.maximum.at(largest, new.batch, usual)
    term.warn_above.fill_(float(np.quantile(largest, RARE)))
    errors = np.sqrt((new.forces_errors**2).mean(1))
    known = np.isfinite(errors)
    large = errors[known] > LARGE * errors[known].mean()
    return record(
        percent_of_intervals=[50.0, 68.27, 95.0],
        states=measured,
        ranking_of_forces=round(ranking(usual[known], large), 3),
        warn_above_eV_per_A=float(f"{float(term.warn_above):.3g}"),
        differences=_scale_differences(term, new, frames),
    )


def _groups_of_states(term: Uncertainty, new: Rows) -> list[tuple[str, NDArray[np.bool_], bool]]:
    """Say which structures (S,) scale each state: its own, or all of open or closed shells.

    The last row, of other states, is that of all structures.
    """
    groups = []
    for charge, multiplicity in term.states.tolist():
        own = (new.state == [charge, multiplicity]).all(1)
        enough = len(np.unique(new.molecule[own])) >= FEWEST_MOLECULES
        alike = (new.state[:, 1] > 1) == (multiplicity > 1)
        alike = alike if alike.any() else np.ones_like(alike)
        groups.append((f"{charge:+d}/{multiplicity}", own if enough else alike, enough))
    return [*groups, ("others", np.ones(len(new.state), dtype=np.bool_), False)]


def _fill(table: torch.Tensor, groups: list[tuple[str, NDArray[np.bool_], bool]]) -> None:
    """Let states without scales of their own be no more certain than any that has some."""
    own = torch.tensor([enough for *_, enough in groups])
    least = table[own].amax(0) if own.any() else table.amax(0)
    table[~own] = torch.maximum(table[~own], least)


def _scale_differences(term: Uncertainty, new: Rows, frames: Frames) -> dict[str, Any]:
    """Scale differences of energies: of geometries of a molecule, and of states of a geometry.

    Where there are too few pairs, by the largest scales of energies: as if both erred alone.
    """
    vectors = new.structures @ term.energy_factor.numpy()
    counts = np.array(
        [np.sort(frames.atomic_numbers[frames.slice_of(n)]).tobytes() for n in range(len(frames))],
        dtype=object,
    )
    kinds = {
        RELATIVE: [
            (g, *s, c) for g, s, c in zip(new.molecule, new.state.tolist(), counts, strict=True)
        ],
        GAP: same_geometry(frames).tolist(),
    }
    told = {}
    for kind, name in ((RELATIVE, "geometries of a molecule"), (GAP, "states of a geometry")):
        pairs = _neighbours(kinds[kind])
        a, b = pairs.T
        lengths = np.linalg.norm(vectors[a] - vectors[b], axis=1)
        errors = np.abs(new.energy_errors[a] - new.energy_errors[b])
        ratios = errors[lengths > 0] / lengths[lengths > 0]
        enough = len(ratios) >= FEWEST_PAIRS
        scales = quantiles(ratios) if enough else term.energy_scales.amax(0).numpy()
        term.difference_scales[kind] = torch.from_numpy(scales)
        told[name] = record(
            pairs=len(ratios),
            own_scales=enough,
            median_error_eV=float(f"{np.median(errors):.3g}") if len(errors) else float("nan"),
            scales=rounded(scales),
        )
    return told


def _neighbours(keys: list[Any]) -> NDArray[np.int64]:
    """Pair each structure with the next one of the same key: (P, 2)."""
    last: dict[Any, int] = {}
    pairs = []
    for n, key in enumerate(keys):
        if key in last:
            pairs.append((last[key], n))
        last[key] = n
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _flat(values: Floats) -> Floats:
    found: Floats = values[np.isfinite(values)]
    return found


def _check(potential: Potential, new: Frames) -> None:
    shared = potential.shared if isinstance(potential, Experts) else potential
    if sum(isinstance(term, Readout) for term in shared.terms) != 1:
        raise ValueError(
            "`model` must have one read-out of energies to be calibrated. Calibrate another model."
        )
    if new.known_forces is None:
        raise ValueError(
            "`new` structures must have forces, to calibrate those. Take other structures."
        )
    if len(new) < FEWEST:
        raise ValueError(
            f"`new` must hold at least {FEWEST} structures that were never trained on; got"
            f" {len(new)}. Give more of them."
        )


def _sample(frames: Frames, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw structures at random, and as many more of each state as there are."""
    states = _states(frames)
    chosen = [rng.permutation(len(frames))[:N_SAMPLE]]
    for state in np.unique(states, axis=0):
        of_state = np.flatnonzero((states == state).all(1))
        chosen.append(rng.permutation(of_state)[:N_OF_STATE])
    return np.unique(np.concatenate(chosen))


def _thirds(molecule: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Deal molecules out in three: the number of the pile of each structure (S,)."""
    names, members = np.unique(molecule, return_inverse=True)
    piles: NDArray[np.int64] = (rng.permutation(len(names)) % 3)[members]
    return piles


def _states(frames: Frames) -> NDArray[np.int64]:
    return np.stack([np.rint(frames.total_charge), frames.multiplicity], axis=1).astype(np.int64)


def _are(frames: Frames, state: State) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (_states(frames) == list(state)).all(1)
    return found


def _others(frames: Frames, own: set[State]) -> Frames:
    """Take the structures whose states have no expert, or all where there are too few."""
    left = ~np.any([_are(frames, state) for state in own], axis=0)
    return frames.select(left) if left.sum() >= FEWEST else frames


def new_molecules(parts: Sequence[Frames]) -> Frames:
    """Join structures that were held out; molecules of one set are none of the other."""
    apart: list[Frames] = []
    before = 0
    for part in parts:
        group = np.arange(len(part)) if part.group is None else part.group - part.group.min()
        apart.append(part.with_arrays({"group": group + before}))
        before += int(group.max(initial=-1)) + 1
    return join(apart)
