"""What training minimises.

    L = w_E ⟨ℓ((E - E*) / (σ √n))⟩ + w_F ⟨ℓ((F - F*) / σ)⟩ + Σ_q w_q ⟨ℓ((q - q*) / σ_q)⟩

with the means over structures and over components of the batch, n the atoms of a structure, σ (eV,
eV/Å) the root mean square of the force components of the training set, and q every other quantity
that is predicted and labelled, with the spread σ_q of its labels. Energies of independent atoms err
as √n, so that w_E means the same for every size. Differences are taken in float64: total energies
are large numbers. A label that is NaN is unknown and does not count: means are over the others.
Added to it: the penalties of learned tables and moving points, which validation leaves out.

Formal charges are rounded (`potentials.parts.electrons`) and have next to no gradient: what the
network learns them by is their number before rounding, which is a quantity with the same labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from potentials.ops.splines import SplineTable
from potentials.potential import Encode, Potential, at_nodes, at_pairs
from potentials.quantities import QUANTITIES, Prediction, Targets, named
from potentials.structure.geometry import structure_sum
from potentials.structure.graph import AtomicGraph
from potentials.training.config import LossConfig


def square(x: Tensor, delta: float) -> Tensor:
    """Mean of x²."""
    return x.square().mean()


def absolute(x: Tensor, delta: float) -> Tensor:
    """Mean of |x|."""
    return x.abs().mean()


def huber(x: Tensor, delta: float) -> Tensor:
    """Mean of x²/(2δ) within δ and |x| - δ/2 beyond: |x| with a round bottom."""
    return torch.nn.functional.huber_loss(x, torch.zeros_like(x), delta=delta) / delta


LOSSES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "mse": square,
    "mae": absolute,
    "huber": huber,
}

# compared by squares whatever the loss: few atoms have one, and the median of all is 0
RARE = ("unrounded_formal_charges",)
NO_SPREADS: Mapping[str, float] = {}


class Loss:
    """The loss with its weights and scales.

    Parameters
    ----------
    config : LossConfig
    scale : float                σ, eV and eV/Å
    spreads : quantity -> float  σ_q of the other quantities, in their own units
    """

    def __init__(
        self, config: LossConfig, scale: float, spreads: Mapping[str, float] = NO_SPREADS
    ) -> None:
        if config.name not in LOSSES:
            raise ValueError(
                f"`loss` must be one of {', '.join(LOSSES)}; got {config.name!r}. Correct the"
                " configuration."
            )
        self.mean, self.delta, self.scale = LOSSES[config.name], config.delta, scale
        self.weights, self.spreads = {name: 1.0 for name in QUANTITIES} | config.weights, spreads

    def __call__(self, graph: AtomicGraph, targets: Targets, predicted: Prediction) -> Tensor:
        """Compare every quantity that is predicted with its label."""
        terms = [
            self.weights[name] * self._compared(name, said, label, graph)
            for name, label in named(targets).items()
            if self.weights[name] and (said := getattr(predicted, name)) is not None
        ]
        return sum(terms, graph.positions.new_zeros(()))

    def _compared(self, name: str, said: Tensor, label: Tensor, graph: AtomicGraph) -> Tensor:
        """Average over the labels that are known."""
        known = ~label.isnan()
        difference = torch.where(known, said - label, 0.0)
        share = known.to(label.dtype).mean().clamp(min=1 / max(label.numel(), 1))
        mean = square if name in RARE else self.mean
        return mean(self._scaled(name, difference, graph), self.delta) / share

    def _scaled(self, name: str, difference: Tensor, graph: AtomicGraph) -> Tensor:
        if name == "energy":
            n_atoms = structure_sum(torch.ones_like(graph.partial_charges), graph)  # (S,)
            return difference / (self.scale * n_atoms.sqrt())
        return difference / self.spreads.get(name, self.scale if name == "forces" else 1.0)


# the loss of a batch; adds its gradients to those of the parameters
Differentiate = Callable[[AtomicGraph, Targets], Tensor]
Gradients = Callable[[Potential, Loss], Differentiate]  # a way to differentiate


def autograd(potential: Potential, loss: Loss) -> Differentiate:
    """Differentiate by torch, whatever the potential."""
    return _by_autograd(potential, loss, objective)


def compiled(potential: Potential, loss: Loss) -> Differentiate:
    """Differentiate by torch, loss and forces compiled into one graph.

    For structures of one molecule, whose batches have one shape.

    Raises
    ------
    ValueError   a term makes a list of pairs of its own
    """
    if potential.lists_pairs:
        raise ValueError(
            '`gradients` must be "autograd" or "native" for a model with a Coulomb or dispersion'
            ' energy; got "compiled". Correct [training].'
        )
    torch._dynamo.config.trace_autograd_ops = True
    torch._functorch.config.donated_buffer = False
    return _by_autograd(potential, loss, torch.compile(objective, fullgraph=True))


def _by_autograd(
    potential: Potential, loss: Loss, evaluate: Callable[..., Tensor]
) -> Differentiate:
    params = [p for p in potential.parameters() if p.requires_grad]

    def differentiate(graph: AtomicGraph, targets: Targets) -> Tensor:
        graph.positions.requires_grad_()
        value = evaluate(potential, loss, graph, targets)
        value.backward(inputs=params)  # not by the positions
        return value.detach()

    return differentiate


def objective(potential: Potential, loss: Loss, graph: AtomicGraph, targets: Targets) -> Tensor:
    """Evaluate what training minimises on a batch: the loss and every penalty.

    To be differentiated by the parameters. ``graph.positions`` must be a leaf that requires a
    gradient: compilation sees through `torch.autograd.grad` only then.
    """
    # whichever are fewer
    encode = at_nodes if len(graph.idx_i) > potential.trunk.nodes.count else at_pairs
    value, displacement = misfit(potential, loss, graph, targets, encode)
    return value + penalties(potential) + potential.trunk.points.restraint(displacement)


def misfit(
    potential: Potential,
    loss: Loss,
    graph: AtomicGraph,
    targets: Targets,
    encode: Encode = at_pairs,
) -> tuple[Tensor, Tensor | None]:
    """Return the loss of a batch alone, and the displacement (N, 3) Å of moving points, if any."""
    said = potential(graph, encode)
    if said.energies is not None:
        said = said._replace(energy=structure_sum(said.energies, graph))
        if targets.forces is not None and loss.weights["forces"]:
            total = said.energy.sum()
            (gradient,) = torch.autograd.grad(total, graph.positions, create_graph=True)
            said = said._replace(forces=-gradient)
    return loss(graph, targets, said), said.polarization


def penalties(potential: Potential) -> Tensor:
    """Sum the penalties of all learned tables."""
    found = [module.penalty() for module in potential.modules() if isinstance(module, SplineTable)]
    return sum(found, torch.zeros((), device=potential.trunk.factor.strengths.device))


def parameter_groups(potential: Potential) -> list[dict[str, Any]]:
    """Take the learned tables out of weight decay: their penalty already says what is simple."""
    penalised = {
        p
        for module in potential.modules()
        if isinstance(module, SplineTable)
        for p in module.parameters()
    }
    trained = [p for p in potential.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [{"params": [p for p in trained if p not in penalised]}]
    return (
        [*groups, {"params": [p for p in trained if p in penalised], "weight_decay": 0.0}]
        if penalised
        else groups
    )
