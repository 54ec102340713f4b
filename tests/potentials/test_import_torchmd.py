"""Checkpoints of TorchMD-NET, imported: the answers that TorchMD-NET 3.1.0 gave, in float64."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms, units
from numpy.testing import assert_allclose

from md_runs.errors import InputError
from md_runs.models.import_torchmd import import_torchmd
from potentials import checkpoint
from potentials.import_torchmd import TorchMDCheckpoint, convert, read
from potentials.potential import Potential, predict
from potentials.structure.graph import from_ase
from tests.architectures import reference_tensornet as reference

DATA = (
    Path(os.environ.get("POLCALC_DATA", Path(__file__).parents[3] / "shared" / "data"))
    / "torchmd_checkpoints"
)
FILES = ("tensornet_128x2", "tensornet_32x2_old_layout")
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no checkpoints at {DATA}; set POLCALC_DATA"
)


@needs_data
@pytest.mark.parametrize("name", FILES)
def test_imported_model_gives_the_stored_energies_and_forces(name: str, tmp_path: Path) -> None:
    """1e-6 relative, for charges 0, +1 and -1, after a round trip through our model file."""
    potential, card = convert(read(DATA / f"{name}.ckpt"))
    checkpoint.save(tmp_path / "model.pt", potential, card)
    loaded = checkpoint.load(tmp_path / "model.pt", dtype=torch.float64).potential
    expected = np.load(DATA / f"{name}_expected.npz")
    systems = sorted({key.rsplit("_", 1)[0] for key in expected})
    assert len(systems) == 9
    for system in systems:
        atoms = Atoms(expected[f"{system}_numbers"], expected[f"{system}_positions"])
        answer = predict(
            loaded, from_ase(atoms, loaded.cutoff, charge=int(expected[f"{system}_charge"]))
        )
        assert_allclose(
            answer.energy.numpy(), expected[f"{system}_energy"], rtol=1e-6, err_msg=system
        )
        forces = expected[f"{system}_forces"]
        assert_allclose(
            np.asarray(answer.forces),
            forces,
            rtol=0,
            atol=1e-6 * np.abs(forces).max(),
            err_msg=system,
        )


@pytest.mark.parametrize("old", [False, True], ids=["current", "old"])
@pytest.mark.parametrize("basis", ["expnorm", "gauss"])
@pytest.mark.parametrize("origin", ["kernels", "plain"])
@pytest.mark.parametrize("group", ["O(3)", "SO(3)"])
def test_every_supported_variant_follows_the_formulas(
    group: str, origin: str, basis: str, old: bool
) -> None:
    """Random weights, kcal/mol, Bohr, mean, std, atom references, against the dense reference."""
    source = _random_checkpoint(group, basis, old)
    potential, _ = convert(source, energy_unit="kcal/mol", length_unit="Bohr", so3_origin=origin)
    chiral = Atoms(
        "OHCNF",
        [[0, 0, 0], [0.9, 0.3, 0.1], [-0.2, 0.8, 0.4], [-0.9, -0.7, 0.5], [0.1, -0.4, -1.2]],
    )
    graph = from_ase(chiral, potential.cutoff, charge=-1)
    # the plain path of TorchMD-NET sees directions reversed
    mirror = 1.0 if origin == "kernels" else -1.0
    expected = _expected_energy(
        source,
        graph.atomic_numbers,
        mirror * graph.positions / units.Bohr,
        charge=-1,
        group=group,
        old=old,
    )
    assert_allclose(
        float(predict(potential, graph).energy), expected * units.kcal / units.mol, rtol=1e-12
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": "tensornet2"}, "tensornet2"),
        ({"model": "equivariant-transformer"}, "equivariant-transformer"),
        ({"prior_model": ["ZBL"]}, "ZBL"),
        ({"prior_model": [{"D2": {}}]}, "D2"),
        ({"output_model": "DipoleMoment"}, "DipoleMoment"),
        ({"activation": "tanh"}, "tanh"),
        ({"cutoff_lower": 1.0}, "cutoff_lower"),
        ({"reduce_op": "mean"}, "mean"),
    ],
)
def test_unsupported_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    source = _random_checkpoint("O(3)", "expnorm", old=False)
    with pytest.raises(ValueError, match=named):
        convert(source._replace(hyper_parameters={**source.hyper_parameters, **change}))


def test_weights_beyond_a_tensornet_are_refused() -> None:
    source = _random_checkpoint("O(3)", "expnorm", old=False)
    extra = {"output_model.output_network.layers.4.weight": torch.zeros(1, 4)}
    with pytest.raises(ValueError, match=r"layers\.4\.weight"):
        convert(source._replace(weights={**source.weights, **extra}))
    missing = {name: w for name, w in source.weights.items() if "out_norm.bias" not in name}
    with pytest.raises(ValueError, match=r"out_norm\.bias"):
        convert(source._replace(weights=missing))


def test_disabled_references_are_left_out() -> None:
    source = _random_checkpoint("O(3)", "expnorm", old=False)
    without = source._replace(
        hyper_parameters={**source.hyper_parameters, "prior_args": [{"max_z": 20, "enable": False}]}
    )
    assert convert(source)[1].reference_energies_eV
    assert not convert(without)[1].reference_energies_eV


def test_charge_is_ignored_where_the_model_was_trained_without() -> None:
    source = _random_checkpoint("O(3)", "expnorm", old=False)
    blind, _ = convert(
        source._replace(hyper_parameters={**source.hyper_parameters, "charge": False})
    )
    assert _energy(blind, charge=1) == _energy(blind, charge=0)
    seeing, _ = convert(source)
    assert abs(_energy(seeing, charge=1) - _energy(seeing, charge=0)) > 1e-6


class _Evil:
    """Unpickled by an ordinary reader, it would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


