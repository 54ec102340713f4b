"""Similarity of encodings: closed forms, and the command on models of other seed or task."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from md_runs.cli.app import app
from md_runs.errors import InputError
from md_runs.models.encodings import unique_names
from md_runs.models.similarity import compare, encodings_of, gram, linear_cka
from potentials.build import build
from potentials.checkpoint import Card, save

LEARNED: dict[str, Any] = {
    "cutoff": 4.0,
    "architecture": {"name": "schnet", "channels": 4, "n_layers": 1},
    "radial": {"name": "learned", "n_radial": 6, "base": "gaussian", "n_intervals": 16},
}
ANGLES: dict[str, Any] = {
    "cutoff": 4.0,
    "architecture": {"name": "dimenetpp", "channels": 4, "n_layers": 1},
    "radial": {"name": "learned", "n_radial": 4, "base": "bessel", "n_intervals": 16},
    "angular": {
        "name": "learned",
        "n_angular": 3,
        "n_spherical": 2,
        "n_intervals": 8,
        "n_distance_intervals": 16,
    },
}
GRIDS = {
    name: np.linspace(low, high, 60)
    for name, low, high in (("distance", 0.8, 4), ("angle", -1, 1), ("angular distance", 0.8, 4))
}


def table(seed: int, n: int = 400, r: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, r))


def trained(spec: dict[str, Any], seed: int, size: float = 0.1, common: int | None = None) -> Any:
    """A potential whose tables were changed at random.

    By a change of its own and, if asked for, one that it shares with others.
    """
    potential = build(spec)
    with torch.no_grad():
        for name, parameter in potential.named_parameters():
            if name.endswith(".table"):
                for part in [s for s in (seed, common) if s is not None]:
                    generator = torch.Generator().manual_seed(part)
                    parameter.add_(
                        size
                        * (1 if part == seed else 5)
                        * torch.randn(parameter.shape, generator=generator)
                    )
    return potential


def write_model(
    path: Path, potential: Any, data: str, seed: int, closest: dict[str, float] | None = None
) -> Path:
    save(
        path,
        potential,
        Card(name=path.stem, dataset={"name": data}, seed=seed, closest_distances_A=closest or {}),
    )
    return path


def polcalc(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_table_is_like_itself_rotated_moved_and_scaled() -> None:
    x = table(0)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))[0]
    assert linear_cka(x, x) == pytest.approx(1)
    assert linear_cka(x, 3.0 * x @ rotation + 5.0) == pytest.approx(1)
    wider = np.hstack([x, np.zeros((400, 5))])
    assert linear_cka(x, wider) == pytest.approx(1)


def test_independent_noise_is_unlike() -> None:
    """Of n samples of R and R' independent columns, about √(R R')/n, by E ‖YᵀX‖² = n R R'."""
    values = [linear_cka(table(2 * k), table(2 * k + 1)) for k in range(20)]
    assert np.mean(values) == pytest.approx(8 / 400, rel=0.3)


def test_a_closed_form() -> None:
    """Two centred orthogonal columns against one of them: ‖XᵀY‖² / (‖XᵀX‖ ‖YᵀY‖) = 1/√2.

    A linear map is seen, a rotation not.
    """
    x = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert linear_cka(x, x[:, :1]) == pytest.approx(1 / np.sqrt(2))
    assert linear_cka(x, x * [1, 3]) == pytest.approx((1 + 9) / (np.sqrt(2) * np.sqrt(1 + 81)))
    assert linear_cka(x, x[:, :1] * x[:, 1:]) == pytest.approx(0)
    assert np.isnan(linear_cka(x, np.ones((4, 2))))


