"""Which geometries are the same conformer.

Two are where their energies differ by less than `ALIKE_EV` and the root mean square distance of
their atoms, after the best of all superpositions that the symmetry of the molecule allows, is
below `ALIKE_A`. Hydrogens on carbon do not count for the distance; those on other atoms turn
hydrogen bonds. Of a molecule that is its own mirror image, a conformer and its reflection are one,
which then counts twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from md_runs.conformers.topology import with_positions
from md_runs.structures.smiles import is_achiral, reflected, without_carbon_hydrogens

Floats = npt.NDArray[np.float64]

ALIKE_EV = 0.005
ALIKE_A = 0.1
MOST_MATCHES = 10_000  # superpositions of like atoms that are tried at most


class Group(NamedTuple):
    """Geometries that are one conformer."""

    members: list[int]  # the lowest first
    mirror_images: int  # 2 where the reflection is another geometry of the same molecule, else 1


def distinct(
    molecule: Any, positions: Sequence[Floats], energies_eV: Sequence[float]
) -> list[Group]:
    """Sort geometries, (N, 3) Å each, into conformers; the lowest first."""
    if not positions:
        return []
    drawn = without_carbon_hydrogens(with_positions(molecule, positions))
    mirrored = reflected(drawn) if is_achiral(molecule) else None
    groups: list[Group] = []
    for number in np.argsort(energies_eV, kind="stable").tolist():
        images = [drawn] if mirrored is None else [drawn, mirrored]
        for group in reversed(groups):
            first = group.members[0]
            if energies_eV[number] - energies_eV[first] < ALIKE_EV and any(
                _apart(image, drawn, number, first) < ALIKE_A for image in images
            ):
                group.members.append(number)
                break
        else:
            twice = mirrored is not None and _apart(mirrored, drawn, number, number) > ALIKE_A
            groups.append(Group([number], 2 if twice else 1))
    return groups


def _apart(one: Any, other: Any, of_one: int, of_other: int) -> float:
    """Root mean square distance of two geometries in Å."""
    from rdkit.Chem import rdMolAlign

    if one.GetNumAtoms() < 2:
        return 0.0
    return float(rdMolAlign.GetBestRMS(one, other, of_one, of_other, maxMatches=MOST_MATCHES))
