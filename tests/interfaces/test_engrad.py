"""`polcalc-engrad`, called as ORCA, Gaussian, CREST and scripts for xtb call it."""

from __future__ import annotations

import ast
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.data import chemical_symbols
from ase.io import read, write

from polcalc import PolarizedCalculator
from polcalc.interfaces import serve
from polcalc.interfaces.serve import Answers, Server
from tests.small import write_small_model

SCRIPT = Path(serve.__file__).with_name("polcalc-engrad")
HYDROXIDE = Atoms("OH", [[0, 0, 0.1], [0, 0.2, 1.07]], info={"charge": -1})


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    write_small_model(folder / "m.pt")
    calculator = PolarizedCalculator(folder / "m.pt", dtype="float64")
    with Server(folder / "s.sock", Answers({"small": calculator})) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def call(server, tmp_path, monkeypatch):  # type: ignore[no-untyped-def]
    monkeypatch.setenv("POLCALC_SOCKET", str(server.server_address))

    def run(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [SCRIPT, *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


def expected(server: Server, atoms: Atoms) -> tuple[float, np.ndarray]:
    """Energy in hartree and gradient in hartree/bohr, by another way."""
    results = server.answers._calculators["small"].calculate_many([atoms])[0]
    return results["energy"] / units.Ha, -results["forces"] * units.Bohr / units.Ha


def read_engrad(path: Path) -> tuple[int, float, np.ndarray]:
    """Read as ORCA 5 does: three lines of comment before each entry."""
    lines = path.read_text().splitlines()
    n_atoms = int(lines[3])
    for start in (0, 4, 8, 11 + 3 * n_atoms):
        assert all(line.startswith("#") for line in lines[start : start + 3])
    return n_atoms, float(lines[7]), np.array(lines[11 : 11 + 3 * n_atoms], float).reshape(-1, 3)


def orca_input(folder: Path, atoms: Atoms, rows: tuple[object, ...]) -> None:
    """Write what ORCA writes for ``!ExtOpt``."""
    meanings = ("xyz filename", "charge", "multiplicity", "NCores", "do gradient")
    lines = [f"{row} # {meaning}" for row, meaning in zip(rows, meanings, strict=False)]
    (folder / "job_EXT.extinp.tmp").write_text("\n".join([*lines, *map(str, rows[5:]), ""]))
    write(folder / "job_EXT.xyz", atoms, format="xyz")


@pytest.mark.parametrize(("charge", "multiplicity"), [(-1, 1), (1, 3), (0, 2)])
def test_orca_is_answered(call, server, tmp_path, charge, multiplicity):
    orca_input(tmp_path, HYDROXIDE, ("job_EXT.xyz", charge, multiplicity, 4, 1, ""))
    call("job_EXT.extinp.tmp")
    atoms = read(tmp_path / "job_EXT.xyz")
    atoms.info.update(charge=charge, multiplicity=multiplicity)
    energy, gradient = expected(server, atoms)
    n_atoms, told, slope = read_engrad(tmp_path / "job_EXT.engrad")
    assert n_atoms == 2
    assert told == pytest.approx(energy, abs=1e-7)  # ASE's constants are of 2014
    assert np.allclose(slope, gradient, atol=1e-7)


def test_orca_is_refused_what_the_model_does_not_know(call, tmp_path):
    """An old result must not be left to be believed."""
    for rows, reason in (
        (("job_EXT.xyz", 0, 1, 1, 1), "multiplicity"),
        (("job_EXT.xyz", 0, 2, 1, 1, "charges.pc"), "point charges"),
        (("job_EXT.xyz", "much", 2, 1, 1), "whole number"),
        (("missing.xyz", 0, 2, 1, 1), "No such file"),
        (("job_EXT.xyz", 0), "must name"),
    ):
        (tmp_path / "job_EXT.engrad").write_text("old")
        orca_input(tmp_path, HYDROXIDE, rows)
        assert reason in call("job_EXT.extinp.tmp", code=2).stderr
        if rows[0] == "job_EXT.xyz" and len(rows) > 4:
            assert not (tmp_path / "job_EXT.engrad").exists()


def gaussian_input(folder: Path, atoms: Atoms, order: int, charge: int, multiplicity: int) -> None:
    """Write what Gaussian 16 writes: 4I10, then I10 and 4F20.12 in bohr."""
    rows = [f"{len(atoms):10d}{order:10d}{charge:10d}{multiplicity:10d}"]
    rows += [
        f"{z:10d}" + "".join(f"{x:20.12f}" for x in (*position / units.Bohr, 0.0))
        for z, position in zip(atoms.numbers, atoms.positions, strict=True)
    ]
    (folder / "Gau-1.EIn").write_text("\n".join([*rows, "", f"{1:10d}{2:10d}{1.0:10.3f}"]) + "\n")


GAUSSIAN = ("R", "Gau-1.EIn", "Gau-1.EOu", "Gau-1.EMs", "Gau-1.FCk", "Gau-1.EUF")


@pytest.mark.parametrize("order", [0, 1, 2])
def test_gaussian_is_answered(call, server, tmp_path, order):
    gaussian_input(tmp_path, HYDROXIDE, order, -1, 1)
    call(*GAUSSIAN)
    lines = (tmp_path / "Gau-1.EOu").read_text().splitlines()
    values = [[float(line[i : i + 20]) for i in range(0, len(line), 20)] for line in lines]
    energy, gradient = expected(server, HYDROXIDE)
    assert values[0] == pytest.approx([energy, 0, 0, 0], abs=1e-7)
    assert len(lines) == (1, 3, 3 + 2 + 6 + 7)[order]  # 6 + 9N zeros, then 21 force constants
    if order:
        assert np.allclose(values[1:3], gradient, atol=1e-7)
    if order == 2:
        assert not np.any(values[3:11])
        lower = np.concatenate(values[11:])
        hessian = server.answers._calculators["small"].get_hessian(HYDROXIDE).reshape(6, 6)
        right = (hessian * units.Bohr**2 / units.Ha)[np.tril_indices(6)]
        assert np.allclose(lower, right, atol=1e-7)
    messages = (tmp_path / "Gau-1.EMs").read_text()
    assert "charge -1" in messages and "no dipole" in messages


def test_gaussian_reads_why_it_is_refused(call, tmp_path):
    gaussian_input(tmp_path, HYDROXIDE, 1, 0, 1)
    (tmp_path / "Gau-1.EOu").write_text("old")
    call(*GAUSSIAN, code=2)
    assert "`multiplicity` must fit" in (tmp_path / "Gau-1.EMs").read_text()
    assert not (tmp_path / "Gau-1.EOu").exists()
    (tmp_path / "Gau-1.EIn").write_text("")
    call(*GAUSSIAN, code=2)


def test_crest_and_scripts_for_xtb_are_answered(call, server, tmp_path):
    """CREST calls the program in a folder of its own, with an xyz file and flags."""
    write(tmp_path / "genericinp.xyz", HYDROXIDE, format="xyz")
    done = call("genericinp.xyz", "--chrg", "-1", "--grad")
    energy, gradient = expected(server, HYDROXIDE)
    _, told, slope = read_engrad(tmp_path / "genericinp.engrad")
    assert told == pytest.approx(energy, abs=1e-7)
    assert np.allclose(slope, gradient, atol=1e-7)
    total = next(line for line in done.stdout.splitlines() if "TOTAL ENERGY" in line)
    assert float(total.split()[3]) == pytest.approx(energy, abs=1e-7)
    assert float((tmp_path / "energy").read_text().split()[2]) == pytest.approx(energy, abs=1e-7)
    lines = (tmp_path / "gradient").read_text().splitlines()
    assert lines[0] == "$grad" and lines[-1] == "$end" and "SCF energy" in lines[1]
    position = [line.split() for line in lines[2:4]]
    assert [row[3] for row in position] == ["O", "H"]
    assert np.allclose(np.array(lines[4].split() + lines[5].split(), float), gradient.ravel(), 1e-6)


def test_charge_and_unpaired_electrons_are_read_where_xtb_reads_them(call, server, tmp_path):
    write(tmp_path / "x.xyz", HYDROXIDE, format="xyz")
    (tmp_path / ".CHRG").write_text("1\n")
    (tmp_path / ".UHF").write_text("2\n")
    assert "charge +1" in (said := call("x.xyz").stderr) and "multiplicity 3" in said
    assert "charge -1" in (said := call("x.xyz", "-c", "-1", "-u=0").stderr)
    assert "multiplicity 1" in said
    (tmp_path / ".CHRG").unlink()
    (tmp_path / ".UHF").unlink()
    assert "multiplicity 2" in call("x.xyz").stderr
    assert "multiplicity" in call("x.xyz", "--uhf", "2", code=2).stderr


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "first line"),
        ("1\n", "1 atoms"),
        ("1\n\nQq 0 0 0\n", "no such element"),
        ("1\n\nH 0 0 zero\n", "not a number"),
        ("1\n\nH 0 0 nan\n", "finite"),
        ('1\nLattice="1 0 0 0 1 0 0 0 1"\nH 0 0 0\n', "not in a cell"),
        ("1\n\nH 0 0 0\n1\n\nH 0 0 1\n", "one structure"),
        ("\x00", "first line"),
    ],
)
def test_files_that_are_wrong_are_refused(call, tmp_path, text, reason):
    (tmp_path / "x.xyz").write_text(text)
    assert reason in call("x.xyz", code=2).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["x.xyz"]


