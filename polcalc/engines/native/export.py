"""What compiled code is given of a potential: tables of its filters, and its weights by name.

Names follow the paper's order; their list is ``cpp/weights.h``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from polcalc.engines.tables import Cells, tabulate_by_cells
from potentials.architectures.tensornet import symmetric_matrices
from potentials.parts.conditioning import Species
from potentials.parts.electrons import LocalElectrons
from potentials.parts.radial import RadialFilter
from potentials.potential import Potential
from potentials.structure.geometry import polynomial_envelope
from potentials.terms.charges import Charges, SplitCharges
from potentials.terms.constants import ElectronEnergies, Offset, ReferenceEnergies
from potentials.terms.coulomb import Coulomb
from potentials.terms.dipole import Dipole
from potentials.terms.dispersion import Dispersion
from potentials.terms.polarizability import Polarizability, of_roots
from potentials.terms.readout import Readout
from potentials.terms.shells import Shells
from potentials.terms.uncertainty import Uncertainty
from potentials.terms.zbl import ZBL

Floats = NDArray[np.float64]

# Of value and slope, relative to the largest at a length or beyond. Those of float32 keep forces
# within 0.01 meV/Å of float64, less than what float32 loses in the network.
TABLE_TOLERANCES = {torch.float32: (3e-8, 3e-7), torch.float64: (1e-10, 1e-9)}


@torch.no_grad()
def export(exact: Potential, tables: list[Tensor]) -> tuple[dict[str, Any], dict[str, Floats]]:
    """Settings and arrays of the compiled engine, but for how the tables are divided.

    Its names follow the paper's order.
    """
    trunk, net = exact.trunk, exact.trunk.architecture
    readout = next(t for t in exact.terms if type(t) is Readout)
    head: Any = readout.network
    embeddings = [
        embedding.table.weight for embedding in trunk.embeddings if isinstance(embedding, Species)
    ]
    scalars = torch.stack(embeddings).sum(0)  # (Z, C)
    n_species, channels = scalars.shape
    central, neighbor = net.embedding.pair.weight.chunk(2, dim=1)
    species = torch.stack(
        [scalars @ central.T + net.embedding.pair.bias, scalars @ neighbor.T], dim=1
    )  # (Z, 2, C)
    tensors = {
        "species": species,
        **named_weights(exact),
        **{f"table.{k}": table for k, table in enumerate(tables)},
        "self.0": math.sqrt(3.0) * _self_loop(net.embedding.filter, exact)[0],
        **{
            f"self.{k}": _self_loop(layer.filter, exact)
            for k, layer in enumerate(net.layers, start=1)
        },
        "reference": sum(
            (t.table[:n_species] for t in exact.terms if type(t) is ReferenceEnergies),
            torch.zeros(n_species).double(),
        ),
    }
    zbl = [t for t in exact.terms if type(t) is ZBL]
    if zbl:
        numbers = torch.arange(n_species, dtype=torch.float64)
        tensors |= {
            "zbl.number": math.sqrt(len(zbl)) * numbers,
            "zbl.power": numbers**0.23,
            "zbl.radius": zbl[0].radii[:n_species],
        }
    dispersion = next((t for t in exact.terms if type(t) is Dispersion), None)
    if dispersion is not None:
        tensors |= dispersion_tables(dispersion, n_species)
    shells = next((t for t in exact.terms if type(t) is Shells), None)
    split = next((t for t in exact.terms if type(t) is SplitCharges), None)
    kinds = {type(t) for t in exact.terms}
    tensors |= strengths(exact)
    settings = {
        "channels": channels,
        "n_layers": net.n_layers,
        "n_species": n_species,
        "head": head[0].out_features,
        "n_heads": getattr(trunk.attention, "n_heads", 0),
        "n_values": getattr(trunk.attention, "n_values", 0),
        "one_sided": net.group == "SO(3)",
        "repulsion": bool(zbl),
        "charges": bool(kinds & {Charges, SplitCharges}),
        "electrons": isinstance(trunk.electrons, LocalElectrons),
        "costs": ElectronEnergies in kinds,
        "dipoles": Dipole in kinds,
        "polarizable": Polarizability in kinds,
        "hands_out_hidden": Uncertainty in kinds,
        "n_products": 0 if split is None else split.ends.out_features // 2,
        "polynomial": trunk.envelope is polynomial_envelope,
        "coulomb": Coulomb in kinds,
        "shells": shells is not None,
        "max_displacement": 1.0 if shells is None else shells.point.max_displacement,
        "references": 0 if dispersion is None else dispersion.coordination.shape[1],
        "cutoff": exact.cutoff,
        "scale": float(readout.scale),
        "offset": sum(float(t.energy) for t in exact.terms if type(t) is Offset),
    }
    return settings, {
        name: tensor.detach().double().contiguous().numpy() for name, tensor in tensors.items()
    }


def dispersion_tables(term: Dispersion, n_species: int) -> dict[str, Tensor]:
    """Return what the compiled code reads of the dispersion; an element without has the scale 0."""

    def filled(table: Tensor, n_axes: int) -> Tensor:
        shape = (*[n_species] * n_axes, *table.shape[n_axes:])
        whole = torch.zeros(shape, dtype=torch.float64)
        known = tuple(slice(len(table)) for _ in range(n_axes))
        whole[known] = table.double()
        return whole

    lengths = (term.cutoff_A, term.counting_A, term.switching_A)
    return {
        "d3.radius": filled(term.radii, 1),
        "d3.scale": filled(term.scales, 1),
        "d3.coordination": filled(term.coordination, 1),
        "d3.reference": filled(term.reference, 2),
        "d3.damping": torch.tensor([*term.damping, *lengths], dtype=torch.float64),
    }


def strengths(potential: Potential) -> dict[str, Tensor]:
    """Name λ of charge and unpaired electrons, (2, C), of layers whose atoms know their own."""
    factor, net = potential.trunk.factor, potential.trunk.architecture
    if not isinstance(potential.trunk.electrons, LocalElectrons):
        return {}
    none = factor.strengths.new_zeros(net.n_layers, 1)
    both = torch.stack(
        [
            (
                factor.strengths[:, factor.attributes.index(name)]
                if name in factor.attributes
                else none
            ).expand(-1, net.channels)
            for name in ("total_charge", "unpaired_electrons")
        ],
        dim=1,
    )  # (L, 2, C)
    return {f"strength.{k}": both[k - 1] for k in range(2, net.n_layers + 1)}


def named_weights(potential: Potential) -> dict[str, Tensor]:
    """Name the weights that the engine is given as they are; its list of names is `weights.h`.

    A matrix for each of I, A and S goes by one name.
    """
    trunk, net = potential.trunk, potential.trunk.architecture
    head: Any = next(term for term in potential.terms if type(term) is Readout).network
    gates = net.embedding.gates
    modules = {
        "norm": net.embedding.norm,
        "gate_1": gates[0],
        "gate_2": gates[2],
        "read_norm": net.norm,
        "read": net.output,
        "head_1": head[0],
        "head_2": head[2],
    }
    beside: dict[str, Tensor] = {}
    for term in potential.terms:
        if type(term) is Charges:
            modules |= {"charge_1": term.network[0], "charge_2": term.network[2]}
        elif type(term) is SplitCharges:
            modules["ends"] = term.ends
        elif type(term) is Dipole:
            beside["dipole.weight"] = term.weights
        elif type(term) is Polarizability:
            modules |= {"root_1": term.network[0], "root_2": term.network[2]}
            beside["root_tensor.weight"] = term.mixture.weight
        elif type(term) is ElectronEnergies:
            beside["electron.cost"] = term.costs.weight
        elif type(term) is Coulomb:
            beside["coulomb.width"] = term.widths_A
        elif type(term) is Shells:
            beside["shell.weight"] = term.point.weights
            beside["shell.charge"] = term.log_charges.weight
    if isinstance(trunk.electrons, LocalElectrons):
        own: Any = trunk.electrons
        modules |= {
            "share_norm": own.network[0],
            "share_1": own.network[1],
            "share_2": own.network[3],
            "state_1": own.embedding[0],
            "state_2": own.embedding[2],
        }
    named: dict[str, Tensor] = {
        f"{name}.{kind}": weight
        for name, module in modules.items()
        for kind, weight in module.named_parameters()
    }
    named |= {"mix": net.embedding.mix.weight, **beside}
    for k, layer in enumerate(net.layers, start=1):
        named |= {f"mix_in.{k}": layer.mix_in.weight, f"mix_out.{k}": layer.mix_out.weight}
    for k, layer in enumerate(getattr(trunk.attention, "layers", ()), start=2):
        for part, module in layer.named_children():
            for kind, weight in module.named_parameters():
                named[f"attend_{part}.{k}.{kind}"] = weight
    return named


def polarizabilities(roots: Tensor) -> Tensor:
    """Return α_i (N, 3, 3) e Å²/V of an answer's roots (N, 6)."""
    return of_roots(roots[:, :1], symmetric_matrices(roots[:, 1:]))


def tabulate(exact: Potential, dtype: torch.dtype) -> Cells:
    """Tabulate the filters of the embedding and of the layers."""
    net = exact.trunk.architecture
    filters = [_Filter(part.filter.network, exact) for part in (net.embedding, *net.layers)]
    return tabulate_by_cells(filters, exact.cutoff, TABLE_TOLERANCES[dtype])


class _Filter(nn.Module):
    """A radial filter times the envelope, as a function of the length alone: (P,) Å -> (P, 3 C)."""

    def __init__(self, network: nn.Module, exact: Potential) -> None:
        super().__init__()
        self.network, self.radial, self.envelope, self.cutoff = (
            network,
            exact.trunk.radial,
            exact.trunk.envelope,
            exact.cutoff,
        )

    def forward(self, length: Tensor) -> Tensor:
        value: Tensor = (
            self.network(self.radial(length)) * self.envelope(length, self.cutoff)[:, None]
        )
        return value


def _self_loop(radial_filter: RadialFilter, exact: Potential) -> Tensor:
    """Return the filter of a self loop, (3, C); no envelope acts on it."""
    values: Tensor = radial_filter.network(exact.trunk.radial(torch.zeros(1, dtype=torch.float64)))
    return values.view(3, -1)
