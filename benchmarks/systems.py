"""The structures that every speed benchmark uses.

One molecule, clusters of ethanol, and liquid ethanol.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import molecule

LIQUID_DENSITY_G_PER_CM3 = 0.789  # ethanol at 293 K
AMU_PER_A3_IN_G_PER_CM3 = 1.66053907
SPACING_A = 5.2  # between the molecules of a cluster

ASPIRIN = (
    "CCCCCCCOOOCCOHHHHHHHH",
    [
        [2.2393, -0.3791, 0.2630],
        [0.8424, 1.9231, -0.4249],
        [2.8709, 0.8456, 0.2722],
        [2.1751, 2.0200, -0.0580],
        [0.8838, -0.4651, -0.0990],
        [0.1740, 0.7150, -0.4520],
        [0.2350, -1.8060, -0.1020],
        [-1.1860, 0.7390, -0.7860],
        [-0.9410, -2.0050, -0.4200],
        [1.0370, -2.8230, 0.2780],
        [-3.4580, 0.9760, -0.0330],
        [-2.0430, 0.6740, 0.2750],
        [-1.6340, 0.3930, 1.3830],
        [2.7760, -1.2830, 0.5330],
        [0.3030, 2.8330, -0.6950],
        [3.9190, 0.8910, 0.5530],
        [2.6690, 2.9860, -0.0390],
        [0.5150, -3.6500, 0.2340],
        [-4.0620, 0.8240, 0.8630],
        [-3.8120, 0.3320, -0.8420],
        [-3.5640, 2.0160, -0.3520],
    ],
)

HORDENINE = (
    "CNCCCCCCCOCCHHHHHHHHHHHHHHH",
    [
        [-3.8228, 1.3050, 0.5762],
        [-3.3002, -0.0303, 0.3759],
        [-4.1660, -0.7937, -0.4989],
        [-1.9322, -0.0187, -0.1130],
        [-0.9291, 0.3925, 0.9736],
        [0.4717, 0.1641, 0.4846],
        [1.1252, -1.0406, 0.7162],
        [2.3981, -1.2673, 0.2327],
        [3.0458, -0.2828, -0.5063],
        [4.3010, -0.5401, -0.9702],
        [2.4014, 0.9233, -0.7481],
        [1.1276, 1.1383, -0.2549],
        [-3.2182, 1.8293, 1.3127],
        [-4.8402, 1.2351, 0.9582],
        [-3.8385, 1.8966, -0.3542],
        [-4.2350, -0.3651, -1.5120],
        [-5.1663, -0.8266, -0.0688],
        [-3.7893, -1.8125, -0.5780],
        [-1.8154, 0.6435, -0.9904],
        [-1.6847, -1.0352, -0.4304],
        [-1.1275, -0.2055, 1.8638],
        [-1.0602, 1.4454, 1.2256],
        [0.6296, -1.8121, 1.2874],
        [2.9099, -2.1985, 0.4169],
        [4.6286, 0.2236, -1.4601],
        [2.9000, 1.6947, -1.3214],
        [0.6387, 2.0824, -0.4485],
    ],
)  # relaxed with GFN2-xTB


def ethanol() -> Atoms:
    """Return one ethanol molecule, 9 atoms."""
    return molecule("CH3CH2OH")


def aspirin() -> Atoms:
    """Return one aspirin molecule, 21 atoms."""
    return Atoms(*ASPIRIN)


def hordenine() -> Atoms:
    """Return one molecule of 27 atoms, 12 of them heavy."""
    return Atoms(*HORDENINE)


def cluster(n_molecules: int, seed: int = 0) -> Atoms:
    """Return ethanol molecules on a grid, each turned at random; open boundaries."""
    return _grid(n_molecules, SPACING_A, seed)


def liquid(n_molecules: int, seed: int = 0) -> Atoms:
    """Return periodic ethanol at the density of the liquid."""
    mass = ethanol().get_masses().sum()
    edge = (n_molecules * mass * AMU_PER_A3_IN_G_PER_CM3 / LIQUID_DENSITY_G_PER_CM3) ** (1 / 3)
    cells = int(np.ceil(n_molecules ** (1 / 3)))
    atoms = _grid(n_molecules, edge / cells, seed)
    atoms.set_cell([edge] * 3)
    atoms.pbc = True
    return atoms


def _grid(n_molecules: int, spacing: float, seed: int) -> Atoms:
    rng = np.random.default_rng(seed)
    cells = int(np.ceil(n_molecules ** (1 / 3)))
    places = [np.array(place) for place in np.ndindex(cells, cells, cells)][:n_molecules]
    atoms = Atoms()
    for place in places:
        one = ethanol()
        one.positions -= one.get_center_of_mass()
        one.euler_rotate(*(360 * rng.random(3)), center=(0, 0, 0))
        one.positions += spacing * place
        atoms += one
    atoms.positions += 0.03 * rng.normal(size=atoms.positions.shape)
    return atoms


SYSTEMS = {
    "ethanol, 9 atoms": ethanol,
    "aspirin, 21 atoms": aspirin,
    "11 ethanols, 99 atoms": lambda: cluster(11),
    "56 ethanols, 504 atoms": lambda: cluster(56),
    "liquid ethanol, 504 atoms": lambda: liquid(56),
}


def untrained(path: Path, channels: int = 128) -> Path:
    """Save a TensorNet with random weights, 2 layers, 4.5 Å: as fast as a trained one."""
    import torch

    from potentials.build import build
    from potentials.checkpoint import Card, save

    torch.manual_seed(1)
    architecture = {"name": "tensornet", "channels": channels, "n_layers": 2}
    save(path, build({"cutoff": 4.5, "architecture": architecture}), Card(name="untrained"))
    return path
