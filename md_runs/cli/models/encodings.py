"""``polcalc encodings``: what models learned of distances and angles, and how similar they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from md_runs.cli import options as opt
from md_runs.cli.commands import does

Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL…",
        help="Model files, or names of shipped models.",
        autocompletion=opt.shipped_models,
    ),
]
NearestA = Annotated[
    float | None,
    typer.Option(
        "--from-A",
        help=(
            "Compare tables from this distance on. Default: the closest one that a model was"
            " trained on, by the cards."
        ),
        show_default=False,
    ),
]
FarthestA = Annotated[
    float | None,
    typer.Option(
        "--to-A",
        help=(
            "Compare tables up to this distance: the longest one in the training data, for small"
            " molecules. Default: the shortest cutoff."
        ),
        show_default=False,
    ),
]


@does("models.encodings", "encodings")
def command(
    models: Models,
    from_A: NearestA = None,
    to_A: FarthestA = None,
    output: opt.Output = Path("polcalc-encodings"),
) -> None:
    """Show and compare the encodings of distances and angles that models learned.

    Writes, for each kind of table, figures of the tables, of their Gram matrices and of the
    similarity between models, similarity.csv and encodings.json. Hand-made encodings are drawn too;
    what they were before training is what they are.
    """
