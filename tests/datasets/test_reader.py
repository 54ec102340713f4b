"""What a structure file says of charge, spin, isotopes and frames is used, refused or named."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import write

from potentials.datasets.formats.reader import Reading, read_atoms

SYMBOLS = ["C", "C", "O", "O", "H", "H", "H"]
PLACES = [
    (0, 0, 0), (1.55, 0, 0), (2.14, 1.10, 0), (2.14, -1.10, 0),
    (-0.36, 1.03, 0), (-0.36, -0.52, 0.89), (-0.36, -0.52, -0.89),
]  # fmt: skip
ROWS = "".join(
    f"{s} {x:.4f} {y:.4f} {z:.4f}\n" for s, (x, y, z) in zip(SYMBOLS, PLACES, strict=True)
)
BOHR = 0.529177210903
HYDROXIDE = "O 0 0 0\nH 0 0 0.96\n"


@pytest.fixture
def reading(tmp_path: Path) -> Callable[[str, str], Reading]:
    """Write a text under a name and read it."""

    def read(name: str, text: str) -> Reading:
        (tmp_path / name).write_text(text)
        return read_atoms(tmp_path / name)

    return read


def state(found: Reading) -> tuple[int | None, int | None]:
    info = found.frames[-1].info
    return info.get("charge"), info.get("multiplicity")


def molfile(codes: list[int], properties: str = "") -> str:
    atoms = "".join(
        f"{x:10.4f}{y:10.4f}{z:10.4f} {s:<3} 0{code:3d}  0  0  0  0\n"
        for code, s, (x, y, z) in zip(codes, SYMBOLS, PLACES, strict=True)
    )
    return f"acetate\n\n\n  7  0  0  0  0  0  0  0  0  0999 V2000\n{atoms}{properties}M  END\n"


def cif(text: str) -> str:
    cell = "".join(
        f"_cell_length_{x} 6\n_cell_angle_{y} 90\n" for x, y in zip("abc", ANGLES, strict=True)
    )
    return f"data_a\n{cell}_symmetry_space_group_name_H-M 'P 1'\n{text}"


ANGLES = ("alpha", "beta", "gamma")
SITES = (
    "loop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n"
    "_atom_site_fract_z\nO1 {} 0 0 0\nH1 {} 0 0 0.16\n"
)
OXIDATION = "loop_\n_atom_type_symbol\n_atom_type_oxidation_number\n"
OXIDE, SODIUM = f"{OXIDATION}O2- -2\nH+ 1\n", f"{OXIDATION}O -2\nH 2\n"
COLUMNS = "Properties=species:S:1:pos:R:3:{}:R:1"


V3000 = (
    "acetate\n\n\n  0  0  0  0  0  0  0  0  0  0999 V3000\nM  V30 BEGIN CTAB\n"
    "M  V30 COUNTS 2 0 0 0 0\nM  V30 BEGIN ATOM\nM  V30 1 O 0 0 0 0 CHG=-1 MASS=18\n"
    "M  V30 2 D 0 0 0.96 0\nM  V30 END ATOM\nM  V30 END CTAB\nM  END\n"
)
PDB = "".join(
    f"HETATM{i + 1:5d}  {s + str(i + 1):<3} ACT A   1    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00"
    f"          {s:>2}{'1-' if i == 3 else '  '}\n"
    for i, (s, (x, y, z)) in enumerate(zip(SYMBOLS, PLACES, strict=True))
)
TURBOMOLE = (
    "$coord\n"
    + "".join(
        f"{x / BOHR:.6f} {y / BOHR:.6f} {z / BOHR:.6f} {s.lower()}\n"
        for s, (x, y, z) in zip(SYMBOLS, PLACES, strict=True)
    )
    + "$eht charge=-1 unpaired=0\n$end\n"
)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.mol", molfile([0, 0, 0, 5, 0, 0, 0]), (-1, None)),
        ("b.mol", molfile([0] * 7, "M  CHG  1   4  -1\n"), (-1, None)),
        ("c.mol", molfile([0, 4, 0, 0, 0, 0, 0]), (None, 2)),
        ("d.sdf", molfile([0] * 7, "M  CHG  2   1   1   4  -1\n") + "$$$$\n", (0, None)),
        ("e.sdf", molfile([0] * 7) + "> <PUBCHEM_TOTAL_CHARGE>\n-1\n\n$$$$\n", (-1, None)),
        ("f.mol", V3000, (-1, None)),
        ("a.pdb", PDB + "END\n", (-1, None)),
        ("a.com", f"#p hf/sto-3g\n\nacetate\n\n-1 1\n{ROWS}\n", (-1, 1)),
        ("b.gjf", f"%mem=1GB\n#p hf\n\nwithout charge: 0 1\n\n-1 3\n{ROWS}\n", (-1, 3)),
        ("coord", TURBOMOLE, (-1, 1)),
        ("orca.inp", f"! PBE\n* xyz -1 1\n{ROWS}*\n", (-1, 1)),
        ("qchem.inp", f"$molecule\n-1 1\n{ROWS}$end\n$rem\n$end\n", (-1, 1)),
        ("psi4.dat", f"molecule acetate {{\n-1 1\n{ROWS}}}\n", (-1, 1)),
        ("a.nwi", f"geometry units angstrom\n{ROWS}end\n\ncharge -1\ntask scf\n", (-1, None)),
        ("a.xyz", f"7\n-1 1\n{ROWS}", (-1, 1)),
        ("b.xyz", f"7\n-1, 1 acetate\n{ROWS}", (-1, 1)),
        ("c.xyz", f"7\ncharge=-1 mult=1\n{ROWS}", (-1, 1)),
        ("d.xyz", f"7\nCharge: -1, Multiplicity: 1\n{ROWS}", (-1, 1)),
        ("e.xyz", f"7\nacetate, total charge -1\n{ROWS}", (-1, None)),
        ("f.xyz", f"7\nnet_charge=-1, spin=1\n{ROWS}", (-1, 1)),
        ("g.xyz", f"7\ncharge = -1 multiplicity = singlet\n{ROWS}", (-1, 1)),
        ("h.xyz", f"7\nE=-5.3 charge: 1-\n{ROWS}", (-1, None)),
        ("i.xyz", f'7\nname="an acetate" -1 1\n{ROWS}', (-1, 1)),
        ("j.xyz", f"7\nProperties=species:S:1:pos:R:3 CHARGE=-1 uhf=2\n{ROWS}", (-1, 3)),
    ],
)
def test_a_declared_state_is_read(reading, name, text, expected) -> None:  # type: ignore[no-untyped-def]
    found = reading(name, text)
    assert len(found.frames[0]) == (2 if name == "f.mol" else 7)
    assert state(found) == expected
    assert set(found.frames[0].info) & {"total_charge", "mult", "CHARGE", "uhf", "spin"} == set()


def test_a_state_in_an_output_of_gaussian(reading) -> None:  # type: ignore[no-untyped-def]
    line = " " + "-" * 69 + "\n"
    text = (
        " Entering Gaussian System, Link 0=g16\n # hf\n Charge = -1 Multiplicity = 1\n\n"
        f"                         Standard orientation:\n{line} Center\n Number\n{line}"
        f"      1          8           0        0.000000    0.000000    0.000000\n"
        f"      2          1           0        0.000000    0.000000    0.960000\n{line}"
        " SCF Done:  E(RHF) =  -75.1     A.U. after   10 cycles\n"
        " Normal termination of Gaussian 16.\n"
    )
    assert state(reading("a.log", text)) == (-1, 1)
    with pytest.raises(ValueError, match="must declare one charge; got -1, 0"):
        reading("b.log", text + " Charge = 0 Multiplicity = 2\n")


def test_databases_and_compressed_files_say_it_too(tmp_path: Path) -> None:
    hydroxide = Atoms("OH", [[0, 0, 0], [0, 0, 0.96]])
    for name in ("a.db", "a.json"):
        with connect(tmp_path / name) as database:
            database.write(hydroxide, charge=-1, spin=1)
        assert state(read_atoms(tmp_path / name)) == (-1, 1)
    with connect(tmp_path / "c.db") as database:
        database.write(hydroxide, data={"info": {"charge": -1, "spin": 1}})
    assert state(read_atoms(tmp_path / "c.db")) == (-1, 1)
    with gzip.open(tmp_path / "a.xyz.gz", "wt") as file:
        file.write(f"2\n-1 1\n{HYDROXIDE}")
    assert state(read_atoms(tmp_path / "a.xyz.gz")) == (-1, 1)
    hydroxide.calc = SinglePointCalculator(hydroxide, energy=-1.0, charges=[-1.2, 0.2])
    write(tmp_path / "b.traj", hydroxide)
    found = read_atoms(tmp_path / "b.traj")
    assert state(found) == (-1, None)
    assert found.remarks == ["the charge -1 is the sum of its charges."]


@pytest.mark.parametrize(
    "comment",
    [
        *("an anion", "-1", "Properties=species:S:1:pos:R:3 ion_charge_state=-1", "triplet oxygen"),
        *("[OH-]", "OH^-", "radical C6H6+", "spin_state=singlet", "n_electrons=10", "S=0"),
        'smiles="[OH-]"',
    ],
)
def test_what_looks_like_a_state_is_named(reading, comment: str) -> None:  # type: ignore[no-untyped-def]
    found = reading("a.xyz", f"2\n{comment}\n{HYDROXIDE}")
    assert state(found) == (None, None)
    assert len(found.remarks) == 1 and "was not used" in found.remarks[0]


def test_comments_that_say_nothing(reading) -> None:  # type: ignore[no-untyped-def]
    for comment in (
        "",
        "water",
        "frame 12 of 40",
        "E = -76.4 converged",
        "2 3 5",
        "1",
        "PBE-D3 SVP+aug",
    ):
        found = reading("a.xyz", f"3\n{comment}\nO 0 0 0\nH 0 0 1\nH 0 1 0\n")
        assert (state(found), found.remarks) == ((None, None), []), comment


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        ("charge=1 total_charge=0", "charge and total_charge` must agree"),
        ("charge=1 net_charge=0", "must agree"),
        ("multiplicity=1 spin=3", "`multiplicity` and `spin` must agree"),
        ("mult=1 uhf=2", "must agree"),
        ("charge=0.5", "must be a whole number"),
    ],
)
def test_contradictions_are_refused(reading, comment: str, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        reading("a.xyz", f"3\n{comment}\nO 0 0 0\nH 0 0 1\nH 0 1 0\n")


@pytest.mark.parametrize(
    ("text", "charge", "n_remarks"),
    [
        (cif(OXIDE + SITES.format("O2-", "H+")), -1, 1),
        (cif(SITES.format("O2-", "H1+")), -1, 1),
        (cif("_chemical_formula_moiety 'H O 1-'\n" + SITES.format("O", "H")), -1, 0),
        (cif(SODIUM + SITES.format("O", "H")), None, 0),
        (cif(SITES.format("O", "H")), None, 0),
        (cif("_formula_charge -1\n" + SITES.format("O", "H")), None, 1),
    ],
)
def test_a_cif_says_its_charge_by_moieties_or_oxidation_numbers(  # type: ignore[no-untyped-def]
    reading, text: str, charge: int | None, n_remarks: int
) -> None:
    found = reading("a.cif", text)
    assert (state(found)[0], len(found.remarks)) == (charge, n_remarks)


@pytest.mark.parametrize("name", ["charge", "q", "formal_charges", "mulliken", "oxidation"])
def test_columns_of_charges_add_up_to_the_charge(reading, name: str) -> None:  # type: ignore[no-untyped-def]
    rows = "O 0 0 0 {}\nH 0 0 0.96 0.2\n"
    found = reading("a.xyz", f"2\n{COLUMNS.format(name)}\n{rows.format(-1.2)}")
    assert state(found)[0] == -1 and "is the sum of its" in found.remarks[0]
    found = reading("b.xyz", f"2\n{COLUMNS.format(name)}\n{rows.format(-0.2)}")
    assert (state(found)[0], found.remarks) == (None, [])
    found = reading("c.xyz", f"2\n{COLUMNS.format(name)}\n{rows.format(-0.7)}")
    assert state(found)[0] is None and "add up to -0.50, no charge" in found.remarks[0]


@pytest.mark.parametrize("name", ["magmom", "spins", "mulliken_spin", "unpaired_electrons"])
def test_columns_of_spins_add_up_to_the_multiplicity(reading, name: str) -> None:  # type: ignore[no-untyped-def]
    text = f"2\n{COLUMNS.format(name)} charge=-1\nO 0 0 0 1.9\nH 0 0 0.96 0.1\n"
    found = reading("a.xyz", text)
    assert state(found) == (-1, 3) and len(found.remarks) == 1


@pytest.mark.parametrize("comment", ["spin=1", "charge=0 spin=1", "charge=-1 spin=2"])
def test_a_bare_spin_that_fits_as_2S_alone_is_refused(reading, comment: str) -> None:  # type: ignore[no-untyped-def]
    """As often the charge is missing: hydroxide with spin=1 would become the radical."""
    with pytest.raises(ValueError, match=r"`spin` means 2S \+ 1 to some programs and 2S to others"):
        reading("a.xyz", f"2\n{comment}\n{HYDROXIDE}")


def test_inputs_of_several_jobs_and_outputs_are_refused(reading) -> None:  # type: ignore[no-untyped-def]
    one, other = (f"* xyz {state}\n{HYDROXIDE}*\n" for state in ("-1 1", "0 2"))
    assert state(reading("a.inp", one + "$new_job\n" + one)) == (-1, 1)
    with pytest.raises(ValueError, match="one structure in one state; got 2 jobs that differ"):
        reading("b.inp", one + "$new_job\n" + other)
    with pytest.raises(ValueError, match=r"c\.out. must"):  # its last geometry is another one
        reading("c.out", f"Welcome to Q-Chem\n$molecule\n-1 1\n{HYDROXIDE}$end\n")


def test_columns_without_a_name_are_named(reading) -> None:  # type: ignore[no-untyped-def]
    found = reading("a.xyz", "2\n\nO 0 0 0 0.1 0 0\nH 0 0 0.96 0 0 0\n")
    assert "its columns after the positions have no names" in found.remarks[0]


def test_every_frame_is_read_whatever_lies_between(reading) -> None:  # type: ignore[no-untyped-def]
    frame = f"2\n\n{HYDROXIDE}"
    assert len(reading("a.xyz", f"{frame}\n\n{frame}\r\n \n{frame}\n").frames) == 3
    assert len(reading("b.sdf", 3 * (molfile([0] * 7) + "$$$$\n")).frames) == 3
    with pytest.raises(ValueError, match="number of atoms in line 5; got 'the end'"):
        reading("c.xyz", f"{frame}the end\n")
    with pytest.raises(ValueError, match="as many atoms as line 5 says, 3, at least one; got 2"):
        reading("d.xyz", f"{frame}3\n\n{HYDROXIDE}")


def test_isotopes_are_masses(reading) -> None:  # type: ignore[no-untyped-def]
    heavy = "O 0 0 0\nD 0 0 1\nT 0 1 0\n"
    columns = "Properties=species:S:1:pos:R:3:mass:R:1"
    (atoms,) = reading("a.xyz", f"3\n\n{heavy}").frames
    assert atoms.get_chemical_formula() == "H2O"
    assert atoms.get_masses() == pytest.approx([15.999, 2.014, 3.016], abs=1e-3)
    (atoms,) = reading("b.xyz", f"2\n{columns}\nO 0 0 0 17.999\nH 0 0 1 2.014\n").frames
    assert atoms.get_masses() == pytest.approx([17.999, 2.014])
    (atoms,) = reading(
        "b.com", "#p hf\n\nt\n\n-1 1\nO 0.0 0.0 0.0\nH(Iso=2) 0.0 0.0 1.0\n\n"
    ).frames
    assert atoms.get_masses() == pytest.approx([15.999, 2.014], abs=1e-3)
    (atoms,) = reading("c.mol", V3000).frames
    assert atoms.get_masses() == pytest.approx([17.999, 2.014], abs=1e-3)
    (atoms,) = reading("d.mol", molfile([0] * 7, "M  ISO  1   1  13\n")).frames
    assert atoms.get_masses()[:2] == pytest.approx([13.003, 12.011], abs=1e-3)
    (atoms,) = reading(
        "e.pdb", PDB.replace(" H    \n", " D    \n").replace(" H  \n", " D  \n")
    ).frames
    assert atoms.get_masses()[4:] == pytest.approx([2.014] * 3, abs=1e-3)
    assert np.all(atoms.numbers[4:] == 1)


@pytest.mark.parametrize("symbol", ["C1", "6", "Bq", "X"])
def test_what_is_no_element_is_named(reading, symbol: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=rf"got {symbol} for atom 0 in line 3"):
        reading("a.xyz", f"1\n\n{symbol} 0 0 0\n")


def test_files_that_are_no_structures_are_refused_in_words(reading) -> None:  # type: ignore[no-untyped-def]
    for name in ("a.txt", "a.inp", "a.foo"):
        with pytest.raises(
            ValueError, match=r"must be a structure file that ASE reads; got .*form"
        ):
            reading(name, HYDROXIDE)


def test_velocities_without_a_unit_are_named(reading) -> None:  # type: ignore[no-untyped-def]
    columns = "Properties=species:S:1:pos:R:3:{}:R:3"
    rows = "O 0 0 0 1 0 0\nH 0 0 1 0 0 0\n"
    assert "velocities" in reading("a.xyz", f"2\n{columns.format('velocities')}\n{rows}").remarks[0]
    assert reading("b.xyz", f"2\n{columns.format('momenta')}\n{rows}").remarks == []
