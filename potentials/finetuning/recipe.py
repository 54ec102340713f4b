"""The recipe: what a fine-tuning does with so many structures, in so many minutes.

Few structures are learnt by heart soon: they train for fewer steps, and with smaller ones.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, NamedTuple

from potentials.training.config import (
    Config,
    DataConfig,
    LossConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainingConfig,
)

FEWEST = 4  # structures that can be trained and validated on
MOST_VALIDATED = 500  # structures
EPOCH = 1600  # structures at least, so that validations do not outweigh training
BATCH = 8
STEPS = 2000  # times the root of the number of structures: the longest training
PATIENCE = 0.3  # of the longest training
# learning rate of one structure, times the root of their number; and the highest
RATE, HIGHEST_RATE = 5e-5, 1e-3


class Sizes(NamedTuple):
    """How many structures of each kind an epoch has."""

    n_train: int  # labelled structures to train on
    n_validation: int
    repeats: int  # times each is taken
    n_rehearsed: int


def sizes(n_structures: int, n_old: int, share: float) -> Sizes:
    """Divide labelled structures, and say how many of the old domain are trained on beside them.

    Parameters
    ----------
    n_structures : int   with labels
    n_old : int          of the old domain that are there
    share : float        of what is trained on that is of the old domain

    Raises
    ------
    ValueError           too few structures; a share that is none
    """
    if n_structures < FEWEST:
        raise ValueError(
            f"`DATA` must hold at least {FEWEST} structures to fine-tune on; got {n_structures}."
            " Label more of them."
        )
    if not 0 <= share <= 0.9:
        raise ValueError(
            f"`rehearsal_share` must be between 0 and 0.9; got {share}. Take 0.5, or 0 to forget."
        )
    wished = round((0.2 if n_structures < 50 else 0.1) * n_structures)
    n_validation = min(max(wished, 1), MOST_VALIDATED)
    n_train = n_structures - n_validation
    share = share if n_old else 0.0
    repeats = max(1, round(EPOCH * (1 - share) / n_train))
    return Sizes(n_train, n_validation, repeats, round(share / (1 - share) * repeats * n_train))


def learning_rate(n_train: int, new_elements: Collection[int]) -> float:
    """Choose the length of steps: what is known of an element is kept, of a new one made."""
    return HIGHEST_RATE if new_elements else min(HIGHEST_RATE, RATE * math.sqrt(n_train))


def configuration(
    size: Sizes,
    data: DataConfig,
    potential: dict[str, Any],
    *,
    name: str,
    start: str,
    minutes: float,
    learning_rate: float,
    gradients: str,
    seed: int,
) -> Config:
    """Write the configuration of a fine-tuning from the number of its structures.

    Parameters
    ----------
    size : Sizes
    data : DataConfig
    potential : spec     of the model to start from, on the level of the labels
    name : str           of the model to be made
    start : str          file or name of the model to start from
    minutes : float      of training at most
    learning_rate : float
    gradients : str      how the loss is differentiated
    seed : int
    """
    steps_per_epoch = (size.repeats * size.n_train + size.n_rehearsed) // BATCH
    epochs = math.ceil(STEPS * math.sqrt(size.n_train) / steps_per_epoch)
    return Config(
        name=name,
        data=data,
        potential=potential,
        seed=seed,
        loss=LossConfig("huber", delta=0.01),
        optimizer=OptimizerConfig(
            "soap",
            learning_rate=learning_rate,
            options={"refresh_every": 16, "average_every": 4, "largest": 128},
            gradient_clip=3.0,
        ),
        schedule=ScheduleConfig(
            max_epochs=epochs,
            time_budget_min=minutes,
            warm_up_steps=100,
            patience_epochs=max(5, math.ceil(PATIENCE * epochs)),
        ),
        training=TrainingConfig(
            batch_size=BATCH,
            ema_decay=0.998,
            gradients=gradients,
            validate_every_epochs=1,
            start=start,
        ),
    )
