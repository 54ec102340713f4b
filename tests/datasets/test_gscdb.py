"""Reactions from a file: units, states, fields, protons; sets and files that are not there."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from potentials.datasets.sets.gscdb import FILE, is_proton, is_reactions, read_reactions

CONTENT = {
    "kinds": {
        "A2": ["NC", "Noncovalent"],
        "P1": ["TC", "Thermochemistry"],
        "E1": ["EF", "Electric field"],
    },
    "molecules": {
        "water": ["O H H", [[0, 0, 0.1], [0, 0.8, -0.5], [0, -0.8, -0.5]], 0, 1, None],
        "pair": ["O H H H", [[0, 0, 0], [0, 0, 1], [1, 0, 0], [3, 0, 0]], -1, 2, None],
        "hydrogen": ["H", [[0, 0, 0]], 0, 2, None],
        "proton": ["H", [[0, 0, 0]], 1, 1, None],
        "in_field": ["H", [[0, 0, 0]], 0, 2, {"Y": 0.004}],
    },
    "reactions": [
        ["A2_1", "A2", 0.01, [[1.0, "pair"], [-1.0, "water"], [-1.0, "hydrogen"]]],
        ["A2_2", "A2", -0.5, [[2.0, "hydrogen"], [-1.0, "pair"]]],
        ["P1_1", "P1", 0.5, [[1.0, "proton"], [1.0, "pair"]]],
        ["E1_1", "E1", 0.001, [[1.0, "in_field"], [-1.0, "hydrogen"]]],
    ],
}


def write_reactions(folder: Path) -> Path:
    path = folder / FILE.name
    path.write_bytes(gzip.compress(json.dumps(CONTENT).encode(), mtime=0))
    return path


def test_a_set_has_its_entries_and_species_in_electronvolt(tmp_path):
    write_reactions(tmp_path)
    found = read_reactions("gscdb:A2", tmp_path)
    assert (
        list(found.sets) == ["A2"]
        and set(found.species) == {"water", "pair", "hydrogen"}
        and len(found.sha256) == 64
    )
    first, second = found.entries
    assert first.reference_eV == pytest.approx(0.2721139, abs=1e-6)  # of 0.01 hartree
    energies = {"pair": -10.0, "water": -9.0, "hydrogen": -0.75}
    assert first.energy_eV(energies) == pytest.approx(-0.25)
    assert second.energy_eV(energies) == pytest.approx(8.5)
    pair = found.species["pair"]
    assert pair.get_chemical_symbols() == ["O", "H", "H", "H"] and pair.positions[3].tolist() == [
        3,
        0,
        0,
    ]
    assert pair.info == {"charge": -1, "multiplicity": 2}


def test_all_sets_and_their_names(tmp_path):
    write_reactions(tmp_path)
    found = read_reactions("gscdb:all", tmp_path)
    assert len(found.entries) == 4 and found.sets["P1"] == "Thermochemistry (TC)"
    assert [name for name, atoms in found.species.items() if is_proton(atoms)] == ["proton"]
    assert (
        is_reactions("gscdb:A2")
        and not is_reactions("rmd17:ethanol")
        and not is_reactions("gscdb.extxyz")
    )


def test_a_field_gets_the_physical_sign(tmp_path):
    """E + μ·f in atomic units becomes E - μ·F in V/Å."""
    write_reactions(tmp_path)
    field = read_reactions("gscdb:E1", tmp_path).species["in_field"].info["electric_field_V_per_A"]
    assert field == pytest.approx([0, -0.004 * 51.4220675, 0], rel=1e-6)


def test_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gscdb_development.json.gz.*POLCALC_DATA"):
        read_reactions("gscdb:A2", tmp_path)
    write_reactions(tmp_path)
    for name in ("gscdb:A3", "gscdb:", "gscdb"):
        with pytest.raises(ValueError, match="one of all, A2, P1, E1"):
            read_reactions(name, tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"not packed",
        gzip.compress(b"{}", mtime=0),
        gzip.compress(json.dumps(CONTENT).encode(), mtime=0)[:60],
    ],
)
def test_a_damaged_file(tmp_path, content):
    (tmp_path / FILE.name).write_bytes(content)
    with pytest.raises(ValueError, match="must be a whole file of reactions"):
        read_reactions("gscdb:A2", tmp_path)


def test_the_real_file(reference_data):
    """Electrons fit every multiplicity; nothing but protons comes or goes in a reaction."""
    found = read_reactions("gscdb:all", reference_data("gscdb"))
    assert (len(found.sets), len(found.entries), len(found.species)) == (26, 808, 1824)
    for atoms in found.species.values():
        assert (atoms.numbers.sum() - atoms.info["charge"] + atoms.info["multiplicity"]) % 2 == 1
    for entry in found.entries:
        gained: Counter[int] = Counter()
        charge = 0.0
        for coefficient, species in entry.stoichiometry:
            atoms = found.species[species]
            charge += coefficient * atoms.info["charge"]
            for number in atoms.numbers:
                gained[int(number)] += coefficient
        foreign = {number for number, n in gained.items() if not np.isclose(n, 0)}
        assert foreign <= {1}, entry
        assert entry.set_name in ("G21IP", "IP23", "G21EA") or np.isclose(gained[1], charge), entry
