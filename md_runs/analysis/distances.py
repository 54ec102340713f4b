"""Distances between atoms: distributions in a molecule, radial distributions in a periodic cell.

The latter need MDAnalysis, an optional dependency: ``pip install "polcalc[analysis]"``.
"""

from __future__ import annotations

from importlib.util import find_spec
from itertools import combinations_with_replacement

import numpy as np
import numpy.typing as npt
from ase.cell import Cell

from md_runs.analysis.series import Curve, Floats, blocks_of, curve_over_blocks, over_blocks

Pairs = list[tuple[str, npt.NDArray[np.int64], npt.NDArray[np.int64]]]

MISSING = 'Radial distribution functions need MDAnalysis: pip install "polcalc[analysis]"'


def has_mdanalysis() -> bool:
    """Whether radial distribution functions can be had."""
    return find_spec("MDAnalysis") is not None


def element_pairs(symbols: list[str]) -> Pairs:
    """List the pairs of elements and the atoms of each.

    Name, atoms of the first, atoms of the second.
    """
    where = {
        element: np.nonzero(np.array(symbols) == element)[0] for element in sorted(set(symbols))
    }
    return [
        (f"{a}–{b}", where[a], where[b])
        for a, b in combinations_with_replacement(where, 2)
        if a != b or len(where[a]) > 1
    ]


def pair_distances(positions: Floats) -> Floats:
    """All distances in open space: (F, N (N - 1) / 2) Å, in the order of `numpy.triu_indices`."""
    i, j = np.triu_indices(positions.shape[1], 1)
    return np.asarray(np.linalg.norm(positions[:, j] - positions[:, i], axis=-1))


def distance_distribution(distances: Floats, edges: Floats) -> Curve:
    """Distribution h(r) of all distances of all frames, in 1/Å, whose integral is 1.

    Source: Fu et al., arXiv 2210.07237, sec. 4: h(r) = 1 / (N (N - 1)) sum over i, j ≠ i of δ(r -
    |r_i - r_j|).
    """
    centres = (edges[1:] + edges[:-1]) / 2
    return curve_over_blocks(
        centres, len(distances), lambda block: histogram(distances[block], edges)
    )


def histogram(values: npt.ArrayLike, edges: Floats) -> Floats:
    """Probability density over bins, also of values beyond them; NaN is left out."""
    flat = np.asarray(values, dtype=np.float64).ravel()
    flat = flat[np.isfinite(flat)]
    return np.asarray(np.histogram(flat, edges)[0] / (max(len(flat), 1) * np.diff(edges)))


def largest_radius(cells: Floats) -> float:
    """Half of the smallest distance between opposite faces of any cell.

    Beyond it, an atom meets its own images, in Å.
    """
    volumes = np.abs(np.linalg.det(cells))
    faces = np.linalg.norm(np.cross(np.roll(cells, -1, axis=1), np.roll(cells, -2, axis=1)), axis=2)
    return float((volumes[:, None] / faces).min() / 2)


def radial_distributions(
    positions: Floats,
    cells: Floats,
    symbols: list[str],
    molecules: npt.NDArray[np.int64],
    radius: float,
    n_bins: int,
) -> dict[str, Curve]:
    """Compute g(r) of every pair of elements, without pairs inside one molecule, with block errors.

    Parameters
    ----------
    positions : (F, N, 3)   Å
    cells : (F, 3, 3)       Å
    molecules : (N,)        number of the molecule of each atom
    radius : float          Å, at most `largest_radius`
    """
    import MDAnalysis
    from MDAnalysis.analysis.rdf import InterRDF

    several = len(set(molecules.tolist())) > 1
    turned, boxes = _standard(positions, cells)
    residues = molecules if several else np.zeros(len(symbols), dtype=np.int64)
    universe = MDAnalysis.Universe.empty(
        len(symbols), int(residues.max()) + 1, atom_resindex=residues, trajectory=True
    )
    universe.load_new(turned.astype(np.float32), order="fac", dimensions=boxes.astype(np.float32))
    blocks = blocks_of(len(positions)) or [slice(0, len(positions))]
    curves = {}
    for name, first, second in element_pairs(symbols):
        same = (
            residues[first][:, None] == residues[second][None]
            if several
            else first[:, None] == second[None]
        )
        # MDAnalysis divides by all pairs, also those left out
        counted = len(first) * len(second) / max(1, (~same).sum())
        rdf = InterRDF(
            universe.atoms[first],
            universe.atoms[second],
            nbins=n_bins,
            range=(1e-3, radius),
            exclude_same="residue" if several else None,
        )
        values = np.array(
            [rdf.run(block.start, block.stop).results.rdf * counted for block in blocks]
        )
        curves[name] = Curve(rdf.results.bins.copy(), *over_blocks(values))
    return curves


def _standard(positions: Floats, cells: Floats) -> tuple[Floats, Floats]:
    """Turn frames as MDAnalysis has them: first lattice vector along x, second in the xy plane.

    Boxes are (F, 6).
    """
    turned, boxes = np.empty_like(positions), np.empty((len(cells), 6))
    for n, matrix in enumerate(cells):
        boxes[n] = Cell(matrix).cellpar()
        turned[n] = Cell(matrix).scaled_positions(positions[n]) @ Cell.fromcellpar(boxes[n]).array
    return turned, boxes
