"""What every shipped model must be: small, and without walls where no label lay."""

from __future__ import annotations

import pytest
import torch

from potentials.checkpoint import load
from potentials.experts import Experts
from potentials.parts.radial import RadialFilter
from potentials.potential import Potential
from potentials.shipped import available, resolve

STEEPEST = 200.0  # 1/Å; walls that a training left at 0.7 Å had 500 to 3,400 and threw atoms apart


def parts(potential: Potential) -> dict[str, Potential]:
    if not isinstance(potential, Experts):
        return {"": potential}
    return {"shared": potential.shared, **dict(potential.experts.items())}  # type: ignore[dict-item]


@pytest.mark.parametrize("name", available())
def test_filters_have_no_walls(name: str) -> None:
    for part, potential in parts(load(name, torch.float64).potential).items():
        lengths = torch.linspace(0.5, potential.cutoff, 4001, dtype=torch.float64)
        with torch.no_grad():
            radial = potential.trunk.radial(lengths)
            filters = [
                module.network(radial)
                for module in potential.modules()
                if isinstance(module, RadialFilter)
            ]
        assert filters
        for values in filters:
            slope = float((values.diff(dim=0) / lengths.diff()[:, None]).abs().max())
            assert slope < STEEPEST, f"{name} {part}"


@pytest.mark.parametrize("name", available())
def test_a_model_file_is_small(name: str) -> None:
    assert resolve(name).stat().st_size <= 6e6
