"""Kill runs at random moments, restart them, and compare every bit with runs left alone.

    python -m benchmarks.physics.kill_restart --kills 50

One run after another takes random kills: one half at a moment of processor time drawn over its life
(model, steps, records, restarts, the end; only imports are done before), the other half between two
pieces of a write of the log, the trajectory, the checkpoint or the manifest. After each kill the
files must be readable; at the end they must be those of the whole run. Every kind of dynamics takes
its turn, in both precisions. Stopped at any time, the script goes on behind the last run in its
output file.
"""

from __future__ import annotations

import os

# before torch: copies of a process must have one thread
os.environ |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}

import json
import random
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ase.build import molecule

from benchmarks.measure import ROOT, command_line, machine
from md_runs.cli.app import app
from md_runs.dynamics.checkpoint import CHECKPOINT, read_checkpoint
from md_runs.records import trajectory
from md_runs.records.trajectory import read_trajectory
from potentials.files import write_text

KINDS = (
    "--ensemble nve --equilibrate-ps 0.05",
    "--thermostat langevin --temperature-end-K 400",
    "--thermostat bussi --fix-atoms 0,3",
    "--thermostat nose-hoover --fix-bonds hydrogen",
    "--ensemble npt --thermostat nose-hoover --barostat isotropic",
    "--ensemble npt --thermostat nose-hoover --barostat full --rigid-motion always",
    "--ensemble npt --thermostat langevin --barostat isotropic",
    "--ensemble npt --thermostat langevin --barostat full --temperature-end-K 400",
)
DTYPES = ("float32", "float64")
KILLS_PER_RUN = 3
BOX_A = 9.0
RECORDS = "--bonds free --log-every 1 --trajectory-every 2 --checkpoint-every 25"


class Ended(NamedTuple):
    """How a command ended: its exit code, negative for a signal.

    What it said; processor time; pieces of writes.
    """

    code: int
    said: str
    cpu_s: float
    pieces: int


def execute(words: list[str], folder: Path, life_s: float = 0.0, pieces: int = 0) -> Ended:
    """Run a command in a copy of this process, which dies after some processor time, or in a write.

    ``pieces`` counts the pieces of writes before the death; 0 lets it live.

    The kernel ends a process without a handler for SIGPROF as it does with SIGKILL: none of its
    code runs any more. Counting its own time makes every moment of its life as likely, however busy
    the machine is.
    """
    said, counted = folder / "said.txt", folder / "pieces.txt"
    pid = os.fork()
    if pid == 0:
        with said.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        count = count_pieces(pieces)
        signal.setitimer(signal.ITIMER_PROF, life_s)
        code = 0
        try:
            app(words, standalone_mode=False)
        except SystemExit as ending:
            code = int(ending.code or 0)
        counted.write_text(str(count()))
        os._exit(code)
    _, status, usage = os.wait4(pid, 0)
    found = int(counted.read_text()) if counted.exists() else 0
    counted.unlink(missing_ok=True)
    return Ended(
        os.waitstatus_to_exitcode(status), said.read_text(), usage.ru_utime + usage.ru_stime, found
    )


