"""``polcalc learn``: explore, label what the model does not know, fine-tune it, repeat."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from md_runs.cli import options as opt
from md_runs.cli.commands import does

LEARNING = "Learning"

Reference = Annotated[
    str,
    typer.Option(
        "--reference",
        metavar="METHOD",
        help="What labels: xtb, pyscf:b3lyp/def2-svp, orca:'B3LYP def2-SVP', ase:CLASS, or"
        " python:MODULE:FUNCTION, which returns an ASE calculator for a structure.",
        rich_help_panel=LEARNING,
    ),
]
Explore = Annotated[
    str,
    typer.Option(
        "--explore",
        metavar="WORDS",
        help="What the model must hold: temperature and length; also '0.5 fs', 'bonds free'.",
        rich_help_panel=LEARNING,
    ),
]
Labels = Annotated[
    int,
    typer.Option(
        "--labels",
        metavar="N",
        min=8,
        help="Labels at most, in all.",
        rich_help_panel=LEARNING,
    ),
]
PerRound = Annotated[
    int,
    typer.Option(
        "--per-round",
        metavar="N",
        min=8,
        max=9999,
        help="Labels of a round: those frames of its explorations that differ most.",
        rich_help_panel=LEARNING,
    ),
]
Minutes = Annotated[
    float,
    typer.Option(
        "--minutes",
        metavar="MINUTES",
        min=0.01,
        help="Minutes of training in a round at most.",
        rich_help_panel=LEARNING,
    ),
]
Target = Annotated[
    float,
    typer.Option(
        "--target-meV-per-A",
        metavar="X",
        min=0.0,
        help="Mean error of forces on fresh frames, in meV/Å, below which it ends.",
        rich_help_panel=LEARNING,
    ),
]
MaxUncertainty = Annotated[
    float,
    typer.Option(
        "--max-uncertainty-eV-per-A",
        metavar="X",
        min=0.0,
        help="An exploration stops where a force is more uncertain, in eV/Å.",
        rich_help_panel=LEARNING,
    ),
]
RehearsalShare = Annotated[
    float,
    typer.Option(
        "--rehearsal-share",
        metavar="FRACTION",
        min=0.0,
        max=0.9,
        help="Of what is trained on, so that little is forgotten.",
        rich_help_panel=LEARNING,
    ),
]
Limit = Annotated[
    float,
    typer.Option(
        "--limit-s",
        metavar="SECONDS",
        min=0.0,
        help="Time for one label; what takes longer is given up.",
        rich_help_panel=LEARNING,
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs", metavar="N", min=1, help="Processes that label.", rich_help_panel=LEARNING
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed", metavar="N", min=0, help="Of velocities and training.", rich_help_panel=LEARNING
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on where it was stopped or killed; nothing is labelled twice."
    ),
]


@does("learning.learn", "learn")
def command(
    structures: opt.Structures,
    reference: Reference = "xtb",
    explore: Explore = "md 500 K, 20 ps",
    model: opt.Model = None,
    output: opt.Output = Path("polcalc-learn"),
    labels: Labels = 300,
    per_round: PerRound = 20,
    minutes: Minutes = 3.0,
    target_meV_per_A: Target = 60.0,
    max_uncertainty_eV_per_A: MaxUncertainty = 0.5,
    rehearsal_share: RehearsalShare = 0.25,
    jobs: Jobs = 1,
    limit_s: Limit = 600.0,
    charge: opt.Charge = None,
    multiplicity: opt.Multiplicity = None,
    device: opt.Device = "auto",
    seed: Seed = 0,
    resume: Resume = False,
) -> None:
    """Explore with a model, label what it does not know, fine-tune it, until it holds.

    Dynamics of each structure end where a force is too uncertain or a guard objects. Frames that
    differ most are labelled and tell the error; the model learns them, and explores again. Exit
    code 1 where the labels are spent before a whole exploration passes.
    """
