"""A run that was killed and restarted ends with the bits of one that was not."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from typer.testing import CliRunner, Result

from md_runs.cli import app as cli
from md_runs.dynamics import phase as run_module
from md_runs.dynamics.checkpoint import CHECKPOINT, read_checkpoint
from md_runs.dynamics.recorder import Recorder
from md_runs.errors import InputError
from md_runs.records import trajectory
from md_runs.records.output import hold
from md_runs.records.superblock import checksum
from md_runs.records.trajectory import TrajectoryWriter, read_trajectory
from potentials.checkpoint import load, save
from tests.small import sprung, write_small_model

ENSEMBLES = {
    name: f"--thermostat {name} --thermostat-time-fs 20"
    for name in ("langevin", "bussi", "nose-hoover")
}
ENSEMBLES["nve"] = "--ensemble nve"
EVERY = "--log-every 2 --trajectory-every 4 --checkpoint-every 7 --seed 5"
ETHANOL = f"md ethanol.xyz --model m.pt --steps 30 {EVERY}"
DIAMOND = f"md diamond.extxyz --model m.pt --steps 60 --timestep-fs 1 --temperature-K 8000 {EVERY}"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_small_model(folder / "m.pt")
    write_small_model(folder / "other.pt")
    molecule("CH3CH2OH").write(folder / "ethanol.xyz")
    crystal = bulk("C", "diamond", a=4.5, cubic=True)
    crystal.rattle(0.1, seed=1)
    crystal.write(folder / "diamond.extxyz")
    return folder


@pytest.fixture
def polcalc(inputs, tmp_path, monkeypatch) -> Callable[[str], Result]:
    """Run a command in an empty folder, without figures, which take most of the time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("md_runs.dynamics.phase.write_figure", lambda *_: None)
    return lambda command: CliRunner().invoke(
        cli.app, [str(inputs / w) if (inputs / w).exists() else w for w in command.split()]
    )


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed(work: Callable[[], Any], arrange: Callable[[], Any]) -> bool:
    """Do work in a copy of this process, which ``arrange`` has made to die on the way.

    Say whether it did.
    """
    child = os.fork()
    if child == 0:
        try:
            arrange()
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def at_step(step: int, records: str = "trajectory.h5md") -> Callable[[], None]:
    """Die when a step of the phase with these records is recorded, before the line is written."""

    def arrange() -> None:
        sample = Recorder.sample
        Recorder.sample = lambda self: (
            die() if (self.step, self.trajectory.path.name) == (step, records) else sample(self)
        )

    return arrange


def at_event(number: int) -> Callable[[], None]:
    """Die at the n-th call or return of any function, wherever that is."""

    def arrange() -> None:
        left = [number]

        def count(*_: Any) -> None:
            left[0] -= 1
            if left[0] == 0:
                die()

        sys.setprofile(count)

    return arrange


def count_writes(monkeypatch: pytest.MonkeyPatch, deadly: int = 0) -> list[int]:
    """Count the pieces that writes are made of, and die before one of them."""
    done = [0]

    def counting(work: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            done[0] += 1
            return die() if done[0] == deadly else work(*arguments, **options)

        return counted

    for owner, name in (
        (os, "fsync"),
        (os, "replace"),
        (os, "posix_fallocate"),
        (trajectory, "_extend"),
    ):
        monkeypatch.setattr(owner, name, counting(getattr(owner, name)))
    return done


def results(run: Path) -> dict[str, Any]:
    """Everything that a run ended with."""
    frames = [frame for path in sorted(run.glob("*.h5md")) for frame in read_trajectory(path)]
    last = read_checkpoint(run)
    manifest = json.loads((run / "manifest.json").read_text())
    summaries = {name: manifest[name] for name in ("equilibration", "summary") if name in manifest}
    return {
        "log": [path.read_bytes() for path in sorted(run.glob("*.csv"))],
        "final": (run / "final.extxyz").read_bytes(),
        "steps": [frame.info["step"] for frame in frames],
        "frames": b"".join(
            x.tobytes()
            for f in frames
            for x in (f.positions, f.get_momenta(), f.get_forces(), f.cell.array)
        ),
        "atoms": b"".join(
            x.tobytes()
            for x in (
                last.atoms.positions,
                last.atoms.get_momenta(),
                last.forces,
                last.atoms.cell.array,
            )
        ),
        "generator": last.facts["generator"],
        "integrator": b"".join(value.tobytes() for value in last.integrator.values()),
        "summary": [
            (k, v)
            for s in summaries.values()
            for k, v in s.items()
            if k not in ("wall_s", "ms_per_step", "ns_per_day")
        ],
    }


def manifest_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "manifest.json").read_text())


