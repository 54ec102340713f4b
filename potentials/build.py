"""From a spec of plain values to a potential.

Literal tables from names to classes, and one function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from potentials.architectures.dimenetpp import DimeNetPP
from potentials.architectures.egnn import EGNN
from potentials.architectures.equiformer import Equiformer
from potentials.architectures.equivariant_transformer import EquivariantTransformer
from potentials.architectures.schnet import SchNet
from potentials.architectures.tensornet import TensorNet
from potentials.experts import Experts
from potentials.parts.angular import ANGULAR
from potentials.parts.attention import ATTENTION
from potentials.parts.conditioning import EMBEDDINGS, StateFactor
from potentials.parts.electrons import ELECTRONS
from potentials.parts.points import POINTS
from potentials.parts.radial import RADIAL
from potentials.potential import Potential, Trunk
from potentials.terms import TERMS
from potentials.terms.base import Term

ARCHITECTURES: dict[str, Any] = {
    "tensornet": TensorNet,
    "schnet": SchNet,
    "egnn": EGNN,
    "equivariant_transformer": EquivariantTransformer,
    "dimenetpp": DimeNetPP,
    "equiformer": Equiformer,
}
LISTS = {"embeddings", "terms"}
TABLES = {"architecture", "radial", "angular", "points", "attention", "electrons", "state_factor"}
KNOWN = LISTS | TABLES | {"cutoff", "envelope", "experts"}
EXAMPLES = {
    "architecture": '{ name = "tensornet", channels = 64, n_layers = 2 }',
    "embeddings": '[{ name = "species" }, { name = "total_charge" }]',
    "terms": '[{ name = "readout" }, { name = "reference_energies" }]',
    "state_factor": '{ attributes = ["total_charge", "unpaired_electrons"] }',
}


def build(spec: Mapping[str, Any]) -> Potential:
    """Build a potential from its spec.

    Parameters
    ----------
    spec : dict
        ``cutoff`` (Å); ``envelope`` ("cosine" or "polynomial"); ``architecture``, ``radial``,
        ``angular``, ``points``, ``attention``, ``electrons``: a name and constructor arguments
        each;
        ``embeddings`` and ``terms``: lists of those; ``state_factor``: arguments of `StateFactor`;
        ``experts``: list of [charge, multiplicity] with weights of their own.

    Raises
    ------
    ValueError   an unknown name or argument
    """
    if unknown := set(spec) - KNOWN:
        raise ValueError(
            f"`spec` must hold only {', '.join(sorted(KNOWN))}; got {', '.join(sorted(unknown))}."
            " Remove it."
        )
    check_form(spec)
    cutoff = float(spec["cutoff"])
    channels = int(spec["architecture"]["channels"])
    radial = _make(RADIAL, "radial", spec.get("radial", {"name": "exp_normal"}), cutoff=cutoff)
    angular = _make(ANGULAR, "angular", _angular(spec), cutoff=cutoff)
    asked = spec.get("terms", [{"name": "readout"}])
    architecture = _make(
        ARCHITECTURES,
        "architecture",
        _architecture(spec["architecture"], asked),
        n_radial=radial.n_radial,
        **angular.sizes,
    )
    factor_arguments = {"attributes": [], **spec.get("state_factor", {})}
    if factor_arguments["attributes"] and not architecture.uses_state_factor:
        raise ValueError(
            f"`state_factor` must be empty for {spec['architecture']['name']}, which has no"
            " products to scale; use an additive embedding of charge and multiplicity."
        )
    trunk = Trunk(
        cutoff=cutoff,
        envelope=spec.get("envelope", "cosine"),
        radial=radial,
        angular=angular,
        embeddings=[
            _make(EMBEDDINGS, "embeddings", e, channels=channels)
            for e in spec.get("embeddings", [{"name": "species"}])
        ],
        factor=StateFactor(n_layers=architecture.n_layers, channels=channels, **factor_arguments),
        points=_make(
            POINTS,
            "points",
            spec.get("points", {"name": "fixed"}),
            channels=architecture.n_vectors,
            n_layers=architecture.n_layers,
            n_silent=architecture.n_silent,
        ),
        attention=_make(
            ATTENTION,
            "attention",
            spec.get("attention", {"name": "none"}),
            channels=channels,
            n_layers=architecture.n_layers,
            n_invariants=architecture.n_invariants,
        ),
        electrons=_make(
            ELECTRONS,
            "electrons",
            spec.get("electrons", {"name": "global"}),
            channels=channels,
            n_invariants=architecture.n_invariants,
        ),
        architecture=architecture,
    )
    _check_electrons(trunk)
    terms = [_term(term, channels, architecture.n_vectors) for term in asked]
    _check_order(terms, trunk.electrons.predicts)
    shared = {name: value for name, value in spec.items() if name != "experts"}
    potential = Potential(trunk, terms, shared)
    if "experts" not in spec:
        return potential
    return Experts(potential, [(int(q), int(m)) for q, m in spec["experts"]])


def check_form(spec: Mapping[str, Any]) -> None:
    """See that what must be there is there, and that every entry has the form of its door.

    Raises
    ------
    ValueError   naming the entry, what it must be and what it is
    """
    cutoff: Any = spec.get("cutoff")
    if not _is_number(cutoff) or not 0 < cutoff < float("inf"):
        raise ValueError(
            f"`cutoff` must be a length in Å, as in cutoff = 4.5; got {_shown(cutoff)}. Give one in"
            " [potential]."
        )
    for door in TABLES & spec.keys() | {"architecture"}:
        if not isinstance(spec.get(door), Mapping):
            raise ValueError(
                f"`{door}` must be a table, as in {EXAMPLES.get(door, '{ name = … }')}; got"
                f" {_shown(spec.get(door))}. Correct [potential]."
            )
    for door in LISTS & spec.keys():
        entries = spec[door]
        if not isinstance(entries, list | tuple) or not all(
            isinstance(entry, Mapping) and "name" in entry for entry in entries
        ):
            raise ValueError(
                f"`{door}` must be a list of tables, each with its name, as in {EXAMPLES[door]};"
                f" got {_shown(entries)}. Correct [potential]."
            )
    sizes = {name: spec["architecture"].get(name) for name in ("channels", "n_layers")}
    for name, size in sizes.items():
        needed = name == "channels"
        if (needed or size is not None) and (type(size) is not int or size < 1):
            raise ValueError(
                f"`{name}` of the architecture must be a whole number of at least 1, as in"
                f" {EXAMPLES['architecture']}; got {_shown(size)}. Correct [potential]."
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    return "none" if value is None else repr(value)


def _architecture(
    entry: Mapping[str, Any], terms: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any]:
    """Add what an architecture needs to know where a term reads its vectors."""
    kind = ARCHITECTURES.get(entry.get("name", ""))
    reads = any(TERMS[t["name"]].reads_vectors for t in terms if t.get("name") in TERMS)
    return {**kind.for_vectors, **entry} if kind is not None and reads else entry


def _term(entry: Mapping[str, Any], channels: int, n_vectors: int) -> Term:
    kind = TERMS.get(entry.get("name", ""), Term)
    given = {"n_vectors": n_vectors} if kind.reads_vectors else {}
    term: Term = _make(TERMS, "terms", entry, channels=channels, **given)
    return term


def _check_electrons(trunk: Trunk) -> None:
    """See that no other part shows the totals to every atom where they are shared out."""
    others = [*trunk.embeddings, trunk.attention]
    seen = {name for part in others for name in getattr(part, "state_inputs", ())}
    if both := sorted(seen.intersection(trunk.electrons.hides)):
        raise ValueError(
            "`electrons` must be global where an embedding or attention reads the"
            f" {' and '.join(both)} of the whole molecule; got local. Remove those, or take"
            ' electrons = { name = "global" }.'
        )


def _check_order(terms: Sequence[Term], predicted_before: Sequence[str]) -> None:
    """See that every term finds the quantities that it reads."""
    predicted = set(predicted_before)
    for term in terms:
        if missing := [name for name in term.reads if name not in predicted]:
            raise ValueError(
                f"`terms` must predict {', '.join(missing)} before {term.name!r} reads it; got"
                f" {', '.join(t.name for t in terms)}. Put that term first."
            )
        predicted.update(term.predicts)


def _angular(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    kind = ARCHITECTURES.get(spec["architecture"].get("name", ""))
    usual = "" if kind is None else kind.angular
    if "angular" in spec and kind is not None and not usual:
        seeing = ", ".join(name for name, a in ARCHITECTURES.items() if a.angular)
        raise ValueError(
            f"`angular` must be left out for {spec['architecture']['name']}, which sees no angles."
            f" Remove it, or take {seeing}."
        )
    entry: Mapping[str, Any] = spec.get("angular", {"name": usual or "none"})
    return entry


def _make(
    table: Mapping[str, Callable[..., Any]], door: str, entry: Mapping[str, Any], **given: Any
) -> Any:
    arguments = dict(entry)
    name = arguments.pop("name", None)
    if name not in table:
        raise ValueError(
            f"`{door}` must be one of {', '.join(table)}; got {name!r}. Correct the spec."
        )
    try:
        return table[name](**given, **arguments)
    except (TypeError, RuntimeError, ZeroDivisionError) as error:
        raise ValueError(
            f"`{door}` must be given the arguments of {name!r}; got {arguments}: {error}. Correct"
            " the spec."
        ) from error
