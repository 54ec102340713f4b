"""Five charged particles: EGNN, with moving points, and with frozen ones, on later positions.

    python -m benchmarks.science.nbody --output benchmarks/results/nbody.json
    python -m benchmarks.science.nbody --only moving      # a part; finished runs are not run again

Particles of charge ±1 and mass 1 under softened Coulomb forces, velocity Verlet, all in reduced
units; 3,000 systems to train on, 2,000 each to validate and test. The task of arXiv 2102.09844 with
a simulator of our own, which conserves the energy: numbers are not to be compared with the paper's.
Every run has the same number of steps, and its learning rate falls to zero.

EGNN here moves coordinates: x_i ← x_i + mean_j (x_i - x_j) φ_x(m_ij) + φ_v(h_i) v_i. With moving
points each particle has a second point at x_i + d_i with scalars of its own; points of one kind see
each other, and the two of one particle do ("paired" links).
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from benchmarks.measure import command_line, machine, write
from potentials.files import write_text

Floats = npt.NDArray[np.float64]
N_PARTICLES = 5
SOFTENING = 0.2  # of the distance in the Coulomb law: no collision is singular
TIMESTEP = 0.005
SETTLE, HORIZON = 3.0, 1.0  # time before the start, and between start and end
SIZES = {"train": 3000, "validation": 2000, "test": 2000}
DATA_SEED = 20260401
CHANNELS, LAYERS = 64, 4
MAX_DISPLACEMENT = 0.5
MODELS = ("base", "moving", "frozen")
SEEDS = (0, 1, 2)
BATCH, LEARNING_RATE = 100, 1e-3


class Systems(NamedTuple):
    """What is given and what is asked, of B systems of N particles."""

    charges: Tensor  # (B, N)
    positions: Tensor  # (B, N, 3)
    velocities: Tensor  # (B, N, 3)
    final: Tensor  # (B, N, 3)


def main(given: Sequence[str] | None = None) -> None:
    parser = command_line(__doc__, "--output")
    parser.add_argument("--steps", type=int, default=2000, help="of every run, of 100 systems each")
    parser.add_argument("--only", default="", help="runs whose name, MODEL-SEED, holds this text")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("runs/nbody"),
        help="results of the runs; those that are there are not run again",
    )
    arguments = parser.parse_args(given)
    data = {name: simulated(size, DATA_SEED + n) for n, (name, size) in enumerate(SIZES.items())}
    rows = []
    for seed in SEEDS:
        for model in MODELS:
            file = arguments.work / f"{model}-{seed}-{arguments.steps}.json"
            if not file.exists() and arguments.only in file.stem:
                file.parent.mkdir(parents=True, exist_ok=True)
                write_text(file, json.dumps(train(model, seed, arguments.steps, data)))
            if file.exists():
                rows.append(json.loads(file.read_text()))
                print(f"{file.stem}: {rows[-1]['test_mse']:.3g}", file=sys.stderr, flush=True)
    standing = float(
        (
            (data["test"].final - data["test"].positions - HORIZON * data["test"].velocities) ** 2
        ).mean()
    )
    report = {
        "machine": machine(),
        "steps": arguments.steps,
        "batch": BATCH,
        "linear_test_mse": standing,
        "rows": rows,
    }
    write(report, text(report), arguments.output)


# the simulator


def simulated(n_systems: int, seed: int) -> Systems:
    """Draw systems at random, let them settle, and follow them over the horizon."""
    rng = np.random.default_rng(seed)
    charges = rng.choice([-1.0, 1.0], size=(n_systems, N_PARTICLES))
    positions = rng.normal(scale=0.5, size=(n_systems, N_PARTICLES, 3))
    velocities = rng.normal(size=positions.shape)
    velocities *= 0.5 / np.linalg.norm(velocities, axis=-1, keepdims=True)
    start = propagate(charges, positions, velocities, SETTLE)
    end = propagate(charges, *start, HORIZON)
    return Systems(*(torch.from_numpy(x).float() for x in (charges, *start, end[0])))


def propagate(
    charges: Floats,
    positions: Floats,
    velocities: Floats,
    duration: float,
    timestep: float = TIMESTEP,
) -> tuple[Floats, Floats]:
    """Follow systems (B, N, 3) by velocity Verlet; return positions and velocities."""
    x, v, force = positions.copy(), velocities.copy(), forces(charges, positions)
    for _ in range(round(duration / timestep)):
        v += 0.5 * timestep * force
        x += timestep * v
        force = forces(charges, x)
        v += 0.5 * timestep * force
    return x, v


def forces(charges: Floats, positions: Floats) -> Floats:
    """Softened Coulomb forces q_i q_j r / (r² + s²)^(3/2) (B, N, 3)."""
    vectors = positions[:, :, None] - positions[:, None]  # (B, N, N, 3), from j to i
    strength = (
        charges[:, :, None] * charges[:, None] * (np.square(vectors).sum(-1) + SOFTENING**2) ** -1.5
    )
    pulled: Floats = (strength[..., None] * vectors).sum(2)
    return pulled


def energy(charges: Floats, positions: Floats, velocities: Floats) -> Floats:
    """Kinetic and softened Coulomb energy (B,)."""
    vectors = positions[:, :, None] - positions[:, None]
    pairs = (
        charges[:, :, None] * charges[:, None] * (np.square(vectors).sum(-1) + SOFTENING**2) ** -0.5
    )
    others = 1 - np.eye(positions.shape[1])
    total: Floats = 0.5 * np.square(velocities).sum((1, 2)) + 0.5 * (pairs * others).sum((1, 2))
    return total


# the networks


class EGNN(nn.Module):
    """Positions after the horizon (B, N, 3) from charges, positions and velocities.

    Parameters
    ----------
    points : str   "base", "moving" or "frozen": moving points with d = 0, and as many parameters

    Source: arXiv 2102.09844, equations 3 to 7 with the velocity term; the moving points are ours.
    """

    def __init__(self, points: str, channels: int = CHANNELS, n_layers: int = LAYERS) -> None:
        super().__init__()
        self.kinds = 1 if points == "base" else 2  # points of a particle
        self.start = nn.Linear(1, channels)
        self.layers = nn.ModuleList(Layer(channels) for _ in range(n_layers))
        if self.kinds == 2:
            self.own = nn.ModuleList(
                _perceptron(2 * channels + 1, channels) for _ in range(n_layers)
            )  # messages within a particle
            self.own_move = nn.ModuleList(_gain(channels) for _ in range(n_layers))
            weights = (
                torch.zeros(n_layers, channels)
                if points == "frozen"
                else 1e-3 * torch.randn(n_layers, channels)
            )
            self.polarize = nn.Parameter(weights, requires_grad=points == "moving")

    def forward(self, charges: Tensor, positions: Tensor, velocities: Tensor) -> Tensor:
        """Return (B, N, 3)."""
        x, d = positions, torch.zeros_like(positions)
        h = (
            self.start(velocities.norm(dim=-1, keepdim=True))
            .unsqueeze(1)
            .repeat(1, self.kinds, 1, 1)
        )  # (B, K, N, C)
        products = (charges[:, :, None] * charges[:, None])[:, None, :, :, None]  # (B, 1, N, N, 1)
        for n, layer in enumerate(self.layers):
            assert isinstance(layer, Layer)
            points = x[:, None] if self.kinds == 1 else torch.stack([x, x + d], 1)  # (B, K, N, 3)
            vectors = points[:, :, :, None] - points[:, :, None]  # (B, K, N, N, 3), from j to i
            messages = layer.messages(h, vectors.square().sum(-1, keepdim=True), products)
            step = layer.step(h[:, 0], messages[:, 0], vectors[:, 0], velocities)
            received = messages.sum(3)
            if self.kinds == 2:
                within = self.own[n](
                    torch.cat(
                        [h, h.flip(1), d.square().sum(-1)[:, None, :, None].repeat(1, 2, 1, 1)], -1
                    )
                )  # (B, 2, N, C)
                received = received + within
                step = step - d * self.own_move[n](within[:, 0]) / N_PARTICLES
                directions = (
                    vectors[:, 1]
                    / (vectors[:, 1].square().sum(-1, keepdim=True) + SOFTENING**2).sqrt()
                )
                d = _clip(d + (directions * (messages[:, 1] @ self.polarize[n])[..., None]).sum(2))
            x, h = x + step, layer.update(h, received)
        return x


class Layer(nn.Module):
    """Messages between points of one kind, and what they change."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.receiver, self.sender = (
            nn.Linear(channels, channels),
            nn.Linear(channels, channels, bias=False),
        )
        self.pair = nn.Linear(2, channels, bias=False)
        self.message = nn.Sequential(nn.SiLU(), nn.Linear(channels, channels), nn.SiLU())
        self.move, self.inertia = (
            _gain(channels),
            nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, 1)),
        )
        self.change = nn.Sequential(
            nn.Linear(2 * channels, channels), nn.SiLU(), nn.Linear(channels, channels)
        )

    def messages(self, h: Tensor, squared: Tensor, products: Tensor) -> Tensor:
        """Return m_ij (B, K, N, N, C), 0 for i = j."""
        pair = self.pair(torch.cat([squared, products.expand_as(squared)], -1))
        messages: Tensor = self.message(
            self.receiver(h)[:, :, :, None] + self.sender(h)[:, :, None] + pair
        )
        others = 1 - torch.eye(h.shape[2], device=h.device)
        return messages * others[:, :, None]

    def step(self, h: Tensor, messages: Tensor, vectors: Tensor, velocities: Tensor) -> Tensor:
        """Return by how much the particles move (B, N, 3)."""
        pushed = (vectors * self.move(messages)).sum(2) / (h.shape[1] - 1)
        moved: Tensor = pushed + self.inertia(h) * velocities
        return moved

    def update(self, h: Tensor, received: Tensor) -> Tensor:
        """Return the new scalars."""
        changed: Tensor = h + self.change(torch.cat([h, received], -1))
        return changed