# ---- the same bits


CASES = [
    (ETHANOL, 18, ensemble, dtype) for ensemble in ENSEMBLES for dtype in ("float32", "float64")
]
# its pairs are searched on the way
CASES += [(DIAMOND, 52, "bussi", "float32"), (DIAMOND, 52, "nve", "float64")]


NPT = (
    "md diamond.extxyz --model m.pt --ensemble npt --steps 30 --pressure-GPa 1"
    f" --thermostat-time-fs 20 --barostat-time-fs 500 {EVERY}"
)
MORE = {
    "mtk": f"{NPT} --thermostat nose-hoover",
    "full mtk, heated": f"{NPT} --thermostat nose-hoover --barostat full --temperature-end-K 400",
    "langevin-hoover, heated": f"{NPT} --thermostat langevin --temperature-end-K 400",
    "full langevin-hoover": f"{NPT} --thermostat langevin --barostat full --rigid-motion always",
    "langevin, bonds, heated": (
        f"{ETHANOL} --fix-bonds hydrogen --thermostat langevin --temperature-end-K 400"
    ),
    "bussi, atoms, heated": f"{ETHANOL} --fix-atoms 0,3 --thermostat bussi --temperature-end-K 400",
    "nose-hoover, bonds, heated": (
        f"{ETHANOL} --fix-bonds 0-1,2-3 --thermostat nose-hoover --temperature-end-K 400"
    ),
    "nve, bonds, settled": f"{ETHANOL} --fix-bonds hydrogen --ensemble nve --rigid-motion always",
    "nose-hoover, settled": f"{ETHANOL} --thermostat nose-hoover --rigid-motion always",
    "langevin, settled": f"{ETHANOL} --thermostat langevin --rigid-motion always",
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MORE)
def test_barostats_ramps_and_constraints_restart_with_the_same_bits(
    name, dtype, polcalc, tmp_path, monkeypatch
):
    monkeypatch.setattr("md_runs.dynamics.phase.SETTLE_EVERY", 3)
    command = f"{MORE[name]} --dtype {dtype}"
    whole = polcalc(f"{command} --output whole")
    assert whole.exit_code == 0, whole.output
    assert killed(lambda: polcalc(f"{command} --output killed"), at_step(18))
    result = polcalc("md --restart killed")
    assert result.exit_code == 0, result.output
    assert results(tmp_path / "killed") == results(tmp_path / "whole")


@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        (f"{ETHANOL} --ensemble nve --equilibrate-from-K 100", "float32"),
        (
            (
                f"{ETHANOL} --thermostat bussi --equilibrate-thermostat nose-hoover --fix-bonds"
                " hydrogen"
            ),
            "float64",
        ),
        (f"{NPT} --thermostat nose-hoover --barostat full", "float64"),
    ],
)
def test_both_phases_restart_with_the_same_bits(options, dtype, polcalc, tmp_path):
    """Killed in the equilibration, before the first step of production, and within it."""
    command = f"{options} --equilibrate-ps 0.01 --dtype {dtype}"
    whole = polcalc(f"{command} --output whole")
    assert whole.exit_code == 0, whole.output
    moments = (
        (12, "equilibration.h5md"),
        (0, "trajectory.h5md"),
        (0, "trajectory.h5md"),
        (16, "trajectory.h5md"),
    )
    words = f"{command} --output killed"
    for moment in moments:
        assert killed(lambda words=words: polcalc(words), at_step(*moment))
        words = "md --restart killed"
    result = polcalc(words)
    assert result.exit_code == 0, result.output
    assert results(tmp_path / "killed") == results(tmp_path / "whole")
    restarts = [(r["phase"], r["step"]) for r in manifest_of(tmp_path / "killed")["restarts"]]
    # the second left no trace
    assert restarts == [("equilibration", 7), ("equilibration", 20), ("production", 14)]


