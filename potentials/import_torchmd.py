"""Turn a TensorNet checkpoint of TorchMD-NET into a potential with the same energies and forces.

The checkpoint is read as plain values and tensors; nothing in it is executed. What differs between
the two programs:

* O(3) products do not notice the sign of the antisymmetric part; SO(3) products do, and the two
  implementations inside TorchMD-NET 3.1 disagree in it: its compiled kernels agree with us, its
  plain-torch path has the other handedness.
* Linear layers with 3C outputs list the parts I, A, S block by block (now) or channel by channel
  (old files, known by the hyper-parameter ``check_errors``).
* A mean energy is added once per molecule.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ase import units
from ase.data import chemical_symbols
from torch import Tensor

from potentials.build import build
from potentials.card import Card
from potentials.potential import Potential

ENERGY_UNITS = {
    "eV": 1.0,
    "kcal/mol": units.kcal / units.mol,
    "kJ/mol": units.kJ / units.mol,
    "Hartree": units.Hartree,
}  # eV
LENGTH_UNITS = {"Angstrom": 1.0, "Bohr": units.Bohr, "nm": units.nm}  # Å
# sign of the antisymmetric part by the implementation that SO(3) weights were trained with
HANDEDNESS = {"kernels": 1.0, "plain": -1.0}
CHARGE_STRENGTH = 0.1  # λ of the total charge, fixed (arXiv 2403.15073 and the public code)

SUPPORTED: dict[str, tuple[Any, ...]] = {
    "model": ("tensornet",),
    "output_model": ("Scalar",),
    "equivariance_invariance_group": ("O(3)", "SO(3)"),
    "rbf_type": ("expnorm", "gauss"),
    "activation": ("silu", "swish"),
    "reduce_op": ("add", "sum"),
    "cutoff_lower": (0.0,),
}
PRIORS = ("Atomref", "LearnableAtomref")
READ_ELSEWHERE = re.compile(
    r"mean|std|prior_model\..*|representation_model\.(distance\.box|distance_expansion\..*|tensor_embedding\.Zij_map)"
)


class TorchMDCheckpoint(NamedTuple):
    """What a TorchMD-NET checkpoint file holds."""

    hyper_parameters: Mapping[str, Any]
    weights: dict[str, Tensor]  # float64, names without the leading "model."
    sha256: str


def read(path: str | Path) -> TorchMDCheckpoint:
    """Read a checkpoint without executing anything in it.

    Raises
    ------
    FileNotFoundError   no such file
    ValueError          not a checkpoint, or one that holds more than plain values and tensors
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"`checkpoint` must be a file; got {str(path)!r}. Check the path.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f"an object of {found[1]}" if found else "something else"
        raise ValueError(
            f"`checkpoint` must hold plain values and tensors only; {path} holds {what}. Save it"
            " again without it."
        ) from error
    except (RuntimeError, EOFError, LookupError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"`checkpoint` must be a TorchMD-NET checkpoint; {path} cannot be read as one. Check"
            " the file."
        ) from error
    if not isinstance(content, dict) or not {"hyper_parameters", "state_dict"} <= set(content):
        raise ValueError(
            f"`checkpoint` must hold hyper_parameters and state_dict; {path} does not. Pass a"
            " TorchMD-NET checkpoint."
        )
    weights = {
        name.removeprefix("model."): tensor.double()
        for name, tensor in content["state_dict"].items()
    }
    return TorchMDCheckpoint(
        content["hyper_parameters"], weights, hashlib.sha256(path.read_bytes()).hexdigest()
    )


def convert(
    checkpoint: TorchMDCheckpoint,
    *,
    energy_unit: str = "eV",
    length_unit: str = "Angstrom",
    elements: Sequence[int] = (),
    so3_origin: str = "kernels",
) -> tuple[Potential, Card]:
    """Make a potential in eV and Å, in float64, and its card.

    Parameters
    ----------
    checkpoint : TorchMDCheckpoint
    energy_unit : str     what the model answers in, a name in `ENERGY_UNITS`
    length_unit : str     what the model is asked in, a name in `LENGTH_UNITS`
    elements              atomic numbers it was trained on; the checkpoint does not tell
    so3_origin : str      "kernels" reproduces TorchMD-NET 3.1 as installed; "plain" its plain-torch
                          path, and earlier
                          versions without kernels; O(3) models are the same in both

    Raises
    ------
    ValueError            another architecture, prior, output or option than those supported
    """
    eV, angstrom = (
        _choice("energy_unit", energy_unit, ENERGY_UNITS),
        _choice("length_unit", length_unit, LENGTH_UNITS),
    )
    _check_supported(checkpoint.hyper_parameters)
    references = _reference_energies(checkpoint, eV)
    potential = build(_spec(checkpoint, eV, angstrom, references)).double()
    weights = potential.state_dict()
    shapes = {name: tensor.shape for name, tensor in weights.items()}
    strengths = {
        "trunk.factor.strengths": torch.full_like(
            weights["trunk.factor.strengths"], CHARGE_STRENGTH
        )
    }
    sign = _choice("so3_origin", so3_origin, HANDEDNESS)
    potential.load_state_dict(
        weights
        | _network_weights(checkpoint, shapes, sign)
        | _radial_tables(checkpoint, angstrom)
        | strengths
    )
    card = Card(
        name="imported",
        description=(
            f"TensorNet imported from a TorchMD-NET checkpoint (SHA-256 {checkpoint.sha256};"
            f" {energy_unit}, {length_unit})."
        ),
        elements=sorted(elements),
        reference_energies_eV=references,
    )
    return potential, card


