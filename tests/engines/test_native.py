"""The native engine against eager, and against other instruction sets, threads and orders."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from polcalc.engines.base import Structure
from polcalc.engines.native.engine import Answer, NativeEngine
from polcalc.engines.native.structures import Native
from polcalc.engines.native.supported import Unsupported
from potentials.build import build
from potentials.import_torchmd import convert, read
from potentials.potential import Potential, predict
from potentials.quantities import Prediction
from potentials.structure.graph import States, from_ase

native = pytest.importorskip(
    "polcalc.engines.native._native",
    reason="the extension polcalc.engines.native._native was not compiled",
    exc_type=ImportError,
)

ORDER = ("baseline", "avx2", "avx512")
INSTRUCTION_SETS = ORDER[: ORDER.index(native.instruction_set) + 1]
TERMS = [
    {"name": "readout", "scale": 2.5},
    {"name": "reference_energies", "energies_eV": {"H": -13.6, "C": -1036.0, "O": -2043.0}},
    {"name": "offset", "energy_eV": 0.7},
]


def potential(
    dtype: torch.dtype = torch.float64,
    channels: int = 16,
    n_layers: int = 2,
    group: str = "O(3)",
    **spec: Any,
) -> Potential:
    torch.manual_seed(5)
    architecture = {"name": "tensornet", "channels": channels, "n_layers": n_layers, "group": group}
    defaults = {"cutoff": 4.5, "radial": {"name": "exp_normal", "n_radial": 8}, "terms": TERMS}
    return build(defaults | {"architecture": architecture} | spec).to(dtype).eval()


def shaken(atoms: Atoms, seed: int = 1) -> Atoms:
    atoms.rattle(0.1, seed=seed)
    return atoms


def ethanol() -> Atoms:
    return shaken(molecule("CH3CH2OH"))


def answers(
    model: Potential,
    atoms: Atoms,
    skin: float = 0.0,
    dtype: torch.dtype = torch.float64,
    n_threads: int = 1,
    isa: str = "",
    **state: Any,
) -> tuple[Answer, Prediction]:
    """What the native and the eager engine say, the latter in float64."""
    charge, partial = state.get("total_charge", 0.0), state.get("partial_charges")
    graph = from_ase(
        atoms,
        model.cutoff + skin,
        charge=charge,
        multiplicity=state.get("multiplicity", 1),
        partial_charges=partial,
    )
    shifts = (graph.shift @ graph.cell[0]).numpy() if atoms.pbc.any() else None
    engine = NativeEngine(model, dtype, n_threads, isa)
    answer = engine.evaluate(
        atoms.numbers, atoms.positions, (graph.idx_i.numpy(), graph.idx_j.numpy(), shifts), **state
    )
    return answer, predict(model.double(), graph, stress=bool(atoms.pbc.all()))


def assert_agree(
    answer: Answer, prediction: Prediction, energy: float = 1e-8, forces: float = 1e-7
) -> None:
    assert prediction.forces is not None
    np.testing.assert_allclose(answer.energies, prediction.energies.numpy(), rtol=0, atol=energy)
    np.testing.assert_allclose(answer.forces, prediction.forces.numpy(), rtol=0, atol=forces)
    np.testing.assert_allclose(
        answer.energy, float(prediction.energy), rtol=0, atol=energy * len(answer.energies)
    )


@pytest.mark.parametrize("group", ["O(3)", "SO(3)"])
@pytest.mark.parametrize("strength", ["fixed", "per_layer", "per_channel"])
def test_charged_states_agree_with_eager(group: str, strength: str) -> None:
    attributes = ["total_charge", "unpaired_electrons", "partial_charges"]
    model = potential(
        group=group, state_factor={"attributes": attributes, "strength": strength, "initial": 0.3}
    )
    with torch.no_grad():
        model.trunk.factor.strengths.add_(0.1 * torch.randn_like(model.trunk.factor.strengths))
    partial = np.random.default_rng(0).normal(scale=0.3, size=9)
    assert_agree(
        *answers(model, ethanol(), total_charge=-1.0, multiplicity=2, partial_charges=partial)
    )


STATE_EMBEDDINGS: dict[str, list[dict[str, Any]]] = {
    "tables": [{"name": "species"}, {"name": "total_charge"}, {"name": "multiplicity"}],
    "electronic": [
        {"name": "species"},
        *({"name": "electronic", "attribute": a} for a in ("total_charge", "unpaired_electrons")),
    ],
    "partial charges": [{"name": "species"}, {"name": "partial_charges"}],
}


@pytest.mark.parametrize("embeddings", STATE_EMBEDDINGS)
def test_embedded_states_agree_with_eager(embeddings: str) -> None:
    """One engine, asked for one state after the other and for another molecule in between."""
    model = potential(embeddings=STATE_EMBEDDINGS[embeddings])
    engine, partial = (
        NativeEngine(model, torch.float64),
        np.random.default_rng(0).normal(scale=0.3, size=9),
    )
    energies = []
    for name, charge, multiplicity in [
        ("CH3CH2OH", 0, 1),
        ("CH3CH2OH", 1, 2),
        ("H2O", 1, 2),
        ("CH3CH2OH", 1, 2),
        ("CH3CH2OH", 0, 3),
    ]:
        atoms = shaken(molecule(name))
        charges = (charge + 1) * partial[: len(atoms)]
        graph = from_ase(
            atoms, model.cutoff, charge=charge, multiplicity=multiplicity, partial_charges=charges
        )
        state = {
            "total_charge": float(charge),
            "multiplicity": multiplicity,
            "partial_charges": charges,
        }
        answer = engine.evaluate(
            atoms.numbers,
            atoms.positions,
            (graph.idx_i.numpy(), graph.idx_j.numpy(), None),
            **state,
        )
        assert_agree(answer, predict(model, graph))
        energies.append(answer.energy)
    assert energies[1] == energies[3] and abs(energies[0] - energies[1]) > 1e-4


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize(
    "spec",
    [
        {},
        {
            "channels": 20,
            "n_layers": 3,
            "attention": {"name": "charged", "n_heads": 3, "n_values": 5},
        },
    ],
)
def test_attention_agrees_with_eager(spec: dict[str, Any], n_threads: int) -> None:
    """In states with and without a charge, and of fragments whose atoms come in any order."""
    model = potential(**({"attention": {"name": "charged"}} | spec))
    for charge, multiplicity in [(-1, 2), (0, 1), (0, 3)]:
        assert_agree(
            *answers(
                model,
                ethanol(),
                n_threads=n_threads,
                total_charge=float(charge),
                multiplicity=multiplicity,
            ),
            forces=3e-7,
        )
    atoms = shaken(molecule("CH3CH2OH")) + shaken(molecule("H2O"))
    atoms.positions[9:] += [0.0, 0.0, 3.5]
    order = np.random.default_rng(0).permutation(len(atoms))
    atoms, groups = atoms[order], (order >= 9).astype(np.int64)
    charges, multiplicities = np.array([1.0, 0.0]), np.array([2, 1])
    graph = from_ase(atoms, model.cutoff)
    of = States(
        torch.from_numpy(groups), torch.from_numpy(charges), torch.from_numpy(multiplicities)
    )
    pairs = (graph.idx_i.numpy(), graph.idx_j.numpy(), None)
    given = (charges[groups], multiplicities[groups])
    answer = NativeEngine(model, torch.float64, n_threads).evaluate(
        atoms.numbers, atoms.positions, pairs, *given, fragments=groups
    )
    assert_agree(answer, predict(model, graph._replace(fragments=of)), forces=3e-7)
    alone = NativeEngine(model, torch.float64, n_threads).evaluate(
        atoms.numbers, atoms.positions, pairs, 1.0, 2
    )
    assert abs(answer.energy - alone.energy) > 1e-4


@pytest.mark.parametrize(
    "spec",
    [
        {"radial": {"name": "bessel", "n_radial": 6}, "envelope": "polynomial"},
        {"radial": {"name": "gaussian", "n_radial": 12}},
        {"n_layers": 1},
        {"n_layers": 3, "channels": 40},
        {"channels": 5},
        {"cutoff": 2.0},
        {"embeddings": [{"name": "species"}, {"name": "species"}]},
    ],
    ids=lambda spec: ",".join(spec),
)
def test_variants_agree_with_eager(spec: dict[str, Any]) -> None:
    assert_agree(*answers(potential(**spec), ethanol()))


def test_repulsion_of_nuclei() -> None:
    """At half the bond lengths it is all that matters.

    The eager term rounds its prefactor to float32.
    """
    atoms = ethanol()
    atoms.positions *= 0.5
    answer, prediction = answers(potential(terms=[*TERMS, {"name": "zbl"}]), atoms)
    assert prediction.forces is not None
    assert np.abs(answer.forces).max() > 10
    np.testing.assert_allclose(answer.forces, prediction.forces.numpy(), rtol=1e-7, atol=1e-5)
    np.testing.assert_allclose(answer.energy, float(prediction.energy), rtol=0, atol=1e-5)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("channels", [16, 64])
def test_every_instruction_set_agrees_in_float32(isa: str, n_threads: int, channels: int) -> None:
    """The tables err by 1e-6 and the network in float32 by a few 1e-7 of energies around 1 eV."""
    atoms = ethanol()
    atoms += Atoms("O", positions=[[9.0, 9.0, 9.0]])
    answer, prediction = answers(
        potential(channels=channels), atoms, dtype=torch.float32, n_threads=n_threads, isa=isa
    )
    assert_agree(answer, prediction, energy=1e-6, forces=1e-5)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_every_instruction_set_agrees_in_float64(isa: str) -> None:
    assert_agree(*answers(potential(channels=40), ethanol(), isa=isa))


def test_periodic_cell_smaller_than_the_cutoff() -> None:
    """Atoms see their own images; the virial over the volume is the stress."""
    atoms = shaken(bulk("C", "diamond", a=3.6) * (2, 1, 1))
    answer, prediction = answers(potential(), atoms)
    assert_agree(answer, prediction)
    assert prediction.stress is not None
    np.testing.assert_allclose(
        answer.virial / atoms.get_volume(), prediction.stress[0].numpy(), rtol=0, atol=1e-8
    )


def test_forces_are_minus_the_gradient() -> None:
    atoms, step = ethanol(), 1e-4
    engine = NativeEngine(potential(), torch.float64)
    idx_i, idx_j = np.triu_indices(len(atoms), 1)

    def energy(positions: np.ndarray) -> float:
        return engine.evaluate(
            atoms.numbers, positions, (idx_i, idx_j, None), gradients=False
        ).energy

    forces = engine.evaluate(atoms.numbers, atoms.positions, (idx_i, idx_j, None)).forces
    for atom, axis in [(0, 0), (2, 1), (8, 2)]:
        move = np.zeros_like(atoms.positions)
        move[atom, axis] = step
        numerical = -(energy(atoms.positions + move) - energy(atoms.positions - move)) / (2 * step)
        assert abs(forces[atom, axis] - numerical) < 1e-6


def test_pairs_beyond_the_cutoff_are_inert() -> None:
    model = potential(cutoff=3.0)
    exact, _ = answers(model, ethanol())
    skinned, _ = answers(model, ethanol(), skin=3.0)
    np.testing.assert_array_equal(exact.energies, skinned.energies)
    np.testing.assert_array_equal(exact.forces, skinned.forces)


def test_many_atoms_in_any_order_and_number_of_threads() -> None:
    """Above 512 atoms the engine sorts them in space; blocks end where they end."""
    atoms = shaken(bulk("C", "diamond", a=3.6, cubic=True) * (4, 4, 5))
    atoms = atoms[np.random.default_rng(3).permutation(len(atoms))[:-3]]
    model = potential(channels=8, n_layers=1, cutoff=2.5)
    answer, prediction = answers(model, atoms, n_threads=2)
    assert_agree(answer, prediction)
    alone, _ = answers(model, atoms, n_threads=1)
    np.testing.assert_allclose(answer.forces, alone.forces, rtol=0, atol=1e-12)


def test_partial_charges_follow_their_atoms_when_sorted() -> None:
    atoms = bulk("C", "diamond", a=3.6, cubic=True) * (4, 4, 5)
    model = potential(
        channels=8,
        n_layers=1,
        cutoff=2.5,
        state_factor={"attributes": ["partial_charges"], "initial": 0.5},
    )
    assert_agree(
        *answers(model, atoms, partial_charges=np.random.default_rng(0).normal(size=len(atoms)))
    )


def test_one_engine_serves_structures_of_all_sizes() -> None:
    """The workspace is kept between calls; nothing of an earlier structure may show."""
    model = potential(state_factor={"attributes": ["total_charge"]})
    engine = NativeEngine(model, torch.float64, n_threads=2)
    for name, charge in [
        ("CH3CH2OH", 0.0),
        ("H2O", 1.0),
        ("C60", 0.0),
        ("H", 0.0),
        ("CH3CH2OH", -1.0),
    ]:
        atoms = shaken(molecule(name))
        idx_i, idx_j = np.triu_indices(len(atoms), 1)
        graph = from_ase(atoms, 4.5, charge=charge)
        assert_agree(
            engine.evaluate(
                atoms.numbers, atoms.positions, (idx_i, idx_j, None), total_charge=charge
            ),
            predict(model, graph),
        )
    empty = np.zeros(0, dtype=np.int64)
    assert engine.evaluate(empty, np.zeros((0, 3)), (empty, empty, None)).energy == 0.0


def test_calls_from_several_python_threads() -> None:
    atoms, engine = ethanol(), NativeEngine(potential(), torch.float64, n_threads=2)
    idx_i, idx_j = np.triu_indices(len(atoms), 1)

    def energy(scale: float) -> float:
        return engine.evaluate(atoms.numbers, scale * atoms.positions, (idx_i, idx_j, None)).energy

    scales = np.linspace(0.9, 1.1, 50)
    expected = [energy(s) for s in scales]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(energy, scales)) == expected


def test_states_of_several_python_threads_do_not_mix() -> None:
    atoms, engine = (
        ethanol(),
        NativeEngine(potential(embeddings=STATE_EMBEDDINGS["tables"]), torch.float64),
    )
    idx_i, idx_j = np.triu_indices(len(atoms), 1)

    def energy(charge: int) -> float:
        return engine.evaluate(
            atoms.numbers,
            atoms.positions,
            (idx_i, idx_j, None),
            total_charge=float(charge),
            multiplicity=2,
        ).energy

    charges = [-1, 1] * 200
    expected = {charge: energy(charge) for charge in (-1, 1)}
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(energy, charges)) == [expected[charge] for charge in charges]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_evaluates() -> None:
    """The threads of the pool do not survive a fork; the child must not wait for them."""
    atoms, engine = molecule("C60"), NativeEngine(potential(), torch.float32, n_threads=2)
    idx_i, idx_j = np.triu_indices(len(atoms), 1)
    expected = engine.evaluate(atoms.numbers, atoms.positions, (idx_i, idx_j, None)).energy
    child = os.fork()
    if child == 0:
        found = engine.evaluate(atoms.numbers, atoms.positions, (idx_i, idx_j, None)).energy
        del engine  # which must not wait for them either
        os._exit(found != expected)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_bad_input_is_refused() -> None:
    engine = NativeEngine(
        potential(state_factor={"attributes": ["partial_charges"]}), torch.float32
    )
    atoms, charges = ethanol(), np.zeros(9)
    pairs = (np.array([0]), np.array([1]), None)
    with pytest.raises(ValueError, match="`positions` must be finite"):
        engine.evaluate(
            atoms.numbers,
            np.where(atoms.positions > 1, np.nan, atoms.positions),
            pairs,
            partial_charges=charges,
        )
    with pytest.raises(ValueError, match="`partial_charges` must be given"):
        engine.evaluate(atoms.numbers, atoms.positions, pairs)
    with pytest.raises(ValueError, match="pair index"):
        engine.evaluate(
            atoms.numbers,
            atoms.positions,
            (np.array([0]), np.array([9]), None),
            partial_charges=charges,
        )
    with pytest.raises(ValueError, match="`numbers` must be atomic numbers below 128; got 200"):
        engine.evaluate(np.full(9, 200), atoms.positions, pairs, partial_charges=charges)
    with pytest.raises(ValueError, match=r"`positions` must be \(9, 3\); got .* of shape \(8, 3\)"):
        engine.evaluate(atoms.numbers, atoms.positions[:-1], pairs, partial_charges=charges)


def test_unsupported_potentials_say_why() -> None:
    with pytest.raises(Unsupported, match="exactly one read-out"):
        NativeEngine(potential(terms=[{"name": "zbl"}]), torch.float32)
    with pytest.raises(Unsupported, match="dtype must be float32 or float64"):
        NativeEngine(potential(), torch.bfloat16)


@pytest.mark.parametrize("name", ["tensornet_128x2", "tensornet_32x2_old_layout"])
def test_trained_weights_within_the_bounds(
    name: str, reference_data: Callable[[str], Path]
) -> None:
    """A trained network in float32: 1e-3 meV/atom and 1e-2 meV/Å."""
    model, _ = convert(
        read(reference_data(f"torchmd_checkpoints/{name}.ckpt")), energy_unit="kcal/mol"
    )
    frames = np.load(reference_data("rmd17/rmd17_aspirin_test_01.npz"))
    for positions in frames["coords"][:3]:
        answer, prediction = answers(
            model, Atoms(frames["nuclear_charges"], positions), dtype=torch.float32
        )
        assert_agree(answer, prediction, energy=1e-6, forces=1e-5)


def test_structures_side_by_side_each_have_the_offset_once() -> None:
    """`TERMS` hold an offset, of a structure as a whole."""
    engine = Native(potential(), torch.device("cpu"))
    structures = [
        Structure(a.numbers, a.positions, a.cell.array, a.pbc, 0, 1)
        for a in (ethanol(), molecule("H2O"), ethanol())
    ]
    alone = [engine.evaluate(s).energy for s in structures]
    together = [e.energy for e in engine.evaluate_many(structures)]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-9)