def test_killed_before_the_first_step_is_recorded_once(polcalc, tmp_path):
    """The checkpoint of step 0 holds what ASE would record again."""
    assert polcalc(f"{ETHANOL} --output whole").exit_code == 0
    assert killed(lambda: polcalc(f"{ETHANOL} --output killed"), at_step(4))
    assert read_checkpoint(tmp_path / "killed").facts["step"] == 0
    assert polcalc("md --restart killed").exit_code == 0
    assert results(tmp_path / "killed") == results(tmp_path / "whole")


@pytest.mark.parametrize(("start", "step", "ensemble", "dtype"), CASES)
def test_a_restarted_run_ends_with_the_same_bits(start, step, ensemble, dtype, polcalc, tmp_path):
    command = f"{start} {ENSEMBLES[ensemble]} --dtype {dtype}"
    assert polcalc(f"{command} --output whole").exit_code == 0
    assert killed(lambda: polcalc(f"{command} --output killed"), at_step(step))
    result = polcalc("md --restart killed")
    assert result.exit_code == 0, result.output
    assert results(tmp_path / "killed") == results(tmp_path / "whole")
    assert [r["step"] for r in manifest_of(tmp_path / "killed")["restarts"]] == [7 * (step // 7)]


def test_killed_at_any_moment(polcalc, tmp_path):
    """Also inside writes, at the start, at the end, and within a restart.

    Without a checkpoint yet it says so.
    """
    command = f"{ETHANOL.replace('30', '18')} --thermostat nose-hoover"
    assert polcalc(f"{command} --output whole").exit_code == 0
    whole, rng = results(tmp_path / "whole"), random.Random(3)
    n_events = count_events(lambda: polcalc(f"{command} --output counted"))
    n_restarts = 0
    for n in range(5):
        # most events come before, where the model is opened
        run, first = f"killed-{n}", (0, int(0.64 * n_events))[n > 0]
        assert killed(
            lambda run=run, first=first: polcalc(f"{command} --output {run}"),
            at_event(rng.randrange(first, n_events)),
        )
        if not (tmp_path / run / CHECKPOINT).exists():
            assert "Start the run anew" in polcalc(f"md --restart {run}").stderr
            continue
        list(read_trajectory(tmp_path / run / "trajectory.h5md"))
        killed(lambda run=run: polcalc(f"md --restart {run}"), at_event(rng.randrange(n_events)))
        result = polcalc(f"md --restart {run}")
        assert result.exit_code == 0 or "--steps` must be more" in result.stderr, result.output
        assert results(tmp_path / run) == whole
        n_restarts += 1
    assert n_restarts >= 2


def test_killed_within_writes(polcalc, tmp_path, monkeypatch):
    """Between two pieces of a write.

    Of the checkpoint, then of the trajectory and the manifest as they are cut back, and so on.
    """
    command = f"{ETHANOL.replace('30', '16')} --thermostat bussi"
    with monkeypatch.context() as patch:
        done = count_writes(patch)
        assert polcalc(f"{command} --output whole").exit_code == 0
    words = f"{command} --output killed"
    for deadly in (done[0] // 2, 1, 3, 12, 14, 15, 20):
        assert killed(
            lambda words=words: polcalc(words),
            lambda deadly=deadly: count_writes(monkeypatch, deadly),
        )
        list(read_trajectory(tmp_path / "killed" / "trajectory.h5md"))
        words = "md --restart killed"
    assert polcalc(words).exit_code == 0
    assert results(tmp_path / "killed") == results(tmp_path / "whole")


def count_events(work: Callable[[], Any]) -> int:
    """Count calls and returns."""
    count = [0]

    def add(*_: Any) -> None:
        count[0] += 1

    sys.setprofile(add)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count[0]


def test_a_finished_run_is_prolonged(polcalc, tmp_path):
    """As if it had been asked for at once."""
    assert polcalc(f"{ETHANOL} --output whole").exit_code == 0
    assert polcalc(f"{ETHANOL.replace('30', '17')} --output short").exit_code == 0
    assert "must be more than the 17" in polcalc("md --restart short").stderr
    assert polcalc("md --restart short --steps 30").exit_code == 0
    assert results(tmp_path / "short") == results(tmp_path / "whole")


# ---- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--model other.pt", "model"),
        ("--dtype float64", "dtype: float32 before, float64 now"),
        ("--engine eager", "engine"),
    ],
)
def test_what_changes_the_bits_is_refused_or_noted(options, message, polcalc, inputs, tmp_path):
    other = load(inputs / "other.pt")
    save(inputs / "other.pt", other.potential, replace(other.card, description="another"))
    assert killed(lambda: polcalc(f"{ETHANOL} --engine native --output run"), at_step(18))
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()}
    result = polcalc(f"md --restart run {options}")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert message in result.stderr
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()} == before
    assert polcalc(f"md --restart run {options} --allow-changes").exit_code == 0
    manifest = manifest_of(tmp_path / "run")
    assert list(manifest["restarts"][0]["changes"]) == [message.split(":")[0]]
    assert [f.info["step"] for f in read_trajectory(tmp_path / "run" / "trajectory.h5md")] == list(
        range(0, 31, 4)
    )


