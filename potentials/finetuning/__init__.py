"""Fine-tuning: a model of many molecules and few labels of one's own become one model."""

from potentials.finetuning.finetune import FineTuning, base_of, finish, plan

__all__ = ["FineTuning", "base_of", "finish", "plan"]
