"""The ``polcalc`` command: a table of commands, each imported when it is called."""

from __future__ import annotations

import os
import sys
import warnings
from importlib import import_module
from itertools import groupby
from typing import Annotated, Any, NamedTuple

import typer
from typer.completion import (  # type: ignore[attr-defined]
    completion_init,
    install_callback,
    show_callback,
)
from typer.core import TyperCommand, TyperGroup

from md_runs.cli.commands import PLAIN, Command, QuickHelp
from md_runs.errors import InputError

STRUCTURES, DYNAMICS = "Structures", "Dynamics"
MODELS, REFERENCE = "Models", "Reference data"
PROGRAMS = "Other programs"


class Entry(NamedTuple):
    """Where a command lives, and its line on the help screen."""

    module: str  # below `md_runs.cli`
    panel: str
    line: str


COMMANDS = {
    "build": Entry("structures.build", STRUCTURES, "Make a structure from a SMILES."),
    "energy": Entry("structures.energy", STRUCTURES, "Energies and forces of structures."),
    "relax": Entry("structures.relax", STRUCTURES, "Relax one or many structures."),
    "conformers": Entry(
        "structures.conformers", STRUCTURES, "Find the shapes of a molecule, and their weights."
    ),
    "scan": Entry("structures.scan", STRUCTURES, "Energy along bonds, angles and dihedral angles."),
    "batch": Entry("structures.batch", STRUCTURES, "Any of these for a great many molecules."),
    "neb": Entry(
        "structures.neb", STRUCTURES, "Find the path between two structures, and its barrier."
    ),
    "ts": Entry("structures.ts", STRUCTURES, "Find a saddle point, and the ways down from it."),
    "vib": Entry("structures.vib", STRUCTURES, "Normal modes, zero-point energy, thermochemistry."),
    "states": Entry("structures.states", STRUCTURES, "Energies and gaps of the electronic states."),
    "polarization": Entry(
        "structures.polarization", STRUCTURES, "Draw charges, dipole, moving points."
    ),
    "fields": Entry(
        "structures.fields", STRUCTURES, "Energy, dipole, polarizability in electric fields."
    ),
    "md": Entry("dynamics.md", DYNAMICS, "Run molecular dynamics, or go on with a run."),
    "convert": Entry("dynamics.convert", DYNAMICS, "Trajectory to extxyz, xyz or traj."),
    "analyse": Entry("dynamics.analyse", DYNAMICS, "Report on one or several runs."),
    "info": Entry("models.info", MODELS, "Show what a model is."),
    "doctor": Entry("models.doctor", MODELS, "Is this model fit for this structure?"),
    "audit": Entry("models.audit", MODELS, "Does a model behave as physics asks?"),
    "validate": Entry("models.validate", MODELS, "Compare a model with reference data."),
    "calibrate": Entry("models.calibrate", MODELS, "Tell a model how far it may be believed."),
    "train": Entry("models.train", MODELS, "Train a model on labelled structures."),
    "finetune": Entry("models.finetune", MODELS, "Make a model right for your own structures."),
    "learn": Entry("models.learn", MODELS, "Explore, label what is not known, learn it, repeat."),
    "specialise": Entry("models.specialise", MODELS, "Give each state weights of its own."),
    "encodings": Entry("models.encodings", MODELS, "What a model learned of distances and angles."),
    "import-torchmd": Entry("models.import_torchmd", MODELS, "Convert a TorchMD-NET checkpoint."),
    "data": Entry("reference.data", REFERENCE, "Known data sets; check data of your own."),
    "labels": Entry("reference.labels", REFERENCE, "Compute reference data."),
    "drive": Entry("programs.drive", PROGRAMS, "Compute what i-PI sends: replicas, sampling."),
    "export": Entry("programs.export", PROGRAMS, "Write a model for programs of metatomic."),
    "serve": Entry("programs.serve", PROGRAMS, "Answer ORCA, CREST, Gaussian and scripts."),
}


class Commands(QuickHelp, TyperGroup):
    """The commands, listed from the table and imported when one is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Name the commands in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return what the help screen needs of a command, without importing it."""
        entry = COMMANDS.get(cmd_name)
        return None if entry is None else TyperCommand(cmd_name, help=entry.line)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the command that is called."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, found if name is None else load_command(name), rest

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands under their panels."""
        for panel, entries in groupby(COMMANDS.items(), key=lambda item: item[1].panel):
            with formatter.section(panel):
                formatter.write_dl([(name, entry.line) for name, entry in entries])


def load_command(name: str) -> Any:
    """Import a command: its module holds a function ``command``, or an ``app`` of several."""
    module = import_module(f"md_runs.cli.{COMMANDS[name].module}")
    single = getattr(module, "command", None)
    if single is None:
        return typer.main.get_command(module.app)
    holder = typer.Typer(**PLAIN)
    holder.command(name, cls=Command)(single)
    return typer.main.get_command(holder)


app = typer.Typer(name="polcalc", cls=Commands, no_args_is_help=True, **PLAIN)


def _show_version(asked: bool) -> None:
    if asked:
        print(import_module("importlib.metadata").version("polcalc"))
        raise typer.Exit


@app.callback()
def polcalc(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    install_completion: Annotated[
        bool,
        typer.Option(
            "--install-completion",
            callback=install_callback,
            help="Let the shell complete names of commands and options.",
        ),
    ] = False,
    show_completion: Annotated[
        bool,
        typer.Option(
            "--show-completion", callback=show_callback, help="Show what that would install."
        ),
    ] = False,
) -> None:
    """Dynamics, relaxation and validation with potentials that know charge and spin."""


def say_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """Print a warning as a line for people, without the place in the code that gave it."""
    print(f"warning: {message}", file=sys.stderr)


def main() -> None:
    """Run the command."""
    completion_init()
    warnings.showwarning = say_warning
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except OSError as error:  # nobody reads, or the disk behind stdout is full
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end
        if not isinstance(error, BrokenPipeError):
            print(f"error: {error.strerror} (writing to stdout)", file=sys.stderr)
        sys.exit(InputError.exit_code)


if __name__ == "__main__":
    main()
