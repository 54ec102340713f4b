"""The model file: round trip, what is refused, and that a good file is never half replaced."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
import torch
from ase.build import molecule

from potentials import checkpoint
from potentials.build import build
from potentials.checkpoint import Card, load, save
from potentials.potential import Potential, predict
from potentials.shipped import available, resolve
from potentials.structure.graph import from_ase

SPEC = {
    "cutoff": 4.0,
    "architecture": {"name": "tensornet", "channels": 8, "n_layers": 1},
    "state_factor": {
        "attributes": ["total_charge", "unpaired_electrons"],
        "strength": "per_channel",
    },
    "terms": [
        {"name": "readout", "scale": 0.7},
        {"name": "reference_energies", "energies_eV": {"H": -13.5873219, "O": -2041.8396}},
        {"name": "zbl"},
    ],
}


@pytest.fixture
def potential() -> Potential:
    torch.manual_seed(2)
    return build(SPEC).double()


def test_loaded_model_is_identical(potential: Potential, tmp_path: Path) -> None:
    card = Card(
        name="water", elements=[1, 8], states=[[0, 1, 10]], closest_distances_A={"H-O": 0.9}, seed=3
    )
    sha256 = save(tmp_path / "model.pt", potential, card)
    model = load(tmp_path / "model.pt", dtype=torch.float64)
    assert (model.card, model.sha256, model.potential.spec) == (card, sha256, SPEC)
    graph = from_ase(molecule("H2O"), 4.0, charge=1, multiplicity=2)
    before, after = predict(potential, graph), predict(model.potential, graph)
    assert torch.equal(before.energy, after.energy)
    assert torch.equal(before.forces, after.forces)


def test_reference_energies_stay_float64_in_a_float32_network(
    potential: Potential, tmp_path: Path
) -> None:
    save(tmp_path / "model.pt", potential, Card())
    loaded = load(tmp_path / "model.pt", dtype=torch.float32).potential
    assert loaded.dtype == torch.float32
    assert loaded.terms[1].table[8].item() == -2041.8396


class Harmful:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("harmed"),))


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("readme.txt", "hello")
    return buffer.getvalue()


def pickled(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a model",
        archive(),
        pickled([1, 2]),
        pickled({"weights": {}}),
        pickled({"format": Harmful()}),
    ],
    ids=["empty", "text", "zip", "list", "another dict", "code"],
)
def test_other_files_are_refused_and_nothing_runs(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(ValueError, match="polcalc model file"):
        load(tmp_path / "model.pt")
    assert not (tmp_path / "harmed").exists()


def test_newer_formats_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(
        pickled({"format": checkpoint.FORMAT + 1, "spec": {}, "weights": {}, "card": {}})
    )
    with pytest.raises(ValueError, match="Update polcalc"):
        load(tmp_path / "model.pt")


def test_older_formats_are_upgraded_one_by_one(
    potential: Potential, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "model.pt", potential, Card(name="old"))
    monkeypatch.setattr(checkpoint, "FORMAT", 3)
    upgrades = {
        1: lambda content: content | {"card": content["card"] | {"name": "two"}},
        2: lambda content: content | {"format": 3},
    }
    monkeypatch.setattr(checkpoint, "UPGRADES", upgrades)
    assert load(tmp_path / "model.pt").card.name == "two"


def test_a_failed_save_leaves_the_old_file(
    potential: Potential, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.pt"
    save(path, potential, Card(name="good"))
    monkeypatch.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save(path, potential, Card(name="bad"))
    assert load(path).card.name == "good"
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]


def test_unknown_names_list_the_shipped_models() -> None:
    with pytest.raises(
        FileNotFoundError, match=available()[0] if available() else "no shipped models"
    ):
        resolve("no-such-model")


@pytest.mark.parametrize("name", available())
def test_shipped_models_have_whole_cards_and_small_files(name: str) -> None:
    model = load(name)
    card = model.card
    assert card.name == name
    assert card.elements
    assert card.states
    assert card.command
    assert card.dataset
    assert card.test_errors["forces_mae_meV_per_A"] > 0
    assert model.path.stat().st_size < 6e6
