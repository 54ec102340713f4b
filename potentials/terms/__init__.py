"""What stands on top of a trunk: energy terms and heads, by the names that specs give them.

Every term of a module in this room is known under its own name: a new one is one file.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from potentials.terms.base import Term


def _terms() -> dict[str, type[Term]]:
    modules = [import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    classes = [c for m in modules for c in vars(m).values() if isinstance(c, type)]
    return {c.name: c for c in classes if issubclass(c, Term) and c.name}


TERMS = _terms()
