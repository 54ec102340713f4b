"""From the declaration of a command to its help screen and to the function that does the work."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from md_runs.cli.config import ConfigFile
from md_runs.errors import InputError, clear_endings

Declaration = Callable[..., None]
PLAIN: dict[str, Any] = {  # every Typer: help without rich, which takes as long as all the rest
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "add_completion": False,
    "context_settings": {"help_option_names": ["-h", "--help"], "max_content_width": 100},
}


def does(module: str, function: str) -> Callable[[Declaration], Declaration]:
    """Let a declared command call the function of the same parameters that does its work.

    The declaration holds options, defaults and help; the module below `md_runs` is imported when
    the command runs, so that help and usage errors need neither torch nor ASE. A function with a
    parameter ``given`` is told the names of what the user asked for himself.
    """

    def complete(declared: Declaration) -> Declaration:
        @wraps(declared)
        def command(context: typer.Context, defaults_file: Path | None, **options: Any) -> None:
            with clear_endings():
                check_numbers(options)
            work = getattr(import_module(f"md_runs.{module}"), function)
            if "given" in inspect.signature(work).parameters:
                options["given"] = given(context)
            with clear_endings():
                work(**options)

        hints = get_type_hints(declared, include_extras=True)
        signature = inspect.signature(declared)
        parameters = [
            inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
            *(
                p.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[p.name])
                for p in signature.parameters.values()
            ),
            inspect.Parameter(
                "defaults_file",
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=ConfigFile,
            ),
        ]
        declaration: Any = command
        declaration.__annotations__ = hints | {
            "context": typer.Context,
            "defaults_file": ConfigFile,
        }
        declaration.__signature__ = signature.replace(parameters=parameters)
        declaration.work = (module, function)
        return command

    return complete


def check_numbers(options: Mapping[str, Any]) -> None:
    """Refuse numbers that no computation means: infinite ones, and whole ones beyond 64 bits.

    Raises
    ------
    InputError
    """
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"`{option}` must be a finite number; got {value}. Correct it.")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise InputError(f"`{option}` must fit 64 bits; got {value}. Take a smaller number.")


def given(context: typer.Context) -> set[str]:
    """Name the options and arguments that do not have their defaults."""
    return {
        name
        for name in context.params
        if name != "defaults_file"
        and getattr(context.get_parameter_source(name), "name", "") != "DEFAULT"
    }


class QuickHelp:
    """What keeps a command that is asked for help, or misspelt, from importing pydantic."""

    def get_help_option(self, ctx: Any) -> Any:
        """Give ``--help`` a plain default: typer converts every other with pydantic."""
        option: Any = super().get_help_option(ctx)  # type: ignore[misc]
        if option is not None:
            option.default = False
        return option


class Group(QuickHelp, TyperGroup):
    """Commands under one name, each listed with its whole first sentence."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands; what is longer than a line is wrapped, not cut."""
        commands: dict[str, Any] = {n: self.get_command(ctx, n) for n in self.list_commands(ctx)}
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, command.get_short_help_str(10_000)) for name, command in commands.items()]
            )


class Command(QuickHelp, TyperCommand):
    """A command whose help screen lists the options under their panels."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """List arguments first, then options panel by panel, those without one first."""
        panels: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                plain = "Arguments" if parameter.param_type_name == "argument" else "Options"
                panel = getattr(parameter, "rich_help_panel", None) or plain
                panels.setdefault(panel, []).append(record)
        for name, records in panels.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)
