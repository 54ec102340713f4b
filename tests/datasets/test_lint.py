from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from potentials.datasets import Frames, join
from potentials.datasets.checks.lint import lint
from potentials.datasets.checks.repeats import find_repeats
from tests.datasets.structures import mixed, waters


def codes(frames: Frames, against: Frames | None = None) -> list[str]:
    return [finding.code for finding in lint(frames, against).findings]


def moved(frames: Frames, seed: int = 0) -> Frames:
    """Turn, mirror and shift every structure, and exchange its hydrogens."""
    generator = np.random.default_rng(seed)
    turns = Rotation.random(len(frames), rng=generator).as_matrix()
    positions = frames.positions.reshape(len(frames), 3, 3)[:, [0, 2, 1]]
    positions = -positions @ turns + generator.normal(size=(len(frames), 1, 3))
    return replace(frames, positions=positions.reshape(-1, 3), forces=None)


def test_nothing_wrong() -> None:
    report = lint(waters(30), waters(30, seed=1))
    assert report.findings == []
    assert (report.n_structures, report.n_atoms, report.elements, report.states) == (
        30,
        [3, 3],
        ["H", "O"],
        [[0, 1, 30]],
    )
    assert (report.n_repeats, report.n_overlap, report.labels) == (0, 0, ["forces"])


def test_impossible_electrons() -> None:
    frames = waters(5)
    multiplicity = np.array([1, 2, 3, 0, 13])  # ten electrons
    report = lint(replace(frames, multiplicity=multiplicity))
    assert [(f.level, f.code, f.structures) for f in report.findings] == [
        ("error", "electrons", [1, 3, 4])
    ]
    assert "10 electrons, charge +0, multiplicity 2" in report.findings[0].message
    assert codes(replace(frames, total_charge=np.array([0, 0.5, 0, 0, 0])))[0] == "charge"


def test_repeats_are_found_however_they_lie() -> None:
    frames = replace(waters(20), forces=None)
    again = join([frames, moved(frames.select([3, 7]))])
    assert find_repeats(again) == [(3, 20), (7, 21)]
    assert find_repeats(frames, moved(frames.select([7, 3]))) == [(3, 1), (7, 0)]
    assert codes(again) == ["repeats"]


def test_another_state_is_not_a_repeat() -> None:
    frames = replace(waters(2), forces=None)
    assert find_repeats(join([frames, replace(frames, multiplicity=np.array([3, 3]))])) == []
    assert (
        find_repeats(
            join(
                [
                    frames,
                    replace(
                        frames, total_charge=np.array([1.0, 1.0]), multiplicity=np.array([2, 2])
                    ),
                ]
            )
        )
        == []
    )


def test_near_is_not_equal() -> None:
    frames = waters(1)
    apart = frames.positions.copy()
    apart[1, 1] += 5e-4
    assert find_repeats(join([frames, replace(frames, positions=apart)])) == []
    apart[1, 1] -= 4.7e-4
    assert find_repeats(join([frames, replace(frames, positions=apart)])) == [(0, 1)]


def test_repeats_in_a_periodic_box() -> None:
    frames = replace(mixed().without_labels().select([1, 2]))
    shifted = replace(frames, positions=frames.positions + np.array([0.3, 0.1, -0.2]))
    wider = replace(frames, cell=frames.cell * 1.01)
    assert find_repeats(join([frames, shifted, wider])) == [(0, 2), (1, 3)]


def test_contradicting_labels() -> None:
    frames = replace(waters(3), forces=None)
    other = replace(frames.select([1]), energy=frames.energy[[1]] + 0.1)
    report = lint(join([frames, other]))
    assert [(f.level, f.code, f.structures) for f in report.findings] == [
        ("warning", "repeats", [3]),
        ("error", "contradiction", [3]),
    ]
    assert report.n_errors == 1


def test_overlap_with_the_test_set() -> None:
    frames = waters(30)
    report = lint(frames, moved(frames.select([4, 9, 11])))
    assert report.n_overlap == 3
    assert [(f.level, f.code, f.structures) for f in report.findings] == [
        ("error", "overlap", [4, 9, 11])
    ]


def test_contacts_and_net_forces() -> None:
    frames = waters(30)
    positions, forces = frames.positions.copy(), frames.forces.copy()
    positions[4] = positions[3] + np.array([0.0, 0.0, 0.3])
    forces[6] += 0.2
    report = lint(replace(frames, positions=positions, forces=forces))
    assert [(f.level, f.code, f.structures) for f in report.findings] == [
        ("warning", "contacts", [1]),
        ("warning", "net-force", [2]),
    ]


def test_empty() -> None:
    with pytest.raises(ValueError, match="must hold structures; got none"):
        lint(waters(2).select([]))
