"""``polcalc audit``: does a potential behave as physics asks, whatever it was trained on?

Two small molecules that the card of the model covers, or two that the user gives, are put far
apart, copied, charged, moved through the cutoff and pressed together, and two ions put far apart,
in float64 with the reference engine. Where a model has a Coulomb energy, that of the charges is
expected of far molecules. A failure is an error of the model or the code. A warning is a property
that the user must know: a total charge that acts on every atom, a hole where atoms come close.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.collections import g2
from scipy.optimize import brentq

from md_runs import session
from md_runs.errors import InputError, NotConverged, as_input_error
from md_runs.models.doctor import Finding, findings_table
from md_runs.records.output import to_json
from md_runs.records.versions import version_of
from md_runs.screen import screen
from md_runs.surfaces.levels import in_state
from md_runs.surfaces.lockstep import Floats
from polcalc import PolarizedCalculator
from polcalc.calculator.domain import ExtrapolationWarning
from potentials.card import Card
from potentials.checkpoint import store_card
from potentials.structure.graph import State
from potentials.structure.states import fits
from potentials.terms.base import COULOMB_EV_ANGSTROM
from potentials.terms.coulomb import Coulomb

APART_A = 30.0  # between the nearest atoms of two molecules
ADDITIVE_EV = 1e-3  # far molecules add to within this
N_COPIES = 4
STEPS_A = (1e-2, 1e-3, 1e-4)  # around the cutoff
SHRINKS = 0.05  # a jump over a step a hundred times smaller is smaller by more than this
NOISE = 1e-7  # eV and eV/Å; below it a jump is rounding
PRESSED = np.arange(0.9, 0.48, -0.05)  # of the size of a molecule
NEAR_A = np.arange(1.2, 0.48, -0.1)  # between the nearest atoms of two molecules
WAYS = np.concatenate([np.eye(3), -np.eye(3)])
N_ATOMS = 9  # of the molecules that are chosen, at most
NEUTRAL: State = (0, 1)
CORNERS = np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)])
ROUND = np.array([(0.93, 0, 0), (-0.465, 0.805, 0), (-0.465, -0.805, 0)])
ION_PAIRS = (  # cation and anion, at their minima within 0.02 Å
    (Atoms("NH4", [(0, 0, 0), *0.59 * CORNERS]), Atoms("Cl")),
    (Atoms("OH3", [(0, 0, 0.3), *ROUND]), Atoms("OH", [(0, 0, 0), (0, 0, 0.97)])),
)


def audit(
    model: str,
    structure: list[Path] | None = None,
    store: bool = False,
    device: str = "auto",
    json: bool = False,
) -> None:
    """Audit a model: far molecules, copies, far ions, charges, the cutoff, close contacts.

    Exit code 1 when a check fails: energies of far molecules that do not add although each knows
    its own state, an energy or force that jumps, a number that is not finite. Warnings do not
    change the exit code.
    """
    with as_input_error():
        calculator = PolarizedCalculator(model, device=device, dtype="float64", engine="eager")
    subject = choose(calculator, session.read_frames(structure) if structure else None)
    findings = run_checks(subject)
    result = {
        "molecules": [atoms.get_chemical_formula() for atoms in (subject.a, subject.b)],
        "findings": [asdict(finding) for finding in findings],
        "polcalc": version_of("polcalc"),
    }
    if json:
        print(
            to_json(
                {"model": str(calculator.model.path), "sha256": calculator.model.sha256} | result
            ),
            end="",
        )
    else:
        screen.print(
            f"{model}, with {' and '.join(result['molecules'])}; states as charge/multiplicity",
        )
        screen.print(findings_table(findings))
    if store:
        _store(calculator, result, quiet=json)
    if failed := [finding.check for finding in findings if finding.verdict == "failure"]:
        raise NotConverged(f"the audit failed: {', '.join(failed)}.")


@dataclass(frozen=True)
class Subject:
    """A model and two molecules to try it with."""

    calculator: PolarizedCalculator
    a: Atoms
    b: Atoms

    @property
    def card(self) -> Card:
        """What is known of the model."""
        return self.calculator.model.card

    @property
    def seen(self) -> set[str]:
        """Which attributes of the electronic state the model sees."""
        return self.calculator.model.potential.state_inputs

    def states(self) -> list[State]:
        """List the states on the card, but neutral singlets, that the model sees and A can have."""
        sees = {
            "charge": bool(self.seen & {"total_charge", "partial_charges"}),
            "spin": "unpaired_electrons" in self.seen,
        }
        return [
            (q, m)
            for q, m, *_ in self.card.states
            if ((q and sees["charge"]) or (m > 1 and sees["spin"]))
            and fits(m, int(self.a.numbers.sum()) - q)
        ]

    def results(
        self, frames: Sequence[Atoms], fragments: list[dict[str, Any]] | None = None
    ) -> list[dict[str, Any]]:
        """Evaluate structures.

        A calculator of its own where atoms know the state of their group alone.
        """
        calculator = self.calculator
        if fragments is not None:
            device = calculator.parameters["device"]
            calculator = PolarizedCalculator(
                calculator.model, device, "float64", engine="eager", fragments=fragments
            )
        with warnings.catch_warnings():
            # an audit goes outside on purpose
            warnings.simplefilter("ignore", ExtrapolationWarning)
            return calculator.calculate_many(frames)

    def energies(
        self, frames: Sequence[Atoms], fragments: list[dict[str, Any]] | None = None
    ) -> Floats:
        """Energies in eV."""
        return np.array([result["energy"] for result in self.results(frames, fragments)])

    def energy_apart(self, parts: Sequence[Atoms]) -> float:
        """Sum what far molecules should have together, in eV.

        Their energies, and the Coulomb energy of the charges that each has alone where the model
        has such an energy.
        """
        results = self.results(parts)
        total = float(sum(result["energy"] for result in results))
        if not any(isinstance(t, Coulomb) for t in self.calculator.model.potential.terms):
            return total
        for n, one in enumerate(parts):
            for m in range(n):
                vectors = one.positions[:, None] - parts[m].positions[None]
                products = np.outer(results[n]["charges"], results[m]["charges"])
                distances = np.linalg.norm(vectors, axis=-1)
                total += COULOMB_EV_ANGSTROM * float((products / distances).sum())
        return total


def choose(calculator: PolarizedCalculator, given: Sequence[Atoms] | None) -> Subject:
    """Take the molecules of the user, or two small ones that the card covers.

    Raises
    ------
    InputError   no such molecule is known, or the model refuses those given
    """
    card = calculator.model.card
    if given is None:
        given = _known_molecules(card)
        if not given:
            raise InputError(
                "`--structure` must be given: no small closed-shell molecule consists of the"
                " elements on the card alone."
            )
    a, b = given[0].copy(), given[min(1, len(given) - 1)].copy()
    for atoms in (a, b):
        if not fits(1, int(atoms.numbers.sum())) or atoms.pbc.any():
            raise InputError(
                "`--structure` must be a molecule with an even number of electrons when neutral;"
                f" got {atoms.symbols}."
            )
    subject = Subject(calculator, _bare(a), _bare(b))
    with as_input_error():
        subject.energies([_put(subject.a, NEUTRAL), _put(subject.b, NEUTRAL)])
    return subject


def run_checks(subject: Subject) -> list[Finding]:
    """Run every check."""
    return [finding for check in CHECKS for finding in check(subject)]


def _far_molecules(subject: Subject) -> list[Finding]:
    """Put A, in each state that the model knows, far from a neutral B."""
    a = subject.a
    pair = _pair(a, subject.b, np.array([1.0, 0, 0]), APART_A)
    b = pair[len(a) :]
    findings = []
    for state in (NEUTRAL, *subject.states()):
        apart = subject.energy_apart([_put(a, state), _put(b, NEUTRAL)])
        name = f"far molecules, {_named(state)}"
        together = subject.energies([_put(pair, state, len(a))])[0] - apart
        own_state = state == NEUTRAL or not subject.seen & {"total_charge", "unpaired_electrons"}
        findings.append(
            _additive(name if own_state else f"{name} as a total", together, fails=own_state)
        )
        if not own_state:
            fragments = [
                {"atoms": list(range(len(a))), "charge": state[0], "multiplicity": state[1]}
            ]
            together = subject.energies([_put(pair, state, len(a))], fragments)[0] - apart
            findings.append(_additive(f"{name} as a fragment", together, fails=True))
    return findings


def _copies(subject: Subject) -> list[Finding]:
    """Put N copies of A in a row."""
    a, n = subject.a, len(subject.a)
    copies = [_bare(a) for _ in range(N_COPIES)]
    row = Atoms()
    for number, copy in enumerate(copies):
        copy.positions[:, 0] += number * (np.ptp(a.positions[:, 0]) + APART_A)
        row += copy
    findings = []
    for state in (NEUTRAL, *subject.states()):
        alone = subject.energy_apart([_put(copy, state) for copy in copies])
        whole = N_COPIES * state[0], 1 + N_COPIES * (state[1] - 1)
        name = f"{N_COPIES} copies, {_named(state)}"
        told_total = state != NEUTRAL and bool(
            subject.seen & {"total_charge", "unpaired_electrons"}
        )
        if not (told_total and subject.calculator.model.potential.looked_up):
            together = subject.energies([_put(row, whole)])[0] - alone
            findings.append(
                _additive(
                    f"{name} as a total" if told_total else name, together, fails=not told_total
                )
            )
        if told_total:
            groups = [
                {
                    "atoms": list(range(k * n, (k + 1) * n)),
                    "charge": state[0],
                    "multiplicity": state[1],
                }
                for k in range(N_COPIES)
            ]
            findings.append(
                _additive(
                    f"{name} as fragments",
                    subject.energies([_put(row, whole)], groups)[0] - alone,
                    fails=True,
                )
            )
    return findings


def _ion_pair(subject: Subject) -> list[Finding]:
    """Put a cation and an anion far apart, with a total charge of zero."""
    known = set(subject.card.elements or (1, 6, 7, 8, 17))
    charges = {q for q, *_ in subject.card.states}
    fitting = [p for p in ION_PAIRS if {z for ion in p for z in ion.numbers} <= known]
    name = "far ions, total charge 0"
    if not fitting or not {-1, 1} <= charges or "total_charge" not in subject.seen:
        return [Finding(name, "skipped", "the model knows no ions of both signs", {})]
    cation, anion = (_bare(ion) for ion in fitting[0])
    pair = _pair(cation, anion, np.array([1.0, 0, 0]), APART_A)
    n = len(cation)
    apart = subject.energy_apart([_put(pair[:n], (1, 1)), _put(pair[n:], (-1, 1))])
    together = subject.results([_put(pair, NEUTRAL)])[0]
    found = _additive(name, together["energy"] - apart, fails=False)
    ions = f"{cation.get_chemical_formula()}+ and {anion.get_chemical_formula()}-"
    text = f"{ions}: {found.text}"
    if "charges" in together:
        charge = float(np.sum(together["charges"][:n]))
        text += f", the cation keeps {charge:+.4f} e"
    return [replace(found, text=text)]


def _charge_scan(subject: Subject) -> list[Finding]:
    """Compare the lowest energies of A in all charges on the card.

    Electrons must cost more the fewer there are.
    """
    states = [NEUTRAL, *subject.states()]
    if len({q for q, _ in states}) < 2:
        return [
            Finding("charge scan", "skipped", "the model knows one charge of this molecule", {})
        ]
    energies = subject.energies([_put(subject.a, state) for state in states])
    lowest = {
        q: min(e for (charge, _), e in zip(states, energies, strict=True) if charge == q)
        for q in sorted({q for q, _ in states})
    }
    text = ", ".join(
        f"E({q:+d}) - E({q - 1:+d}) = {lowest[q] - lowest[q - 1]:.2f} eV"
        for q in lowest
        if q - 1 in lowest
    )
    bends = [
        lowest[q + 1] - 2 * lowest[q] + lowest[q - 1]
        for q in lowest
        if q - 1 in lowest and q + 1 in lowest
    ]
    numbers: dict[str, float | str | None] = {
        f"charge{q:+d}_eV": float(e) for q, e in lowest.items()
    }
    if not np.isfinite(energies).all():
        return [Finding("charge scan", "failure", "an energy is not finite", numbers)]
    if any(bend <= 0 for bend in bends):
        return [
            Finding(
                "charge scan",
                "warning",
                f"{text}: the second electron leaves more easily than the first",
                numbers,
            )
        ]
    return [Finding("charge scan", "ok", text, numbers)]


def _cutoff(subject: Subject) -> list[Finding]:
    """Move B across the cutoff of A from six sides, by ever smaller steps.

    The jump must shrink with the step.
    """
    cutoff = subject.calculator.model.potential.cutoff
    jumps = []
    for step in STEPS_A:
        sides = [
            _put(_pair(subject.a, subject.b, way, cutoff + s * step), NEUTRAL)
            for way in WAYS
            for s in (-0.5, 0.5)
        ]
        results = subject.results(sides)
        pairs = list(zip(results[::2], results[1::2], strict=True))
        energy = max(abs(x["energy"] - y["energy"]) for x, y in pairs)
        jumps.append((energy, max(np.abs(x["forces"] - y["forces"]).max() for x, y in pairs)))
    findings = []
    for name, unit, sizes in zip(
        ("energy", "force"), ("eV", "eV/Å"), np.array(jumps).T, strict=True
    ):
        smooth = sizes[-1] <= max(NOISE, SHRINKS * sizes[0])
        text = (
            f"{', '.join(f'{size:.1e}' for size in sizes)} {unit} over steps of"
            f" {', '.join(f'{step:g}' for step in STEPS_A)} Å"
        )
        numbers: dict[str, float | str | None] = {
            f"jump_over_{step:g}_A": float(size) for step, size in zip(STEPS_A, sizes, strict=True)
        }
        findings.append(
            Finding(f"{name} at the cutoff", "ok" if smooth else "failure", text, numbers)
        )
    return findings


def _contacts(subject: Subject) -> list[Finding]:
    """Press A together as a whole, and B against A from six sides.

    The energy must rise all the way.
    """
    pressed = [_put(subject.a, NEUTRAL) for _ in PRESSED]
    for atoms, factor in zip(pressed, PRESSED, strict=True):
        atoms.positions *= factor
    inside = _rising("pressed together", PRESSED, subject.energies(pressed)[None], "of its size")
    near = [
        _put(_pair(subject.a, subject.b, way, distance), NEUTRAL)
        for way in WAYS
        for distance in NEAR_A
    ]
    return [
        inside,
        _rising("close contact", NEAR_A, subject.energies(near).reshape(len(WAYS), -1), "Å"),
    ]


CHECKS: tuple[Callable[[Subject], list[Finding]], ...] = (
    _far_molecules,
    _copies,
    _ion_pair,
    _charge_scan,
    _cutoff,
    _contacts,
)


def _additive(name: str, difference: float, fails: bool) -> Finding:
    good = abs(difference) <= ADDITIVE_EV
    bad = "failure" if fails or not np.isfinite(difference) else "warning"
    text = f"{1000 * difference:+.3g} meV from the sum (limit {1000 * ADDITIVE_EV:g})"
    return Finding(name, "ok" if good else bad, text, {"difference_meV": 1000 * float(difference)})  # type: ignore[arg-type]


def _rising(name: str, places: Floats, energies: Floats, unit: str) -> Finding:
    """Judge energies (ways, places) on the way inwards.

    To where they rise, and how deep the first hole is.
    """
    if not np.isfinite(energies).all():
        return Finding(name, "failure", "an energy is not finite", {})
    falls = np.diff(energies, axis=1) <= 0
    height = float((energies[:, -1] - energies[:, 0]).min())
    if not falls.any():
        return Finding(
            name,
            "ok",
            f"the energy rises down to {places[-1]:.2g} {unit}, by {height:.1f} eV at least",
            {"height_eV": height},
        )
    first = int(np.argmax(falls.any(0)))
    drop = float((np.maximum.accumulate(energies, axis=1) - energies).max())
    text = (
        f"the energy rises down to {places[first]:.2g} {unit} only, then falls by up to {drop:.2g}"
        " eV: atoms may fall into each other"
    )
    return Finding(name, "warning", text, {"rises_to": float(places[first]), "drop_eV": drop})


def _known_molecules(card: Card) -> list[Atoms]:
    """List small closed-shell molecules of the elements on the card.

    Many elements first, then many atoms.
    """
    fitting = []
    for name in g2.names:
        atoms = g2[name]
        numbers = set(atoms.numbers.tolist())
        known = not card.elements or numbers <= set(card.elements)
        closed = not atoms.get_initial_magnetic_moments().any() and fits(
            1, int(atoms.numbers.sum())
        )
        if known and closed and 2 < len(atoms) <= N_ATOMS:
            fitting.append((-len(numbers), -len(atoms), name, atoms))
    return [atoms for *_, atoms in sorted(fitting, key=lambda entry: entry[:3])]


def _bare(atoms: Atoms) -> Atoms:
    """Keep elements and positions alone."""
    return Atoms(numbers=atoms.numbers, positions=atoms.positions)


def _put(atoms: Atoms, state: State, n_charged: int | None = None) -> Atoms:
    """Copy a structure into a state.

    Partial charges, for models that see them, are spread over its first atoms.
    """
    copy = in_state(atoms, *state)
    if state[0]:
        count = len(atoms) if n_charged is None else n_charged
        copy.set_initial_charges(np.where(np.arange(len(atoms)) < count, state[0] / count, 0.0))
    else:
        copy.set_initial_charges(np.zeros(len(atoms)))
    return copy


def _pair(a: Atoms, b: Atoms, way: Floats, distance_A: float) -> Atoms:
    """Put B before A, face to face, so that the nearest atoms have this distance."""
    facing = (
        b.positions
        - b.positions[np.argmin(b.positions @ way)]
        + a.positions[np.argmax(a.positions @ way)]
    )

    def nearest(by: float) -> float:
        vectors = a.positions[:, None] - (facing + by * way)[None]
        return float(np.linalg.norm(vectors, axis=-1).min())

    way_in = np.linspace(
        np.ptp(a.positions, axis=0).max() + np.ptp(b.positions, axis=0).max() + distance_A + 1,
        0,
        1001,
    )
    first = int(np.argmax([nearest(by) <= distance_A for by in way_in]))
    at = brentq(lambda by: nearest(by) - distance_A, way_in[first], way_in[first - 1], xtol=1e-13)
    pair: Atoms = a + Atoms(numbers=b.numbers, positions=facing + at * way)
    return pair


def _named(state: State) -> str:
    return f"{state[0]:+d}/{state[1]}"


def _store(calculator: PolarizedCalculator, result: dict[str, Any], quiet: bool) -> None:
    """Write the result into the model file."""
    path, before = calculator.model.path, calculator.model.sha256
    with as_input_error():
        after = store_card(
            path, replace(calculator.model.card, audit=result | {"sha256_before": before})
        )
    if not quiet:
        screen.print(
            f"Stored in the card. SHA-256 before: {before}\n                    SHA-256 now:   "
            f" {after}",
        )
        screen.print(
            "Runs that name the old SHA-256 ask for --allow-changes to go on; weights are the same."
        )
