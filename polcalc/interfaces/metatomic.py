"""Write a potential as a file of metatomic, which LAMMPS, GROMACS, PLUMED, i-PI and others open.

They run models of TorchScript, in C++ and without Python. Its compiler does not know records,
terms and doors; what `torch.export` leaves of them, operations of torch alone, it does.

A file is of one charge and multiplicity, for the programs that open it know neither, and it checks
nothing: elements and state alone are known to be in the domain of the model.
"""

# Annotations are read by the compiler of TorchScript, as types of `typing`, not as text.
# ruff: noqa: UP006, UP035, UP045
import math
from pathlib import Path
from typing import Any, Dict, List, Optional

import torch
from metatensor.torch import Labels, TensorBlock, TensorMap
from metatomic.torch import (
    AtomisticModel,
    ModelCapabilities,
    ModelMetadata,
    ModelOutput,
    NeighborListOptions,
    System,
)
from torch import Tensor, nn
from torch.fx.graph import CodeGen

from potentials.checkpoint import Model, load
from potentials.experts import Experts
from potentials.ops.kernels import in_plain_torch
from potentials.potential import Potential
from potentials.structure.graph import AtomicGraph

EXAMPLE_ATOMS, EXAMPLE_PAIRS = 5, 7  # of the structure that the graph of operations is found with


def export(model: str | Path | Model, output: Path, charge: int, multiplicity: int) -> None:
    """Write a model for one electronic state.

    Parameters
    ----------
    model : str, Path or Model   a shipped model, a file, or one that is loaded
    output : Path                NAME.pt
    charge : int                 e, of every structure that the file will be asked for
    multiplicity : int           2S + 1

    Raises
    ------
    FileNotFoundError            no such model
    ValueError                   a state that the model was not trained on; a model that predicts no
                                 energy, reads partial charges, or knows what lies beyond its cutoff
    """
    loaded = model if isinstance(model, Model) else load(model, torch.float64)
    card, potential = loaded.card, loaded.potential.double()
    _check(loaded, charge, multiplicity)
    if isinstance(potential, Experts):
        state = charge, multiplicity
        potential = potential.of(*state) if potential.has(*state) else potential.shared
    module = ForMetatomic(_operations(potential, charge, multiplicity), potential.cutoff)
    kinds = {
        "energy": ModelOutput(unit="eV", sample_kind="system", description="total energy"),
    }
    capabilities = ModelCapabilities(
        outputs=kinds,
        atomic_types=card.elements,
        interaction_range=math.inf,  # charge and spin act on all atoms of a structure
        length_unit="angstrom",
        supported_devices=["cpu"],
        dtype="float64",
    )
    described = ModelMetadata(
        name=f"{card.name}, charge {charge:+d}, multiplicity {multiplicity}",
        description=f"{card.description} {card.limits}".strip(),
        extra={"sha256": loaded.sha256, "charge": str(charge), "multiplicity": str(multiplicity)},
    )
    AtomisticModel(module.eval(), described, capabilities).save(str(output))


def _check(model: Model, charge: int, multiplicity: int) -> None:
    potential, states = model.potential, {tuple(row[:2]) for row in model.card.states}
    if "energy" not in potential.predicts:
        raise ValueError("`model` must predict energies. Choose another.")
    if "partial_charges" in potential.state_inputs or potential.lists_pairs:
        raise ValueError(
            "`model` must know elements, positions, charge and multiplicity alone, and nothing"
            " beyond its cutoff. Choose another."
        )
    if states and (charge, multiplicity) not in states:
        named = ", ".join(f"{q:+d}/{m}" for q, m in sorted(states))
        raise ValueError(
            f"`charge` and `multiplicity` must be a state of the card: {named}; got"
            f" {charge:+d}/{multiplicity}. Choose one of these."
        )


class Energies(nn.Module):
    """Energy of each atom of one structure in one state, as a function of tensors alone."""

    charge: Tensor  # (1,) e
    multiplicity: Tensor  # (1,) 2S + 1

    def __init__(self, potential: Potential, charge: int, multiplicity: int) -> None:
        super().__init__()
        self.potential = potential
        self.register_buffer("charge", torch.tensor([charge], dtype=torch.float64))
        self.register_buffer("multiplicity", torch.tensor([multiplicity]))

    def forward(
        self,
        atomic_numbers: Tensor,
        positions: Tensor,
        idx_i: Tensor,
        idx_j: Tensor,
        shift: Tensor,
        cell: Tensor,
    ) -> Tensor:
        """Return (N,) eV, of fields of `AtomicGraph`."""
        graph = AtomicGraph(
            atomic_numbers=atomic_numbers,
            positions=positions,
            cell=cell,
            pbc=torch.zeros_like(cell[:, 0], dtype=torch.bool),
            batch=torch.zeros_like(atomic_numbers),
            idx_i=idx_i,
            idx_j=idx_j,
            shift=shift,
            total_charge=self.charge,
            multiplicity=self.multiplicity,
            partial_charges=torch.zeros_like(positions[:, 0]),
            electric_field_V_per_A=torch.zeros_like(cell[:, 0]),
            cutoff=self.potential.cutoff,
        )
        energies: Tensor = self.potential(graph).energies
        return energies


