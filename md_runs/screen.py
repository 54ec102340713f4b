"""Where commands print: results on the screen, everything else on stderr.

No text is rendered as markup, for a name may look like it; a word in colour is a `rich.text.Text`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    track,
)
from rich.table import Table

Item = TypeVar("Item")

screen = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
errors = Console(highlight=False, soft_wrap=True, markup=False, emoji=False, stderr=True)


def tracked(items: Iterable[Item], work: str, total: int | None = None) -> Iterable[Item]:
    """Go through items with a progress bar on the terminal; of a generator say how many."""
    return track(items, description=work, total=total, console=errors, transient=True)


@contextmanager
def counted(work: str, things: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Show how many things are done, how many a second, and when all will be; yield what adds."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(things),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True) as progress:
        yield partial(progress.advance, progress.add_task(work, total=total, completed=done))


class Watched(NamedTuple):
    """A progress bar: what moves it on, and what tells how far the thing under way is."""

    advance: Callable[[], None]
    tell: Callable[[str], None]


@contextmanager
def watched(work: str, total: int) -> Iterator[Watched]:
    """Show how many things are done, and how far the one under way is."""
    under_way = TextColumn("{task.fields[under_way]}", markup=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), under_way)
    with Progress(*columns, console=errors, transient=True) as progress:
        bar = progress.add_task(work, total=total, under_way="")
        yield Watched(
            partial(progress.advance, bar), lambda text: progress.update(bar, under_way=text)
        )


class _Speed(ProgressColumn):
    def __init__(self, things: str) -> None:
        super().__init__()
        self.things = things

    def render(self, task: Task) -> str:
        """Say how many things a second."""
        return "" if task.speed is None else f"{task.speed:.3g} {self.things}/s"


def show(table: Table) -> None:
    """Print a table as wide as its numbers are, for a shortened number is a wrong one."""
    wide = screen.options.update(width=10_000)
    needed = table.__rich_measure__(screen, wide).maximum
    table.width = needed if needed > screen.width else None
    screen.print(table, crop=False)
