"""Progress on the terminal.

It looks at a run twice a second from its own thread; the run knows nothing of it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import timedelta

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from md_runs.dynamics.phase import Run

FS_PER_NS, SECONDS_PER_DAY = 1e6, 86400


def watch_dynamics(run: Run, console: Console) -> AbstractContextManager[object]:
    """Show steps, temperature, ns/day and the time left while a run goes on."""
    return Live(
        get_renderable=lambda: _line(run), console=console, refresh_per_second=2, transient=True
    )


def _line(run: Run) -> Table:
    step, n_steps = run.step, run.n_steps
    elapsed = max(run.wall_s, 1e-9)
    temperature = f"{run.log.column('temperature_K')[-1]:5.0f} K" if run.log.rows else ""
    speed = (
        f"{run.recorder.time_fs / FS_PER_NS / elapsed * SECONDS_PER_DAY:.3g} ns/day" if step else ""
    )
    left = f"{timedelta(seconds=round(elapsed / step * (n_steps - step)))} left" if step else ""
    line = Table.grid(padding=(0, 2))
    picoseconds = (
        f"{run.recorder.time_fs / 1000:.2f} / {run.recorder.clock.time_fs_at(n_steps) / 1000:g} ps"
    )
    name = run.phase.ensemble if run.phase.name == "production" else run.phase.name
    line.add_row(
        name,
        ProgressBar(total=n_steps, completed=step, width=30),
        picoseconds,
        temperature,
        speed,
        left,
    )
    return line