def _choice(option: str, name: str, table: Mapping[str, float]) -> float:
    if name not in table:
        raise ValueError(
            f"`{option}` must be one of {', '.join(table)}; got {name!r}. Pass one of these."
        )
    return table[name]


def _check_supported(parameters: Mapping[str, Any]) -> None:
    for name, choices in SUPPORTED.items():
        if parameters.get(name) not in choices:
            listed = ", ".join(map(str, choices))
            raise ValueError(
                f"`{name}` of the checkpoint must be one of {listed}; got {parameters.get(name)!r}."
                " It cannot be imported."
            )
    for name, _ in _priors(parameters):
        if name not in PRIORS:
            raise ValueError(
                f"`prior_model` of the checkpoint must be one of {', '.join(PRIORS)}; got {name!r}."
                " It cannot be imported."
            )


def _priors(parameters: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """List (name, arguments) of the priors, from any of the three ways to write them down."""
    written = parameters.get("prior_model") or []
    priors: list[tuple[str, Mapping[str, Any]]] = []
    for prior in written if isinstance(written, list) else [written]:
        priors += (
            [(name, arguments or {}) for name, arguments in prior.items()]
            if isinstance(prior, Mapping)
            else [(prior, {})]
        )
    separate = parameters.get("prior_args")
    if separate is None:
        return priors
    arguments = separate if isinstance(separate, list) else [separate]
    return [(name, given or {}) for (name, _), given in zip(priors, arguments, strict=True)]


def _reference_energies(checkpoint: TorchMDCheckpoint, eV: float) -> dict[str, float]:
    """Sum the enabled atom references: symbol -> eV, the non-zero ones."""
    total: dict[str, float] = {}
    for n, (_, arguments) in enumerate(_priors(checkpoint.hyper_parameters)):
        if not arguments.get("enable", True):
            continue
        # now, and before there could be several
        names = (f"prior_model.{n}.atomref.weight", "prior_model.atomref.weight")
        table = next(checkpoint.weights[name] for name in names if name in checkpoint.weights)
        for number, energy in enumerate(table.flatten().tolist()[: len(chemical_symbols)]):
            if energy != 0.0:
                total[chemical_symbols[number]] = (
                    total.get(chemical_symbols[number], 0.0) + energy * eV
                )
    return total


def _spec(
    checkpoint: TorchMDCheckpoint, eV: float, angstrom: float, references: Mapping[str, float]
) -> dict[str, Any]:
    parameters, weights = checkpoint.hyper_parameters, checkpoint.weights
    terms: list[dict[str, Any]] = [
        {"name": "readout", "scale": float(weights.get("std", torch.ones(()))) * eV}
    ]
    if references:
        terms.append({"name": "reference_energies", "energies_eV": dict(references)})
    if mean := float(weights.get("mean", torch.zeros(()))):
        terms.append({"name": "offset", "energy_eV": mean * eV})
    return {
        "cutoff": float(parameters["cutoff_upper"]) * angstrom,
        "architecture": {
            "name": "tensornet",
            "channels": int(parameters["embedding_dimension"]),
            "n_layers": int(parameters["num_layers"]),
            "group": parameters["equivariance_invariance_group"],
        },
        "radial": {
            "name": {"expnorm": "exp_normal", "gauss": "gaussian"}[parameters["rbf_type"]],
            "n_radial": int(parameters["num_rbf"]),
        },
        "embeddings": [{"name": "species", "max_atomic_number": int(parameters["max_z"])}],
        "state_factor": {"attributes": ["total_charge"] if parameters.get("charge") else []},
        "terms": terms,
    }


def _radial_tables(checkpoint: TorchMDCheckpoint, angstrom: float) -> dict[str, Tensor]:
    """Take the basis as stored. The exp-normal one has no unit: it lives on exp(-5d/r_c)."""
    stored = {
        name: checkpoint.weights.get(f"representation_model.distance_expansion.{name}")
        for name in ("means", "betas", "offset", "coeff")
    }
    tables = {
        "centers": stored["means"] if stored["offset"] is None else stored["offset"] * angstrom,
        "widths": stored["betas"],
        "coefficient": None if stored["coeff"] is None else stored["coeff"] / angstrom**2,
    }
    return {f"trunk.radial.{name}": table for name, table in tables.items() if table is not None}


def _network_weights(
    checkpoint: TorchMDCheckpoint, shapes: Mapping[str, torch.Size], sign: float
) -> dict[str, Tensor]:
    """Rename and rearrange the weights of the network.

    Each of them is used, or the import fails.
    """
    parameters = checkpoint.hyper_parameters
    source = {
        re.sub(r"output_network\.(?=\d)", "output_network.layers.", name): w
        for name, w in checkpoint.weights.items()
    }
    names = _names(int(parameters["num_layers"]))
    used = {name for theirs in names.values() for name in theirs}
    if missing := sorted(used - set(source)):
        raise ValueError(
            f"`checkpoint` must hold the weights of a TensorNet; {', '.join(missing)} missing. It"
            " cannot be imported."
        )
    if unknown := sorted(name for name in set(source) - used if not READ_ELSEWHERE.fullmatch(name)):
        raise ValueError(
            f"`checkpoint` must hold the weights of a TensorNet only; got {', '.join(unknown)} as"
            " well. It cannot be imported."
        )
    weights = {
        ours: torch.cat([source[name] for name in theirs]).reshape(shapes[ours])
        for ours, theirs in names.items()
    }
    return _rearranged(weights, old="check_errors" in parameters, sign=sign)


def _names(n_layers: int) -> dict[str, list[str]]:
    """Map each weight of ours to those of theirs that make it, one below the other."""
    embedding, ours, theirs = (
        "trunk.architecture.embedding.",
        "trunk.architecture.",
        "representation_model.",
    )
    linears = {
        f"{embedding}pair": ["tensor_embedding.emb2"],
        f"{embedding}filter.network": [f"tensor_embedding.distance_proj{n}" for n in (1, 2, 3)],
        f"{embedding}norm": ["tensor_embedding.init_norm"],
        f"{embedding}gates.0": ["tensor_embedding.linears_scalar.0"],
        f"{embedding}gates.2": ["tensor_embedding.linears_scalar.1"],
        f"{ours}norm": ["out_norm"],
        f"{ours}output": ["linear"],
    }
    mixings = {f"{embedding}mix": [f"tensor_embedding.linears_tensor.{n}" for n in range(3)]}
    for n in range(n_layers):
        linears |= {
            f"{ours}layers.{n}.filter.network.{2 * k}": [f"layers.{n}.linears_scalar.{k}"]
            for k in range(3)
        }
        mixings[f"{ours}layers.{n}.mix_in"] = [f"layers.{n}.linears_tensor.{k}" for k in range(3)]
        mixings[f"{ours}layers.{n}.mix_out"] = [
            f"layers.{n}.linears_tensor.{k}" for k in range(3, 6)
        ]
    names = {
        f"{a}.{kind}": [f"{theirs}{b}.{kind}" for b in many]
        for a, many in linears.items()
        for kind in ("weight", "bias")
    }
    names |= {f"{a}.weight": [f"{theirs}{b}.weight" for b in many] for a, many in mixings.items()}
    names["trunk.embeddings.0.table.weight"] = [f"{theirs}tensor_embedding.emb.weight"]
    names |= {
        f"terms.0.network.{k}.{kind}": [f"output_model.output_network.layers.{k}.{kind}"]
        for k in (0, 2)
        for kind in ("weight", "bias")
    }
    return names


def _rearranged(weights: dict[str, Tensor], *, old: bool, sign: float) -> dict[str, Tensor]:
    """Bring the 3C outputs into our order, part by part; the old layout goes channel by channel."""
    result = dict(weights)
    for name, tensor in weights.items():
        if old and re.fullmatch(r".*(layers\.\d+\.filter\.network\.4|\.gates\.2)\..*", name):
            result[name] = (
                tensor.view(-1, 3, *tensor.shape[1:]).transpose(0, 1).reshape(tensor.shape)
            )
    mixing = "trunk.architecture.embedding.mix.weight"
    result[mixing] = (
        weights[mixing] * torch.tensor([1.0, sign, 1.0], dtype=torch.float64)[:, None, None]
    )
    return result
