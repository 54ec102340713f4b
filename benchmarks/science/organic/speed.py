"""Time of a step, contestants in turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from benchmarks.measure import take_turns
from benchmarks.science.organic.contestants import TEACHER, Contestant, one_network
from benchmarks.science.organic.settings import Settings
from benchmarks.systems import hordenine

TIME = "processor_ms"  # of a call, median: a busy machine hardly changes it


def speed(everybody: Sequence[Contestant], settings: Settings) -> dict[str, Any]:
    """Time energy and forces of 27 atoms on one thread, in turns, each call a little elsewhere."""
    start = hordenine()
    start.info = {"charge": 0, "multiplicity": 1}
    rng = np.random.default_rng(0)

    def moving(make: Callable[[Atoms], Any]) -> Callable[[], Any]:
        atoms = start.copy()
        atoms.calc = make(atoms)

        def call() -> Any:
            atoms.positions = start.positions + rng.normal(scale=0.005, size=start.positions.shape)
            return atoms.get_forces()

        return call

    makers = {c.name: one_network if c.name == TEACHER else c.calculator for c in everybody}
    calls = {name: moving(make) for name, make in makers.items()}
    for call in calls.values():
        call()
    return take_turns(calls, settings.repeats)
