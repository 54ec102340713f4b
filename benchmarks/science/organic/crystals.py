"""Part on crystals: volumes of relaxed cells against experiment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.build import make_supercell
from ase.neighborlist import neighbor_list
from ase.spacegroup import crystal

from benchmarks.science.organic.contestants import Contestant
from benchmarks.science.organic.settings import Missing, Settings
from md_runs.surfaces.relax import relax

FMAX, MOST_STEPS = 0.02, 300  # eV/Å
OH, OO = 0.985, 3.0  # Å: of a bond of ice, and shorter than any second neighbour


class Crystal(NamedTuple):
    """A crystal as it was measured."""

    spacegroup: tuple[int, int]  # number and setting
    cell: tuple[float, ...]  # Å and degrees
    symbols: str
    fractions: Sequence[tuple[float, float, float]]
    volume_A3: float  # of the cell, at the lowest temperature that is known
    source: str


CRYSTALS = {
    "benzene": Crystal(
        (61, 1),
        (7.39, 9.42, 6.81, 90, 90, 90),
        "CCCHHH",
        (
            (-0.0569, 0.1387, -0.0054),
            (-0.1335, 0.0460, 0.1264),
            (-0.0774, -0.0925, 0.1295),
            (-0.0976, 0.2447, -0.0177),
            (-0.2409, 0.0794, 0.2218),
            (-0.1371, -0.1631, 0.2312),
        ),
        461.8,
        "Bacon, Curry, Wilson, Proc. R. Soc. A 279, 98 (1964), 138 K; volume at 4 K: David et al., "
        "Physica B 180, 597 (1992)",
    ),
    "urea": Crystal(
        (113, 1),
        (5.565, 5.565, 4.684, 90, 90, 90),
        "CONHH",
        (
            (0, 0.5, 0.3260),
            (0, 0.5, 0.5953),
            (0.1459, 0.6459, 0.1766),
            (0.2575, 0.7575, 0.2827),
            (0.1441, 0.6441, -0.0380),
        ),
        145.1,
        "Swaminathan, Craven, McMullan, Acta Cryst. B 40, 300 (1984), 12 K",
    ),
    "glycine": Crystal(
        (14, 2),
        (5.1054, 11.9688, 5.4645, 90, 111.697, 90),
        "OONCCHHHHH",
        (
            (0.3055, 0.0942, 0.2359),
            (-0.1484, 0.1413, 0.1068),
            (0.3014, 0.0899, -0.2590),
            (0.0753, 0.1248, 0.0658),
            (0.0643, 0.1449, -0.2129),
            (0.0715, 0.2345, -0.2459),
            (-0.1342, 0.1129, -0.3534),
            (0.2868, 0.1055, -0.4509),
            (0.2953, 0.0044, -0.2277),
            (0.4913, 0.1203, -0.1253),
        ),
        310.3,
        "α, Marsh, Acta Cryst. 11, 654 (1958), hydrogens placed; cell of Jönsson, Kvick, Acta "
        "Cryst. B 28, 1827 (1972), 298 K",
    ),
    "acetic acid": Crystal(
        (33, 1),
        (13.310, 4.090, 5.769, 90, 90, 90),
        "CCHHHHOO",
        (
            (0.1651, 0.2858, 0.1709),
            (0.0894, 0.3762, 0.3481),
            (0.1820, 0.0510, -0.1160),
            (0.1280, 0.5100, 0.4910),
            (0.0330, 0.5400, 0.2790),
            (0.0530, 0.1680, 0.4210),
            (0.1287, 0.1075, 0.0000),
            (0.2529, 0.3703, 0.1769),
        ),
        297.3,
        "Nahringbauer, Acta Chem. Scand. 24, 453 (1970), 278 K; volume at 40 K: Boese et al., "
        "Angew. Chem. Int. Ed. 38, 988 (1999)",
    ),
}
ICE = "ice Ih"
ICE_CELL, ICE_Z = (4.497, 7.321), 0.0622  # Å at 10 K: Röttger et al., Acta Cryst. B 50, 644 (1994)


def crystals(contestant: Contestant, settings: Settings) -> dict[str, Any]:
    """Relax cells and atoms of five crystals: volume less that of experiment, in percent."""
    if not contestant.path:
        raise Missing(f"{contestant.name} knows no crystals here")
    folder = settings.store / f"crystals-{contestant.identity[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, float] = {}
    open_ended = []
    for name, (atoms, volume) in structures().items():
        path = folder / f"{name.replace(' ', '-')}.json"
        if not path.is_file():
            path.write_text(json.dumps(_relaxed(contestant, atoms)))
        relaxed = json.loads(path.read_text())
        found[name] = 100 * (relaxed["volume_A3"] / volume - 1)
        open_ended += [] if relaxed["converged"] else [name]
    return {
        "volume_off_percent": found,
        "not_converged": open_ended,
        "worst_percent": max(map(abs, found.values())),
    }


def structures() -> dict[str, tuple[Atoms, float]]:
    """Build each crystal, with the volume of its cell in Å^3 by experiment."""
    built = {
        name: (
            crystal(
                list(c.symbols),
                c.fractions,
                spacegroup=c.spacegroup[0],
                setting=c.spacegroup[1],
                cellpar=c.cell,
            ),
            c.volume_A3,
        )
        for name, c in CRYSTALS.items()
    }
    ice = _ice()
    return built | {ICE: (ice, ice.get_volume())}


def _relaxed(contestant: Contestant, atoms: Atoms) -> dict[str, Any]:
    moving = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    moving.info = {"charge": 0, "multiplicity": 1}
    moving.calc = contestant.calculator(moving)
    try:
        result = relax(moving, fmax_eV_per_A=FMAX, steps=MOST_STEPS, cell=True, saddles="ignore")
    except Exception as error:  # whatever is said of a cell that falls apart
        return {"converged": False, "volume_A3": moving.get_volume(), "why": str(error)}
    return {"converged": bool(result.converged), "volume_A3": moving.get_volume()}


def _ice() -> Atoms:
    """Build 8 molecules of ice Ih, protons ordered by the ice rules and without a dipole."""
    a, c = ICE_CELL
    hexagonal = crystal(
        "O", [(1 / 3, 2 / 3, ICE_Z)], spacegroup=194, cellpar=(a, a, c, 90, 90, 120)
    )
    oxygens = make_supercell(hexagonal, [[1, 0, 0], [1, 2, 0], [0, 0, 1]])
    first, second, vectors = _bonds(oxygens)
    ways = np.array(list(product((0, 1), repeat=len(first))))  # (ways, bonds)
    given = np.eye(len(oxygens), dtype=int)[np.where(ways, second, first)].sum(1)
    ways = ways[np.all(given == 2, axis=1)]
    dipoles = np.linalg.norm((1 - 2 * ways) @ vectors, axis=1)
    way = ways[np.argmin(dipoles.round(6))]
    donors, outward = np.where(way, second, first), (1 - 2 * way)[:, None] * vectors
    along = outward / np.linalg.norm(outward, axis=1, keepdims=True)
    hydrogens = oxygens.positions[donors] + OH * along
    return oxygens + Atoms(f"H{len(hydrogens)}", hydrogens)


def _bonds(oxygens: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List each hydrogen bond once: both oxygens, and the way (B, 3) Å between them."""
    i, j, vectors = neighbor_list("ijD", oxygens, OO)
    once = (vectors.round(3) @ [1e6, 1e3, 1]) > 0  # of both ways
    return i[once], j[once], vectors[once]