@pytest.mark.filterwarnings("ignore:.*side by side have odd numbers")  # an untrained model
def test_other_threads_and_other_forces_are_refused(polcalc, tmp_path, monkeypatch):
    assert polcalc(f"{ETHANOL} --output run").exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: 3)
        assert "threads: 1 before, 3 now" in polcalc("md --restart run --steps 40").stderr
    path = tmp_path / "run" / CHECKPOINT
    with np.load(path) as file:
        content = dict(file)
    content["forces"] += 1e-9
    np.savez(path, **content)
    result = polcalc("md --restart run --steps 40")
    assert result.exit_code == 2
    assert "forces: other by up to 1.0e-09 eV/Å" in result.stderr


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("md --restart nothing", "with a checkpoint.npz"),
        ("md ethanol.xyz --restart run", "got STRUCTURE"),
        ("md --restart run --temperature-K 500 --seed 2", "got --seed, --temperature-K"),
        ("md --restart run --steps 3", "must be more than"),
        ("md --allow-changes --steps 3", "must be given"),
        ("md --restart heated --steps 30", "must stay 5"),
    ],
)
def test_restarts_that_make_no_sense(command, message, polcalc):
    polcalc(f"{ETHANOL.replace('30', '5')} --output run")
    if "heated" in command:
        polcalc(f"{ETHANOL.replace('30', '5')} --output heated --temperature-end-K 400")
    result = polcalc(command)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert message in result.stderr


@pytest.mark.filterwarnings("ignore:.*side by side have odd numbers")  # an untrained model
def test_two_processes_do_not_write_one_run(polcalc, tmp_path):
    assert polcalc(f"{ETHANOL} --output run").exit_code == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()}
    with hold(tmp_path / "run"):
        assert "one is at work" in polcalc("md --restart run --steps 40").stderr
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()} == before


@pytest.mark.parametrize("name", ["checkpoint.npz", "log.csv", "trajectory.h5md"])
def test_damaged_files_are_told(name, polcalc, tmp_path):
    polcalc(f"{ETHANOL.replace('30', '5')} --output run")
    path = tmp_path / "run" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = polcalc("md --restart run --steps 10")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1), result.output
    assert "Start the run anew" in result.stderr


