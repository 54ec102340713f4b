"""The configuration of a training, as its TOML file says it.

Tables: ``[data]``, ``[potential]`` (the spec of `build`), ``[loss]``, ``[optimizer]``,
``[schedule]``, ``[training]``. Every entry has a default but the data, the potential and the length
of the training; an entry that is not known is refused.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import torch

from potentials.datasets.splits import check_together
from potentials.quantities import QUANTITIES

DTYPES = {"float32": torch.float32, "float64": torch.float64}
REST = "rest"  # of the structures that training and validation are drawn from


@dataclass(frozen=True)
class DataConfig:
    """Which structures."""

    train: str  # file or known set; training and validation structures are drawn from it
    n_train: int | float  # structures, or a fraction of them below 1
    n_validation: int | float
    # file or known set, looked at once, at the end; "rest": what the split of `train` leaves
    test: str = ""
    split_seed: int = 0
    # [charge, multiplicity] of what is taken after the split; none: all
    states: list[list[int]] = field(default_factory=list)
    # file of further structures to train on, labelled by the model to start from, so that less is
    # forgotten
    rehearsal: str = ""
    # what stays together: "group" (as the set says), "geometry" (all its states), or "label"
    # (nothing)
    split: str = "group"
    # names of the labels in the file, where they are not found or there are several; a minus turns
    # the sign of forces
    energy: str = ""
    forces: str = ""
    stress: str = ""  # or virials
    # units of the file, where its format does not say them: "hartree", "bohr", "kcal/mol/angstrom"
    energy_unit: str = ""
    length_unit: str = ""
    forces_unit: str = ""
    stress_unit: str = ""


@dataclass(frozen=True)
class LossConfig:
    """What is minimised: see `potentials.training.loss`."""

    name: str = "mse"
    weights: dict[str, float] = field(default_factory=dict)  # by quantity; 1 where none is given
    delta: float = 0.01  # of "huber", in units of the force scale


@dataclass(frozen=True)
class OptimizerConfig:
    """How it is minimised; ``options`` go to the optimizer as they are."""

    name: str = "adamw"
    learning_rate: float = 2e-3  # highest
    options: dict[str, Any] = field(default_factory=dict)
    gradient_clip: float = 10.0  # norm of the gradient; inf: never


@dataclass(frozen=True)
class ScheduleConfig:
    """How long: epochs, minutes, or whichever ends first.

    The learning rate falls along a cosine to zero at the end.
    """

    max_epochs: int | None = None
    time_budget_min: float | None = (
        None  # of training steps and validations; compilation does not count
    )
    warm_up_steps: int = 200
    # stop when the validation loss did not fall for so long; the weights are those of the best
    patience_epochs: int | None = None


@dataclass(frozen=True)
class TrainingConfig:
    """The loop."""

    batch_size: int = 8  # over all devices together
    ema_decay: float = 0.999  # of the averaged weights, which are validated and saved
    dtype: str = "float32"  # of the network
    # how the loss is differentiated; "compiled" for one molecule, "native" for TensorNet on the CPU
    gradients: str = "autograd"
    validate_every_epochs: int = 5
    checkpoint_every_min: float = 1.0  # 0: after every step
    start: str = (
        ""  # model file or shipped model whose weights to start from; those it lacks are made fresh
    )


@dataclass(frozen=True)
class Config:
    """A whole training."""

    name: str
    data: DataConfig
    # The spec; reference energies and the scale of the readout come from the data where not given.
    # With a start, what it leaves open is taken from there.
    potential: dict[str, Any] = field(default_factory=dict)
    description: str = ""
    # where the model will fail, and what to take instead: for its card; sentences that name
    # ionisation energies, electron affinities, gaps or barriers are shown beside such numbers
    limits: str = ""
    seed: int = 0
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    training: TrainingConfig = TrainingConfig()

    def __post_init__(self) -> None:
        """Check what no later step would say clearly."""
        check_together(self.data.split)
        if unknown := [name for name in self.loss.weights if name not in QUANTITIES]:
            raise ValueError(
                f"`weights` of [loss] must be among {', '.join(QUANTITIES)}; got"
                f" {', '.join(unknown)}. Correct the configuration."
            )
        for name in ("n_train", "n_validation"):
            _check_share(name, getattr(self.data, name))
        schedule, training = self.schedule, self.training
        if schedule.max_epochs is None and schedule.time_budget_min is None:
            raise ValueError(
                "`schedule` must have max_epochs or time_budget_min; got neither. Add one, or pass"
                " it as an option."
            )
        for name, value in (
            ("max_epochs", schedule.max_epochs),
            ("time_budget_min", schedule.time_budget_min),
        ):
            if value is not None and value <= 0:
                raise ValueError(
                    f"`{name}` must be positive; got {value}. Correct the configuration."
                )
        for name, value in (
            ("batch_size", training.batch_size),
            ("validate_every_epochs", training.validate_every_epochs),
        ):
            if value < 1:
                raise ValueError(
                    f"`{name}` must be at least 1; got {value}. Correct the configuration."
                )
        if not 0 <= training.ema_decay < 1:
            raise ValueError(
                f"`ema_decay` must be at least 0 and below 1; got {training.ema_decay}. Take 0.99"
                " to 0.999."
            )
        if training.dtype not in DTYPES:
            raise ValueError(
                f"`dtype` must be one of {', '.join(DTYPES)}; got {training.dtype!r}. Correct the"
                " configuration."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def read_config(path: str | Path) -> Config:
    """Read a configuration.

    Raises
    ------
    FileNotFoundError   no such file
    ValueError          not TOML, an unknown or missing entry, a value of the wrong kind
    """
    return from_dict(read_toml(Path(path), "CONFIG"))


def read_toml(path: Path, argument: str) -> dict[str, Any]:
    """Read a TOML file; errors name the argument that it was given as."""
    if not path.is_file():
        raise FileNotFoundError(
            f"`{argument}` must be a file; got {path}, which does not exist. Check the path."
        )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"`{argument}` must be a TOML file; {path} is not: {error}. Correct it."
        ) from error


def from_dict(values: Mapping[str, Any]) -> Config:
    """Make a configuration of plain values; None stands for an entry that is not there."""
    config: Config = _make(Config, _upgraded(values), "")
    return config


def _upgraded(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Take over entries of older configurations under the names that they have now."""
    tables = {name: dict(table) for name, table in values.items() if isinstance(table, Mapping)}
    training, loss = tables.get("training", {}), tables.get("loss", {})
    if "compile" in training:
        training.setdefault("gradients", "compiled" if training.pop("compile") else "autograd")
    old = {"energy_weight": "energy", "force_weight": "forces"}
    if weights := {new: loss.pop(name) for name, new in old.items() if name in loss}:
        loss["weights"] = weights | loss.get("weights", {})
    return {**values, **tables}


