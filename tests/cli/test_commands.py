"""Declarations of commands: what they need to answer, and that they match what does the work."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from ase.build import molecule
from typer.testing import CliRunner

from md_runs.cli.app import COMMANDS, app
from potentials.shipped import DEFAULT, available
from tests.small import write_small_model

REPOSITORY = Path(__file__).parents[2]
HEAVY = ("torch", "ase", "numpy", "matplotlib", "rich", "h5py", "scipy")
IMPORTED = f"""
import sys
from md_runs.cli.app import app
try:
    app(sys.argv[1:])
finally:
    print("heavy:", *(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)
"""


def declarations() -> Iterator[tuple[str, Any]]:
    """Name every declared command, also those of groups."""
    for name, entry in COMMANDS.items():
        module = import_module(f"md_runs.cli.{entry.module}")
        if hasattr(module, "command"):
            yield name, module.command
        else:
            for sub in module.app.registered_commands:
                yield f"{name} {sub.name or sub.callback.__name__}", sub.callback


@pytest.mark.parametrize(
    "line",
    [
        "--help",
        "--version",
        "md --nosuch",
        "relax --steps many",
        "vib",
        *(f"{name} --help" for name in COMMANDS),
    ],
)
def test_help_and_usage_errors_import_nothing_large(line: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *line.split()],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    asked_well = line.endswith(("--help", "--version"))
    assert done.returncode == (0 if asked_well else 2)
    assert done.stderr.splitlines()[-1] == "heavy:"
    assert "Traceback" not in done.stderr


def test_warnings_are_lines_for_people() -> None:
    """Without the file and the line of the code that Python adds."""
    script = (
        "import warnings; from md_runs.cli import app; app.app = lambda: warnings.warn('far off')"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{script}; app.main()"],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == "warning: far off\n"


def test_info_of_no_model_is_that_of_the_default_one() -> None:
    shown = CliRunner().invoke(app, ["info"])
    assert (
        shown.exit_code == 0 and shown.output == CliRunner().invoke(app, ["info", DEFAULT]).output
    )


def test_info_needs_no_torch() -> None:
    script = IMPORTED.replace("finally:", "finally:\n    sys.stdout.flush()")
    done = subprocess.run(
        [sys.executable, "-c", script, "info", "ethanol-rmd17", "--verbose"],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    heavy = done.stderr.splitlines()[-1].split()
    assert heavy[0] == "heavy:" and not {"torch", "matplotlib", "h5py", "scipy"} & set(heavy)
    assert "where it fails" in done.stdout or "architecture" in done.stdout


def test_a_relaxation_draws_and_compiles_nothing(tmp_path: Path) -> None:
    """Not to be imported: half a second each, of three."""
    large = ("matplotlib", "torch._dynamo", "sympy")
    molecule("H2O").write(tmp_path / "water.xyz")
    write_small_model(tmp_path / "m.pt")
    script = IMPORTED.replace(repr(HEAVY), repr(large))
    line = "relax water.xyz --model m.pt --fmax-eV-per-A 50 --output out"
    done = subprocess.run(
        [sys.executable, "-c", script, *line.split()],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stderr.splitlines()[-1] == "heavy:"
    assert (tmp_path / "out" / "relaxed.extxyz").is_file()


@pytest.mark.parametrize(("name", "declared"), list(declarations()))
def test_a_declaration_has_the_parameters_and_defaults_of_its_work(
    name: str, declared: Any
) -> None:
    module, function = declared.work
    work = inspect.signature(getattr(import_module(f"md_runs.{module}"), function)).parameters
    options = dict(inspect.signature(declared).parameters)
    del options["context"], options["defaults_file"]
    assert list(options) == [parameter for parameter in work if parameter != "given"]
    different = {
        option: (options[option].default, work[option].default)
        for option in options
        if work[option].default not in (inspect.Parameter.empty, options[option].default)
    }
    assert not different


def test_the_version_is_that_of_the_package() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout.strip().count(".") == 2


def test_the_shell_completes_commands_options_models_and_devices() -> None:
    def complete(words: str, position: int) -> list[str]:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys; from md_runs.cli.app import main; sys.argv = ['polcalc']; main()",
            ],
            env=os.environ
            | {
                "PYTHONPATH": str(REPOSITORY),
                "_POLCALC_COMPLETE": "complete_bash",
                "COMP_WORDS": words,
                "COMP_CWORD": str(position),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout.split()

    assert complete("polcalc re", 1) == ["relax"]
    assert complete("polcalc md --temperature-e", 2) == ["--temperature-end-K"]
    assert complete("polcalc relax --model ", 3) == available()
    assert complete("polcalc info eth", 2) == ["ethanol-rmd17"]
    assert complete("polcalc md --device c", 3) == ["cpu", "cuda"]
