"""The eager engine, and how a faster one is chosen, compared and given up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from polcalc.engines import eager, tabulated
from polcalc.engines import selector as engine
from polcalc.engines.base import Engine, Structure, Unavailable
from polcalc.engines.selector import ENGINES, Eager, Selector, Tabulated
from potentials.build import build
from potentials.potential import Potential, predict
from potentials.quantities import Evaluation
from potentials.structure.graph import from_ase

CPU = torch.device("cpu")
SPEC = {
    "cutoff": 4.5,
    "architecture": {"name": "tensornet", "channels": 8, "n_layers": 1},
    "state_factor": {"attributes": ["total_charge", "unpaired_electrons"]},
}


@pytest.fixture
def potential() -> Potential:
    return build(SPEC).double()


def structure(atoms: Atoms, charge: int = 0, multiplicity: int = 1) -> Structure:
    return Structure(
        atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, charge, multiplicity
    )


def crystal(seed: int = 0) -> Atoms:
    atoms = bulk("SiC", "zincblende", a=4.3, cubic=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


@pytest.mark.parametrize("atoms", [molecule("CH3CH2OH"), crystal(), molecule("C60")])
def test_eager_is_predict(potential: Potential, atoms: Atoms) -> None:
    evaluation = Eager(potential, CPU).evaluate(structure(atoms, charge=-1, multiplicity=2))
    expected = predict(
        potential, from_ase(atoms, 4.5, charge=-1, multiplicity=2), stress=bool(atoms.pbc.any())
    )
    assert evaluation.energy == pytest.approx(expected.energy.item(), abs=1e-10)
    assert np.allclose(evaluation.energies, expected.energies, atol=1e-10)
    assert np.allclose(evaluation.forces, expected.forces, atol=1e-10)
    assert (evaluation.stress is None) == (expected.stress is None)
    if expected.stress is not None:
        assert np.allclose(evaluation.stress, expected.stress[0], atol=1e-10)


def test_eager_follows_a_trajectory(potential: Potential) -> None:
    """A list kept from earlier steps gives what a fresh one gives."""
    atoms, eager = molecule("C60"), Eager(potential, CPU)
    rng = np.random.default_rng(0)
    for _ in range(12):
        kept = eager.evaluate(structure(atoms))
        fresh = Eager(potential, CPU).evaluate(structure(atoms))
        assert np.allclose(kept.forces, fresh.forces, atol=1e-10)
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
    assert 1 < eager.neighbors.n_searches < 12


def test_many_are_singles_in_order(potential: Potential, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without stress, several batches, charged and neutral."""
    monkeypatch.setattr("polcalc.engines.eager.BATCH_ATOMS", 12)
    structures = [
        structure(molecule("CH4")),
        structure(crystal()),
        structure(molecule("CH3"), 0, 2),
        structure(crystal(1), 1, 2),
    ]
    structures += [structure(molecule("C60")), structure(molecule("H2O"), -1, 2)]
    eager = Eager(potential, CPU)
    for many, single in zip(
        eager.evaluate_many(structures), map(eager.evaluate, structures), strict=True
    ):
        assert many.energy == pytest.approx(single.energy, abs=1e-9)
        assert np.allclose(many.forces, single.forces, atol=1e-9)
        assert (many.stress is None) == (single.stress is None)
        assert many.stress is None or np.allclose(many.stress, single.stress, atol=1e-9)
    assert eager.evaluate_many([]) == []


def test_batches_hold_each_structure_once_and_keep_the_limit() -> None:
    sizes = [700, 900, 500, 3000, 10, 1990, 1]
    batches = eager.batches(range(len(sizes)), sizes)
    assert [n for batch in batches for n in batch] == list(range(len(sizes)))
    assert all(
        len(batch) == 1 or sum(sizes[n] for n in batch) <= eager.BATCH_ATOMS for batch in batches
    )


class Fast(Eager):
    """A stand-in for a fast engine: eager, with an error of choice."""

    error, stress_error, calls = 0.0, 0.0, 0

    def evaluate(self, structure: Structure) -> Evaluation:
        type(self).calls += 1
        right = super().evaluate(structure)
        stress = None if right.stress is None else right.stress + self.stress_error
        return right._replace(forces=right.forces + self.error, stress=stress)


