"""The size-consistency benchmark.

Each way to say the charge, on untrained models, whose energies need no training to add up or not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.physics import size_consistency
from benchmarks.physics.size_consistency import measure, text
from potentials.build import build
from potentials.checkpoint import Card, save
from tests.training import toy


def written(path: Path, **changes: Any) -> Path:
    """An untrained model that knows the states of toy-charge-B."""
    torch.manual_seed(0)
    spec = {k: v for k, v in toy.SPEC.items() if k != "state_factor"} | changes
    states = [[-1, 1, 9], [0, 1, 9], [0, 2, 9], [1, 1, 9], [1, 2, 9]]
    save(path, build(spec), Card(name=path.stem, elements=[1, 6, 7, 8], states=states))
    return path


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(size_consistency, "PAIRS", size_consistency.PAIRS[:1])
    monkeypatch.setattr(size_consistency, "COPIES", size_consistency.COPIES[:1])
    monkeypatch.setattr(size_consistency, "N_COPIES", (2,))


def test_a_total_charge_does_not_add_up_and_fragments_do(tmp_path):
    pair, copies = measure(
        written(tmp_path / "m.pt", state_factor={"attributes": ["total_charge"]})
    )
    assert (pair["system"], copies["system"]) == ("H4N+ … H2O", "2 × H4N+")
    assert min(pair["total_charge_meV"], copies["total_charge_meV"]) > 1e-3
    assert max(pair["fragments_meV"], copies["fragments_meV"]) < 1e-6
    assert pair["partial_charges_meV"] is None


def test_partial_charges_add_up(tmp_path):
    rows = measure(written(tmp_path / "m.pt", state_factor={"attributes": ["partial_charges"]}))
    assert all(row["partial_charges_meV"] < 1e-6 and row["fragments_meV"] is None for row in rows)


def test_a_table_of_charges_refuses_a_charge_that_it_never_saw(tmp_path):
    pair, copies = measure(
        written(tmp_path / "m.pt", embeddings=[{"name": "species"}, {"name": "total_charge"}])
    )
    assert pair["total_charge_meV"] > 1e-3 and copies["total_charge_meV"] is None
    assert copies["fragments_meV"] < 1e-6


def test_what_is_shared_out_over_copies_adds_up(tmp_path):
    """Each of N equal ions gets one charge of N.

    Beside another molecule the ion has to share it.
    """
    electronic = [{"name": "species"}, {"name": "electronic", "attribute": "total_charge"}]
    pair, copies = measure(written(tmp_path / "m.pt", embeddings=electronic))
    assert pair["total_charge_meV"] > 1e-3 and copies["total_charge_meV"] < 1e-6


def test_the_table_says_what_is_rounding_and_what_is_unknown():
    row = {
        "model": "m",
        "system": "s",
        "total_charge_meV": 1234.5,
        "fragments_meV": 1e-11,
        "partial_charges_meV": None,
    }
    assert "| s | 1,234 | < 1e-06 | – |" in text({"apart_A": 30.0, "machine": {}, "rows": [row]})
