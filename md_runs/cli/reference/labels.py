"""``polcalc labels``: compute reference data of our own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from md_runs.cli import options as opt
from md_runs.cli.commands import PLAIN, Command, does

app = typer.Typer(
    help="Compute reference data: known sets of ours, and cheap labels of any molecule.",
    no_args_is_help=True,
    **PLAIN,
)

Folder = Annotated[
    Path,
    typer.Option(
        "--output", metavar="DIR", help="Folder of the run; given again, the run goes on."
    ),
]
Processes = Annotated[
    int,
    typer.Option(
        "--processes", metavar="N", min=1, help="Processes that compute at the same time."
    ),
]
Limit = Annotated[
    int, typer.Option("--limit", metavar="N", min=0, help="Jobs of this call at most; 0 for all.")
]


@app.command("toy-charge", cls=Command)
@does("reference.labels", "toy")
def toy(
    which: Annotated[str, typer.Argument(metavar="A|B", help="Which of the two sets.")],
    output: Folder = Path("polcalc-labels"),
    processes: Processes = 1,
    limit: Limit = 0,
) -> None:
    """Compute toy-charge-A or toy-charge-B with GFN2-xTB."""


@app.command("carbenes", cls=Command)
@does("reference.labels", "carbenes_st")
def carbenes_st(
    output: Folder = Path("polcalc-labels"), processes: Processes = 1, limit: Limit = 0
) -> None:
    """Compute carbenes-st with PySCF: singlet and triplet at every geometry."""


@app.command("open-shells", cls=Command)
@does("reference.labels", "organic_open_shells")
def organic_open_shells(
    output: Folder = Path("polcalc-labels"), processes: Processes = 1, limit: Limit = 0
) -> None:
    """Compute organic-open-shells with PySCF: radicals, radical ions and triplets of few atoms.

    Seconds a label; the more jobs are done the larger the set. What is there is collected,
    whatever the limit.
    """


@app.command("organic", cls=Command)
@does("reference.labels", "organic_xtb")
def organic_xtb(
    output: Folder = Path("polcalc-labels"),
    processes: Processes = 1,
    limit: Limit = 0,
    molecules: Annotated[
        int,
        typer.Option(
            "--molecules", min=200, help="Molecules to train on; a run goes on with more."
        ),
    ] = 292_500,
    test_molecules: Annotated[
        int, typer.Option("--test-molecules", min=1, help="Molecules never trained on.")
    ] = 500,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", help="The same seed makes the same set, whatever the number of processes."
        ),
    ] = 20261121,
) -> None:
    """Compute organic-xtb (GFN2-xTB; molecules, ions, radicals): about 18 hours of one core."""


@app.command("rehearsal", cls=Command)
@does("reference.labels", "rehearse")
def rehearse(
    model: opt.ModelArgument,
    output: Folder = Path("polcalc-labels"),
    molecules: Annotated[
        int,
        typer.Option(
            "--molecules", min=200, help="Those that it has learnt: the first of the set."
        ),
    ] = 80_000,
    every: Annotated[
        int, typer.Option("--every", metavar="N", min=1, help="Take every Nth of them.")
    ] = 3,
    processes: Processes = 1,
    limit: Limit = 0,
) -> None:
    """Let a model label molecules that it was trained on, to be rehearsed in another training.

    The file goes to `data.rehearsal` in the configuration of that training, which starts from the
    same model.
    """


@app.command("molecule", cls=Command)
@does("reference.labels", "one_molecule")
def one_molecule(
    structure: opt.Structure,
    frame: opt.Frame = None,
    output: Folder = Path("polcalc-labels"),
    labels: Annotated[
        int, typer.Option("--labels", metavar="N", min=1, help="How many geometries.")
    ] = 24_000,
    temperature_K: Annotated[
        float, typer.Option("--temperature-K", help="Of the dynamics on GFN2-xTB that draws them.")
    ] = 600.0,
    charge: opt.Charge = None,
    multiplicity: opt.Multiplicity = None,
    processes: Processes = 1,
    limit: Limit = 0,
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            min=0,
            help="The same seed makes the same set, whatever the number of processes.",
        ),
    ] = 0,
) -> None:
    """Compute GFN2-xTB labels of one molecule, to start a training from.

    Milliseconds a label, tens of thousands in minutes.

    Train on STRUCTURE.h5 first, then on your own labels with `training.start` naming the model that
    came of it.
    """
