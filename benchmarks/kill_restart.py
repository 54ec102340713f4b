"""Kill a run at random moments without warning, restart it until it ends, and compare every bit with a run that was left alone.

    python benchmarks/kill_restart.py --kills 50 --output results.json

One run after another takes random kills, spread over its life: model, steps, writes of the log, the trajectory and
the checkpoint, restarts, the end; only imports are done before. After each kill the files must be readable; at the end they
must be those of the whole run.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}  # before torch: copies of a process must have one thread

import argparse
import json
import random
import signal
import tempfile
from pathlib import Path
from typing import NamedTuple

from ase.build import molecule

from md_runs.checkpoint import CHECKPOINT, read_checkpoint
from md_runs.cli import app
from md_runs.trajectory import read_trajectory

ENSEMBLES = ("--ensemble nve", "--thermostat langevin", "--thermostat bussi", "--thermostat nose-hoover")
KILLS_PER_RUN = 8
RECORDS = "--bonds free --log-every 1 --trajectory-every 2 --checkpoint-every 25"


class Ended(NamedTuple):
    """How a command ended: its exit code, negative for a signal; what it said; the processor time it took."""

    code: int
    said: str
    cpu_s: float


def execute(words: list[str], said: Path, life_s: float = 0.0) -> Ended:
    """Run a command in a copy of this process, which dies after some processor time; 0 lets it live.

    The kernel ends a process without a handler for SIGPROF as it does with SIGKILL: none of its code runs any more. Counting
    its own time makes every moment of its life as likely, however busy the machine is.
    """
    pid = os.fork()
    if pid == 0:
        with said.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        signal.setitimer(signal.ITIMER_PROF, life_s)
        try:
            app(words, standalone_mode=False)
        except SystemExit as ending:
            os._exit(int(ending.code or 0))
        os._exit(0)
    _, status, usage = os.wait4(pid, 0)
    return Ended(os.waitstatus_to_exitcode(status), said.read_text(), usage.ru_utime + usage.ru_stime)


def outcome(run: Path) -> tuple[bytes, ...]:
    """Everything that a run ended with, as bytes."""
    last, frames = read_checkpoint(run), list(read_trajectory(run / "trajectory.h5md"))
    moved = [x.tobytes() for f in [*frames, last.atoms] for x in (f.positions, f.get_momenta())]
    moved += [f.get_forces().tobytes() for f in frames] + [last.forces.tobytes(), *(value.tobytes() for value in last.integrator.values())]
    steps = repr([f.info["step"] for f in frames]).encode()
    return (run / "log.csv").read_bytes(), (run / "final.extxyz").read_bytes(), repr(last.facts["generator"]).encode(), steps, *moved


def kill_until_done(begin: list[str], run: Path, life_s: float, rng: random.Random, kills: list[dict[str, object]]) -> None:
    """Start, kill, restart, kill, … at most `KILLS_PER_RUN` times, then let it end; note each kill."""
    words = [*begin, "--output", str(run)]
    for n in range(KILLS_PER_RUN + 1):
        ended = execute(words, run.with_name("said.txt"), rng.uniform(0, life_s) if n < KILLS_PER_RUN else 0)
        if ended.code != -signal.SIGPROF:
            assert ended.code == 0 or "must be more than" in ended.said, ended.said
            return
        has_checkpoint = (run / CHECKPOINT).exists()
        step = read_checkpoint(run).facts["step"] if has_checkpoint else None
        frames = len(list(read_trajectory(run / "trajectory.h5md"))) if has_checkpoint else None
        kills.append({"run": run.name, "checkpoint_at_step": step, "readable_frames": frames})
        if not has_checkpoint and run.exists():
            run.rename(run.with_name(f"{run.name}-{len(kills)}-without-checkpoint"))
        words = ["md", "--restart", str(run)] if has_checkpoint else words


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="JSON file")
    chosen = parser.parse_args()
    rng, kills, same = random.Random(chosen.seed), [], []
    with tempfile.TemporaryDirectory() as folder:
        structure = Path(folder) / "ethanol.xyz"
        molecule("CH3CH2OH").write(structure)
        begin = ["md", str(structure), "--model", chosen.model, "--steps", str(chosen.steps), *RECORDS.split()]
        whole: dict[str, tuple[bytes, ...]] = {}
        while len(kills) < chosen.kills:
            n = len(same)
            ensemble, dtype = ENSEMBLES[n % 4], ("float32", "float64")[n // 4 % 2]
            words, name = [*begin, *ensemble.split(), "--dtype", dtype], f"{ensemble} {dtype}"
            if name not in whole:
                path = Path(folder) / f"whole-{len(whole)}"
                ended = execute([*words, "--output", str(path)], path.with_suffix(".txt"))
                assert ended.code == 0, ended.said
                whole[name], life_s = outcome(path), ended.cpu_s
            before, run = len(kills), Path(folder) / f"killed-{n}"
            kill_until_done(words, run, life_s, rng, kills)
            same.append(outcome(run) == whole[name])
            found = {
                "kills": len(kills),
                "runs": len(same),
                "identical": sum(same),
                "steps": chosen.steps,
                "seed": chosen.seed,
                "each": kills,
            }
            chosen.output.write_text(json.dumps(found, indent=1) + "\n")
            print(f"{name}: {len(kills) - before} kills, {'identical' if same[-1] else 'DIFFERENT'}", flush=True)
    print(f"{len(kills)} kills in {len(same)} runs; {sum(same)} of {len(same)} ended with the bits of the run left alone")


if __name__ == "__main__":
    main()
