"""Guards see what is wrong and where, and leave what is right alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import read

from md_runs.dynamics.driver import Dynamics, DynamicsOptions
from md_runs.dynamics.guards import Alarmed, Guards
from md_runs.errors import RunAlarmed
from md_runs.records.trajectory import read_trajectory
from potentials.checkpoint import Card
from tests.small import Springs, sprung

CARD = Card(
    closest_distances_A={"C-C": 1.3, "C-H": 0.95, "C-O": 1.2, "H-H": 1.4, "H-O": 0.85},
    force_max_eV_per_A=10.0,
)


def guards(atoms: Atoms, bonds: bool = True) -> Guards:
    atoms.set_momenta(np.zeros((len(atoms), 3)))
    atoms.get_forces()
    return Guards(atoms, 21, 300.0, CARD, 5, bonds)


def alarm_of(watch: Guards, conserved: float = 0.0) -> Any:
    watch.atoms.get_forces()
    watch.look(10)
    with pytest.raises(Alarmed) as caught:
        watch.inspect(10, conserved)
    return caught.value.alarm


def test_nothing_wrong_is_no_alarm():
    atoms = sprung(strength=2.0)
    watch = guards(atoms)
    rng = np.random.default_rng(0)
    for step in range(50):
        atoms.positions += rng.normal(scale=0.01, size=(9, 3))
        atoms.get_forces()
        watch.look(step)
        watch.inspect(step, 0.01)
    assert [frame[0] for frame in watch.frames] == [45, 46, 47, 48, 49]


def test_forces_that_are_not_finite():
    watch = guards(sprung())
    watch.atoms.calc.results["forces"][4, 1] = np.nan
    with pytest.raises(Alarmed, match="forces are not finite") as caught:
        watch.look(3)
    assert caught.value.alarm.atoms == (4,)


def test_an_energy_that_is_not_finite():
    watch = guards(sprung())
    watch.atoms.calc.results["energy"] = np.inf
    with pytest.raises(Alarmed, match="energy is not finite"):
        watch.look(3)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_force_beyond_the_model(sign):
    watch = guards(sprung())
    watch.atoms.calc.results["forces"][6, 2] = sign * 31.0
    with pytest.raises(Alarmed, match=r"force on H6 is 31\.0 eV/Å; the limit is 30\.0"):
        watch.look(3)


def test_heat():
    watch = guards(sprung())
    watch.atoms.set_momenta(np.eye(9, 3, -2) * 8)
    alarm = alarm_of(watch)
    assert "temperature" in alarm.what
    assert alarm.atoms == (3,)  # the lightest of those that move


def test_drift():
    watch = guards(sprung())
    watch.inspect(0, 5.0)
    assert "+111 meV/atom" in alarm_of(watch, 6.0).what


def test_a_broken_bond():
    atoms = sprung(strength=0.1)
    watch = guards(atoms)
    atoms.positions[3] += 0.7 * (atoms.positions[3] - atoms.positions[2])
    alarm = alarm_of(watch)
    assert "broke" in alarm.what
    assert set(alarm.atoms) == {2, 3}
    free = guards(sprung(strength=0.1), bonds=False)
    free.atoms.positions[:] = atoms.positions
    free.atoms.get_forces()
    free.inspect(1, 0.0)


def test_a_new_bond():
    atoms = sprung(strength=0.1)
    watch = guards(atoms)
    # a hydroxyl towards a methyl
    atoms.positions[2:4] += 1.05 / 1.41 * (atoms.positions[8] - atoms.positions[3]) * [1, 1, 0]
    atoms.positions[3] = atoms.positions[8] + [0.0, 0.0, 0.66]
    watch._table[:] = 0
    assert "newly bonded" in alarm_of(watch).what


def test_a_restart_compares_with_the_start():
    first = guards(sprung(strength=0.1))
    first.inspect(0, 5.0)
    atoms = sprung(strength=0.1)
    atoms.positions[3] += 0.7 * (atoms.positions[3] - atoms.positions[2])
    atoms.set_momenta(np.zeros((9, 3)))
    second = Guards(atoms, 21, 900.0, None, 5, True)  # on its own it would find nothing wrong
    second.restore(first.state())
    assert second.limits == first.limits
    assert "broke" in alarm_of(second, 5.0).what
    atoms.positions[3] = molecule("CH3CH2OH").positions[3]
    assert "+111 meV/atom" in alarm_of(second, 6.0).what


def test_atoms_too_close():
    atoms = sprung(strength=0.1)
    watch = guards(atoms, bonds=False)
    atoms.positions[1] += 0.35 * (atoms.positions[0] - atoms.positions[1])
    alarm = alarm_of(watch)
    assert "C0 and C1 are too close: 0.98 Å" in alarm.what
    assert set(alarm.atoms) == {0, 1}


def test_bonds_through_the_walls_of_a_cell():
    crystal = bulk("C", "diamond", a=3.57)  # each atom four times bonded to images of the other
    crystal.calc = Springs(crystal)
    watch = Guards(crystal, 3, 300.0, None, 5, True)
    assert watch._bonds is not None and len(watch._bonds[0]) == 4
    crystal.positions[0] += 0.9
    with pytest.raises(Alarmed, match=r"broke|newly bonded"):
        watch._check_distances(1)


class Exploding(Springs):
    """Springs that push once atoms have moved for a while, unless the time step is short."""

    calls = 0

    def calculate(self, *arguments: Any, **options: Any) -> None:
        super().calculate(*arguments, **options)
        type(self).calls += 1
        if type(self).calls == 40:
            self.results["forces"] *= 1e6


def explode(output: Path, **options: Any) -> RunAlarmed | None:
    Exploding.calls = 0
    atoms = molecule("CH3CH2OH")
    atoms.calc = Exploding(atoms)
    output.mkdir()
    plan = DynamicsOptions(
        ensemble="nve", steps=60, checkpoint_every=10, trajectory_every=1, log_every=1, **options
    )
    try:
        Dynamics(atoms, plan, charge=0, multiplicity=1).run(output, {"command": "md"})
    except RunAlarmed as error:
        return error
    return None


def test_an_alarm_stops_the_run_and_shows_what_led_there(tmp_path):
    error = explode(tmp_path / "run", alarm_frames=7)
    assert error is not None and error.exit_code == 3
    assert "eV/Å; the limit" in str(error) and "a relaxed start (--relax-first)" in str(error)
    frames = read(tmp_path / "run" / "alarm.extxyz", ":")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert len(frames) == 7
    assert manifest["status"] == "failed"
    (alarm,) = manifest["alarms"]
    assert np.nonzero(frames[-1].arrays["offending"])[0].tolist() == alarm["atoms"]
    assert frames[-1].info["step"] == alarm["step"]
    recorded = [f.info["step"] for f in read_trajectory(tmp_path / "run" / "trajectory.h5md")]
    assert recorded == list(range(alarm["step"]))  # nothing wrong is recorded


def test_a_rewound_run_goes_on_with_half_the_step(tmp_path):
    assert explode(tmp_path / "run", on_alarm="rewind") is None
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    back = manifest["rewound"]["step"]
    assert manifest["status"] == "finished"
    assert manifest["rewound"]["timestep_fs"] == 0.25
    assert manifest["summary"]["time_ps"] == 0.03  # as asked for
    frames = list(read_trajectory(tmp_path / "run" / "trajectory.h5md"))
    times = [f.info["time_fs"] for f in frames]
    assert times == [0.5 * n for n in range(back + 1)] + [
        0.5 * back + 0.25 * n for n in range(1, 2 * (60 - back) + 1)
    ]
