"""Entries of our docstrings as their renderer reads them.

We write ``name : kind   what it means`` in a line; numpydoc wants the meaning below, indented. An
extension of Griffe.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

SECTIONS = ("Parameters", "Returns", "Raises", "Yields")
GAP = re.compile(r"(?<=\S)\s{2,}(?=\S)")


class Docstrings(griffe.Extension):
    """Rewrite each docstring before it is parsed."""

    def on_instance(self, *, obj: Any, **kwargs: Any) -> None:
        """Rewrite one."""
        if obj.docstring is not None:
            obj.docstring.value = numpydoc(obj.docstring.value)


def numpydoc(text: str) -> str:
    """Put meanings below their entries; text outside the sections stays."""
    lines, section = [], ""
    source = text.splitlines()
    for number, line in enumerate(source):
        underlined = number + 1 < len(source) and re.fullmatch(r"-{3,}", source[number + 1].strip())
        if underlined:
            section = line.strip()
        if section not in SECTIONS or underlined or line.startswith("---") or not line.strip():
            lines.append(line)
        elif line.startswith(" "):
            lines.append(f"    {line.strip()}")
        else:
            entry, *meaning = GAP.split(line, maxsplit=1)
            lines += [entry, *(f"    {part}" for part in meaning)]
    return "\n".join(lines)
