"""Results as a person reads them: one line at a prompt, a table in a notebook."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from potentials.card import html_table


class Summarised(Protocol):
    """What can say in few words what it holds."""

    def summary(self) -> dict[str, str]:
        """Name what matters; the first entry is what it is about, and needs no name."""


Result = TypeVar("Result", bound=Summarised)


def readable(kind: type[Result]) -> type[Result]:
    """Show a class by its method ``summary``: its fields are arrays and structures, pages long."""

    def line(self: Summarised) -> str:
        first, *rest = self.summary().items()
        words = [first[1], *(f"{name} {text}" for name, text in rest if text)]
        return f"{kind.__name__}({', '.join(words)})"

    def table(self: Summarised) -> str:
        return html_table(self.summary())

    shown: Any = kind
    shown.__repr__, shown._repr_html_ = line, table
    return kind