def override(
    config: Config,
    *,
    max_epochs: int | None = None,
    time_budget_min: float | None = None,
    seed: int | None = None,
) -> Config:
    """Replace entries by options of the shell.

    A length given there replaces both lengths of the file.
    """
    schedule = config.schedule
    if max_epochs is not None or time_budget_min is not None:
        schedule = replace(schedule, max_epochs=max_epochs, time_budget_min=time_budget_min)
    return replace(config, schedule=schedule, seed=config.seed if seed is None else seed)


def _check_share(name: str, value: float) -> None:
    """Refuse what is neither a number of structures nor a fraction of them."""
    if value <= 0 or (isinstance(value, float) and value >= 1):
        raise ValueError(
            f"`{name}` must be a number of structures, or a fraction of them below 1; got {value}."
            " Correct it."
        )


def _make(kind: Any, values: Mapping[str, Any], where: str) -> Any:
    """Build a dataclass, its tables included."""
    hints = get_type_hints(kind)
    if unknown := set(values) - set(hints):
        raise ValueError(
            f"`{where or 'CONFIG'}` must hold only {', '.join(hints)}; got"
            f" {', '.join(sorted(unknown))}. Remove it."
        )
    required = {
        f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING
    }
    if missing := required - set(values):
        wanted = ", ".join(f"{name} ({_named(hints[name])})" for name in sorted(missing))
        raise ValueError(
            f"`{where or 'CONFIG'}` must have {wanted}; got none. Add it, as polcalc train"
            " --template writes it."
        )
    return kind(
        **{
            name: _value(hints[name], value, f"{where}.{name}".lstrip("."))
            for name, value in values.items()
        }
    )


def _value(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint) and isinstance(value, Mapping):
        return _make(hint, value, where)
    kinds = _kinds(hint)
    if float in kinds and int not in kinds and type(value) is int:
        return float(value)
    if type(value) not in kinds:
        raise ValueError(f"`{where}` must be {_named(hint)}; got {value!r}. Correct it.")
    return value


def _named(hint: Any) -> str:
    """Name the kinds of value that a hint admits."""
    return " or ".join(kind.__name__ for kind in _kinds(hint)) or "a table"


def _kinds(hint: Any) -> tuple[type, ...]:
    """Plain types that a hint such as ``float | None`` or ``dict[str, Any]`` admits."""
    named = get_args(hint) if isinstance(hint, UnionType) else (get_origin(hint) or hint,)
    return tuple(k for k in (bool, int, float, str, dict, list, type(None)) if k in named)
