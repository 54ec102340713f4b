"""Pages of the site that are not written: commands and entries of the code, files from elsewhere.

A hook of MkDocs, run from the root of the repository. The README is the first page, so that nothing
is said twice.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from md_runs.cli.app import COMMANDS, load_command
from md_runs.models.template import template
from potentials.quantities import QUANTITIES

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = "benchmarks/results"
ELSEWHERE = {  # file of the repository -> page of the site
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
} | {
    str(path.relative_to(REPOSITORY)): f"results/{path.relative_to(REPOSITORY / RESULTS)}"
    for path in sorted((REPOSITORY / RESULTS).rglob("*"))
    if path.suffix in (".md", ".png")
}
CONFIGURATION = "reference/configuration.md"
UNITS = "reference/units.md"


def on_config(config: Any) -> Any:
    """List a page for each command."""
    pages = {name: f"reference/commands/{name}.md" for name in COMMANDS}
    for section in config["nav"]:
        for entry in next(iter(section.values())):
            if isinstance(entry, dict) and entry.get("Commands") == []:
                entry["Commands"] = [{name: page} for name, page in pages.items()]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that other files and the code are the source of."""
    for source, page in ELSEWHERE.items():
        files.append(File.generated(config, page, abs_src_path=str(REPOSITORY / source)))
    for name in COMMANDS:
        files.append(
            File.generated(config, f"reference/commands/{name}.md", content=command_page(name))
        )
    files.append(File.generated(config, CONFIGURATION, content=configuration_page()))
    return files


def command_page(name: str) -> str:
    """Describe a command, and those below it, as its declaration does."""
    return "\n".join(_described(load_command(name), f"polcalc {name}", 1))


def _described(command: Any, called: str, level: int) -> list[str]:
    context = command.make_context(called, [], resilient_parsing=True)
    lines = [f"{'#' * level} {called}", "", *_paragraphs(command.help or ""), ""]
    usage = " ".join([called, *command.collect_usage_pieces(context)])
    lines += ["```text", usage, "```", ""]
    panels: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(context):
        if (record := parameter.get_help_record(context)) is not None:
            plain = "Arguments" if parameter.param_type_name == "argument" else "Options"
            panel = getattr(parameter, "rich_help_panel", None) or plain
            panels.setdefault(panel, []).append(record)
    for panel in sorted(panels, key=lambda title: title not in ("Arguments", "Options")):
        lines += [f"**{panel}**", "", "| | |", "|---|---|"]
        lines += [f"| <code>{_cell(what)}</code> | {_cell(said)} |" for what, said in panels[panel]]
        lines.append("")
    for below in getattr(command, "commands", {}).values():
        lines += _described(below, f"{called} {below.name}", level + 1)
    return lines


def _paragraphs(text: str) -> list[str]:
    return [line.strip().replace("<", "&lt;").replace("\b", "") for line in text.splitlines()]


def _cell(text: str) -> str:
    return escape(" ".join(text.split())).replace("|", "&#124;").replace("*", "&#42;")


def configuration_page() -> str:
    """Show every entry of a configuration, as `polcalc train --template` writes it."""
    return "\n".join(
        [
            "# Configuration of a training",
            "",
            "`polcalc train THIS.toml` reads one TOML file. `polcalc train --template DATA` writes",
            "this one, with what it finds in your data filled in:",
            "",
            "```toml",
            template(None).rstrip(),
            "```",
            "",
        ]
    )


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Add the table of quantities to the page of units."""
    if page.file.src_uri != UNITS:
        return markdown
    rows = [
        f"| `{q.name}` | {q.per} | {q.shape or ''} | {q.unit.replace('^2', '²').replace('^3', '³')}"
        f" | {q.meaning} |"
        for q in QUANTITIES.values()
    ]
    return "\n".join([markdown, "| | per | shape | unit | |", "|---|---|---|---|---|", *rows])
