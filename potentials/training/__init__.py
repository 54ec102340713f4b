"""Training: from labelled structures and a configuration to a model file."""

from potentials.training.config import Config, override, read_config
from potentials.training.fit import Training
from potentials.training.preparation import prepare
from potentials.training.results import write_model

__all__ = ["Config", "Training", "override", "prepare", "read_config", "write_model"]
