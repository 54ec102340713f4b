"""Whether the native engine can evaluate a potential, and its extension, where it was compiled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from potentials.experts import Experts
from potentials.parts.attention import ChargedAttention
from potentials.potential import Potential
from potentials.structure.geometry import ENVELOPES
from potentials.terms.charges import Charges, SplitCharges
from potentials.terms.constants import ElectronEnergies
from potentials.terms.coulomb import Coulomb
from potentials.terms.dipole import Dipole, ShellDipole
from potentials.terms.dispersion import Dispersion
from potentials.terms.polarizability import Polarizability
from potentials.terms.readout import Readout
from potentials.terms.shells import Shells

try:
    from polcalc.engines.native import _native as _native

    if getattr(_native, "interface", 1) != 7:  # built of older sources: build again
        raise ImportError
except ImportError:  # no compiler at installation
    _native = None  # type: ignore[assignment]

DTYPES = (torch.float32, torch.float64)

# terms of which the engine takes one
ONE_OF: tuple[Any, ...] = (
    Charges | SplitCharges,
    Shells,
    Dipole | ShellDipole,
    Polarizability,
    ElectronEnergies,
    Coulomb,
    Dispersion,
)


class Unsupported(ValueError):
    """The native engine cannot evaluate this potential; the message says what is missing."""


def check_supported(potential: Potential, dtype: torch.dtype) -> None:
    """Raise `Unsupported` where the engine lacks what a potential has."""
    trunk = potential.trunk
    embeddings = [e for e in trunk.embeddings if not _is_compiled(e)]
    terms = [t for t in potential.terms if not _is_compiled(t)]
    reasons = {
        "the extension polcalc.engines.native._native was not compiled at installation, or of"
        " older sources": _native is None,
        f"its dtype must be float32 or float64, not {dtype}": dtype not in DTYPES,
        f"the architecture is {type(trunk.architecture).__name__}, not TensorNet": (
            not _is_compiled(trunk.architecture)
        ),
        "its states have weights of their own": isinstance(potential, Experts),
        "the points move": not _is_compiled(trunk.points),
        "it shares out charge and spin over the atoms in another way": not _is_compiled(
            trunk.electrons
        ),
        "it has no embedding": not trunk.embeddings,
        f"it has an embedding that is not compiled: {_names(embeddings)}": bool(embeddings),
        "it needs exactly one read-out": sum(type(t) is Readout for t in potential.terms) != 1,
        f"it has an energy term that is not compiled: {_names(terms)}": bool(terms),
        "it has two terms of charges, dipoles, polarizabilities, Coulomb energy or dispersion": any(
            sum(isinstance(t, kinds) for t in potential.terms) > 1 for kinds in ONE_OF
        ),
        "its Coulomb energy is that of given charges, or without its shells": not _in_order(
            potential
        ),
        "its shells have no charges": (
            "shells" in potential.predicts and "charges" not in potential.predicts
        ),
        "it has polarizabilities without charges": (
            "polarizability" in potential.predicts and "charges" not in potential.predicts
        ),
        "its envelope is of its own": trunk.envelope not in ENVELOPES.values(),
        "it has more than 16 layers": getattr(trunk.architecture, "n_layers", 0) > 16,
        "it has attention between more than 8 layers": (
            isinstance(trunk.attention, ChargedAttention) and len(trunk.attention.layers) > 7
        ),
        "the state factor has an attribute that is not compiled": bool(
            set(trunk.factor.attributes) - {"total_charge", "unpaired_electrons", "partial_charges"}
        ),
    }
    for reason, holds in reasons.items():
        if holds:
            raise Unsupported(
                f"`engine` must not be native for this potential: {reason}. Use another engine."
            )


def _is_compiled(part: object) -> bool:
    """Ask a part whether compiled code has it; what inherits from it must say so itself."""
    return bool(vars(type(part)).get("compiled", False))


def _in_order(potential: Potential) -> bool:
    """Whether charges, and shells where there are any, come before their Coulomb energy."""
    terms = list(potential.terms)
    end = next((n for n, term in enumerate(terms) if type(term) is Coulomb), None)
    if end is None:
        return True
    has_charges = any(isinstance(term, Charges | SplitCharges) for term in terms[:end])
    return has_charges and not any(isinstance(term, Shells) for term in terms[end:])


def _names(parts: Sequence[nn.Module]) -> str:
    return ", ".join(getattr(part, "name", "") or type(part).__name__ for part in parts)
