"""``polcalc labels``: compute reference data of our own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from md_runs.cli import options as opt
from md_runs.cli.commands import PLAIN, Command, Group, does

app = typer.Typer(
    help="Compute reference data: known sets of ours, and cheap labels of any molecule.",
    no_args_is_help=True,
    cls=Group,
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

Labels = Annotated[
    int,
    typer.Option("--labels", metavar="N", min=1, help="About so many; a run goes on with more."),
]
OpenShells = Annotated[
    Path | None,
    typer.Option("--open-shells", metavar="FILE", help="Labels of open shells, part of the set."),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed", min=0, help="The same seed makes the same set, whatever the number of processes."
    ),
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


@app.command("molecules", cls=Command)
@does("reference.labels", "molecules")
def molecules(
    output: Folder = Path("polcalc-labels"),
    labels: Labels = 260_000,
    open_shells: OpenShells = None,
    processes: Processes = 1,
    limit: Limit = 0,
    seed: Seed = 20261130,
) -> None:
    """Label molecules, their ions and zwitterions by AIMNet2, and write the set `organic`.

    Of H, C, N, O, F, P, S, Cl, Br, I; up to 14 heavy atoms; about 160,000 labels an hour of one
    core. The labels of `polcalc labels clusters` in the same folder belong to the set, too.
    """


@app.command("clusters", cls=Command)
@does("reference.labels", "clusters")
def clusters(
    output: Folder = Path("polcalc-labels"),
    labels: Labels = 140_000,
    open_shells: OpenShells = None,
    processes: Processes = 1,
    limit: Limit = 0,
    seed: Seed = 20261130,
) -> None:
    """Label pairs and clusters of molecules and ions by AIMNet2, and write the set `organic`.

    The labels of `polcalc labels molecules` in the same folder belong to the set, too.
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
