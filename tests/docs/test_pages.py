"""Pages tell commands and names that are there; pages that say so run from top to bottom."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from md_runs.cli.app import COMMANDS, load_command
from potentials.checkpoint import load
from potentials.shipped import DEFAULT

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *(REPOSITORY / "docs").rglob("*.md"),
        *(REPOSITORY / f for f in ("README.md", "CONTRIBUTING.md")),
    ]
)
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(polcalc [^`]+)`")
RUNS = re.compile(r"^<!-- runs(?:, needs a default model with (\w+))? -->$", re.MULTILINE)
PACKAGES = ("polcalc", "potentials", "md_runs", "benchmarks")
UsageError: Any = typer.BadParameter.__base__
LONGEST = 400  # steps of dynamics that a page is tried with


def named(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def blocks(page: Path, *languages: str) -> Iterator[str]:
    for found in BLOCK.finditer(page.read_text(encoding="utf-8")):
        if found[1] in languages:
            yield found[2]


def calls(page: Path) -> Iterator[list[str]]:
    """The words of every call of `polcalc` in the blocks of a page."""
    for block in blocks(page, "sh", "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.strip().removeprefix("$ "), comments=True, posix=True)
            call: list[str] = []
            for word in [*words, ";"]:
                if word.rstrip(";") == "" or word in ("&&", "|", "&", ">", "2>", ">>"):
                    if call[:1] == ["polcalc"]:
                        yield call[1:]
                    call = []
                else:
                    call.append(word.rstrip(";"))
                    if word.endswith(";"):
                        if call[:1] == ["polcalc"]:
                            yield call[1:]
                        call = []


def parse(words: list[str]) -> None:
    """Parse a call by the command that it names, without running it."""
    command, rest = load_command(words[0]), words[1:]
    while hasattr(command, "commands"):
        if not rest or rest[0] not in command.commands:
            raise UsageError(f"no such command: {' '.join(words)}")
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(words[0], list(rest))


def options_of(command: Any) -> set[str]:
    here = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
    return here.union(*(options_of(c) for c in getattr(command, "commands", {}).values()))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_calls_of_a_page_are_understood(page: Path) -> None:
    for words in calls(page):
        try:
            parse(words)
        except typer.Exit as ended:
            if ended.exit_code:
                pytest.fail(" ".join(words))
        except UsageError as error:
            pytest.fail(f"polcalc {' '.join(words)}: {error.format_message()}")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_and_options_in_a_text_exist(page: Path) -> None:
    for call in INLINE.findall(page.read_text(encoding="utf-8")):
        name, *rest = re.split(r"[\s|,]+", call.removeprefix("polcalc "))
        if not re.fullmatch(r"[a-z-]+", name) or name.startswith("-"):
            continue
        assert name in COMMANDS, call
        known = options_of(load_command(name)) | {"--help"}
        told = {word.split("=")[0].rstrip("]…") for word in rest if word.startswith("--")}
        assert told <= known, call


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of metatensor
@pytest.mark.parametrize("page", PAGES, ids=named)
def test_python_of_a_page_imports_what_there_is(page: Path) -> None:
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGES):
                module = importlib.import_module(str(node.module))
                assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
    for module in re.findall(r"python -m (benchmarks[\w.]+)", page.read_text(encoding="utf-8")):
        assert importlib.util.find_spec(module) is not None, module


def test_a_wrong_call_is_seen() -> None:
    with pytest.raises(UsageError, match="no-such-option"):
        parse(["relax", "X.xyz", "--no-such-option"])
    with pytest.raises(UsageError):
        parse(["batch", "relaxx", "X.xyz"])
    parse(["batch", "relax", "X.xyz", "--jobs", "2"])


RUNNING = [page for page in PAGES if RUNS.search(page.read_text(encoding="utf-8"))]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNING, ids=named)
def test_a_page_runs_from_top_to_bottom(page: Path, tmp_path: Path) -> None:
    """Shell and Python in order, each block of Python by itself, dynamics cut short."""
    text = page.read_text(encoding="utf-8")
    needed = RUNS.search(text)
    assert needed is not None
    if needed[1] and needed[1] not in load(DEFAULT).potential.predicts:
        pytest.skip(f"{DEFAULT} predicts no {needed[1]}")
    script = ["set -e", f'polcalc() {{ "{sys.executable}" -m md_runs.cli "$@"; }}']
    for found in BLOCK.finditer(text):
        if found[1] in ("sh", "bash"):
            short = re.sub(
                r"--steps (\d+)", lambda m: f"--steps {min(int(m[1]), LONGEST)}", found[2]
            )
            script += [line for line in short.splitlines() if not line.startswith("pip install")]
        elif found[1] == "python":
            script += [f'"{sys.executable}" - <<"END"', found[2].rstrip(), "END"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "80"}
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