def test_gram_matrices() -> None:
    """Of a circle: the cosine of the angle between two places on it."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    assert np.allclose(gram(3 * circle + 7), np.cos(angle[:, None] - angle))


def test_an_untrained_model_has_not_moved() -> None:
    (found,) = encodings_of("a", build(LEARNED).double(), GRIDS)
    assert found.learned and found.moved == pytest.approx(0, abs=1e-12)
    assert linear_cka(found.values, found.start) == pytest.approx(1)
    assert found.roughness is not None and found.roughness > 0


def test_tables_of_every_kind() -> None:
    found = encodings_of("a", trained(ANGLES, 1).double(), GRIDS)
    assert [(e.kind, e.learned, e.values.shape) for e in found] == [
        ("distance", True, (60, 4)),
        ("angle", True, (60, 3)),
        ("angular distance", True, (60, 6)),
    ]
    fixed = encodings_of(
        "b",
        build(
            ANGLES | {"angular": {"name": "spherical_bessel", "n_angular": 3, "n_spherical": 2}}
        ).double(),
        GRIDS,
    )
    assert [(e.learned, e.roughness is None) for e in fixed] == [
        (True, False),
        (False, True),
        (False, True),
    ]
    assert all(e.moved > 0.01 for e in found) and all(e.moved < 1e-12 for e in fixed)


def test_ceiling_tasks_and_floor() -> None:
    """Seeds of a task share a change; two tasks share nothing but where they started."""
    made = {"a0": (0, 100), "a1": (1, 100), "b0": (2, 200)}
    encodings = [
        encodings_of(name, trained(LEARNED, s, 0.05, c).double(), GRIDS)[0]
        for name, (s, c) in made.items()
    ]
    found = compare(
        encodings, {("a0", "a1"): "seeds", ("a0", "b0"): "tasks", ("a1", "b0"): "tasks"}
    )
    seeds, tasks = found["seed_to_seed"], found["task_to_task"]
    assert (seeds["n_pairs"], tasks["n_pairs"], found["untrained"]["n_pairs"]) == (1, 2, 3)
    assert seeds["of_change"] > 0.8 and tasks["of_change"] < 0.5
    assert seeds["mean"] > tasks["mean"]
    assert np.allclose(np.diag(found["similarity"]), 1)
    assert seeds["mean"] == pytest.approx(linear_cka(encodings[0].values, encodings[1].values))


def test_the_command(tmp_path: Path) -> None:
    models = [
        write_model(
            tmp_path / "a0.pt", trained(ANGLES, 0, common=100), "rmd17:ethanol", 0, {"C-H": 0.9}
        ),
        write_model(tmp_path / "a1.pt", trained(ANGLES, 1, common=100), "rmd17:ethanol", 1),
        write_model(
            tmp_path / "b0.pt", trained(ANGLES, 2, common=200), "rmd17:uracil", 0, {"C-H": 1.0}
        ),
        write_model(
            tmp_path / "fixed.pt",
            build(LEARNED | {"radial": {"name": "gaussian", "n_radial": 5}}),
            "rmd17:uracil",
            0,
        ),
    ]
    done = polcalc("encodings", *models, "--output", tmp_path / "out")
    assert done.exit_code == 0, done.output
    names = {path.name for path in (tmp_path / "out").iterdir()}
    kinds = ("distance", "angle", "angular-distance")
    figures = {
        f"{figure}-{kind}.png" for figure in ("tables", "gram", "similarity") for kind in kinds
    }
    assert names == {"manifest.json", "encodings.json", "similarity.csv"} | figures
    report = json.loads((tmp_path / "out" / "encodings.json").read_text())
    distance, angle = report["tables"]["distance"], report["tables"]["angle"]
    assert distance["models"] == ["a0", "a1", "b0", "fixed"] and angle["models"] == [
        "a0",
        "a1",
        "b0",
    ]
    assert (
        distance["learned"] == [True, True, True, False]
        and distance["similarity_of_change"][3] == [None] * 4
    )
    assert angle["seed_to_seed"]["n_pairs"] == 1 and angle["task_to_task"]["n_pairs"] == 2
    assert (
        json.loads((tmp_path / "out" / "manifest.json").read_text())["options"]["from_A"] == 1.0
    )  # the larger of what the cards tell
    rows = list(csv.DictReader((tmp_path / "out" / "similarity.csv").read_text().splitlines()))
    assert len([row for row in rows if row["table"] == "distance"]) == 4 + 6
    assert {row["model"] for row in rows if row["table"] == "angle"} == {"a0", "a1", "b0"}
    assert "ceiling" in done.output and "floor" in done.output


def test_what_is_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path / "a.pt", build(LEARNED), "x", 0)
    for words, message in (
        ([model, model], "once each"),
        ([tmp_path / "none.pt"], "must be a file"),
        ([model, "--from-A", "4.0"], "between 0 and the shortest cutoff"),
        ([model, "--to-A", "4.1"], "between 0 and the shortest cutoff"),
    ):
        done = polcalc("encodings", *words, "--output", tmp_path / "out")
        assert done.exit_code == 2 and message in done.stderr
    assert not (tmp_path / "out").exists()


def test_names_are_short_where_they_can_be() -> None:
    assert unique_names(["runs/a/model.pt", "runs/b.pt", "ethanol-rmd17"]) == [
        "a",
        "b",
        "ethanol-rmd17",
    ]
    assert unique_names(["x/a/model.pt", "y/a/model.pt"]) == ["x/a/model.pt", "y/a/model.pt"]
    with pytest.raises(InputError, match="once each"):
        unique_names(["a", "a"])
