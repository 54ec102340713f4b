"""Heads for properties: closed forms with given charges, symmetry, growth with the molecule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from torch import Tensor, nn
from torch.testing import assert_close

from potentials.build import build
from potentials.potential import Potential, predict
from potentials.quantities import DEBYE
from potentials.structure.graph import collate, from_ase
from potentials.terms.base import Features
from potentials.terms.properties import (
    BOHR,
    DipoleMoment,
    MeanReadout,
    SpatialExtent,
    SumReadout,
)


class Given(nn.Module):
    """Numbers of the atoms in the place of a network's."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = torch.tensor(values, dtype=torch.float64)[:, None]

    def forward(self, scalars: Tensor) -> Tensor:
        return self.values


def answer(head: Any, values: list[float], atoms: Atoms, charge: float = 0) -> float:
    head.network = Given(values)
    graph = from_ase(atoms, 4.0, charge=charge)
    features = Features(
        *[torch.zeros(0, 3)] * 2, torch.zeros(len(atoms), 4), *[lambda weights: weights] * 2
    )
    (found,) = head(graph, features, {}).values()
    assert found.shape == (1,) and found.dtype == torch.float64
    return float(found)


def model(head: str, **arguments: Any) -> Potential:
    torch.manual_seed(0)
    spec = {
        "cutoff": 4.0,
        "architecture": {"name": "schnet", "channels": 8, "n_layers": 2},
        "terms": [{"name": head, **arguments}],
    }
    return build(spec).double()


def test_a_mean() -> None:
    water = molecule("H2O")
    assert answer(MeanReadout(4, scale=2.0, shift=5.0), [1.0, 2.0, 6.0], water) == pytest.approx(
        5 + 2 * 3
    )


def test_a_sum() -> None:
    head = SumReadout(4, "heat_capacity", scale=2.0, shift=5.0)
    assert answer(head, [1.0, 2.0, 6.0], molecule("H2O")) == pytest.approx(3 * 5 + 2 * 9)


def test_a_quantity_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match="`quantity` must be one of energy, dipole_moment"):
        MeanReadout(4, "forces")


def test_a_dipole_of_two_charges() -> None:
    """±q at a distance d: q d; what is not neutral is shared before."""
    pair = Atoms("HF", [[0, 0, 0], [0, 0, 1.5]])
    assert answer(DipoleMoment(4), [0.4, -0.4], pair) == pytest.approx(0.4 * 1.5 / DEBYE)
    assert answer(DipoleMoment(4), [1.4, 0.6], pair) == pytest.approx(0.4 * 1.5 / DEBYE)
    assert answer(DipoleMoment(4), [0.3, 0.3], pair) == 0.0
    assert pytest.approx(4.803204, rel=1e-6) == 1 / DEBYE  # D of one e Å


def test_the_dipole_of_an_ion_is_about_its_centre_of_mass() -> None:
    pair = Atoms("HF", [[0, 0, 0], [0, 0, 1.5]])
    mass = pair.get_masses()
    expected = abs(1.0 * (0 - 1.5 * mass[1] / mass.sum()))
    assert answer(DipoleMoment(4), [1.0, 0.0], pair, charge=1) == pytest.approx(expected / DEBYE)


def test_a_spatial_extent() -> None:
    pair = Atoms("H2", [[0, 0, -0.5], [0, 0, 0.5]])
    assert answer(SpatialExtent(4), [2.0, 4.0], pair) == pytest.approx((2 + 4) * 0.25 / BOHR**2)


PROPERTIES = {
    "mean_readout": "orbital_energy",
    "dipole_moment": "dipole_moment",
    "spatial_extent": "spatial_extent",
}


@pytest.mark.parametrize("head", PROPERTIES)
def test_invariance_and_batches(head: str) -> None:
    potential, one, other = model(head), molecule("CH3CH2OH"), molecule("NH3")
    turned = one.copy()
    turned.rotate(50, (1, 2, 3))
    turned.translate((3, -7, 2))
    turned.positions *= [-1, 1, 1]
    graphs = [from_ase(atoms, 4.0) for atoms in (one, turned, other)]
    single = [float(getattr(predict(potential, g), PROPERTIES[head])) for g in graphs]
    assert single[1] == pytest.approx(single[0], rel=1e-10)
    assert_close(
        getattr(predict(potential, collate(graphs)), PROPERTIES[head]),
        torch.tensor(single, dtype=torch.float64),
    )
    assert abs(single[0] - single[2]) > 1e-6


def test_what_grows_with_the_molecule() -> None:
    """Two copies far apart: a mean stays, the spatial extent does not."""
    one = molecule("H2O")
    copy = one.copy()
    copy.translate((50, 0, 0))
    graphs = [from_ase(atoms, 4.0) for atoms in (one, one + copy)]
    mean = [float(predict(model("mean_readout"), g).orbital_energy) for g in graphs]
    assert mean[1] == pytest.approx(mean[0])
    extent = [float(predict(model("spatial_extent"), g).spatial_extent) for g in graphs]
    assert abs(extent[1]) > 10 * abs(extent[0])


def test_a_dipole_of_zero_can_be_trained() -> None:
    """No gradient of NaN where the charges cancel by symmetry."""
    potential = model("dipole_moment")
    graph = from_ase(molecule("CH4"), 4.0)
    energy = potential(graph).dipole_moment.sum()
    energy.backward()
    assert float(energy.detach()) == pytest.approx(0, abs=1e-8)
    assert all(
        np.isfinite(p.grad.numpy()).all() for p in potential.parameters() if p.grad is not None
    )
