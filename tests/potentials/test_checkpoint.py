"""The model file: round trip, what is refused, and that a good file is never half replaced."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase.build import molecule

from potentials import checkpoint
from potentials.build import build
from potentials.checkpoint import Card, load, save
from potentials.contents import read_contents
from potentials.integrity import digest
from potentials.potential import Potential, predict
from potentials.shipped import available, resolve
from potentials.structure.graph import from_ase
from tests.damage import damage

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


@pytest.fixture
def saved(potential: Potential, tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    save(path, potential, Card(name="good", elements=[1, 8], closest_distances_A={"H-O": 0.9}))
    return path


def changed(path: Path, **entries: Any) -> Path:
    """Write a file anew with other entries; its digest is that of what was there."""
    content = torch.load(path, weights_only=True)
    torch.save(content | entries, path)
    return path


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_file_is_refused_or_holds_what_it_held(saved: Path, seed: int) -> None:
    refused_or_same(saved, range(seed * 3, seed * 3 + 3))


@pytest.mark.slow
def test_many_damaged_files_are_refused_or_hold_what_they_held(saved: Path) -> None:
    refused_or_same(saved, range(100, 600))


def refused_or_same(path: Path, seeds: range) -> None:
    data, weights = path.read_bytes(), load(path).potential.state_dict()
    for seed in seeds:
        path.write_bytes(damage(data, np.random.default_rng(seed)))
        try:
            model = load(path)
        except ValueError:
            continue
        found = model.potential.state_dict()
        assert all(torch.equal(found[name], weights[name]) for name in weights)
        assert model.card.name == "good"


def test_changed_weights_do_not_fit_the_digest(saved: Path) -> None:
    content = torch.load(saved, weights_only=True)
    weights = {name: weight.clone() for name, weight in content["weights"].items()}
    next(iter(weights.values())).view(-1)[0] += 1e-3
    with pytest.raises(ValueError, match="damaged after it was written"):
        load(changed(saved, weights=weights))
    content.pop("digest")
    torch.save(content, saved)  # as an older version wrote it
    assert not load(saved).has_digest


def test_weights_that_are_not_finite_are_refused(saved: Path) -> None:
    content = torch.load(saved, weights_only=True)
    name, weight = next(iter(content["weights"].items()))
    with pytest.raises(ValueError, match="must be finite"):
        load(changed(saved, weights=content["weights"] | {name: weight * float("nan")}))


@pytest.mark.parametrize("entry", Card().to_dict())
def test_entries_of_a_card_must_be_of_their_kind(entry: str) -> None:
    for value in (1.5, [[]], {"x": [object]}, float("nan"), "[/red]", [None]):
        try:
            card = Card.from_dict(Card().to_dict() | {entry: value})
        except ValueError:
            continue
        assert isinstance(getattr(card, entry), str | float | int | dict | None)
    if entry not in ("seed", "force_max_eV_per_A", "n_atoms_max", "periodic"):
        with pytest.raises(ValueError, match=entry):
            Card.from_dict(Card().to_dict() | {entry: None})


@pytest.mark.parametrize(
    "spec",
    [
        None,
        [],
        {},
        SPEC | {"cutoff": "far"},
        SPEC | {"terms": 3},
        SPEC | {"architecture": "tensornet"},
        SPEC | {"architecture": {"name": "tensornet", "channels": 10**6, "n_layers": 1}},
        SPEC | {"architecture": {"name": "tensornet", "channels": 16, "n_layers": 1}},
    ],
)
def test_specs_that_do_not_fit_get_one_line(saved: Path, spec: Any) -> None:
    content = torch.load(saved, weights_only=True) | {"spec": spec}
    content["digest"] = digest(content)
    torch.save(content, saved)
    with pytest.raises(ValueError, match="does not hold one") as refused:
        load(saved)
    assert len(str(refused.value).splitlines()) == 1


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


def test_a_file_tells_without_torch_what_it_tells_with_it(tmp_path: Path) -> None:
    """Spec, card, number of parameters and digest, also of a model with experts."""
    for name in available():
        contents, model = read_contents(name), load(name)
        assert (contents.spec, contents.card) == (model.potential.spec, model.card)
        assert contents.n_parameters == sum(p.numel() for p in model.potential.parameters())
        assert contents.has_digest == model.has_digest and contents.sha256 == model.sha256
    spec = SPEC | {"terms": [{"name": "charges"}, {"name": "dipole"}, {"name": "coulomb"}]}
    potential = build(spec)  # whose terms have weights and widths of their own
    save(tmp_path / "m.pt", potential, Card(name="m"))
    contents = read_contents(tmp_path / "m.pt")
    assert contents.has_digest
    assert contents.n_parameters == sum(p.numel() for p in potential.parameters())
    content = torch.load(tmp_path / "m.pt", weights_only=True)
    torch.save(content | {"card": content["card"] | {"name": "another"}}, tmp_path / "false.pt")
    with pytest.raises(ValueError, match="damaged"):
        read_contents(tmp_path / "false.pt")


def test_reading_contents_runs_no_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):
            return exec, ("raise SystemExit('code ran')",)

    torch.save({"format": 1, "spec": Trap(), "weights": {}, "card": {}}, tmp_path / "trap.pt")
    with pytest.raises(ValueError, match="cannot be read"):
        read_contents(tmp_path / "trap.pt")