def count_pieces(deadly: int) -> Callable[[], int]:
    """Count what writes are made of, from now on in this process, and die before one of them."""
    done = [0]

    def counting(work: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            done[0] += 1
            if done[0] == deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            return work(*arguments, **options)

        return counted

    os.fsync, os.replace = counting(os.fsync), counting(os.replace)
    os.posix_fallocate, trajectory._extend = (
        counting(os.posix_fallocate),
        counting(trajectory._extend),
    )
    return lambda: done[0]


def outcome(run: Path) -> tuple[bytes, ...]:
    """Everything that a run ended with, as bytes."""
    last = read_checkpoint(run)
    frames = [frame for path in sorted(run.glob("*.h5md")) for frame in read_trajectory(path)]
    moved = [
        x.tobytes()
        for f in [*frames, last.atoms]
        for x in (f.positions, f.get_momenta(), f.cell.array)
    ]
    moved += [f.get_forces().tobytes() for f in frames] + [
        last.forces.tobytes(),
        *(value.tobytes() for value in last.integrator.values()),
    ]
    texts = [path.read_bytes() for path in (*sorted(run.glob("*.csv")), run / "final.extxyz")]
    steps = repr([f.info["step"] for f in frames]).encode()
    return *texts, repr(last.facts["generator"]).encode(), steps, *moved


def kill_until_done(
    begin: list[str], run: Path, whole: Ended, rng: random.Random
) -> list[dict[str, Any]]:
    """Start, kill, restart, kill, … at most `KILLS_PER_RUN` times, then let it end.

    Tell of each kill.
    """
    words, kills = [*begin, "--output", str(run)], []
    for n in range(KILLS_PER_RUN + 1):
        in_write = rng.random() < 0.5
        life_s, pieces = rng.uniform(0.0, whole.cpu_s), rng.randint(1, whole.pieces)
        doom = {} if n == KILLS_PER_RUN else {"pieces": pieces} if in_write else {"life_s": life_s}
        ended = execute(words, run.parent, **doom)
        if ended.code not in (-signal.SIGPROF, -signal.SIGKILL):
            assert ended.code == 0 or "must be more than" in ended.said, ended.said
            return kills
        facts = read_checkpoint(run).facts if (run / CHECKPOINT).exists() else None
        kill: dict[str, Any] = {
            "within": "a write" if in_write else "its time",
            "phase": None,
            "checkpoint_at_step": None,
            "frames": None,
        }
        if facts:
            frames = sum(len(list(read_trajectory(path))) for path in run.glob("*.h5md"))
            kill |= {"phase": facts["phase"], "checkpoint_at_step": facts["step"], "frames": frames}
        elif run.exists():
            run.rename(run.with_name(f"{run.name}-{n}-without-checkpoint"))
        kills.append(kill)
        words = ["md", "--restart", str(run)] if facts else words
    raise AssertionError("a run that nobody kills ends")


def attempt(
    number: int, begin: list[str], structures: dict[str, Path], seed: int
) -> dict[str, Any]:
    """Do one run as a whole, do it again with kills, and compare."""
    kind, dtype = KINDS[number % len(KINDS)], DTYPES[number // len(KINDS) % len(DTYPES)]
    structure = structures["box" if "npt" in kind else "molecule"]
    words = ["md", str(structure), *begin, *kind.split(), "--dtype", dtype]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = execute([*words, "--output", str(folder / "whole")], folder)
        assert whole.code == 0, whole.said
        kills = kill_until_done(words, folder / "killed", whole, random.Random(f"{seed} {number}"))
        identical = outcome(folder / "killed") == outcome(folder / "whole")
    return {"dynamics": kind, "dtype": dtype, "identical": identical, "kills": kills}


def main() -> None:
    parser = command_line(__doc__, "--output", "--model")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--steps", type=int, default=300, help="of every run")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.set_defaults(output=ROOT / "benchmarks" / "results" / "kill_restart.json")
    chosen = parser.parse_args()
    asked = {"model": chosen.model, "steps": chosen.steps, "seed": chosen.seed}
    report: dict[str, Any] = {"machine": machine(), **asked, "rows": []}
    if chosen.output.exists():
        report = json.loads(chosen.output.read_text())
    assert asked.items() <= report.items(), (
        f"{chosen.output} is of another model, number of steps or seed"
    )
    with tempfile.TemporaryDirectory() as folder:
        structures = {
            "molecule": Path(folder) / "ethanol.extxyz",
            "box": Path(folder) / "box.extxyz",
        }
        atoms = molecule("CH3CH2OH")
        atoms.write(structures["molecule"])
        atoms.set_cell([BOX_A] * 3)
        atoms.pbc = True
        atoms.write(structures["box"])
        begin = ["--model", chosen.model, "--steps", str(chosen.steps), *RECORDS.split()]
        while sum(len(row["kills"]) for row in report["rows"]) < chosen.kills:
            report["rows"].append(attempt(len(report["rows"]), begin, structures, chosen.seed))
            write_text(chosen.output, json.dumps(report, indent=1) + "\n")
            write_text(chosen.output.with_suffix(".md"), table(report))
            print(table(report).splitlines()[0], flush=True)


def table(report: dict[str, Any]) -> str:
    """Kills and outcomes by kind of dynamics."""
    rows, kills = report["rows"], [kill for row in report["rows"] for kill in row["kills"]]
    lines = [
        (
            f"{len(kills)} kills ({sum(kill['within'] == 'a write' for kill in kills)} of them"
            f" within a write) in {len(rows)} runs of {report['steps']} steps;"
            f" {sum(row['identical'] for row in rows)} of {len(rows)} runs ended with the bits of a"
            " run left alone."
        ),
        "",
        "| dynamics | precision | kills at checkpointed step | identical |",
        "|---|---|---|---|",
    ]
    for row in rows:
        steps = ", ".join(
            _place(kill, " of the equilibration" if "equilibrate" in row["dynamics"] else "")
            for kill in row["kills"]
        )
        lines.append(
            f"| `{row['dynamics']}` | {row['dtype']} | {steps} |"
            f" {'yes' if row['identical'] else '**no**'} |"
        )
    return "\n".join(lines) + "\n"


def _place(kill: dict[str, Any], first_phase: str) -> str:
    """Name the checkpoint that a killed run goes on from."""
    return (
        "none yet"
        if kill["phase"] is None
        else f"{kill['checkpoint_at_step']}{first_phase if kill['phase'] == 0 else ''}"
    )


if __name__ == "__main__":
    main()
