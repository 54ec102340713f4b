"""Where commands print: results on the screen, everything else on stderr.

No text is rendered as markup, for a name may look like it; a word in colour is a `rich.text.Text`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")

screen = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
errors = Console(highlight=False, soft_wrap=True, markup=False, emoji=False, stderr=True)


def tracked(items: Sequence[Item], work: str) -> Iterable[Item]:
    """Go through items with a progress bar on the terminal."""
    return track(items, description=work, console=errors, transient=True)
