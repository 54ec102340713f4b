"""Gradients of a training loss by the weights of a TensorNet, in compiled code.

Forces are derivatives, so a loss of forces is differentiated twice. With g = ∂L/∂E and v = ∂L/∂F
held fixed, the gradient of the loss is that of g·E + v·F, and v·F = -v·∇E is minus the slope of the
energy along v. A slope is a difference:

    ∂L/∂θ ≈ 1/ε ∂E/∂θ (r) + (g - 1/ε) ∂E/∂θ (r + ε v)

so that nothing but energies is ever differentiated by the weights, and the evaluation at r, which
says what g and v are, is already one of the two: ε is the same for all structures. ε v is
`DISPLACEMENTS` at the atom of the batch that moves most. The error is of first order in it, and ε
has the other sign in every second structure: over a batch errors cancel, over many they are of
second order. Charges, dipoles and what else is predicted and labelled are differentiated in the
second evaluation alone, as energies are by g.

What depends on the weights alone, tables of filters and embedded species, is made and
differentiated by torch.

Where few labels lie, at short distances, long trainings raised filters to walls: where energies
turn within a few ε the difference is off, and no later step takes a wall down. A penalty on the
second differences of filters from knot to knot, far below the loss where they are as smooth as they
need to be, keeps walls from growing.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from polcalc.engines.native.export import export, named_weights, polarizabilities, strengths
from polcalc.engines.native.states import attending, totals
from polcalc.engines.native.supported import Unsupported, _native, check_supported
from potentials.parts.attention import ChargedAttention
from potentials.parts.electrons import LocalElectrons
from potentials.parts.radial import RadialFilter
from potentials.potential import Potential
from potentials.quantities import Prediction, Targets
from potentials.structure.geometry import structure_sum
from potentials.structure.graph import AtomicGraph
from potentials.terms.base import Features
from potentials.terms.constants import Offset, StateEnergies
from potentials.terms.dipole import Dipole, ShellDipole
from potentials.terms.field import induced
from potentials.training.loss import Gradients, Loss, penalties

# Å, of the atom that moves most: smaller ones would drown in rounding
DISPLACEMENTS = {torch.float32: 5e-4, torch.float64: 1e-4}
INTERVAL = 0.012  # Å, between the first knots of a table
# 1/Å: knots lie 1 + CROWDING · length times as far apart. Between coarse ones steep filters grow
# rough unseen
CROWDING = 1.0
ROUGHNESS = 0.02  # factor of the penalty on bends of the filters
REACH = 9  # knots that a slope at a knot is made of
# what the engine says of atoms after energies, forces and virial
OTHERS = ("charges", "shells", "shell_charges", "shared", "dipoles", "roots")
DTYPES = {torch.float32: np.float32, torch.float64: np.float64}


class NativeGradients:
    """Differentiate the loss of a batch by the weights.

    Parameters
    ----------
    potential : Potential   TensorNet with fixed points; its weights may change between calls
    loss : Loss
    n_threads : int         of the compiled part; 0: as many as torch's. Sums depend on their number
                            by rounding, on nothing else
    instruction_set : str   "avx512", "avx2" or "baseline"; empty: the best that the processor has

    Raises
    ------
    Unsupported             what the potential has and the native engine has not
    """

    def __init__(
        self, potential: Potential, loss: Loss, n_threads: int = 0, instruction_set: str = ""
    ) -> None:
        check_supported(potential, potential.dtype)
        where = next(potential.parameters()).device.type
        if where != "cpu":
            raise Unsupported(
                f"`gradients` must not be native on {where}: it runs on the CPU. Pass --device cpu,"
                " or take autograd."
            )
        self.potential, self.loss = potential, loss
        net = potential.trunk.architecture
        self._lengths = _knots(potential.cutoff)  # (K + 1,) Å
        n_intervals = len(self._lengths) - 1
        self._filters: list[RadialFilter] = [
            net.embedding.filter,
            *(layer.filter for layer in net.layers),
        ]
        exact = copy.deepcopy(potential).double().cpu()
        tables = [torch.zeros(n_intervals + 1, 2, 3 * net.channels)] * len(self._filters)
        settings, arrays = export(exact, tables)
        self._scale: float = settings["scale"]
        settings |= {"offset": 0.0, "n_intervals": n_intervals, "cells": [], "crowding": CROWDING}
        double_precision, n_threads = (
            potential.dtype == torch.float64,
            n_threads or torch.get_num_threads(),
        )
        self._engine = _native.Engine(
            settings, arrays, double_precision, n_threads, instruction_set
        )
        self._constants = [
            term for term in potential.terms if isinstance(term, StateEnergies | Offset)
        ]
        self._dipoles = [term for term in potential.terms if isinstance(term, Dipole | ShellDipole)]
        self._in_field = potential.adds_field
        self._has_parts = settings["charges"] or settings["electrons"]
        self._reaches_far = settings["coulomb"] or settings["references"] > 0
        self._weights = named_weights(potential)
        self._no_species = np.zeros((settings["n_species"], 2, net.channels))
        self._slopes = _differences(n_intervals + 1, REACH).to(
            potential.dtype
        )  # (K + 1, K + 1), by the number of the knot

    def __call__(self, graph: AtomicGraph, targets: Targets) -> Tensor:
        """Add the gradients of the loss and of all penalties to those of the parameters.

        Return the loss with the penalties.
        """
        made = self._made(graph)
        self._hand_over(made)
        structure = self._structure(graph, made["factor"])
        signs = torch.ones_like(targets.energy)
        signs[1::2] = -1
        value, by = self._by_predictions(graph, targets, self._evaluate(structure, graph, signs))
        unit = self._add(structure, graph, by, signs)
        bends = roughness([made[f"table.{k}"][:, 0] for k in range(len(self._filters))])
        self._take_over(made, unit, bends)
        penalty = penalties(self.potential)
        if penalty.requires_grad:
            penalty.backward()
        return value + penalty.detach() + bends.detach()

    def _made(self, graph: AtomicGraph) -> dict[str, Tensor]:
        """Make what the engine is given that is not a weight itself.

        A graph of torch leads back from it to the weights.
        """
        trunk, net = self.potential.trunk, self.potential.trunk.architecture
        known = trunk.electrons.start(graph).graph
        scalars = torch.stack([embedding(known) for embedding in trunk.embeddings]).sum(0)  # (N, C)
        central, neighbor = net.embedding.pair.weight.chunk(2, dim=1)
        species = torch.stack(
            [nn.functional.linear(scalars, central, net.embedding.pair.bias), scalars @ neighbor.T],
            dim=1,
        )
        radial = trunk.radial(self._lengths.to(species.dtype))  # (K + 1, R)
        envelope = trunk.envelope(self._lengths, trunk.cutoff).to(species.dtype)[:, None]
        made = {"species": species, "factor": trunk.factor(known)}  # (N, 2, C), (L, N, 1 or C)
        made |= strengths(self.potential)
        for k, f in enumerate(self._filters):
            values = f.network(radial)  # (K + 1, 3 C)
            at_zero = values[0].view(3, -1)
            made[f"self.{k}"] = at_zero if k else math.sqrt(3.0) * at_zero[0]
            at_knots = values * envelope
            made[f"table.{k}"] = torch.stack(
                [at_knots, self._slopes @ at_knots], dim=1
            )  # (K + 1, 2, 3 C)
        return made

    def _hand_over(self, made: dict[str, Tensor]) -> None:
        arrays = {name: p.detach().numpy() for name, p in self._weights.items()}
        arrays |= {
            name: x.detach().numpy()
            for name, x in made.items()
            if name not in ("species", "factor")
        }
        self._engine.set_arrays(arrays | {"species": self._no_species})
        self._engine.set_species(made["species"].detach().numpy())

    def _structure(self, graph: AtomicGraph, factor: Tensor) -> dict[str, Any]:
        periodic = bool(graph.pbc.any())
        shifts = (
            torch.einsum("pa,pab->pb", graph.shift, graph.cell[graph.batch[graph.idx_i]]).numpy()
            if periodic
            else None
        )
        given = {
            "species": graph.atomic_numbers.numpy(),
            "kinds": np.arange(len(graph.batch)),
            "positions": graph.positions.detach().numpy(),
            "idx_i": graph.idx_i.numpy(),
            "idx_j": graph.idx_j.numpy(),
            "shifts": shifts,
            "factors": factor.detach().numpy(),
        }
        if isinstance(self.potential.trunk.attention, ChargedAttention):
            given["molecules"], given["shared_out"] = attending(graph.states)
        if self._reaches_far:
            lattices = graph.cell * graph.pbc[:, :, None]
            given |= {"systems": graph.batch.numpy(), "lattices": lattices.numpy()}
        if self._has_parts:
            given |= totals(graph.states)
        if self._in_field and bool(graph.electric_field_V_per_A.any()):
            fields = graph.electric_field_V_per_A
            given |= {"systems": graph.batch.numpy(), "fields": fields.numpy()}
            given.setdefault("lattices", np.zeros((len(fields), 3, 3)))
        return given

    def _evaluate(
        self, structure: dict[str, Any], graph: AtomicGraph, signs: Tensor
    ) -> dict[str, Tensor]:
        """Energies (S,) eV, forces (N, 3) eV/Å, and what else the engine says of the atoms.

        Begin to sum gradients, those of each energy with its sign (S,).
        """
        self._engine.clear_gradients(len(graph.batch))
        _, energies, forces, _, *others, _ = map(
            torch.as_tensor,
            self._engine.evaluate_and_add(
                _native.Structure(**structure), signs[graph.batch].numpy()
            ),
        )
        none = graph.positions.new_zeros(0)
        features = Features(none, none, none, lambda weights: none, lambda weights: none)
        constants = sum(term(graph, features, {})["energies"] for term in self._constants)
        energy = structure_sum(energies + constants, graph)
        said = dict(zip(OTHERS, others, strict=True))
        return {"energy": energy, "forces": forces} | {n: x for n, x in said.items() if x.numel()}

    def _by_predictions(
        self, graph: AtomicGraph, targets: Targets, found: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss, and its derivatives by what was found and it depends on."""
        none = graph.positions.new_zeros(0)
        for x in found.values():
            x.requires_grad_()
        of_engine = ("shared", "dipoles", "roots")  # read by no loss
        said = {name: x for name, x in found.items() if name not in of_engine}
        if "shared" in found:
            said |= zip(LocalElectrons.predicts, found["shared"], strict=True)
        features = Features(
            none, none, none, lambda weights: found["dipoles"], lambda weights: none
        )
        for term in self._dipoles:
            said |= term(graph, features, said)
        if "roots" in found:
            atomic = polarizabilities(found["roots"])
            said |= {
                "atomic_polarizabilities": atomic,
                "polarizability": structure_sum(atomic, graph),
            }
            if self._in_field:
                said["dipole"] = said["dipole"] + induced(said["polarizability"], graph)
        value = self.loss(graph, targets, Prediction(**said))
        by = torch.autograd.grad(value, list(found.values()), allow_unused=True)
        return value.detach(), {n: g for n, g in zip(found, by, strict=True) if g is not None}

    def _add(
        self,
        structure: dict[str, Any],
        graph: AtomicGraph,
        by: dict[str, Tensor],
        signs: Tensor,
    ) -> float:
        """Add the gradients at displaced positions; return the unit of the sums."""
        by_energy = by.pop("energy", torch.zeros_like(signs))
        by_forces = by.pop("forces", torch.zeros_like(graph.positions))
        largest = float(by_forces.norm(dim=1).max())
        if largest == 0:  # no forces
            self._engine.clear_gradients(len(graph.batch))
            self._engine.add_gradients(
                _native.Structure(**structure),
                by_energy[graph.batch].numpy(),
                {name: x.numpy() for name, x in by.items()},
            )
            return self._scale
        step = DISPLACEMENTS[self.potential.dtype] / largest  # ε
        moved = structure["positions"] + (step * signs[graph.batch, None] * by_forces).numpy()
        self._engine.add_gradients(
            _native.Structure(**structure | {"positions": moved}),
            (step * by_energy - signs)[graph.batch].numpy(),
            {name: (step * x).numpy() for name, x in by.items()},
        )
        return self._scale / step

    def _take_over(self, made: dict[str, Tensor], unit: float, penalty: Tensor) -> None:
        found = {
            name: torch.from_numpy(array).mul_(unit)
            for name, array in self._engine.gradients().items()
        }
        with torch.no_grad():
            for name, p in self._weights.items():
                parts = (
                    [found[name]] if name in found else [found[f"{name}.{part}"] for part in "IAS"]
                )
                _add_gradient(p, torch.cat(parts).view(p.shape))
        roots = [
            (x, found[name]) for name, x in made.items() if x.requires_grad and name != "factor"
        ]
        factor = made["factor"]
        if factor.requires_grad:
            by_factor = found["factor"].view(
                len(factor), -1, self.potential.trunk.architecture.channels
            )
            roots.append(
                (factor, by_factor if factor.shape[2] > 1 else by_factor.sum(2, keepdim=True))
            )
        if penalty.requires_grad:
            roots.append((penalty, torch.ones_like(penalty)))
        torch.autograd.backward([x for x, _ in roots], [grad.view(x.shape) for x, grad in roots])


