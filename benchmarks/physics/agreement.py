"""Agreement with public implementations on the same weights: energies and forces in float64.

    pip install torchmd-net==3.1.0 torch_geometric
    pip install --no-deps egnn-pytorch==0.2.8 einops
    python -m benchmarks.physics.agreement --output benchmarks/results/agreement.json

Each architecture of ours is built with random weights, the same weights are put into the peer, and
both are asked for the energies and forces of the same molecules. Where we differ on purpose, the
peer's part is replaced by ours before the comparison, so that all the rest is compared; the table
says which parts. A part that was replaced is not verified here but by the tests.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import torch
from ase import Atoms
from torch import Tensor, nn

from benchmarks.measure import command_line, machine, write
from benchmarks.peers import TENSORNET, torchmd_path
from benchmarks.systems import aspirin, cluster, ethanol
from potentials.build import build
from potentials.import_torchmd import TorchMDCheckpoint, convert
from potentials.potential import Potential, predict
from potentials.structure.geometry import cosine_envelope
from potentials.structure.graph import AtomicGraph, from_ase

Energy = Callable[[Tensor, Tensor], Tensor]  # atomic numbers (N,), positions (N, 3) -> energy
MOLECULES = {"ethanol": ethanol, "aspirin": aspirin, "2 ethanols": lambda: cluster(2)}
CUTOFF_A = 5.0
CHANNELS, LAYERS, HEADS = 32, 3, 4
# of random weights about those of the initialisation, so that no bias or norm is at a special value
SPREAD = 0.3
MISSING = {
    "equiformer": (
        "the authors' code (atomicarchitects/equiformer) is no package on PyPI;"
        " `equiformer-pytorch` 0.5.4 is another network (frames along the edges, its own"
        " attention), which the weights do not fit. Compared with the formulas in"
        " tests/architectures/test_equiformer.py."
    ),
}


class Peer(NamedTuple):
    """A potential of ours, and the same function from somebody else."""

    ours: Potential
    theirs: Energy
    package: str
    replaced: str  # parts of the peer that were replaced or left out, and why


def main(given: Sequence[str] | None = None) -> None:
    parser = command_line(__doc__, "--output")
    parser.add_argument(
        "--architecture", action="append", choices=tuple(PEERS), help="repeatable (all)"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(given)
    warnings.simplefilter("ignore")  # of the peers, about their own future
    rows = [
        row for name in arguments.architecture or PEERS for row in compare(name, arguments.seed)
    ]
    report = {
        "machine": machine(),
        "seed": arguments.seed,
        "cutoff_A": CUTOFF_A,
        "rows": rows,
        "missing": MISSING,
    }
    write(report, text(report), arguments.output)


def compare(architecture: str, seed: int) -> list[dict[str, Any]]:
    """Largest differences between an architecture and its peer on each molecule."""
    torch.manual_seed(seed)
    peer = PEERS[architecture]()
    rows = []
    for name, make in MOLECULES.items():
        atoms = make()
        atoms.rattle(0.05, seed=seed)
        graph = from_ase(atoms, CUTOFF_A)
        expected = predict(peer.ours, graph)
        positions = graph.positions.clone().requires_grad_()
        energy = peer.theirs(graph.atomic_numbers, positions)
        forces = -torch.autograd.grad(energy, positions)[0]
        rows.append(
            {
                "architecture": architecture,
                "package": f"{peer.package} {version(peer.package)}",
                "replaced": peer.replaced,
                "molecule": name,
                "n_atoms": len(atoms),
                "energy": float(expected.energy),
                "energy_difference": abs(float(expected.energy - energy)),
                "largest_force": float(expected.forces.abs().max()),
                "force_difference": float((expected.forces - forces).abs().max()),
            }
        )
    return rows


def text(report: dict[str, Any]) -> str:
    """Lay the numbers out as a table."""
    lines = [
        "# Agreement with public implementations",
        "",
        "The same random weights on both sides, float64. `python -m benchmarks.physics.agreement`.",
        "",
        "| architecture | peer | molecule | energy | difference | largest force | difference |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        numbers = (
            f"{row['energy']:.6f} | {row['energy_difference']:.1e} | {row['largest_force']:.4f} |"
            f" {row['force_difference']:.1e}"
        )
        lines.append(
            f"| {row['architecture']} | {row['package']} | {row['molecule']} | {numbers} |"
        )
    lines += ["", "What was replaced in the peer, or left out, because we differ on purpose:", ""]
    lines += [
        f"* **{name}**: {replaced}"
        for name, replaced in {r["architecture"]: r["replaced"] for r in report["rows"]}.items()
    ]
    lines += [f"* **{name}**: not compared: {why}" for name, why in report["missing"].items()]
    return "\n".join(lines) + "\n"


def ours(
    architecture: str, radial: dict[str, Any], cutoff: float = CUTOFF_A, **options: Any
) -> Potential:
    """Build a potential in float64 with weights that are nowhere at a special value."""
    spec = {
        "cutoff": cutoff,
        "architecture": {"name": architecture, "channels": CHANNELS, "n_layers": LAYERS, **options},
        "radial": radial,
    }
    potential = build(spec).double()
    with torch.no_grad():
        for parameter in potential.parameters():
            if parameter.requires_grad:
                parameter.add_(
                    SPREAD
                    * parameter.square().mean().sqrt().clamp(min=0.1)
                    * torch.randn_like(parameter)
                )
    return potential.requires_grad_(False)


def read_out(potential: Potential, scalars: Tensor) -> Tensor:
    """Sum the energies that our read-out sees in scalars (N, C)."""
    energies: Tensor = potential.terms[0].network(scalars).sum()
    return energies


def put(module: nn.Module, weight: Tensor, bias: Tensor | None = None) -> None:
    """Copy weights, of the same shape, into a linear layer or a table."""
    assert module.weight.shape == weight.shape, (module.weight.shape, weight.shape)
    assert (getattr(module, "bias", None) is None) == (bias is None)
    module.weight.data.copy_(weight)
    if bias is not None:
        module.bias.data.copy_(bias)


def same(theirs: nn.Module, own: nn.Linear) -> None:
    """Copy a linear layer."""
    put(theirs, own.weight, own.bias)


def directed(graph: AtomicGraph) -> Tensor:
    """Sender and receiver of each message, (2, 2P)."""
    return torch.stack(
        [torch.cat([graph.idx_j, graph.idx_i]), torch.cat([graph.idx_i, graph.idx_j])]
    )


def pairs_of(numbers: Tensor, positions: Tensor) -> Tensor:
    """Our pair list of an open molecule, as messages (2, 2P)."""
    return directed(from_ase(Atoms(numbers.numpy(), positions.detach().numpy()), CUTOFF_A))


# ---- torchmd-net


def tensornet() -> Peer:
    """Their weights into ours, by `polcalc import-torchmd`."""
    from torchmdnet.models.model import create_model

    settings = TENSORNET | {
        "embedding_dimension": CHANNELS,
        "num_layers": LAYERS,
        "cutoff_upper": CUTOFF_A,
        "precision": 64,
    }
    with torchmd_path(plain=True):
        model = create_model(settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    weights = {name: tensor.double() for name, tensor in model.state_dict().items()}
    potential, _ = convert(TorchMDCheckpoint(settings, weights, ""))

    def energy(numbers: Tensor, positions: Tensor) -> Tensor:
        model.derivative = False
        return model(numbers, positions, torch.zeros_like(numbers))[0].sum()

    told = (
        "its plain-torch path, for its kernels round to float32; weights through `polcalc"
        " import-torchmd`"
    )
    return Peer(potential.requires_grad_(False), energy, "torchmd-net", told)


def equivariant_transformer() -> Peer:
    """Ours into theirs; in their values the head comes first, then the part; in ours the part."""
    from torchmdnet.models.torchmd_et import TorchMD_ET

    potential = ours(
        "equivariant_transformer", {"name": "exp_normal", "n_radial": 16}, n_heads=HEADS
    )
    own = potential.trunk.architecture
    model = TorchMD_ET(
        CHANNELS,
        LAYERS,
        16,
        "expnorm",
        False,
        "silu",
        "silu",
        True,
        HEADS,
        "both",
        0.0,
        CUTOFF_A,
        128,
        64,
        None,
        True,
        torch.float64,
    ).double()
    table = potential.trunk.embeddings[0].table.weight
    put(model.embedding, table)
    put(model.neighbor_embedding.embedding, own.embedding.neighbor(table))
    same(model.neighbor_embedding.distance_proj, own.embedding.filter.network)
    same(model.neighbor_embedding.combine, own.embedding.combine)
    for theirs, layer in zip(model.attention_layers, own.layers, strict=True):
        by_head = torch.arange(3 * CHANNELS).view(3, HEADS, -1).transpose(0, 1).flatten()
        filters = layer.filter.network[0]
        for name, mine in (
            ("layernorm", layer.norm),
            ("q_proj", layer.query),
            ("k_proj", layer.key),
            ("o_proj", layer.output),
        ):
            same(getattr(theirs, name), mine)
        put(theirs.v_proj, layer.value.weight[by_head], layer.value.bias[by_head])
        put(theirs.dk_proj, filters.weight[:CHANNELS], filters.bias[:CHANNELS])
        put(theirs.dv_proj, filters.weight[CHANNELS:][by_head], filters.bias[CHANNELS:][by_head])
        if hasattr(layer.mix, "linear"):
            put(theirs.vec_proj, layer.mix.linear.weight)
    same(model.out_norm, own.norm)
    model.distance_expansion = potential.trunk.radial

    def energy(numbers: Tensor, positions: Tensor) -> Tensor:
        return read_out(potential, model(numbers, positions, torch.zeros_like(numbers))[0])

    return Peer(
        potential,
        energy,
        "torchmd-net",
        "`vector_cutoff=True`, its own option with the envelope on the values; its table of"
        " neighbours is filled with our linear map of the one table; our radial functions (the same"
        " formula, theirs rounded to float32); our read-out of the scalars, where its default reads"
        " the vectors, too",
    )


# ---- PyTorch Geometric


def schnet() -> Peer:
    """Ours into theirs."""
    from torch_geometric.nn.models import SchNet

    potential = ours("schnet", {"name": "gaussian", "n_radial": 20})

    def graph_of(positions: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        edges = pairs_of(torch.ones_like(batch), positions)
        return edges, (positions[edges[0]] - positions[edges[1]]).norm(dim=-1)

    model = SchNet(CHANNELS, CHANNELS, LAYERS, 20, CUTOFF_A, interaction_graph=graph_of).double()
    put(model.embedding, potential.trunk.embeddings[0].table.weight[:100])
    for theirs, layer in zip(model.interactions, potential.trunk.architecture.layers, strict=True):
        same(theirs.mlp[0], layer.filter.network[0])
        same(theirs.mlp[2], layer.filter.network[2])
        same(theirs.conv.lin1, layer.mix)
        same(theirs.conv.lin2, layer.update[0])
        same(theirs.lin, layer.update[2])
    same(model.lin1, potential.terms[0].network[0])
    same(model.lin2, potential.terms[0].network[2])
    model.act = nn.SiLU()
    for module in model.modules():
        if hasattr(module, "shift"):
            module.shift = math.log(2.0)
    model.distance_expansion = potential.trunk.radial

    def energy(numbers: Tensor, positions: Tensor) -> Tensor:
        return model(numbers, positions).sum()

    return Peer(
        potential,
        energy,
        "torch_geometric",
        "SiLU in the read-out; our pair list (theirs needs a compiled package); our Gaussians and"
        " the ln 2 of the activation (the same formulas, theirs rounded to float32)",
    )


class Encoding(nn.Module):
    """Our radial functions in the place of theirs; remembers the envelope for the sums."""

    def __init__(self, radial: nn.Module) -> None:
        super().__init__()
        self.radial = radial

    def forward(self, length: Tensor) -> Tensor:
        self.envelope = cosine_envelope(length, CUTOFF_A)[:, None]
        return self.radial(length)  # type: ignore[no-any-return]


class Enveloped(nn.Module):
    """An output block that sums over neighbours with the envelope."""

    def __init__(self, block: nn.Module, encoding: Encoding) -> None:
        super().__init__()
        self.block, self.encoding = block, encoding

    def forward(self, x: Tensor, radial: Tensor, i: Tensor, num_nodes: int | None = None) -> Tensor:
        return self.block(x, radial * self.encoding.envelope, i, num_nodes=num_nodes)  # type: ignore[no-any-return]


class CutOff(nn.Module):
    """The cosine envelope in the place of theirs, of a distance in cutoffs."""

    def forward(self, x: Tensor) -> Tensor:
        return cosine_envelope(x, 1.0)


def dimenetpp() -> Peer:
    """Ours into theirs.

    Their angle is π - θ, so that functions of odd degree have the other sign.
    """
    from torch_geometric.nn.models import DimeNetPlusPlus, dimenet, dimenet_utils

    from potentials.parts.angular import bessel_roots

    potential = ours("dimenetpp", {"name": "bessel", "n_radial": 6})
    own, sizes = potential.trunk.architecture, potential.trunk.angular.sizes
    for layer in own.layers:
        # random weights as they are hardly let an angle matter
        layer.interaction.expand.weight.mul_(30.0)
    numbers_now: list[Tensor] = []
    # theirs are rounded to float32
    dimenet_utils.Jn_zeros = lambda n, k: bessel_roots(n, k).numpy()
    dimenet.radius_graph = lambda pos, **_: pairs_of(numbers_now[0], pos)
    dimenet.triplets = triplets
    model = DimeNetPlusPlus(
        CHANNELS,
        CHANNELS,
        LAYERS,
        CHANNELS // 2,
        8,
        2 * CHANNELS,
        sizes["n_angular"],
        sizes["n_spherical"],
        CUTOFF_A,
    ).double()
    put(model.emb.emb, potential.trunk.embeddings[0].table.weight[:95])
    first, _, last = own.embedding.filter.network
    same(model.emb.lin_rbf, first)
    put(
        model.emb.lin,
        torch.cat([own.embedding.receiver.weight, own.embedding.sender.weight, last.weight], dim=1),
        last.bias,
    )
    sign = torch.tensor(
        [(-1.0) ** degree for degree in range(sizes["n_angular"])]
    ).repeat_interleave(sizes["n_spherical"])
    for theirs, block in zip(
        model.output_blocks, [own.output, *(layer.output for layer in own.layers)], strict=True
    ):
        same(theirs.lin_rbf, block.filter.network)
        same(theirs.lin_up, block.up)
        same(theirs.lin, block.last)
        for linear, mine in zip(theirs.lins, block.dense[::2], strict=True):
            same(linear, mine)
    for theirs, block in zip(
        model.interaction_blocks, [layer.interaction for layer in own.layers], strict=True
    ):
        same(theirs.lin_rbf1, block.filter.network[0])
        same(theirs.lin_rbf2, block.filter.network[1])
        put(theirs.lin_sbf1, block.compress.weight * sign)
        for name, mine in (
            ("lin_sbf2", block.expand), ("lin_ji", block.own), ("lin_kj", block.other),
            ("lin_down", block.down), ("lin_up", block.up), ("lin", block.skip),
        ):  # fmt: skip
            same(getattr(theirs, name), mine)
        for residuals, mine in (
            (theirs.layers_before_skip, block.before),
            (theirs.layers_after_skip, block.after),
        ):
            for residual, network in zip(residuals, mine, strict=True):
                same(residual.lin1, network.network[0])
                same(residual.lin2, network.network[2])
    encoding = Encoding(potential.trunk.radial)
    model.rbf, model.sbf.envelope = encoding, CutOff()
    model.output_blocks = nn.ModuleList(Enveloped(block, encoding) for block in model.output_blocks)

    def energy(numbers: Tensor, positions: Tensor) -> Tensor:
        numbers_now[:] = [numbers]
        # each atom a molecule of its own: nothing is summed
        scalars = model(numbers, positions, torch.arange(len(numbers)))
        return read_out(potential, scalars + model.emb.emb(numbers))

    return Peer(
        potential,
        energy,
        "torch_geometric",
        "our radial functions and envelope, which acts in the sums and not in the encodings; roots"
        " of the Bessel functions (theirs rounded to float32), their spherical basis otherwise;"
        " pair and triplet lists (theirs need a compiled package); output blocks of C channels,"
        " added to the embedded elements, and our read-out",
    )


def triplets(edges: Tensor, num_nodes: int) -> tuple[Tensor, ...]:
    """Every two messages k -> j -> i, by comparing all with all; not those that turn back."""
    senders, receivers = edges
    meets = (senders[:, None] == receivers[None, :]) & (receivers[:, None] != senders[None, :])
    out, into = meets.nonzero(as_tuple=True)  # j -> i, k -> j
    return receivers, senders, receivers[out], senders[out], senders[into], into, out


# ---- egnn-pytorch


class Squared(nn.Module):
    """d², the encoding of the paper."""

    n_radial = 1

    def forward(self, length: Tensor) -> Tensor:
        return length.square()[:, None]


class Gate(nn.Module):
    """Their gate, times the envelope, and 0 for an atom with itself."""

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, messages: Tensor) -> Tensor:
        return self.gate(messages) * self.envelope[None, :, :, None]  # type: ignore[no-any-return]


def egnn() -> Peer:
    """Ours into the first rows of theirs, whose hidden layers are wider; the others are 0."""
    from egnn_pytorch import EGNN

    potential = ours("egnn", {"name": "gaussian", "n_radial": 2})
    for layer in potential.trunk.architecture.layers:
        layer.filter.network = nn.Linear(1, CHANNELS).double().requires_grad_(False)
        layer.filter.network.weight.mul_(0.3)
    potential.trunk.radial = Squared()
    model = nn.ModuleList(
        EGNN(CHANNELS, m_dim=CHANNELS, soft_edges=True, update_coors=False) for _ in range(LAYERS)
    ).double()
    for theirs, layer in zip(model, potential.trunk.architecture.layers, strict=True):
        distance = layer.filter.network
        first = torch.cat([layer.receiver.weight, layer.sender.weight, distance.weight], dim=1)
        padded(theirs.edge_mlp[0], first, distance.bias)
        padded(theirs.edge_mlp[3], layer.message[1].weight, layer.message[1].bias)
        same(theirs.edge_gate[0], layer.gate[0])
        padded(theirs.node_mlp[0], layer.update[0].weight, layer.update[0].bias)
        padded(theirs.node_mlp[3], layer.update[2].weight, layer.update[2].bias)
        theirs.edge_gate = Gate(theirs.edge_gate)

    def energy(numbers: Tensor, positions: Tensor) -> Tensor:
        eye = torch.eye(len(numbers), dtype=torch.bool)
        squared = (positions[:, None] - positions[None]).square().sum(-1)
        envelope = cosine_envelope(squared.masked_fill(eye, 1.0).sqrt(), CUTOFF_A).masked_fill(
            eye, 0.0
        )
        h = potential.trunk.embeddings[0].table(numbers)[None]
        for layer in model:
            layer.edge_gate.envelope = envelope
            h, _ = layer(h, positions[None])
        return read_out(potential, h[0])

    return Peer(
        potential,
        energy,
        "egnn-pytorch",
        "the authors' code (vgsatorras/egnn) is no package; this one is by others: its hidden"
        " layers are wider, the rest of them is 0; its gate is multiplied by our envelope and by 0"
        " for an atom with itself, which it would count; in ours the encoding is d², as in the"
        " paper",
    )


def padded(module: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    """Copy weights into the corner of a larger layer, the rest of which is 0."""
    module.weight.data.zero_()[: weight.shape[0], : weight.shape[1]] = weight
    module.bias.data.zero_()[: len(bias)] = bias


PEERS: dict[str, Callable[[], Peer]] = {
    "tensornet": tensornet,
    "equivariant_transformer": equivariant_transformer,
    "schnet": schnet,
    "dimenetpp": dimenetpp,
    "egnn": egnn,
}


if __name__ == "__main__":
    main()
