"""The ``polcalc`` command: a table of commands, each imported when it is called."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from md_runs.signals import silent_end

STRUCTURES, DYNAMICS = "Structures", "Dynamics"
MODELS, REFERENCE = "Models", "Reference data"


class Entry(NamedTuple):
    """Where a command lives, and its line on the help screen."""

    module: str  # below `md_runs.cli`
    panel: str
    line: str


COMMANDS = {
    "build": Entry("structures.build", STRUCTURES, "Make a structure from a SMILES."),
    "relax": Entry("structures.relax", STRUCTURES, "Relax one or many structures."),
    "neb": Entry(
        "structures.neb", STRUCTURES, "Find the path between two structures, and its barrier."
    ),
    "vib": Entry("structures.vib", STRUCTURES, "Normal modes, zero-point energy, thermochemistry."),
    "states": Entry("structures.states", STRUCTURES, "Energies and gaps of the electronic states."),
    "polarization": Entry("structures.polarization", STRUCTURES, "Where moving points went."),
    "md": Entry("dynamics.md", DYNAMICS, "Run molecular dynamics, or go on with a run."),
    "analyse": Entry("dynamics.analyse", DYNAMICS, "Report on one or several runs."),
    "info": Entry("models.info", MODELS, "Show what a model is."),
    "doctor": Entry("models.doctor", MODELS, "Is this model fit for this structure?"),
    "audit": Entry("models.audit", MODELS, "Does a model behave as physics asks?"),
    "validate": Entry("models.validate", MODELS, "Compare a model with reference data."),
    "train": Entry("models.train", MODELS, "Train a model on labelled structures."),
    "specialise": Entry("models.specialise", MODELS, "Give each state weights of its own."),
    "encodings": Entry("models.encodings", MODELS, "What a model learned of distances and angles."),
    "import-torchmd": Entry("models.import_torchmd", MODELS, "Convert a TorchMD-NET checkpoint."),
    "data": Entry("reference.data", REFERENCE, "Known data sets; check data of your own."),
    "labels": Entry("reference.labels", REFERENCE, "Compute reference data."),
}


class Commands(TyperGroup):
    """The commands, listed from the table and imported when one is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Name the commands in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return what the help screen needs of a command, without importing it."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        return TyperCommand(cmd_name, help=entry.line, rich_help_panel=entry.panel)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the command that is called."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, found if name is None else load_command(name), rest


def load_command(name: str) -> Any:
    """Import a command: its module holds a function ``command``, or an ``app`` of several."""
    with silent_end():
        module = import_module(f"md_runs.cli.{COMMANDS[name].module}")
    single = getattr(module, "command", None)
    if single is None:
        return typer.main.get_command(module.app)
    errors = import_module("md_runs.errors")
    holder = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    holder.command(name)(errors.clear_endings()(single))
    return typer.main.get_command(holder)


app = typer.Typer(
    name="polcalc",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def polcalc() -> None:
    """Dynamics, relaxation and validation with potentials that know charge and spin."""


def main() -> Any:
    """Run the command."""
    return app()


if __name__ == "__main__":
    main()