def roughness(tables: list[Tensor]) -> Tensor:
    """Penalise bends: squared second differences of filters (K + 1, 3 C) from knot to knot.

    A mean over filters, summed over knots.
    """
    return (
        ROUGHNESS
        * torch.stack([table.diff(n=2, dim=0).square().mean(1).sum() for table in tables]).sum()
    )


def _add_gradient(p: Tensor, gradient: Tensor) -> None:
    if p.requires_grad:
        p.grad = gradient if p.grad is None else p.grad + gradient


GRADIENTS: dict[str, Gradients] = {"native": NativeGradients}


def _knots(cutoff: float) -> Tensor:
    """Place the knots (K + 1,) Å of a table, at even steps of ln(1 + CROWDING · length)."""
    end = math.log1p(CROWDING * cutoff)
    n_intervals = math.ceil(end / (CROWDING * INTERVAL))
    return torch.expm1(torch.linspace(0.0, end, n_intervals + 1, dtype=torch.float64)) / CROWDING


def _differences(n_knots: int, reach: int) -> Tensor:
    """Return the matrix (K, K) from values at knots to slopes there.

    The slopes are those of polynomials through ``reach`` knots.
    """
    matrix = torch.zeros(n_knots, n_knots, dtype=torch.float64)
    powers = torch.arange(reach, dtype=torch.float64)
    for k in range(n_knots):
        first = min(max(k - reach // 2, 0), n_knots - reach)
        places = torch.arange(reach, dtype=torch.float64) + first - k
        slope = torch.zeros(reach, dtype=torch.float64)
        slope[1] = 1.0
        matrix[k, first : first + reach] = torch.linalg.solve(
            places[None] ** powers[:, None], slope
        )
    return matrix
