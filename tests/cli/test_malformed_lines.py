"""Malformed command lines: exit code 2, words instead of a traceback, nothing written."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from ase.build import molecule
from ase.io import write
from typer.testing import CliRunner, Result

from md_runs.cli.app import app
from tests.small import write_small_model

LONG = "x" * 300

# What one structure and a model are asked for; every command gets each of the ends below.
GOOD = {
    "md": "md ethanol.xyz --model m.pt",
    "relax": "relax ethanol.xyz --model m.pt",
    "energy": "energy ethanol.xyz --model m.pt",
    "vib": "vib ethanol.xyz --model m.pt",
    "neb": "neb ethanol.xyz ethanol.xyz --model m.pt",
    "states": "states ethanol.xyz --model m.pt",
    "doctor": "doctor ethanol.xyz --model m.pt",
    "polarization": "polarization ethanol.xyz --model m.pt",
}
ENDS = [
    "--nosuch",
    "--device nowhere",
    "--dtype float16",
    "--model nothing.pt",
    "--model noise.xyz",
    f"--model {LONG}.pt",
    "--config nothing.toml",
    "--config noise.xyz",
    "--config unknown.toml",
]
STATES = ["--charge many", "--charge 1.5", "--charge 99999999999999999999", "--multiplicity 0"]
NUMBERS = {
    "md": (
        "--steps 0|--steps many|--steps 1e3|--steps 99999999999999999999999|--timestep-fs inf"
        "|--timestep-fs nan|--timestep-fs -1|--timestep-fs 0|--temperature-K -1|--temperature-K inf"
        "|--seed -1|--seed 99999999999999999999|--ensemble nvx|--thermostat-time-fs 1e400"
        "|--ensemble npt --barostat-time-fs 1e400|--ensemble npt --pressure-GPa inf"
        "|--equilibrate-ps -1|--equilibrate-ps inf|--fix-atoms 0-|--fix-atoms 99|--fix-bonds 0"
        "|--fix-bonds 0-99|--trajectory-every 0|--log-every 0|--checkpoint-every -3|--frame 7"
        "|--frame first|--restart nowhere|--restart used|--restart used --charge 1"
        "|--allow-changes|--output used|--output noise.xyz|--output noise.xyz/new"
        f"|--output {LONG}|--partial-charges nothing|--fragments nothing|--fragments noise.xyz"
    ),
    "relax": (
        "--fmax-eV-per-A inf|--fmax-eV-per-A nan|--fmax-eV-per-A -1|--fmax-eV-per-A 0|--steps -1"
        "|--cell|--optimizer newton|--jobs 0|--jobs many|--resume|--output used --resume"
        f"|--output used|--output noise.xyz|--output {LONG}"
    ),
    "energy": f"--output used|--output noise.xyz|--output {LONG}",
    "vib": (
        "--temperature-K inf|--temperature-K 0|--pressure-bar -1|--pressure-bar 1e999|--frame 7"
        "|--geometry round|--symmetry-number 0|--output used"
    ),
    "neb": (
        "--images 0|--spring-eV-per-A2 inf|--spring-eV-per-A2 0|--fmax-eV-per-A nan|--end-frame 3"
    ),
    "states": "--charges none|--multiplicities 0|--crossing 1|--fmax-eV-per-A inf|--output used",
    "polarization": "--magnify inf|--magnify 0|--charges a,b|--output picture.jpg|--json noise.xyz",
}
OTHERS = [
    "nothing",
    "--nosuch",
    "md",
    "relax",
    "energy",
    "vib",
    "neb ethanol.xyz",
    "relax missing.xyz --model m.pt",
    "relax empty.xyz --model m.pt",
    "relax noise.xyz --model m.pt",
    "relax used --model m.pt",
    "relax [/x].xyz --model m.pt",
    f"relax {LONG}.xyz --model m.pt",
    "energy chloromethane.xyz --model m.pt",
    "info nothing",
    "info noise.xyz",
    "info used",
    "info [/bold]",
    f"info {LONG}",
    "audit nothing",
    "audit m.pt --structure missing.xyz",
    "encodings nothing",
    "encodings m.pt --from-A 9 --to-A 1",
    "encodings m.pt --from-A inf",
    "validate --model m.pt",
    "validate --model m.pt --data missing.npz",
    "validate --model m.pt --data ethanol.xyz --output used",
    "train",
    "train missing.toml",
    "train noise.xyz",
    "train unknown.toml",
    "train unknown.toml --max-epochs 0",
    "specialise m.pt missing.toml",
    "specialise nothing unknown.toml",
    "analyse",
    "analyse missing",
    "analyse used",
    "analyse ethanol.xyz",
    "convert",
    "convert missing out.xyz",
    "convert noise.xyz out.xyz",
    "convert noise.xyz out.doc",
    "build",
    "build CCO",
    "build CCO --output ethanol.xyz",
    "build CCO --output new.pdb",
    "build C(C --output new.xyz",
    "build [/x] --output new.xyz",
    "build CCO --output new.xyz --conformers 0",
    "build CCO --output new.xyz --multiplicity 2",
    "build CCO --output new.xyz --seed -1",
    f"build CCO --output {LONG}.xyz",
    "import-torchmd missing.ckpt out.pt --energy-unit eV --length-unit Angstrom",
    "import-torchmd noise.xyz out.pt --energy-unit eV --length-unit Angstrom",
    "data",
    "data nothing",
    "data fetch nothing",
    "data check missing.xyz",
    "data check noise.xyz",
    "data check ethanol.xyz --energy-unit eV",
    "labels toy-charge C",
    "labels molecule missing.xyz",
    "labels molecule ethanol.xyz --temperature-K inf",
]
TABLE = [
    *OTHERS,
    *(f"{GOOD[command]} {end}" for command, ends in NUMBERS.items() for end in ends.split("|")),
    *(f"{GOOD[command]} {end}" for command in ("md", "relax") for end in (*ENDS, *STATES)),
]
REST = [
    *(
        f"{good} {end}"
        for command, good in GOOD.items()
        for end in ENDS
        if command not in "md relax"
    ),
    *(f"{GOOD[c]} {end}" for c in ("energy", "vib", "neb", "doctor") for end in STATES),
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """A model, structures good and bad, a directory in use, and a file of unknown options."""
    folder = tmp_path_factory.mktemp("inputs")
    write_small_model(folder / "m.pt")
    write(folder / "ethanol.xyz", molecule("CH3CH2OH"))
    write(folder / "chloromethane.xyz", molecule("CH3Cl"))
    (folder / "noise.xyz").write_text("this is\nno structure\n")
    (folder / "empty.xyz").write_text("")
    (folder / "unknown.toml").write_text("colour = 'red'\n")
    (folder / "used").mkdir()
    (folder / "used" / "precious.txt").write_text("mine")
    return folder


def check(line: str, inputs: Path) -> None:
    before = {path: path.read_bytes() for path in inputs.rglob("*") if path.is_file()}
    result: Result = CliRunner().invoke(app, line.split())
    assert result.exit_code == 2, f"{line}\n{result.output}\n{result.exception!r}"
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    lines = [text for text in result.stderr.splitlines() if not text.startswith("warning")]
    assert lines[-1].startswith(("error: ", "Error: ")) or "Usage" in result.output, result.stderr
    assert len([text for text in lines if text.startswith("error")]) <= 1
    assert {path: path.read_bytes() for path in inputs.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("line", TABLE)
def test_a_malformed_line_ends_in_words(line, inputs, monkeypatch):
    monkeypatch.chdir(inputs)
    check(line, inputs)


@pytest.mark.slow
@pytest.mark.parametrize("line", REST)
def test_every_command_refuses_what_all_share(line, inputs, monkeypatch):
    monkeypatch.chdir(inputs)
    check(line, inputs)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(400))
def test_a_mutated_line_never_ends_in_a_traceback(seed, inputs, monkeypatch):
    """Words dropped, doubled, swapped or spoilt: right or refused, in words."""
    monkeypatch.chdir(inputs)
    draw = random.Random(seed)
    words = f"{draw.choice(list(GOOD.values()))} {draw.choice(ENDS + STATES)}".split()
    for _ in range(draw.randint(1, 3)):
        place = draw.randrange(len(words))
        spoilt = draw.choice(
            ["", "--", "-", "[/x]", "0", "-1", "nan", "1e999", "é", "=", "\\", "%s"]
        )
        before, word, after = words[:place], words[place], words[place + 1 :]
        middle = draw.choice([[], [word, word], [spoilt], [word + spoilt]])
        words = [*before, *middle, *after] or [spoilt]
    short = ["--steps", "2"] if words[:1] in (["md"], ["relax"], ["neb"], ["states"]) else []
    result = CliRunner().invoke(app, [*words, *short, "--output", f"out{seed}"])
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit | UserWarning), words
    assert result.exit_code in (0, 1, 2, 3)


@pytest.mark.parametrize("line", ["--help", "md --help", "--version", "info m.pt --json"])
def test_a_full_disk_behind_stdout_is_one_line(line, inputs):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this machine")
    command = [
        sys.executable,
        "-m",
        "md_runs.cli.app",
        *line.replace("m.pt", str(inputs / "m.pt")).split(),
    ]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: No space left") and len(done.stderr.splitlines()) == 1


def test_options_come_from_a_file_and_the_line_wins(inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("c.toml").write_text(
        f'structures = ["{inputs}/ethanol.xyz"]\nmodel = "{inputs}/m.pt"\nsteps = 1\n'
        'fmax_eV_per_A = 50.0\nallow-saddle = true\noutput = "from-file"\n'
    )
    run = CliRunner().invoke(app, ["relax", "--config", "c.toml", "--output", "from-line"])
    assert run.exit_code == 0, run.output
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["from-line"]
    assert '"fmax_eV_per_A": 50.0' in Path("from-line/manifest.json").read_text()


def test_yaml_says_the_same(inputs, tmp_path, monkeypatch):
    pytest.importorskip("yaml")
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(f"structures: [{inputs}/ethanol.xyz]\nmodel: {inputs}/m.pt\n")
    assert CliRunner().invoke(app, ["energy", "--config", "c.yaml"]).exit_code == 0


def test_unknown_options_of_a_file_are_refused_with_the_list(inputs):
    run = CliRunner().invoke(app, ["energy", "--config", str(inputs / "unknown.toml")])
    said = " ".join(run.stderr.split())
    assert run.exit_code == 2 and "got colour" in said and "structures, model, charge" in said
