"""The native engine as the calculator asks it: a structure in, named quantities out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from polcalc.engines.base import Engine, Structure, Unavailable
from polcalc.engines.eager import batches
from polcalc.engines.native.engine import Answer, Floats, NativeEngine
from polcalc.engines.native.export import polarizabilities
from polcalc.engines.native.supported import Unsupported
from polcalc.engines.native.uncertainty import OfHidden, Uncertain
from polcalc.engines.neighbors import NeighborList
from potentials.parts.electrons import LocalElectrons
from potentials.potential import Potential
from potentials.quantities import Evaluation
from potentials.terms.constants import Offset
from potentials.terms.dipole import Dipole, ShellDipole
from potentials.terms.field import FIELD
from potentials.terms.uncertainty import Uncertainty

# beside energies and forces, of the atoms
PREDICTED = ("charges", "shells", "shell_charges", *LocalElectrons.predicts)


class Native(Engine):
    """TensorNet in compiled code on the CPU."""

    def __init__(self, potential: Potential, device: torch.device, skin: float = 0.5) -> None:
        if device.type != "cpu":
            raise Unavailable("it runs on the CPU")
        try:
            self.compiled = NativeEngine(
                potential, potential.dtype, n_threads=torch.get_num_threads()
            )
        except Unsupported as error:
            raise Unavailable(
                str(error).partition(": ")[2].removesuffix(". Use another engine.") or str(error)
            ) from error
        # an offset is that of one structure: those that have it are not joined
        self._has_offset = any(type(term) is Offset for term in potential.terms)
        self._predicted = [n for n in PREDICTED if n in potential.predicts]
        self._dipole = next(
            (t for t in potential.terms if isinstance(t, Dipole | ShellDipole)), None
        )
        self._is_polarizable = "polarizability" in potential.predicts
        self._feels_field = potential.adds_field
        known = next((t for t in potential.terms if type(t) is Uncertainty), None)
        self._uncertainty = None if known is None else OfHidden(known)
        self.neighbors = NeighborList(potential.cutoff, skin)
        self._pairs = tuple(x.numpy() for x in self.neighbors.pairs)

    def evaluate(self, structure: Structure) -> Evaluation:
        """Evaluate one structure; the compiled code skips pairs of the skin."""
        field = self._field(structure)
        answer = self._answer(structure, field)
        if structure.is_proton:  # its energy is that in the field alone
            without = answer if field is None else self._answer(structure, None)
            answer = answer._replace(
                energy=answer.energy - without.energy,
                energies=answer.energies - without.energies,
                forces=answer.forces - without.forces,
            )
        volume = abs(np.linalg.det(structure.cell)) if structure.has_stress else None
        moments = self._moments(answer, structure.positions)
        evaluation = Evaluation(
            energy=answer.energy,
            energies=answer.energies,
            forces=answer.forces,
            stress=None if volume is None else answer.virial / volume,
            **self._of_atoms(answer),
            **self._response(moments, answer.roots, field),
        )
        return self._with_uncertainty(evaluation, structure, answer.hidden)

    def _answer(self, structure: Structure, field: Floats | None) -> Answer:
        numbers, positions, cell, pbc, charge, multiplicity, partial_charges, parts, _ = structure
        if self.neighbors.update(positions, cell, pbc):
            self._pairs = tuple(x.numpy() for x in self.neighbors.pairs)
        idx_i, idx_j, shift = self._pairs
        return self.compiled.evaluate(
            numbers,
            positions,
            (idx_i, idx_j, shift @ cell if pbc.any() else None),
            charge if parts is None else parts.total_charge[parts.batch],
            multiplicity if parts is None else parts.multiplicity[parts.batch],
            np.zeros(len(numbers)) if partial_charges is None else partial_charges,
            fragments=None if parts is None else parts.batch,
            lattice=cell * pbc[:, None] if pbc.any() else None,
            fields=None if field is None else field[None],
        )

    def _field(self, structure: Structure) -> Floats | None:
        """Return the electric field of a structure (3,) V/Å, where it has one that is felt."""
        inputs = {name: value for name, value in structure.inputs.items() if np.any(value)}
        if inputs.keys() - {FIELD}:
            raise Unavailable("it has no input of a structure but an electric field")
        if not inputs or not self._feels_field:
            return None
        if structure.pbc.any():
            raise Unavailable("it has no electric field in a crystal")
        return np.array(inputs[FIELD], dtype=np.float64)

    def _with_uncertainty(
        self, evaluation: Evaluation, structure: Structure, hidden: Floats
    ) -> Evaluation:
        """Let an evaluation tell how far it may be off, where that is known of the potential."""
        if self._uncertainty is None:
            return evaluation
        return Uncertain.of(
            evaluation, self._uncertainty, hidden, structure.charge, structure.multiplicity
        )

    def _of_atoms(self, answer: Answer) -> dict[str, Floats]:
        """Return what is predicted of each atom, by name."""
        said = answer._asdict() | dict(zip(LocalElectrons.predicts, answer.shared, strict=True))
        return {name: said[name] for name in self._predicted}

    def _response(
        self, moments: Floats | None, roots: Floats, field: Floats | None
    ) -> dict[str, Floats]:
        """Return dipole and polarizability of one structure, those that are predicted."""
        said: dict[str, Floats] = {} if moments is None else {"dipole": moments.sum(0)}
        if self._is_polarizable:
            atomic = polarizabilities(torch.from_numpy(roots)).numpy()
            said |= {"atomic_polarizabilities": atomic, "polarizability": atomic.sum(0)}
            if field is not None:
                said["dipole"] += said["polarizability"] @ field
        return said

    def _moments(self, answer: Answer, positions: Floats) -> Floats | None:
        """Return what each atom adds to the dipole, (N, 3) e Å."""
        if self._dipole is None:
            return None
        moments: Floats = answer.charges[:, None] * positions
        if isinstance(self._dipole, Dipole):
            return moments + answer.dipoles
        return moments - answer.shell_charges[:, None] * answer.shells

    def evaluate_many(self, structures: Sequence[Structure]) -> list[Evaluation]:
        """Evaluate open structures side by side, in few calls of the compiled code."""
        alone = [
            n
            for n, s in enumerate(structures)
            if s.pbc.any() or s.fragments is not None or s.is_proton or self._has_offset
        ]
        results = {n: self.evaluate(structures[n]) for n in alone}
        others = [n for n in range(len(structures)) if n not in results]
        for batch in batches(others, [len(s.atomic_numbers) for s in structures]):
            results.update(zip(batch, self._joined([structures[n] for n in batch]), strict=True))
        return [results[n] for n in range(len(structures))]

    def _joined(self, structures: Sequence[Structure]) -> list[Evaluation]:
        """Evaluate open structures as the fragments of one, that see nothing of each other."""
        sizes = [len(s.atomic_numbers) for s in structures]
        first = np.cumsum([0, *sizes])[:-1]
        pairs = [self._pairs_of(s) for s in structures]
        charges = [
            np.zeros(n) if s.partial_charges is None else s.partial_charges
            for s, n in zip(structures, sizes, strict=True)
        ]
        fields = [self._field(s) for s in structures]
        systems = np.repeat(np.arange(len(structures)), sizes)
        positions = np.concatenate([s.positions for s in structures])
        answer = self.compiled.evaluate(
            np.concatenate([s.atomic_numbers for s in structures]),
            positions,
            (
                np.concatenate([i + n for (i, _), n in zip(pairs, first, strict=True)]),
                np.concatenate([j + n for (_, j), n in zip(pairs, first, strict=True)]),
                None,
            ),
            np.repeat([float(s.charge) for s in structures], sizes),
            np.repeat([s.multiplicity for s in structures], sizes),
            np.concatenate(charges),
            fragments=systems,
            systems=systems,
            fields=None
            if all(field is None for field in fields)
            else np.array([np.zeros(3) if field is None else field for field in fields]),
        )
        rows = {"energies": answer.energies, "forces": answer.forces} | self._of_atoms(answer)
        split = {name: np.split(array, first[1:]) for name, array in rows.items()}
        moments = self._moments(answer, positions)
        roots, hidden = (np.split(array, first[1:]) for array in (answer.roots, answer.hidden))
        evaluations = [
            Evaluation(
                energy=float(split["energies"][n].sum()),
                **{name: parts[n].copy() for name, parts in split.items()},
                **self._response(
                    None if moments is None else moments[first[n] : first[n] + sizes[n]],
                    roots[n],
                    fields[n],
                ),
            )
            for n in range(len(structures))
        ]
        return [
            self._with_uncertainty(evaluation, structures[n], hidden[n])
            for n, evaluation in enumerate(evaluations)
        ]

    def _pairs_of(self, structure: Structure) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pairs of an open structure, each once; the compiled code skips long ones."""
        neighbors = NeighborList(self.neighbors.cutoff, skin=0)
        neighbors.update(structure.positions, structure.cell, structure.pbc)
        idx_i, idx_j, _ = neighbors.pairs
        return idx_i.numpy(), idx_j.numpy()
