"""Where commands write: looked at before anything is computed, and left as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase.build import molecule
from typer.testing import CliRunner

from md_runs.cli.app import app
from md_runs.errors import InputError
from md_runs.records.output import check_free, check_new, check_writable


def test_a_place_that_can_be_written_to_is_left_as_it_was(tmp_path: Path) -> None:
    for place in (tmp_path / "a" / "b", tmp_path):
        check_writable(place)
        check_free(place)
    check_new(tmp_path / "c" / "a.xyz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["file/below", 300 * "x", "/proc/nowhere"])
def test_a_place_that_cannot_be_written_to_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="`--output` must be writable"):
        check_writable(tmp_path / name)


@pytest.mark.parametrize(
    "words",
    [
        *("labels carbenes", "labels toy-charge A", "labels open-shells", "labels molecules"),
        *("labels clusters", "labels molecule water.xyz", "data fetch rmd17", "analyse none"),
        *("relax water.xyz", "neb water.xyz water.xyz", "vib water.xyz", "md water.xyz"),
        *("energy water.xyz", "states water.xyz", "encodings organic", "train none.toml"),
    ],
)
def test_commands_look_at_their_output_before_they_compute(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    molecule("H2O").write("water.xyz")
    Path("file").write_text("")
    result = CliRunner().invoke(app, [*words.split(), "--output", "file/below"])
    assert result.exit_code == 2
    assert "`--output` must be writable; got file/below" in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"file", "water.xyz"}
