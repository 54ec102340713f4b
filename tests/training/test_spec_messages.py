"""What a configuration lacks, or has in another form, is refused in words before any work."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from potentials.build import build
from potentials.checkpoint import Card, save
from potentials.datasets import Frames
from potentials.training.config import from_dict
from potentials.training.preparation import assemble
from tests.training import toy

ARCHITECTURE = {"name": "tensornet", "channels": 8, "n_layers": 1}


def task(potential: dict[str, Any], frames: Frames | None = None, **training: Any) -> Any:
    whole = toy.config().to_dict() | {"potential": potential}
    config = from_dict(whole | {"training": whole["training"] | training})
    train = toy.waters(12) if frames is None else frames
    return assemble(config, train, train, None)


@pytest.mark.parametrize(
    ("potential", "message"),
    [
        ({"architecture": ARCHITECTURE}, "`cutoff` must be a length in Å.*got none"),
        ({"cutoff": "4.5", "architecture": ARCHITECTURE}, "`cutoff` .* got '4.5'"),
        ({"cutoff": -1.0, "architecture": ARCHITECTURE}, "`cutoff` .* got -1.0"),
        ({"cutoff": 4.5}, "`architecture` must be a table, as in .*; got none"),
        ({"cutoff": 4.5, "architecture": "tensornet"}, "`architecture` must be a table"),
        ({"cutoff": 4.5, "architecture": {"name": "tensornet"}}, "`channels` .* got none"),
        ({"cutoff": 4.5, "architecture": ARCHITECTURE | {"channels": 0}}, "`channels` .* got 0"),
        ({"cutoff": 4.5, "architecture": ARCHITECTURE | {"n_layers": "2"}}, "`n_layers` .* '2'"),
        ({"cutoff": 4.5, "architecture": {"channels": 8}}, "`architecture` must be one of"),
        (
            {"cutoff": 4.5, "architecture": ARCHITECTURE, "embeddings": ["species"]},
            "`embeddings` must be a list of tables",
        ),
        (
            {"cutoff": 4.5, "architecture": ARCHITECTURE, "terms": {"name": "readout"}},
            "`terms` must be a list of tables",
        ),
        (
            {"cutoff": 4.5, "architecture": ARCHITECTURE, "terms": [{"name": "zbl"}]},
            "`terms` must hold one that learns, such as readout; got zbl",
        ),
        (
            {"cutoff": 4.5, "architecture": ARCHITECTURE, "state_factor": ["total_charge"]},
            "`state_factor` must be a table",
        ),
        (
            {"cutoff": 4.5, "architecture": ARCHITECTURE, "radial": "bessel"},
            "`radial` must be a table",
        ),
    ],
)
def test_a_spec_of_another_form_is_refused(potential: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task(potential)


def test_labels_that_do_not_vary_are_refused() -> None:
    spec = {"cutoff": 4.5, "architecture": ARCHITECTURE}
    zero = replace(toy.waters(12), forces=np.zeros((36, 3)))
    with pytest.raises(ValueError, match="forces are all zero"):
        task(spec, zero)
    with pytest.raises(ValueError, match="energies are all the same"):
        task(spec, replace(zero, forces=None, energy=np.full(12, -2079.0)))


def test_states_that_the_potential_cannot_tell_apart_are_named() -> None:
    spec = {"cutoff": 4.5, "architecture": ARCHITECTURE}
    half = np.arange(12) % 2
    frames = replace(toy.waters(12), total_charge=half.astype(float), multiplicity=1 + half)
    (remark,) = task(spec, frames).remarks
    assert "2 states (charge/multiplicity: +0/1, +1/2) and this potential sees 1" in remark
    seeing = spec | {"state_factor": {"attributes": ["total_charge"]}}
    assert task(seeing, frames).remarks == ()
    assert task(spec, replace(frames, remarks=("read me",))).remarks[0] == "read me"


def test_a_start_says_the_architecture(tmp_path) -> None:  # type: ignore[no-untyped-def]
    spec = {"cutoff": 4.5, "architecture": ARCHITECTURE, "radial": {"name": "bessel"}}
    first = task(spec)
    save(tmp_path / "m.pt", build(first.spec), Card())
    again = task({}, start=str(tmp_path / "m.pt"))
    assert {k: v for k, v in again.spec.items() if k != "terms"} == spec
    names = [term["name"] for term in again.spec["terms"]]
    assert names == ["readout", "reference_energies"]
    narrow = task({"radial": {"name": "bessel"}}, start=str(tmp_path / "m.pt"))
    assert narrow.spec["radial"] == {"name": "bessel"}
    with pytest.raises(ValueError, match="`cutoff` must be a length"):
        task({})