def test_calls_that_are_wrong_are_refused(call, tmp_path):
    write(tmp_path / "x.xyz", HYDROXIDE, format="xyz")
    for words in (
        ("x.xyz", "--gfn", "2"),
        ("x.xyz", "--chrg"),
        ("x.xyz", "y.xyz"),
        ("x.xyz", "--model", "other"),
        ("nothing",),
        (),
    ):
        call(*words, code=2)
    orca_input(tmp_path, HYDROXIDE, ("job_EXT.xyz", -1, 1, 1, 1))
    assert "the input says" in call("job_EXT.extinp.tmp", "--chrg", "-1", code=2).stderr
    call("job_EXT.extinp.tmp", "--model", "small")


def test_where_no_server_answers_it_is_said(call, tmp_path):
    write(tmp_path / "x.xyz", HYDROXIDE, format="xyz")
    said = call("x.xyz", "--socket", str(tmp_path / "none"), code=3).stderr
    assert "Start: polcalc serve" in said


def test_the_script_knows_elements_and_the_place_of_the_server(monkeypatch):
    script = load()
    assert chemical_symbols[: len(script.SYMBOLS)] == script.SYMBOLS
    for environment in (
        {"POLCALC_SOCKET": "/x/y", "XDG_RUNTIME_DIR": "/run/z"},
        {"XDG_RUNTIME_DIR": "/run/z"},
        {},
    ):
        for name in ("POLCALC_SOCKET", "XDG_RUNTIME_DIR"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert script.default_socket() == str(serve.default_socket())


def load() -> ModuleType:
    module = ModuleType("engrad")
    SourceFileLoader("engrad", str(SCRIPT)).exec_module(module)
    return module


def test_the_script_needs_the_standard_library_alone():
    tree = ast.parse(SCRIPT.read_text())
    imported = {
        name.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (node.names if isinstance(node, ast.Import) else [ast.alias(node.module or "")])
    }
    assert imported <= sys.stdlib_module_names
    assert SCRIPT.stat().st_mode & 0o111


def test_molecules_of_several_forms_have_one_energy(call, tmp_path):
    ethanol = molecule("CH3CH2OH")
    orca_input(tmp_path, ethanol, ("job_EXT.xyz", 0, 1, 1, 1))
    atoms = read(tmp_path / "job_EXT.xyz")
    gaussian_input(tmp_path, atoms, 1, 0, 1)
    call("job_EXT.extinp.tmp")
    call(*GAUSSIAN)
    _, energy, _ = read_engrad(tmp_path / "job_EXT.engrad")
    told = float((tmp_path / "Gau-1.EOu").read_text()[:20])
    assert told == pytest.approx(energy, abs=1e-10)
