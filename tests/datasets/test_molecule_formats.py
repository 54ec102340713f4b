"""Molecules of mol2, CML, QCSchema and NWChem: atoms, lengths, charge, multiplicity, isotopes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from potentials.datasets.formats.reader import Reading, read_atoms

MOL2 = """# made by hand
@<TRIPOS>MOLECULE
formate
 4 3 0 0 0
SMALL
{kind}

@<TRIPOS>ATOM
 1 C1 0.0 0.0 0.0 C.2 1 FMT {c}
 2 O1 1.2 0.0 0.0 O.co2 1 FMT -0.5490
 3 O2 -0.6 1.1 0.0 O.co2 1 FMT -0.5490
 4 H1 -0.6 -0.9 0.0 H 1 FMT 0.1000
@<TRIPOS>BOND
 1 1 2 ar
"""
CML = """<?xml version="1.0"?>
<cml xmlns="http://www.xml-cml.org/schema"><molecule id="m"{state}>
 <atomArray>
  <atom id="a1" elementType="O" x3="0" y3="0" z3="0" {charge}/>
  <atom id="a2" elementType="H" x3="0" y3="0" z3="0.96" {isotope}/>
 </atomArray></molecule></cml>
"""


def read(folder: Path, name: str, text: str) -> Reading:
    (folder / name).write_text(text)
    return read_atoms(folder / name)


def state(found: Reading) -> tuple[Any, Any]:
    info = found.frames[-1].info
    return info.get("charge"), info.get("multiplicity")


def test_mol2_has_the_charge_that_its_atoms_add_up_to(tmp_path: Path) -> None:
    text = MOL2.format(kind="GASTEIGER", c="-0.0020")
    found = read(tmp_path, "f.mol2", text * 2)
    assert [a.get_chemical_formula() for a in found.frames] == ["CHO2"] * 2
    assert found.frames[1].get_distance(0, 1) == pytest.approx(1.2)
    assert state(found)[0] == -1 and not found.remarks


def test_mol2_that_tells_no_charge_says_so(tmp_path: Path) -> None:
    assert state(read(tmp_path, "f.mol2", MOL2.format(kind="NO_CHARGES", c="0.0")))[0] is None
    found = read(tmp_path, "f.mol2", MOL2.format(kind="USER_CHARGES", c="0.4000"))
    assert state(found)[0] is None and "add up to -0.60 and tell no charge" in found.remarks[0]


def test_mol2_that_is_cut_or_has_no_elements_is_refused(tmp_path: Path) -> None:
    text = MOL2.format(kind="GASTEIGER", c="0.0")
    with pytest.raises(ValueError, match="got 3 of 4 atoms in molecule 0"):
        read(tmp_path, "f.mol2", text.replace(" 4 H1 -0.6 -0.9 0.0 H 1 FMT 0.1000\n", ""))
    with pytest.raises(ValueError, match="'Lp', which is no element"):
        read(tmp_path, "f.mol2", text.replace(" H 1 FMT", " LP 1 FMT"))


def test_cml_tells_charge_multiplicity_and_isotopes(tmp_path: Path) -> None:
    whole = CML.format(
        state=' formalCharge="-1" spinMultiplicity="1"', charge="", isotope='isotopeNumber="2"'
    )
    found = read(tmp_path, "f.cml", whole)
    assert state(found) == (-1, 1) and found.frames[0].get_distance(0, 1) == pytest.approx(0.96)
    assert found.frames[0].get_masses()[1] == pytest.approx(2.014, abs=1e-3)
    of_atom = CML.format(state="", charge='formalCharge="-1"', isotope="")
    assert state(read(tmp_path, "f.cml", of_atom))[0] == -1
    with pytest.raises(ValueError, match="x3, y3 and z3"):
        read(tmp_path, "f.cml", of_atom.replace('z3="0"', ""))
    with pytest.raises(ValueError, match="must be CML"):
        read(tmp_path, "f.cml", of_atom[:200])


@pytest.mark.parametrize("nested", [False, True])
def test_qcschema_is_in_bohr(tmp_path: Path, nested: bool) -> None:
    molecule = {
        "symbols": ["O", "H"],
        "geometry": [0, 0, 0, 0, 0, 1.8],
        "molecular_charge": -1.0,
        "molecular_multiplicity": 1,
    }
    content = {"schema_name": "qcschema_input", "molecule": molecule} if nested else molecule
    found = read(tmp_path, "f.json", json.dumps(content))
    np.testing.assert_allclose(found.frames[0].positions[1], [0, 0, 1.8 * 0.529177], atol=1e-5)
    assert state(found) == (-1, 1)


def test_qcschema_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    short = {"symbols": ["O", "H"], "geometry": [0, 0, 0]}
    with pytest.raises(ValueError, match="must hold symbols and three lengths"):
        read(tmp_path, "f.json", json.dumps(short))
    ghosts = {"symbols": ["O", "H"], "geometry": [0, 0, 0, 0, 0, 1], "real": [True, False]}
    with pytest.raises(ValueError, match="ghost atoms"):
        read(tmp_path, "f.json", json.dumps(ghosts))


def test_an_input_of_nwchem(tmp_path: Path) -> None:
    text = "charge -1\ngeometry units angstroms\n O 0 0 0\n H 0 0 0.96\nend\ndft\n mult 1\nend\n"
    found = read(tmp_path, "f.nw", text)
    assert state(found) == (-1, 1) and found.frames[0].get_distance(0, 1) == pytest.approx(0.96)
    with pytest.raises(ValueError, match="must be in Å; got units bohr"):
        read(tmp_path, "f.nwi", text.replace("angstroms", "bohr"))
    with pytest.raises(ValueError, match="got 2 geometries"):
        read(tmp_path, "f.nw", text * 2)