def _perceptron(n_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n_in, channels), nn.SiLU(), nn.Linear(channels, channels), nn.SiLU()
    )


def _gain(channels: int) -> nn.Sequential:
    """Read one number from a message; it starts small."""
    last = nn.Linear(channels, 1, bias=False)
    nn.init.xavier_uniform_(last.weight, gain=1e-3)
    return nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), last)


def _clip(d: Tensor) -> Tensor:
    return d * (1 + d.square().sum(-1, keepdim=True) / MAX_DISPLACEMENT**2).rsqrt()


# the training


def train(points: str, seed: int, steps: int, data: Mapping[str, Systems]) -> dict[str, Any]:
    """Train one network on the mean square of the final positions.

    Report its error on the test systems.
    """
    torch.manual_seed(seed)
    model = EGNN(points)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=1e-8)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    generator, n_train = torch.Generator().manual_seed(seed), len(data["train"].charges)
    order = torch.empty(0, dtype=torch.int64)
    start = time.process_time()
    for _ in range(steps):
        if len(order) < BATCH:
            order = torch.randperm(n_train, generator=generator)
        chosen, order = order[:BATCH], order[BATCH:]
        *inputs, final = (x[chosen] for x in data["train"])
        loss = (model(*inputs) - final).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 10.0)
        optimizer.step()
        schedule.step()
    return {
        "model": points,
        "seed": seed,
        "steps": steps,
        "validation_mse": error(model, data["validation"]),
        "test_mse": error(model, data["test"]),
        "n_parameters": sum(p.numel() for p in model.parameters()),
        "processor_ms_per_step": round(1e3 * (time.process_time() - start) / steps, 2),
    }


