"""Piece by piece a file says what it says as a whole."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from potentials.datasets.formats.reader import read_atoms
from potentials.datasets.pieces import parse, pieces

SD = (
    "named\n\n\n  1  0  0  0  0  0  0  0  0  0999 V2000\n"
    "    0.0000    0.0000    {z} O   0  5  0  0  0  0  0  0  0  0  0  0\nM  END\n"
)
FILES = {
    "plain.xyz": "1\ncharge -1\nO 0 0 0\n\n\n2\r\n\r\nH 0 0 0\r\nD 0 0 0.7\r\n \n",
    "cell.xyz": "1\nneon\nNe 0 0 0\nVEC1 4 0 0\nVEC2 0 4 0\nVEC3 0 0 4\n1\n\nHe 0 0 1",
    "keys.extxyz": '1\nProperties=species:S:1:pos:R:3 charge=-1 name="an ion"\nF 0 0 1\n' * 3,
    "two.sdf": SD.format(z="0.0000") + "$$$$\n\n$$$$\n" + SD.format(z="1.0000"),
}


@pytest.mark.parametrize("name", FILES)
def test_pieces_are_the_frames_of_the_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FILES[name].encode())
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(FILES[name].encode()))
    frames = read_atoms(tmp_path / name).frames
    assert len(frames) > 1
    for path in (tmp_path / name, packed):
        found = [parse(piece, "a piece").atoms for piece in pieces(path)]
        assert len(found) == len(frames)
        for one, other in zip(found, frames, strict=True):
            assert one.info == {k: one.info[k] for k in ("name",) if k in one.info} | other.info
            assert one.arrays.keys() == other.arrays.keys()
            assert (one.numbers == other.numbers).all() and (one.cell == other.cell).all()
            assert np.array_equal(one.get_masses(), other.get_masses())
            assert np.array_equal(one.positions, other.positions)


@pytest.mark.parametrize(
    ("text", "good", "message"),
    [
        ("1\n\nH 0 0 0\nnonsense\n1\n\nH 0 0 0\n", 1, "number of atoms"),
        ("1\n\nH 0 0 0\n1\n\nQq 0 0 0\n1\n\nH 0 0 0\n", 2, "name an element"),
        ("1\n\nH 0 0 0\n0\n\n1\n\nH 0 0 0\n", 2, "at least one"),
        ("1\n\nH 0 0 0\n99999999999999999999999\n\nH 0 0 0\n", 1, "as many atoms"),
    ],
)
def test_a_damaged_frame_costs_what_cannot_be_found_without_it(
    tmp_path: Path, text: str, good: int, message: str
) -> None:
    (tmp_path / "damaged.xyz").write_text(text)
    found = list(pieces(tmp_path / "damaged.xyz"))
    problems = []
    for piece in found:
        try:
            parse(piece, "a piece")
        except ValueError as error:
            problems.append(str(error))
    assert len(found) - len(problems) == good
    assert len(problems) == 1 and message in problems[0]
