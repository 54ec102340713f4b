"""Charges and dipoles are learnt beside energies and forces, whatever the architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from polcalc import PolarizedCalculator
from polcalc.calculator.domain import ExtrapolationWarning
from potentials.build import ARCHITECTURES
from potentials.training import Training, prepare, write_model
from potentials.training.config import from_dict
from potentials.training.evaluate import errors

pytest.importorskip("lightning")
# energies hardly count in these trainings, and the models tell so
pytestmark = pytest.mark.filterwarnings("ignore:The model errs by")
SIZES: dict[str, dict[str, Any]] = {"equiformer": {"n_heads": 2, "n_hidden": 8}}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_charges_and_dipoles_are_learnt(architecture: str, tmp_path: Path) -> None:
    """GFN2-xTB labels of the sample that comes with the package; errors of both heads fall."""
    if architecture == "equiformer":
        pytest.importorskip("e3nn")
    sizes = {"channels": 8, "n_layers": 2} | SIZES.get(architecture, {})
    heads = ("readout", "reference_energies", "charges", "dipole")
    config = {
        "name": "heads",
        "data": {"train": "organic-xtb-sample", "n_train": 48, "n_validation": 16},
        "potential": {
            "cutoff": 4.0,
            "architecture": {"name": architecture, **sizes},
            "embeddings": [{"name": "species"}, {"name": "total_charge"}],
            "terms": [{"name": name} for name in heads],
        },
        "loss": {"name": "mae", "weights": {"charges": 1.0, "dipole": 5.0}},
        "optimizer": {"learning_rate": 5e-3},
        "schedule": {"max_epochs": 12, "warm_up_steps": 2},
        "training": {"batch_size": 8, "ema_decay": 0.5, "validate_every_epochs": 6},
    }
    training = Training(prepare(from_dict(config)), tmp_path, device="cpu")
    before = errors(training.potential, training.train)
    training.run()
    after = errors(training.potential, training.train)
    for name in ("charges_mae_e", "dipole_mae_D"):
        assert after[name] < 0.9 * before[name], name
    report = write_model(training, "test")
    assert {"charges_rmse_e", "dipole_rmse_D"} <= set(report["errors"]["validation"])
    atoms = training.task.train.atoms(0)
    atoms.calc = PolarizedCalculator(tmp_path / "model.pt", engine="eager")
    with pytest.warns(ExtrapolationWarning, match="ignores the multiplicity"):
        charges = atoms.get_charges()
    assert charges.sum() == pytest.approx(atoms.info["charge"], abs=1e-6)
    assert atoms.get_dipole_moment().shape == (3,)


@pytest.mark.parametrize("architecture", ["tensornet", "schnet"])
def test_a_model_learns_where_its_electrons_are(architecture: str, tmp_path: Path) -> None:
    """Formal charges, charges and dipoles of the teacher, beside energies and forces."""
    heads = ("readout", "reference_energies", "split_charges", "shells", "shell_dipole", "coulomb")
    weights = {"unrounded_formal_charges": 5.0, "formal_charges": 0.0, "dipole": 0.2}
    config = {
        "name": "electrons",
        "data": {"train": "organic-sample", "n_train": 64, "n_validation": 16},
        "potential": {
            "cutoff": 4.0,
            "architecture": {"name": architecture, "channels": 16, "n_layers": 2},
            "electrons": {"name": "local"},
            "terms": [{"name": name} for name in heads],
        },
        "loss": {"name": "huber", "weights": weights},
        "optimizer": {"learning_rate": 1e-2},
        "schedule": {"max_epochs": 20, "warm_up_steps": 2},
        "training": {"batch_size": 8, "ema_decay": 0.5, "validate_every_epochs": 20},
    }
    training = Training(prepare(from_dict(config)), tmp_path, device="cpu")
    before = errors(training.potential, training.train)
    training.run()
    after = errors(training.potential, training.train)
    for name in ("unrounded_formal_charges_rmse_e", "charges_mae_e", "dipole_mae_D"):
        assert after[name] < 0.8 * before[name], name
    assert after["formal_charges_mae_e"] < 0.9 * before["formal_charges_mae_e"]
    write_model(training, "test")
    atoms = training.task.train.atoms(0)
    atoms.calc = calculator = PolarizedCalculator(tmp_path / "model.pt")
    assert atoms.get_charges().sum() == pytest.approx(atoms.info["charge"], abs=1e-6)
    assert atoms.get_magnetic_moments().sum() == pytest.approx(0.0, abs=1e-9)
    assert calculator.engine.name in ("eager", "tabulated", "native")


def test_a_weight_in_vain_is_refused() -> None:
    config = {
        "name": "vain",
        "data": {"train": "organic-xtb-sample", "n_train": 16, "n_validation": 8},
        "potential": {
            "cutoff": 4.0,
            "architecture": {"name": "schnet", "channels": 4, "n_layers": 1},
        },
        "loss": {"weights": {"dipole": 1.0}},
        "schedule": {"max_epochs": 1},
    }
    with pytest.raises(ValueError, match=r"`weights` of \[loss\] must be of quantities that .*dip"):
        prepare(from_dict(config))
    config["loss"] = {"weights": {"diplole": 1.0}}
    with pytest.raises(ValueError, match=r"`weights` of \[loss\] must be among energy, "):
        from_dict(config)