def test_a_checkpoint_of_another_zip_version_is_told(tmp_path):
    np.savez(tmp_path / "checkpoint.npz", facts="{}")
    content = bytearray((tmp_path / "checkpoint.npz").read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 147  # the version that is needed to read it
    (tmp_path / "checkpoint.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"zip file version 14\.7"):
        read_checkpoint(tmp_path)


# ---- the disk


def test_a_full_disk_leaves_the_checkpoint(polcalc, tmp_path):
    """In a copy of this process, for HDF5 keeps trying to write; it answers through a pipe."""
    assert polcalc(f"{ETHANOL} --output whole").exit_code == 0
    answer, told = os.pipe()

    def fill() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        sample = Recorder.sample
        limit = (100, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
        Recorder.sample = lambda self: (
            self.step == 18 and resource.setrlimit(resource.RLIMIT_FSIZE, limit),
            sample(self),
        )

    def work() -> None:
        result = polcalc(f"{ETHANOL} --output full")
        os.write(told, f"{result.exit_code} {result.stderr}".encode())

    assert not killed(work, fill)
    code, said = os.read(answer, 10_000).decode().split(" ", 1)
    os.close(answer)
    os.close(told)
    assert code == "1"
    assert len(said.splitlines()) == 1, said
    assert "must stay writable" in said
    assert "polcalc md --restart full" in said
    assert read_checkpoint(tmp_path / "full").facts["step"] == 14
    result = polcalc("md --restart full")
    assert result.exit_code == 0, result.output
    assert results(tmp_path / "full") == results(tmp_path / "whole")


def read_only(*_: Any, **__: Any) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_a_place_that_becomes_read_only_leaves_the_checkpoint(polcalc, tmp_path, monkeypatch):
    """At the checkpoint of step 14.

    What was written until then stays, and the run goes on when it can be written again.
    """
    assert polcalc(f"{ETHANOL} --output whole").exit_code == 0
    write_checkpoint, replaced = run_module.write_checkpoint, os.replace

    def write_or_refuse(path: Path, checkpoint: Any) -> None:
        if checkpoint.facts["step"] == 14:
            monkeypatch.setattr(os, "replace", read_only)
        write_checkpoint(path, checkpoint)

    monkeypatch.setattr(run_module, "write_checkpoint", write_or_refuse)
    result = polcalc(f"{ETHANOL} --output run")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1), result.stderr
    assert "must stay writable" in result.stderr
    assert os.strerror(errno.EROFS) in result.stderr
    monkeypatch.setattr(os, "replace", replaced)
    monkeypatch.setattr(run_module, "write_checkpoint", write_checkpoint)
    assert read_checkpoint(tmp_path / "run").facts["step"] == 7
    assert not list((tmp_path / "run").glob(".*partial"))
    assert polcalc("md --restart run").exit_code == 0
    assert results(tmp_path / "run") == results(tmp_path / "whole")


def test_a_read_only_place_is_told_before_anything_is_done(polcalc, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "mkdir", read_only)
    result = polcalc(f"{ETHANOL} --output run")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "`--output` must be writable" in result.stderr
    assert list(tmp_path.iterdir()) == []


# ---- trajectories


def test_killed_between_opening_and_single_writer_mode(tmp_path):
    """HDF5 alone cannot open such a file again."""
    path, atoms = tmp_path / "t.h5md", sprung()
    writer = TrajectoryWriter(path, atoms, charge=0, multiplicity=1, interval_fs=5.0)
    for n in range(5):
        writer.append(n, float(n), atoms)
    writer.flush()
    assert killed(lambda: (h5py.File(path, "r+", libver=trajectory.FORMAT), die()), lambda: None)
    for mode in ({}, {"swmr": True}):
        with pytest.raises(OSError, match="open"):
            h5py.File(path, "r", **mode)
    assert len(list(read_trajectory(path))) == 5


def test_killed_between_making_room_and_writing(tmp_path):
    path, atoms = tmp_path / "t.h5md", sprung()
    writer = TrajectoryWriter(path, atoms, charge=0, multiplicity=1, interval_fs=5.0)
    for n in range(5):
        writer.append(n, float(n), atoms)
        writer.flush()
    size = path.stat().st_size
    assert killed(lambda: (writer._make_room(writer.room), die()), lambda: None)
    assert path.stat().st_size > size
    assert len(list(read_trajectory(path))) == 5
    writer.append(5, 5.0, atoms)
    writer.flush()
    assert path.stat().st_size == size
    assert len(list(read_trajectory(path))) == 6


def test_checksum_of_the_paper():
    """Values that the author of lookup3 publishes with it."""
    assert checksum(b"") == 0xDEADBEEF
    assert checksum(b"Four score and seven years ago") == 0x17770551
