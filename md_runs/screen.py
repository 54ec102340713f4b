"""Where commands print: results on the screen, everything else on stderr.

No text is rendered as markup, for a name may look like it; a word in colour is a `rich.text.Text`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track
from rich.table import Table

Item = TypeVar("Item")

screen = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
errors = Console(highlight=False, soft_wrap=True, markup=False, emoji=False, stderr=True)


def tracked(items: Iterable[Item], work: str, total: int | None = None) -> Iterable[Item]:
    """Go through items with a progress bar on the terminal; of a generator say how many."""
    return track(items, description=work, total=total, console=errors, transient=True)


def show(table: Table) -> None:
    """Print a table as wide as its numbers are, for a shortened number is a wrong one."""
    wide = screen.options.update(width=10_000)
    needed = table.__rich_measure__(screen, wide).maximum
    table.width = needed if needed > screen.width else None
    screen.print(table, crop=False)
