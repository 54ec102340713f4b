"""One calculator in several threads, sent to processes, and in the children of forks."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from polcalc import PolarizedCalculator

REPOSITORY = Path(__file__).parents[2]
STARTS = [
    s for s in ("fork", "spawn", "forkserver") if s in multiprocessing.get_all_start_methods()
]
NAMES = ("CH3CH2OH", "CH4", "C6H6", "H2O")

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def water() -> Atoms:
    atoms: Atoms = molecule("H2O")
    atoms.calc = PolarizedCalculator("ethanol-rmd17", device="cpu")
    return atoms


def energy(atoms: Atoms) -> float:
    return float(atoms.get_potential_energy())


def answer(asked: Any, answers: Any) -> None:
    for atoms in iter(asked.get, None):
        answers.put(energy(atoms))


def by_pool(start: str, atoms: Atoms) -> list[float]:
    with multiprocessing.get_context(start).Pool(2) as pool:
        return pool.map(energy, [atoms] * 3)


def by_executor(start: str, atoms: Atoms) -> list[float]:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(start)) as pool:
        return list(pool.map(energy, [atoms] * 3))


def by_queue(start: str, atoms: Atoms) -> list[float]:
    context: Any = multiprocessing.get_context(start)
    asked, answers = context.Queue(), context.Queue()
    worker = context.Process(target=answer, args=(asked, answers), daemon=True)
    worker.start()
    for item in (atoms, atoms, atoms, None):
        asked.put(item)
    found = [answers.get(timeout=60) for _ in range(3)]
    worker.join(60)
    return found


def by_joblib(start: str, atoms: Atoms) -> list[float]:
    joblib = pytest.importorskip("joblib")
    backend = {"fork": "multiprocessing", "spawn": "loky"}.get(start) or pytest.skip("no such")
    found: list[float] = joblib.Parallel(2, backend=backend)(
        joblib.delayed(energy)(a) for a in [atoms] * 3
    )
    return found


def by_dask(start: str, atoms: Atoms) -> list[float]:
    dask = pytest.importorskip("dask")
    delayed = [dask.delayed(energy)(a) for a in [atoms] * 3]
    context = multiprocessing.get_context(start)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        return list(dask.compute(*delayed, scheduler="processes", pool=pool))


WAYS: list[Callable[[str, Atoms], list[float]]] = [
    by_pool,
    by_executor,
    by_queue,
    by_joblib,
    by_dask,
]


def sendings() -> list[Any]:
    """List every way with every start; workers that are not forked import torch, and are slow."""
    quick = [*((way, "fork") for way in WAYS), (by_executor, "spawn")]
    return [
        pytest.param(way, start, marks=[] if (way, start) in quick else pytest.mark.slow)
        for way in WAYS
        for start in STARTS
    ]


@pytest.mark.parametrize(("way", "start"), sendings())
def test_a_used_calculator_is_sent_with_its_atoms(
    way: Callable[[str, Atoms], list[float]], start: str
) -> None:
    """Workers answer as the sender does, and the sender goes on working."""
    atoms = water()
    before = energy(atoms)
    assert way(start, atoms) == [before] * 3
    moved = atoms.copy()
    moved.rattle(0.01)
    fresh = moved.copy()
    moved.calc, fresh.calc = atoms.calc, water().calc
    assert energy(moved) == energy(fresh)
    assert energy(atoms) == before


@pytest.mark.parametrize("pickler", [ForkingPickler, pickle])
def test_a_pickle_holds_bytes_of_its_own(pickler: Any) -> None:
    """Nothing of the sender moves to shared memory, whatever pickler takes it."""
    atoms = water()
    energy(atoms)
    calc: Any = atoms.calc
    before = {name: p.data_ptr() for name, p in calc.model.potential.named_parameters()}
    data = bytes(pickler.dumps([atoms, calc]))
    for name, p in calc.model.potential.named_parameters():
        assert not p.is_shared() and p.data_ptr() == before[name]
    assert not any(x.is_shared() for x in calc._domain._neighbors.pairs)
    twin, calc_of_twin = pickle.loads(data)
    assert twin.calc is calc_of_twin and twin.calc is not calc
    assert energy(twin) == energy(atoms)


def test_copies_have_a_state_of_their_own() -> None:
    atoms = water()
    before = energy(atoms)
    twin = copy.copy(atoms.calc)
    other = molecule("CH3CH2OH")
    other.calc = twin
    assert energy(other) != before
    assert atoms.calc.results["energy"] == before


FORK = """
import os, signal, sys, threading, torch
from ase.build import molecule
from polcalc import PolarizedCalculator

torch.set_num_threads(2)
square = torch.rand(1000, 1000)
(square @ square).sum()  # now torch has threads
calc = PolarizedCalculator("ethanol-rmd17", device="cpu")
atoms = molecule("H2O")
atoms.calc = calc
expected = atoms.get_potential_energy()


def work():
    signal.alarm(90)  # seconds, in place of waiting for ever
    (square @ square).sum()
    other = molecule("CH3CH2OH")  # new to the calculator
    other.calc = calc
    other.get_forces()
    fresh = molecule("H2O")
    fresh.calc = PolarizedCalculator("ethanol-rmd17", device="cpu")
    for again in (atoms, fresh):
        assert abs(again.get_potential_energy() - expected) < 1e-6
    assert torch.get_num_threads() == 1


if sys.argv[1] == "locked":  # another thread is in the middle of a calculation
    threading.Thread(target=calc._lock.acquire).start()
child = os.fork()
if child == 0:
    work()
    os._exit(0)
assert torch.get_num_threads() == 2
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("state", ["free", "locked"])
def test_the_child_of_a_fork_does_not_wait_for_threads_that_stayed_behind(state: str) -> None:
    """Where torch had threads, and where another thread had its turn with the calculator."""
    subprocess.run([sys.executable, "-c", FORK, state], cwd=REPOSITORY, check=True, timeout=100)


def test_threads_get_the_energy_of_their_own_molecule() -> None:
    calc = PolarizedCalculator("ethanol-rmd17", device="cpu", dtype="float64")
    structures = []
    for seed in range(4):
        for name in NAMES:
            atoms = molecule(name)
            atoms.rattle(0.02, seed=seed)
            structures.append(atoms)

    def ask(atoms: Atoms) -> tuple[float, np.ndarray]:
        own = atoms.copy()
        own.calc = calc
        return energy(own), own.get_forces()

    right = [ask(atoms) for atoms in structures]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # threads take turns as often as they can
    try:
        with ThreadPoolExecutor(4) as pool:
            for found, expected in zip(pool.map(ask, structures * 10), right * 10, strict=True):
                assert found[0] == pytest.approx(expected[0], abs=1e-6)
                np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=1e-5)
    finally:
        sys.setswitchinterval(interval)
