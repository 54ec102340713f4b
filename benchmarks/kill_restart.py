"""Kill a run at random moments with SIGKILL, restart it until it ends, and compare every bit with a run that was left alone.

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
import time
from pathlib import Path

from ase.build import molecule

from md_runs.checkpoint import CHECKPOINT, read_checkpoint
from md_runs.cli import app
from md_runs.trajectory import read_trajectory

ENSEMBLES = ("--ensemble nve", "--thermostat langevin", "--thermostat bussi", "--thermostat nose-hoover")
RECORDS = "--bonds free --log-every 1 --trajectory-every 2 --checkpoint-every 25"


class Process:
    """A command in a copy of this process, which has imported everything already; what it says goes to a file."""

    def __init__(self, words: list[str], said: Path) -> None:
        self.said, self.code = said, None
        self.pid = os.fork()
        if self.pid == 0:
            with said.open("w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
                try:
                    app(words, standalone_mode=False)
                    os._exit(0)
                except SystemExit as ending:
                    os._exit(int(ending.code or 0))

    def wait(self, seconds: float = float("inf")) -> bool:
        """Wait for the end, or for some seconds; say whether it ended."""
        until = time.monotonic() + seconds
        while self.code is None and time.monotonic() < until:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
            time.sleep(0.0005)
        return self.code is not None

    def kill(self) -> None:
        """Kill it without warning."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def outcome(run: Path) -> tuple[bytes, ...]:
    """Everything that a run ended with, as bytes."""
    last, frames = read_checkpoint(run), list(read_trajectory(run / "trajectory.h5md"))
    moved = [x.tobytes() for f in [*frames, last.atoms] for x in (f.positions, f.get_momenta())]
    moved += [f.get_forces().tobytes() for f in frames] + [last.forces.tobytes(), *(value.tobytes() for value in last.integrator.values())]
    steps = repr([f.info["step"] for f in frames]).encode()
    return (run / "log.csv").read_bytes(), (run / "final.extxyz").read_bytes(), repr(last.facts["generator"]).encode(), steps, *moved


def kill_until_done(begin: list[str], run: Path, life_s: float, rng: random.Random, kills: list[dict[str, object]], wanted: int) -> None:
    """Start, kill, restart, kill, … until the run ends; note each kill."""
    words = [*begin, "--output", str(run)]
    while True:
        process = Process(words, run.with_name("said.txt"))
        if process.wait(rng.uniform(0, 0.7 * life_s) if len(kills) < wanted else float("inf")):
            said = process.said.read_text()
            assert process.code == 0 or "must be more than" in said, said
            return
        process.kill()
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
                began, path = time.monotonic(), Path(folder) / f"whole-{len(whole)}"
                process = Process([*words, "--output", str(path)], path.with_suffix(".txt"))
                assert process.wait() and process.code == 0, process.said.read_text()
                whole[name], life_s = outcome(path), time.monotonic() - began
            before, run = len(kills), Path(folder) / f"killed-{n}"
            kill_until_done(words, run, life_s, rng, kills, chosen.kills)
            same.append(outcome(run) == whole[name])
            print(f"{name}: {len(kills) - before} kills, {'identical' if same[-1] else 'DIFFERENT'}", flush=True)
    found = {"kills": len(kills), "runs": len(same), "identical": sum(same), "steps": chosen.steps, "seed": chosen.seed, "each": kills}
    chosen.output.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{len(kills)} kills in {len(same)} runs; {sum(same)} of {len(same)} ended with the bits of the run left alone")


if __name__ == "__main__":
    main()