def test_reading_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"hyper_parameters": {"model": _Evil()}, "state_dict": {}}, "evil.ckpt")
    with pytest.raises(ValueError, match="plain values and tensors"):
        read("evil.ckpt")
    assert not Path("executed").exists()


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    with pytest.raises(ValueError, match="checkpoint"):
        read(tmp_path / "text.ckpt")
    torch.save({"weights": 1}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="hyper_parameters"):
        read(tmp_path / "other.ckpt")
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.ckpt")


def _energy(potential: Potential, charge: int) -> float:
    return float(
        predict(
            potential,
            from_ase(Atoms("OH", [[0, 0, 0], [0, 0, 0.97]]), potential.cutoff, charge=charge),
        ).energy
    )


CHANNELS, LAYERS, RADIAL, ELEMENTS, CUTOFF = 6, 2, 5, 20, 8.0


def _random_checkpoint(group: str, basis: str, old: bool) -> TorchMDCheckpoint:
    """Write random weights under TorchMD-NET's names."""
    generator = torch.Generator().manual_seed(7)

    def random(*shape: int) -> torch.Tensor:
        return 0.4 * torch.randn(*shape, generator=generator, dtype=torch.float64)

    shapes = reference.weight_shapes(CHANNELS, RADIAL, LAYERS, ELEMENTS)
    weights = {theirs: random(*shapes[ours]) for theirs, ours in _THEIR_NAMES.items()}
    prefix = "representation_model.distance_expansion."
    if basis == "expnorm":
        weights |= {
            f"{prefix}means": torch.linspace(0.0, 1.0, RADIAL).double(),
            f"{prefix}betas": torch.full((RADIAL,), 6.0).double(),
        }
    else:
        weights |= {
            f"{prefix}offset": torch.linspace(0.0, CUTOFF, RADIAL).double(),
            f"{prefix}coeff": torch.tensor(-0.125).double(),
        }
    weights |= {
        "mean": torch.tensor(-3.25).double(),
        "std": torch.tensor(1.5).double(),
        "prior_model.0.atomref.weight": random(ELEMENTS, 1),
    }
    parameters = {
        "model": "tensornet",
        "embedding_dimension": CHANNELS,
        "num_layers": LAYERS,
        "num_rbf": RADIAL,
        "rbf_type": basis,
        "activation": "silu",
        "cutoff_lower": 0.0,
        "cutoff_upper": CUTOFF,
        "max_z": ELEMENTS,
        "equivariance_invariance_group": group,
        "output_model": "Scalar",
        "reduce_op": "add",
        "prior_model": ["Atomref"],
        "prior_args": [{"max_z": ELEMENTS}],
        "charge": True,
        **({"check_errors": True} if old else {}),
    }
    return TorchMDCheckpoint(parameters, weights, "0" * 64)


