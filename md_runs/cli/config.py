"""Options of a command from a file: the same names as on the line, which wins."""

from __future__ import annotations

import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

YAML = (".yaml", ".yml")


def read_config(context: typer.Context, value: Path | None) -> None:
    """Make what a file says the defaults of this call.

    Raises
    ------
    BadParameter   no such file, not TOML or YAML, or keys that are no options of the command
    """
    if value is None or context.resilient_parsing:
        return
    names = _names(context)
    content = _parse(value)
    if unknown := sorted(set(content) - set(names)):
        known = ", ".join(dict.fromkeys(key for key in names if "_" not in key))
        raise typer.BadParameter(
            f"{value} must hold options of {context.info_name}; got {', '.join(unknown)}."
            f" Known are {known}."
        )
    context.default_map = {names[key]: _as_on_the_line(item) for key, item in content.items()}


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="TOML or YAML with options by their names here; those on the line win.",
        callback=read_config,
        is_eager=True,
        show_default=False,
    ),
]


def _names(context: typer.Context) -> dict[str, str]:
    """Map what may stand in the file to names of parameters: as on the line, or with _ for -."""
    names = {}
    for parameter in context.command.params:
        if parameter.name in (None, "defaults_file", "help"):
            continue
        for option in parameter.opts:
            key = option.lstrip("-")
            names[key] = names[key.replace("-", "_")] = str(parameter.name)
    return names


def _parse(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        content = _parse_yaml(text) if path.suffix.lower() in YAML else tomllib.loads(text)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise typer.BadParameter(
            f"{path} must be a readable TOML or YAML file; {reason}."
        ) from error
    if not isinstance(content, dict):
        raise typer.BadParameter(f"{path} must hold lines of option and value; got other content.")
    return {str(key): value for key, value in content.items()}


def _parse_yaml(text: str) -> Any:
    if find_spec("yaml") is None:
        raise ValueError("PyYAML must be installed to read YAML; write TOML")
    import yaml

    try:
        return yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _as_on_the_line(value: Any) -> Any:
    """Spell a value as the shell would; a switch is true or false."""
    if isinstance(value, bool):
        return value
    return [str(item) for item in value] if isinstance(value, list) else str(value)