def with_fast(monkeypatch: pytest.MonkeyPatch, **attributes: Any) -> type[Fast]:
    fast = type("Fast", (Fast,), {"calls": 0, **attributes})
    monkeypatch.setattr(engine, "ENGINES", {"fast": fast, "eager": Eager})
    return fast


def test_the_fastest_is_chosen_and_its_difference_kept(
    potential: Potential, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_fast(monkeypatch, error=5e-5)
    selector = Selector(single(potential), CPU)
    selector.evaluate(structure(molecule("CH4")))
    assert selector.chosen.name == "fast"
    assert selector.chosen.difference is not None
    assert selector.chosen.difference.forces_meV_per_A == pytest.approx(0.05, rel=0.2)
    assert "fast on cpu; differs from eager in float64 by" in str(selector.chosen)


def test_the_comparison_is_made_once_per_family(
    potential: Potential, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_fast(monkeypatch)
    selector = Selector(potential, CPU)
    compared: list[Structure] = []
    reference = selector.eager.evaluate
    monkeypatch.setattr(selector.eager, "evaluate", lambda s: compared.append(s) or reference(s))
    methane = molecule("CH4")
    for atoms, charge, multiplicity in [
        (methane, 0, 1),
        (methane, 0, 1),
        (methane, 1, 2),
        (molecule("H2O"), 0, 1),
        (methane, 1, 2),
    ]:
        selector.evaluate(structure(atoms, charge, multiplicity))
    assert len(compared) == 3
    selector.evaluate_many(
        [structure(methane), structure(methane, -1, 2), structure(methane, -1, 2)]
    )
    assert len(compared) == 4


@pytest.mark.parametrize(
    "wrong", [{"error": 0.01}, {"error": float("nan")}, {"stress_error": 1e-3}]
)
def test_a_wrong_engine_is_given_up_and_its_numbers_with_it(
    potential: Potential, monkeypatch: pytest.MonkeyPatch, wrong: Any
) -> None:
    with_fast(monkeypatch, **wrong)
    selector = Selector(potential, CPU)
    found = selector.evaluate(structure(crystal()))
    right = Eager(potential, CPU).evaluate(structure(crystal()))
    assert np.array_equal(found.forces, right.forces)
    assert np.array_equal(found.stress, right.stress)
    assert selector.chosen.name == "eager"
    assert selector.chosen.skipped["fast"].startswith("differs from eager in float64 by")
    assert "not fast: differs" in str(selector.chosen)


def test_engines_of_other_devices_are_not_named(potential: Potential) -> None:
    assert "cuda-graph" not in str(Selector(potential, CPU).chosen)
    with pytest.raises(ValueError, match=r"got 'cuda-graph': it needs a GPU"):
        Selector(potential, CPU, "cuda-graph").evaluate(structure(molecule("CH4")))


def test_an_engine_that_cannot_is_given_up(
    potential: Potential, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unbuilt(self: Fast, *arguments: Any) -> None:
        raise Unavailable("no compiler")

    with_fast(monkeypatch, __init__=unbuilt)
    selector = Selector(potential, CPU)
    assert selector.chosen.name == "eager"
    assert selector.chosen.skipped == {"fast": "no compiler"}

    def refuses(self: Fast, structure: Structure) -> Evaluation:
        raise Unavailable("no periodic cells")

    with_fast(monkeypatch, evaluate=refuses)
    for call in (
        lambda s: s.evaluate(structure(crystal())),
        lambda s: s.evaluate_many([structure(crystal())]),
    ):
        selector = Selector(potential, CPU)
        call(selector)
        assert selector.chosen.skipped == {"fast": "no periodic cells"}


def test_an_engine_asked_for_serves_or_says_why(
    potential: Potential, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_fast(monkeypatch, error=0.01)
    with pytest.raises(
        ValueError,
        match=r"`engine` must be one that can serve; got 'fast': differs from eager in .* meV/Å",
    ):
        Selector(potential, CPU, "fast").evaluate(structure(molecule("CH4")))
    with_fast(monkeypatch)
    assert Selector(potential, CPU, "eager").chosen.name == "eager"
    with pytest.raises(ValueError, match="`engine` must be one of auto, fast, eager; got 'warp'"):
        Selector(potential, CPU, "warp")


def single(potential: Potential) -> Potential:
    """Cast the network as a model file loaded in float32 has it."""
    for parameter in potential.parameters():
        parameter.data = parameter.data.float()
    return potential


def built(name: str, potential: Potential) -> Engine:
    """Build an engine, or skip where this machine cannot."""
    try:
        return ENGINES[name](potential, CPU)
    except Unavailable as reason:
        pytest.skip(f"no {name} engine: {reason}")


@pytest.mark.parametrize("name", ["native", "tabulated"])
@pytest.mark.parametrize(
    "atoms", [molecule("CH3CH2OH"), molecule("C60"), crystal(), crystal() * (2, 1, 1)]
)
def test_fast_engines_are_eager_within_rounding(
    potential: Potential, name: str, atoms: Atoms
) -> None:
    """Along a walk that outlives the pair list, charged and with unpaired electrons."""
    fast, eager = built(name, single(potential)), Eager(single(potential), CPU)
    rng = np.random.default_rng(0)
    atoms = atoms.copy()
    for charge, multiplicity in [(0, 1), (1, 2), (1, 4), (-2, 1), (0, 1)]:
        found, exact = (e.evaluate(structure(atoms, charge, multiplicity)) for e in (fast, eager))
        assert found.energy == pytest.approx(exact.energy, abs=1e-6 * len(atoms))
        assert np.allclose(found.energies, exact.energies, rtol=0, atol=2e-6)
        assert np.allclose(found.forces, exact.forces, rtol=0, atol=1e-5)
        assert (found.stress is None) == (exact.stress is None)
        assert exact.stress is None or np.allclose(found.stress, exact.stress, rtol=0, atol=1e-6)
        atoms.positions += rng.normal(0, 0.08, atoms.positions.shape)
        atoms.cell[:] = atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.005, (3, 3)))


@pytest.mark.parametrize("name", ["native", "tabulated", "eager"])
def test_evaluations_own_their_arrays(potential: Potential, name: str) -> None:
    """Neither the next call nor the caller's next positions change what was returned."""
    chosen, atoms = built(name, single(potential)), crystal()
    first = chosen.evaluate(structure(atoms))
    kept = first.forces.copy(), first.energies.copy(), np.array(first.stress)
    atoms.rattle(0.05, seed=2)
    second = chosen.evaluate(structure(atoms))
    assert not np.allclose(second.forces, kept[0])
    assert all(
        np.array_equal(a, b)
        for a, b in zip((first.forces, first.energies, first.stress), kept, strict=True)
    )


def test_native_in_double_precision(potential: Potential) -> None:
    found, exact = (
        e.evaluate(structure(crystal(), 1, 2))
        for e in (built("native", potential), Eager(potential, CPU))
    )
    assert found.energy == pytest.approx(exact.energy, abs=1e-8)
    assert np.allclose(found.forces, exact.forces, rtol=0, atol=1e-7)
    assert np.allclose(found.stress, exact.stress, rtol=0, atol=1e-8)


def test_native_says_why_not(potential: Potential) -> None:
    built("native", potential)
    with pytest.raises(Unavailable, match=r"^it runs on the CPU$"):
        ENGINES["native"](potential, torch.device("cuda"))
    half = build(SPEC).half()
    with pytest.raises(
        Unavailable, match=r"^its dtype must be float32 or float64, not torch.float16$"
    ):
        ENGINES["native"](half, CPU)


def test_a_potential_without_filters_is_not_tabulated(
    potential: Potential, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(potential: Potential) -> None:
        raise ValueError("no filters")

    monkeypatch.setattr(tabulated, "tabulated", refuses)
    with pytest.raises(Unavailable, match="tables are for float32"):
        Tabulated(potential, CPU)
    with pytest.raises(Unavailable, match="owns no radial filters"):
        Tabulated(single(potential), CPU)
    monkeypatch.setattr(engine, "ENGINES", {"tabulated": Tabulated, "eager": Eager})
    selector = Selector(potential, CPU)
    selector.evaluate(structure(molecule("CH4")))
    assert selector.chosen.skipped["tabulated"] == "the potential owns no radial filters"


def test_large_structures_are_compared_on_a_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eager evaluates no more atoms than the limit; the whole gets the fast engine's numbers."""
    monkeypatch.setattr(engine, "COMPARED_ATOMS", 10)
    potential = build(
        {"cutoff": 4.0, "architecture": {"name": "tensornet", "channels": 8, "n_layers": 1}}
    ).eval()
    atoms = molecule("CH3CH2OH")
    far = atoms.copy()
    far.positions += 8.0
    structure = Structure(
        np.asarray((atoms + far).numbers, dtype=np.int64),
        (atoms + far).positions,
        np.zeros((3, 3)),
        np.zeros(3, dtype=bool),
        0,
        1,
    )
    selector = engine.Selector(potential, torch.device("cpu"), "tabulated")
    seen: list[int] = []
    evaluate = selector.reference.evaluate

    def counted(one: Structure) -> object:
        seen.append(len(one.positions))
        return evaluate(one)

    monkeypatch.setattr(selector.reference, "evaluate", counted)
    result = selector.evaluate(structure)
    assert seen == [10]
    assert selector.chosen.difference is not None
    np.testing.assert_allclose(result.forces, evaluate(structure).forces, atol=1e-4)
    selector.evaluate(structure)
    assert seen == [10]


def test_eager_in_single_precision_is_judged_as_well(potential: Potential) -> None:
    """Its own rounding is told; nothing is left to be the judge but float64."""
    selector = Selector(single(potential), CPU, "eager")
    assert selector.reference is not selector.eager
    selector.evaluate(structure(molecule("CH3CH2OH")))
    difference = selector.chosen.difference
    assert difference is not None and 0 < difference.forces_meV_per_A < 1


def test_what_one_family_cannot_have_changes_no_other(
    potential: Potential, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames of one composition keep their engine whatever others were given up for."""

    def refuses_water(self: Fast, asked: Structure) -> Evaluation:
        if len(asked.positions) == 3:
            raise Unavailable("no water")
        return Fast.evaluate(self, asked)

    with_fast(monkeypatch, evaluate=refuses_water)
    selector = Selector(potential, CPU)
    names = []
    for atoms in (molecule("CH4"), molecule("H2O"), molecule("CH4"), molecule("H2O")):
        selector.evaluate(structure(atoms))
        names.append(selector.chosen.name)
    assert names == ["fast", "eager", "fast", "eager"]
    many = selector.evaluate_many([structure(molecule(name)) for name in ("H2O", "CH4", "H2O")])
    assert [len(one.forces) for one in many] == [3, 5, 3]


@pytest.mark.parametrize("embedded", [False, True])
def test_many_at_once_are_singles(potential: Potential, embedded: bool) -> None:
    """Structures of all sizes and states side by side see nothing of each other."""
    if embedded:
        embeddings = [{"name": "species"}, {"name": "total_charge"}, {"name": "multiplicity"}]
        torch.manual_seed(2)
        potential = build({**SPEC, "embeddings": embeddings}).double()
    native = built("native", potential)
    many = [
        structure(molecule("CH3CH2OH")),
        structure(Atoms("H"), 1, 1),
        structure(molecule("C60"), -1, 2),
        structure(Atoms("O"), 0, 3),
        structure(crystal()),
        structure(molecule("H2O"), 1, 2),
    ]
    for found, one in zip(native.evaluate_many(many), many, strict=True):
        alone = native.evaluate(one)
        assert found.energy == pytest.approx(alone.energy, abs=1e-9)
        assert np.allclose(found.forces, alone.forces, rtol=0, atol=1e-9)
        assert (found.stress is None) == (alone.stress is None)
    assert native.evaluate(many[1]).energy == 0.0
