"""TensorNet against a dense second implementation of its formulas, and its published sizes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from ase import Atoms
from torch import Tensor
from torch.testing import assert_close

from potentials.build import build
from potentials.potential import Potential, predict
from potentials.structure.graph import AtomicGraph
from tests.architectures import reference_tensornet as reference
from tests.contract.structures import ALL, graph_of
from tests.contract.variants import ARCHITECTURES, REFERENCES, VARIANTS, Variant

PLAIN = {"points": "fixed", "terms": "readout", "embeddings": "species"}
TENSORNETS = [
    v
    for v in VARIANTS
    if ARCHITECTURES[v.architecture]["name"] == "tensornet"
    and all(getattr(v, door) == option for door, option in PLAIN.items())
]


@pytest.mark.parametrize("structure", ALL)
@pytest.mark.parametrize("variant", TENSORNETS, ids=str)
def test_agrees_with_the_formulas(variant: Variant, structure: str) -> None:
    """Energy of each atom, and forces, to 1e-10, in a charged triplet."""
    potential, atoms = variant.build(), ALL[structure]()
    graph = graph_of(atoms, potential.cutoff, charge=-1, multiplicity=3)
    positions = graph.positions.clone().requires_grad_()
    bare = _reference_energies(potential, atoms, positions, graph)
    expected = 0.7 * bare + torch.tensor(
        [REFERENCES[symbol] for symbol in atoms.symbols], dtype=torch.float64
    )
    (gradient,) = torch.autograd.grad(expected.sum(), positions)
    answer = predict(potential, graph)
    assert_close(answer.energies, expected.detach(), rtol=0.0, atol=1e-10)
    assert_close(answer.forces, -gradient, rtol=0.0, atol=1e-10)
    assert float(gradient.abs().max()) > 1e-5  # not a network that has gone silent


@pytest.mark.parametrize(
    ("channels", "n_radial", "n_layers", "count"),
    [(128, 32, 1, 535_681), (128, 32, 2, 769_921), (256, 64, 3, 3_974_401)],
)
def test_published_sizes(channels: int, n_radial: int, n_layers: int, count: int) -> None:
    potential = build(
        {
            "cutoff": 4.5,
            "architecture": {"name": "tensornet", "channels": channels, "n_layers": n_layers},
            "radial": {"name": "exp_normal", "n_radial": n_radial},
            "state_factor": {"attributes": ["total_charge", "unpaired_electrons"]},
        }
    )
    assert sum(p.numel() for p in potential.parameters() if p.requires_grad) == count
    assert (
        sum(
            np.prod(shape)
            for shape in reference.weight_shapes(channels, n_radial, n_layers).values()
        )
        == count
    )


def test_bases_start_where_the_formulas_say() -> None:
    def radial(name: str) -> torch.nn.Module:
        return build(
            VARIANTS[0].spec | {"cutoff": 4.5, "radial": {"name": name, "n_radial": 32}}
        ).trunk.radial

    start, near = np.exp(-4.5), partial(assert_close, rtol=1e-6, atol=1e-6)
    exp_normal, gaussian, bessel = radial("exp_normal"), radial("gaussian"), radial("bessel")
    near(exp_normal.centers, torch.as_tensor(np.linspace(start, 1.0, 32)).float())
    near(exp_normal.widths, torch.full((32,), (2 / 32 * (1 - start)) ** -2))
    near(gaussian.centers, torch.as_tensor(np.linspace(0.0, 4.5, 32)).float())
    near(gaussian.coefficient, torch.tensor(-0.5 / (4.5 / 31) ** 2))
    near(bessel.frequencies, torch.as_tensor(np.pi / 4.5 * np.arange(1, 33)).float())


def _reference_energies(
    potential: Potential, atoms: Atoms, positions: Tensor, graph: AtomicGraph
) -> Tensor:
    architecture = potential.spec["architecture"]
    local = potential.spec["electrons"]["name"] == "local"
    per_atom = torch.ones(len(atoms), 1, dtype=torch.float64)
    partial_charges = torch.as_tensor(atoms.get_initial_charges())[:, None]
    state = {
        "total_charge": -per_atom,
        "unpaired_electrons": 2 * per_atom,
        "partial_charges": partial_charges,
    }
    factors = torch.ones(architecture["n_layers"], len(atoms), 1, dtype=torch.float64)
    known = () if local else potential.spec["state_factor"]["attributes"]
    for k, name in enumerate(known):
        factors = factors + potential.trunk.factor.strengths.detach()[:, k, None] * state[name]
    return reference.energies(
        _weights(potential),
        graph.atomic_numbers,
        positions,
        cutoff=potential.cutoff,
        encode=_encoding(potential),
        group=architecture["group"],
        factors=factors,
        cell=torch.as_tensor(atoms.cell.array),
        pbc=tuple(atoms.pbc.tolist()),
        amount=3.0,
        totals=(-1.0, 2.0),
        strengths=potential.trunk.factor.strengths.detach(),
    )


def _encoding(potential: Potential) -> reference.Encoding:
    tables = {name: p.detach() for name, p in potential.trunk.radial.named_parameters()}
    kind = potential.spec["radial"]["name"]
    if kind == "exp_normal":
        return reference.exp_normal(potential.cutoff, tables["centers"], tables["widths"])
    if kind == "gaussian":
        return reference.gaussian(tables["centers"], tables["coefficient"])
    if kind == "learned":
        return reference.b_spline(potential.cutoff, tables["splines.table"])
    return reference.bessel(potential.cutoff, tables["frequencies"])


def _weights(potential: Potential) -> dict[str, Tensor]:
    """Read our weights under the names of the reference."""
    own = {name: w.detach() for name, w in potential.state_dict().items()}
    embedding, trunk, kinds = (
        "trunk.architecture.embedding",
        "trunk.architecture",
        ("weight", "bias"),
    )
    linears = {
        "pair": f"{embedding}.pair",
        "norm": f"{embedding}.norm",
        "gate.0": f"{embedding}.gates.0",
        "gate.1": f"{embedding}.gates.2",
    }
    linears |= {
        "out_norm": f"{trunk}.norm",
        "out": f"{trunk}.output",
        "head.0": "terms.0.network.0",
        "head.1": "terms.0.network.2",
    }
    n_layers = potential.spec["architecture"]["n_layers"]
    linears |= {
        f"layers.{n}.filter.{k}": f"{trunk}.layers.{n}.filter.network.{2 * k}"
        for n in range(n_layers)
        for k in range(3)
    }
    weights = {
        f"{theirs}.{kind}": own[f"{ours}.{kind}"]
        for theirs, ours in linears.items()
        for kind in kinds
    }
    weights |= {
        f"layers.{n + 1}.attend.{name.removeprefix(prefix)}": weight
        for n in range(n_layers - 1)
        for name, weight in own.items()
        if name.startswith(prefix := f"trunk.attention.layers.{n}.")
    }
    weights |= {
        name.replace(f"trunk.electrons.{ours}", theirs): weight
        for name, weight in own.items()
        for ours, theirs in (("network", "share"), ("embedding", "told"))
        if name.startswith(f"trunk.electrons.{ours}.")
    }
    weights["species"] = own["trunk.embeddings.0.table.weight"]
    for part, name in enumerate("IAS"):
        weights[f"mix.{name}"] = own[f"{embedding}.mix.weight"][part]
        for kind in kinds:
            weights[f"distance.{name}.{kind}"] = own[f"{embedding}.filter.network.{kind}"].chunk(3)[
                part
            ]
    for n in range(n_layers):
        for k in range(3):
            weights[f"layers.{n}.mix.{k}"] = own[f"{trunk}.layers.{n}.mix_in.weight"][k]
            weights[f"layers.{n}.mix.{k + 3}"] = own[f"{trunk}.layers.{n}.mix_out.weight"][k]
    return weights
