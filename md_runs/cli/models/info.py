"""``polcalc info``: what a model is, its card, checksum, size and units."""

from __future__ import annotations

from md_runs.cli import options as opt
from md_runs.cli.commands import does


@does("models.info", "info")
def command(model: opt.ModelArgument, json: opt.AsJson = False) -> None:
    """Show what a model is: its card, checksum, size and units."""
