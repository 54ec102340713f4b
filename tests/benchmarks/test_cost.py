"""The cost benchmark: what it compares runs, and its table tells what is beyond the limits."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks.speed.cost import BASES, MODES, PEER, PLUGINS, spec, step, text
from potentials.build import ARCHITECTURES, build


@pytest.mark.parametrize("plugin", PLUGINS)
@pytest.mark.parametrize("architecture", BASES)
def test_every_architecture_takes_every_plug_in(architecture, plugin):
    """Small ones, in place of those that are timed."""
    if architecture == "equiformer":
        pytest.importorskip("e3nn")
    small = spec(architecture, plugin)
    small["architecture"] |= {"channels": 16, "n_layers": 2}
    build(small)


def test_every_architecture_is_measured():
    assert set(ARCHITECTURES) == set(BASES)


@pytest.mark.parametrize("mode", MODES)
def test_a_step_can_be_repeated(mode):
    call = step("tensornet", "learned encoding", 9, mode, "cpu")
    first = call()
    assert mode == "training" or torch.equal(first, call())


def test_the_table_tells_what_is_beyond_the_limits():
    case = {"architecture": "egnn", "n_atoms": 9, "mode": "training", "memory_MiB": 7.0}
    names = {"base": 10.0, "learned encoding": 10.5, "moving points, paired": 30.0}
    rows = [case | {"contestant": name, "min_ms": ms} for name, ms in names.items()]
    found = text(
        {"machine": {}, "rows": [*rows, case | {"contestant": PEER, "error": "not installed"}]}
    )
    assert (
        "| egnn | moving points, paired | 30 (3.00x), 7 MiB |" in found and "10.5 (1.05x)" in found
    )
    beyond = next(line for line in found.splitlines() if line.startswith("Beyond"))
    assert (
        "moving points, paired, 9 atoms, training" in beyond and "learned encoding, 9" not in beyond
    )
    assert "not installed" in found and json.dumps(rows)
