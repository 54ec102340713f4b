"""From a spec of plain values to a potential.

Literal tables from names to classes, and one function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from potentials.parts.points import POINTS
from potentials.parts.radial import RADIAL
from potentials.potential import Potential, Trunk
from potentials.terms.energies import TERMS
from potentials.terms.properties import PROPERTIES

ARCHITECTURES = {
    "tensornet": TensorNet,
    "schnet": SchNet,
    "egnn": EGNN,
    "equivariant_transformer": EquivariantTransformer,
    "dimenetpp": DimeNetPP,
    "equiformer": Equiformer,
}
DOORS = {"architecture", "radial", "angular", "points", "attention", "embeddings", "terms"}
KNOWN = DOORS | {"cutoff", "envelope", "state_factor", "experts"}
ANGLES = {
    "dimenetpp": {"name": "spherical_bessel"}
}  # architectures that see angles, and how these are encoded unless told otherwise


def build(spec: Mapping[str, Any]) -> Potential:
    """Build a potential from its spec.

    Parameters
    ----------
    spec : dict
        ``cutoff`` (Å); ``envelope`` ("cosine" or "polynomial"); ``architecture``, ``radial``,
        ``angular``, ``points``, ``attention``: a name and constructor arguments each;
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
    cutoff = float(spec["cutoff"])
    channels = int(spec["architecture"]["channels"])
    radial = _make(RADIAL, "radial", spec.get("radial", {"name": "exp_normal"}), cutoff=cutoff)
    angular = _make(ANGULAR, "angular", _angular(spec), cutoff=cutoff)
    architecture = _make(
        ARCHITECTURES,
        "architecture",
        spec["architecture"],
        n_radial=radial.n_radial,
        **angular.sizes,
    )
    factor_arguments = dict(spec.get("state_factor", {"attributes": []}))
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
            n_invariants=getattr(architecture, "n_invariants", 0),
        ),
        architecture=architecture,
    )
    terms = [
        _make({**TERMS, **PROPERTIES}, "terms", term, channels=channels)
        for term in spec.get("terms", [{"name": "readout"}])
    ]
    potential = Potential(
        trunk, terms, {name: value for name, value in spec.items() if name != "experts"}
    )
    return (
        Experts(potential, [(int(q), int(m)) for q, m in spec["experts"]])
        if "experts" in spec
        else potential
    )


def _angular(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    name = spec["architecture"].get("name")
    if "angular" in spec and name not in ANGLES:
        raise ValueError(
            f"`angular` must be left out for {name}, which sees no angles. Remove it, or take"
            f" {', '.join(ANGLES)}."
        )
    found: Mapping[str, Any] = spec.get("angular", ANGLES.get(name, {"name": "none"}))
    return found


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
    except TypeError as error:
        raise ValueError(
            f"`{door}` must be given the arguments of {name!r}; got {arguments}: {error}. Correct"
            " the spec."
        ) from error
