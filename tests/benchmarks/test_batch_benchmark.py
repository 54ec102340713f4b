"""The benchmark of batches: contestants in turns, on copies, molecules per second."""

from __future__ import annotations

from ase.build import molecule

from benchmarks.speed.batch import turns


def test_contestants_take_turns_on_copies():
    called: list[tuple[str, int]] = []
    frames = [molecule("H2O"), molecule("CH4")]

    def contestant(name):
        def contest(copies):
            called.append((name, len(copies)))
            for atoms in copies:
                atoms.positions += 1
                sum(range(20_000))  # takes processor time

        return contest

    before = frames[0].positions.copy()
    speeds = turns({name: contestant(name) for name in "ab"}, frames, 2)
    assert called == [("a", 1), ("b", 1), *[("a", 2), ("b", 2)] * 2]
    assert (frames[0].positions == before).all() and min(speeds.values()) > 0
