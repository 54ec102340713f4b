"""The boundary of the compiled modules: malformed arguments end in an error that names them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import molecule
from torch import Tensor

from polcalc.engines.native.engine import NativeEngine
from polcalc.engines.native.export import export, named_weights
from potentials.checkpoint import load
from potentials.ops import kernels
from potentials.potential import predict
from potentials.structure.graph import from_ase
from tests.engines.test_native import native, potential

REPOSITORY = Path(__file__).parents[2]

pytest.importorskip("potentials.ops._kernels", exc_type=ImportError)


@pytest.mark.parametrize("cases", [250, pytest.param(1000, marks=pytest.mark.slow)])
def test_no_malformed_input_ends_the_process(cases: int) -> None:
    """In a process of its own, which a crash would end."""
    command = [sys.executable, "-m", "benchmarks.physics.malformed", "--cases", str(cases)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for ends in json.loads(done.stdout).values():
        assert sum(ends.values()) == cases
        assert ends["answered"] > cases / 10 and ends["ValueError"] > cases / 10


def convolution(
    idx_i: Tensor,
    idx_j: Tensor,
    n_points: int = 3,
    channels: int = 4,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    envelope, filters, values = (
        torch.rand(shape, generator=rng, dtype=torch.float64).to(dtype)
        for shape in [(len(idx_i),), (len(idx_i), 3, 4), (9, n_points, channels)]
    )
    return kernels.convolve(envelope, filters, values, idx_i, idx_j)


def test_indices_of_any_stride_and_width_give_the_same_numbers() -> None:
    idx_i, idx_j = torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2])
    right = convolution(idx_i, idx_j)
    spread = torch.stack([idx_i, idx_j], 1)
    assert not spread[:, 0].is_contiguous()
    assert torch.equal(convolution(spread[:, 0], spread[:, 1]), right)
    for dtype in (torch.int32, torch.int16, torch.uint8):
        assert torch.equal(convolution(idx_i.to(dtype), idx_j.to(dtype)), right)


@pytest.mark.parametrize("bad", [-1, 5, 1 << 40])
def test_indices_out_of_range_are_refused(bad: int) -> None:
    idx_i, idx_j = torch.tensor([0, 0, bad]), torch.tensor([1, 2, 2])
    with pytest.raises(ValueError, match=f"`idx_i` must be from 0 to 2; got {bad}"):
        convolution(idx_i, idx_j)
    with pytest.raises(ValueError, match=f"`first` must be from 0 to 4; got {bad}"):
        kernels.interpolate(torch.tensor([bad]), torch.ones(1, 8), torch.ones(12, 2))


def test_shapes_and_sorts_of_numbers_are_checked() -> None:
    idx_i, idx_j = torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2])
    with pytest.raises(ValueError, match=r"`idx_j` must be \(3\); got \(2\)"):
        convolution(idx_i, idx_j[:2])
    with pytest.raises(ValueError, match=r"`filters` must be \(3, 3, 5\); got \(3, 3, 4\)"):
        convolution(idx_i, idx_j, channels=5)
    with pytest.raises(TypeError, match=r"indices must be whole numbers; got torch.float64"):
        convolution(idx_i.double(), idx_j)


def test_an_energy_does_not_depend_on_where_indices_lie() -> None:
    model = load("ethanol-rmd17", torch.float64, torch.device("cpu")).potential
    graph = from_ase(molecule("CH3CH2OH"), cutoff=model.cutoff)
    spread = torch.stack([graph.idx_i, graph.idx_j], 1)
    moved = graph._replace(idx_i=spread[:, 0], idx_j=spread[:, 1])
    assert torch.equal(predict(model, graph).energies, predict(model, moved).energies)


GOOD = {
    "species": np.array([1, 6]),
    "kinds": np.array([1, 6]),
    "positions": np.array([[0.0, 0, 0], [1, 0, 0]]),
    "idx_i": np.array([0]),
    "idx_j": np.array([1]),
    "factors": np.ones((2, 1, 1)),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"factors": np.ones((3, 1, 1))}, r"`factors` must be \(2, atoms or 1, 16 or 1\)"),
        ({"factors": np.ones((2, 3, 1))}, r"`factors` must be \(layers, atoms or 1, channels or 1"),
        ({"factors": np.ones((2, 1, 7))}, r"`factors` must be \(2, atoms or 1, 16 or 1\)"),
        ({"factors": np.ones(2)}, "`factors` must be"),
        ({"idx_i": np.array([0.5])}, "`idx_i` must be a row of whole numbers; got float64"),
        ({"idx_j": np.array([0, 1])}, "`idx_j` must be 1 whole numbers"),
        ({"idx_j": np.array([2])}, "pair index out of range"),
        ({"idx_j": np.array([-1], dtype=np.int32)}, "pair index out of range"),
        ({"species": np.array([1, 600])}, "species row out of range"),
        ({"positions": np.zeros(6)}, r"`positions` must be \(2, 3\); got float64 of shape \(6\)"),
        ({"shifts": np.full((1, 3), np.inf)}, "`shifts` must be finite"),
        ({"molecules": np.zeros(2, dtype=int)}, "must be given with `shared_out`"),
    ],
)
def test_what_is_wrong_with_a_structure_is_said(change: dict[str, object], message: str) -> None:
    engine = NativeEngine(potential())._engine
    right = engine.evaluate(native.Structure(**GOOD), True)[0]
    with pytest.raises(ValueError, match=message):
        engine.evaluate(native.Structure(**GOOD | change), True)
    assert engine.evaluate(native.Structure(**GOOD), True)[0] == right


def test_both_sides_name_the_same_weights() -> None:
    model = potential(attention={"name": "charged"}, terms=[{"name": "readout"}, {"name": "zbl"}])
    settings, arrays = export(model, [torch.zeros(6, 2, 48)] * 3)
    settings |= {"n_intervals": 5, "cells": [], "crowding": 1.0}
    sizes = native.array_sizes(settings)
    assert {name: array.size for name, array in arrays.items()} == sizes
    assert named_weights(model).keys() < sizes.keys()
    for change, message in [
        ({"read.bias": np.zeros(3)}, "array read.bias has 3 numbers instead of 16"),
        ({"read.bios": np.zeros(3)}, "array read.bios is not known"),
    ]:
        with pytest.raises(ValueError, match=message):
            native.Engine(settings, arrays | change, True, 1)
    del arrays["read.bias"]
    with pytest.raises(ValueError, match=r"array read\.bias is missing"):
        native.Engine(settings, arrays, True, 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [("channels", 0), ("head", -3), ("cells", [1]), ("crowding", 0.0), ("n_layers", 17)],
)
def test_impossible_settings_are_refused(name: str, value: object) -> None:
    settings, _ = export(potential(), [torch.zeros(6, 2, 48)] * 3)
    settings |= {"n_intervals": 5, "cells": [], "crowding": 1.0, name: value}
    with pytest.raises(ValueError, match=f"`{name}` must"):
        native.array_sizes(settings)