@torch.no_grad()
def error(model: nn.Module, systems: Systems) -> float:
    """Mean square error of the final positions, per component."""
    predicted = torch.cat(
        [model(*inputs) for inputs in zip(*(x.split(500) for x in systems[:3]), strict=True)]
    )
    return float((predicted - systems.final).square().mean())


def text(report: Mapping[str, Any]) -> str:
    """Write the errors as Markdown."""
    lines = [
        (
            f"Mean square error of the final positions per component × 10⁻³, {N_PARTICLES}"
            f" particles, {SIZES['train']:,} systems to train on, {report['steps']:,} steps of"
            f" {report['batch']} for every run; mean ± standard deviation over seeds. Straight on:"
            f" {1e3 * report['linear_test_mse']:.3g}. {json.dumps(report['machine'])}"
        ),
        "",
        "| EGNN | seeds | test | validation | parameters | ms/step (processor) |",
        "|---" * 6 + "|",
    ]
    for name, shown in (
        ("base", "base"),
        ("moving", "+ moving points"),
        ("frozen", "+ points, frozen"),
    ):
        if rows := [row for row in report["rows"] if row["model"] == name]:
            cells = [
                _mean([1e3 * row[key] for row in rows]) for key in ("test_mse", "validation_mse")
            ]
            cost = np.mean([row["processor_ms_per_step"] for row in rows])
            lines.append(
                f"| {shown} | {len(rows)} | {cells[0]} | {cells[1]} | {rows[0]['n_parameters']:,} |"
                f" {cost:.3g} |"
            )
    return "\n".join(lines) + "\n"


def _mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3g}" + (
        f" ± {np.std(values, ddof=1):.2g}" if len(values) > 1 else ""
    )


if __name__ == "__main__":
    main()