def _expected_energy(
    source: TorchMDCheckpoint,
    numbers: torch.Tensor,
    positions: torch.Tensor,
    *,
    charge: int,
    group: str,
    old: bool,
) -> float:
    """Energy by the formulas, in the checkpoint's own units and conventions, spelled out again."""
    w, prefix = source.weights, "representation_model.distance_expansion."
    weights = {ours: w[theirs] for theirs, ours in _THEIR_NAMES.items()}
    for name in (
        f"{linear}.{kind}"
        for linear in ("gate.1", "layers.0.filter.2", "layers.1.filter.2")
        for kind in ("weight", "bias")
    ):
        if old:  # outputs ordered I0 A0 S0 I1 A1 S1 …
            weights[name] = torch.cat([weights[name][part::3] for part in range(3)])
    if f"{prefix}means" in w:
        encode = reference.exp_normal(CUTOFF, w[f"{prefix}means"], w[f"{prefix}betas"])
    else:
        encode = reference.gaussian(w[f"{prefix}offset"], w[f"{prefix}coeff"])
    factors = torch.full((LAYERS, len(numbers), 1), 1 + 0.1 * charge, dtype=torch.float64)
    bare = reference.energies(
        weights, numbers, positions, cutoff=CUTOFF, encode=encode, group=group, factors=factors
    )
    references = w["prior_model.0.atomref.weight"][numbers, 0]
    return float((w["std"] * bare + references).sum() + w["mean"])


def _their_names() -> dict[str, str]:
    """Map TorchMD-NET's names to those of the reference."""
    tensor, parts = "representation_model.tensor_embedding.", "IAS"
    names = {
        "emb2": "pair",
        "init_norm": "norm",
        "linears_scalar.0": "gate.0",
        "linears_scalar.1": "gate.1",
    }
    names |= {f"distance_proj{k + 1}": f"distance.{part}" for k, part in enumerate(parts)}
    linears = {f"{tensor}{theirs}": ours for theirs, ours in names.items()}
    linears |= {"representation_model.out_norm": "out_norm", "representation_model.linear": "out"}
    linears |= {f"output_model.output_network.layers.{k}": f"head.{k // 2}" for k in (0, 2)}
    linears |= {
        f"representation_model.layers.{n}.linears_scalar.{k}": f"layers.{n}.filter.{k}"
        for n in range(LAYERS)
        for k in range(3)
    }
    result = {
        f"{theirs}.{kind}": f"{ours}.{kind}"
        for theirs, ours in linears.items()
        for kind in ("weight", "bias")
    }
    result |= {f"{tensor}linears_tensor.{k}.weight": f"mix.{part}" for k, part in enumerate(parts)}
    result |= {
        f"representation_model.layers.{n}.linears_tensor.{k}.weight": f"layers.{n}.mix.{k}"
        for n in range(LAYERS)
        for k in range(6)
    }
    return result | {f"{tensor}emb.weight": "species"}


_THEIR_NAMES = _their_names()


def test_command_writes_a_model_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = _random_checkpoint("O(3)", "expnorm", old=False)
    path, output = tmp_path / "model.ckpt", tmp_path / "model.pt"
    torch.save(
        {
            "hyper_parameters": dict(source.hyper_parameters),
            "state_dict": {f"model.{k}": w for k, w in source.weights.items()},
        },
        path,
    )
    import_torchmd(path, output, energy_unit="kcal/mol", length_unit="Angstrom", elements="H,O")
    model = checkpoint.load(output, dtype=torch.float64)
    assert "6 channels" in capsys.readouterr().out
    assert model.card.elements == [1, 8]
    assert model.card.dataset["sha256"] == read(path).sha256
    assert _energy(model.potential, charge=1) == _energy(
        convert(source, energy_unit="kcal/mol")[0], charge=1
    )
    with pytest.raises(InputError, match="exists"):
        import_torchmd(path, output, energy_unit="eV", length_unit="Angstrom")
    with pytest.raises(InputError, match="energy_unit"):
        import_torchmd(path, tmp_path / "other.pt", energy_unit="cal", length_unit="Angstrom")
    with pytest.raises(InputError, match="Xx"):
        import_torchmd(
            path, tmp_path / "other.pt", energy_unit="eV", length_unit="Angstrom", elements="H,Xx"
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.ckpt", "model.pt"]