def _operations(potential: Potential, charge: int, multiplicity: int) -> torch.fx.GraphModule:
    """Find the operations of torch that energies are made of, for any number of atoms and pairs."""
    n_atoms, n_pairs = torch.export.Dim("atoms"), torch.export.Dim("pairs")
    generator = torch.Generator().manual_seed(0)
    positions = 4 * torch.rand(EXAMPLE_ATOMS, 3, dtype=torch.float64, generator=generator)
    idx_i, idx_j = torch.combinations(torch.arange(EXAMPLE_ATOMS)).T[:, :EXAMPLE_PAIRS].clone()
    example = {
        "atomic_numbers": torch.ones(EXAMPLE_ATOMS, dtype=torch.int64),
        "positions": positions,
        "idx_i": idx_i,
        "idx_j": idx_j,
        "shift": torch.zeros(EXAMPLE_PAIRS, 3, dtype=torch.float64),
        "cell": torch.zeros(1, 3, 3, dtype=torch.float64),
    }
    sizes = {name: {0: n_pairs} for name in ("idx_i", "idx_j", "shift")}
    sizes |= {name: {0: n_atoms} for name in ("atomic_numbers", "positions")}
    energies = Energies(potential, charge, multiplicity)
    with in_plain_torch():
        energies(*example.values())  # what is kept from a first call is none of the operations
        exported = torch.export.export(
            energies,
            tuple(example.values()),
            dynamic_shapes=sizes | {"cell": None},
            strict=True,
        )
    return _scriptable(exported.module())


def _scriptable(module: Any) -> torch.fx.GraphModule:
    """Write exported operations as the compiler of TorchScript reads them, without checks."""
    graph = module.graph
    for node in list(graph.nodes):
        if node.op == "call_module" or "_assert" in str(node.target):
            graph.erase_node(node)
        elif node.target is torch.ops.aten.sym_size.int:
            node.op, node.target = "call_method", "size"
        elif isinstance(node.target, torch._ops.OpOverload):
            node.target = node.target.overloadpacket
    graph.set_codegen(CodeGen())
    return torch.fx.GraphModule(module, graph)


class ForMetatomic(nn.Module):
    """What metatomic calls: structures with their pairs in, energies (eV) out.

    TorchScript compiles it, hence its plain style.
    """

    def __init__(self, energies: nn.Module, cutoff: float) -> None:
        super().__init__()
        self.energies = energies
        self.pairs = NeighborListOptions(cutoff=cutoff, full_list=False, strict=True)

    def requested_neighbor_lists(self) -> List[NeighborListOptions]:
        """Ask for each pair once, up to the cutoff."""
        return [self.pairs]

    def forward(
        self,
        systems: List[System],
        outputs: Dict[str, ModelOutput],
        selected_atoms: Optional[Labels] = None,
    ) -> Dict[str, TensorMap]:
        """Return the energies of structures; of some of their atoms where these are selected."""
        results: Dict[str, TensorMap] = {}
        if "energy" not in outputs:
            return results
        values: List[Tensor] = []
        for n, system in enumerate(systems):
            pairs = system.get_neighbor_list(self.pairs).samples.values.to(torch.int64)
            found = self.energies(
                system.types.to(torch.int64),
                system.positions,
                pairs[:, 0],
                pairs[:, 1],
                pairs[:, 2:].to(system.positions.dtype),
                system.cell[None],
            )[0]
            if selected_atoms is not None:
                own = selected_atoms.column("system") == n
                found = found[selected_atoms.column("atom")[own].to(torch.int64)]
            values.append(found.sum())
        numbers = torch.arange(len(systems), dtype=torch.int32)
        results["energy"] = TensorMap(
            Labels(["_"], torch.zeros(1, 1, dtype=torch.int32)),
            [
                TensorBlock(
                    torch.stack(values)[:, None],
                    Labels(["system"], numbers[:, None]),
                    torch.jit.annotate(List[Labels], []),
                    Labels(["energy"], torch.zeros(1, 1, dtype=torch.int32)),
                )
            ],
        )
        return results
