"""An audit: what an honest model gets, that each check can fail, what is printed and stored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import molecule
from typer.testing import CliRunner

from md_runs.cli import app as cli
from md_runs.models import audit
from md_runs.models.audit import Subject, choose
from polcalc import PolarizedCalculator
from potentials.build import build
from potentials.checkpoint import Card, load, save
from tests.small import SPEC

CARD = Card(
    name="audited", elements=[1, 6, 8], states=[[0, 1, 9], [0, 3, 9], [-1, 2, 9], [1, 2, 9]]
)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """An untrained model with a strong state factor and a repulsion at short distance."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("audit") / "m.pt"
    spec = SPEC | {
        "embeddings": [
            {"name": "species"},
            {"name": "electronic", "attribute": "unpaired_electrons"},
        ]
    }
    potential = build(
        spec
        | {
            "state_factor": {
                "attributes": ["total_charge"],
                "strength": "per_layer",
                "initial": 2.0,
            }
        }
    )
    with torch.no_grad():
        for parameter in potential.trunk.parameters():
            parameter.mul_(1.5)  # states far apart in energy
    save(path, potential, CARD)
    return path


@pytest.fixture(scope="module")
def subject(model) -> Subject:
    return choose(
        PolarizedCalculator(model, dtype="float64", engine="eager"),
        [molecule("H2O"), molecule("CH4")],
    )


class Spoilt(Subject):
    """A subject whose energies somebody has spoilt."""

    def results(self, frames, fragments=None):
        return [
            self.spoil(atoms, dict(result))
            for atoms, result in zip(frames, super().results(frames, fragments), strict=True)
        ]

    def spoil(self, atoms, result):
        raise NotImplementedError


def spoilt(subject: Subject, spoil) -> Subject:
    return type("S", (Spoilt,), {"spoil": lambda self, atoms, result: spoil(atoms, result)})(
        subject.calculator, subject.a, subject.b
    )


def verdicts(findings) -> dict[str, str]:
    return {finding.check: finding.verdict for finding in findings}


def test_a_total_charge_is_not_size_consistent_and_fragments_are(subject):
    findings = verdicts(audit._far_molecules(subject))
    assert findings["far molecules, +0/1"] == "ok"
    assert findings["far molecules, +1/2 as a total"] == "warning"
    for state in ("+1/2", "-1/2", "+0/3"):
        assert findings[f"far molecules, {state} as a fragment"] == "ok"
    copies = verdicts(audit._copies(subject))
    assert copies["4 copies, +0/1"] == "ok" and copies["4 copies, +1/2 as fragments"] == "ok"


def test_molecules_that_feel_each_other_from_afar_fail(subject):
    """An energy of 2 meV that depends on how many atoms there are in all."""
    other = spoilt(
        subject, lambda atoms, r: r | {"energy": r["energy"] + (0.002 if len(atoms) > 5 else 0.0)}
    )
    assert verdicts(audit._far_molecules(other))["far molecules, +0/1"] == "failure"
    assert set(verdicts(audit._copies(other)).values()) >= {"failure"}


def test_charges_of_far_molecules_may_feel_each_other(tmp_path):
    """What the Coulomb energy of their charges says, and no more."""
    torch.manual_seed(3)
    terms = [{"name": name} for name in ("readout", "split_charges", "coulomb")]
    potential = build(SPEC | {"electrons": {"name": "local"}, "terms": terms})
    save(tmp_path / "m.pt", potential, CARD)
    calculator = PolarizedCalculator(tmp_path / "m.pt", dtype="float64", engine="eager")
    subject = choose(calculator, [molecule("H2O"), molecule("CH4")])
    for found in (verdicts(audit._far_molecules(subject)), verdicts(audit._copies(subject))):
        assert set(found.values()) <= {"ok", "warning"} and "ok" in found.values()
        assert all(v == "ok" for name, v in found.items() if "fragment" in name)
    [ions] = audit._ion_pair(subject)
    assert ions.text.startswith("H3O+ and HO-") and "the cation keeps" in ions.text
    spoiling = spoilt(
        subject,
        lambda atoms, r: r | {"energy": r["energy"] + (0.002 if len(atoms) > 5 else 0.0)},
    )
    assert "failure" in verdicts(audit._far_molecules(spoiling)).values()


def test_ions_that_are_not_ions_far_apart_are_a_warning(subject):
    """Nothing is shared out of a total charge of zero."""
    [found] = audit._ion_pair(subject)
    assert found.verdict == "warning" and abs(found.numbers["difference_meV"]) > 1


def test_a_jump_at_the_cutoff_fails(subject):
    assert set(verdicts(audit._cutoff(subject)).values()) == {"ok"}
    cutoff = subject.calculator.model.potential.cutoff

    def jumping(atoms, result):
        nearest = np.linalg.norm(
            atoms.positions[:3, None] - atoms.positions[None, 3:], axis=-1
        ).min()
        return result | {"energy": result["energy"] + 1e-5 * (nearest < cutoff)}

    assert verdicts(audit._cutoff(spoilt(subject, jumping))) == {
        "energy at the cutoff": "failure",
        "force at the cutoff": "ok",
    }


def test_a_hole_is_a_warning_and_a_number_that_is_none_a_failure(subject):
    assert verdicts(audit._contacts(subject))["pressed together"] == "ok"  # there is a repulsion

    def hole(atoms, result):
        return result | {"energy": result["energy"] - 1e4 * (atoms.get_all_distances()[0, 1] < 0.6)}

    findings = {f.check: f for f in audit._contacts(spoilt(subject, hole))}
    assert (
        findings["pressed together"].verdict == "warning"
        and "only, then falls" in findings["pressed together"].text
    )
    nothing = spoilt(subject, lambda atoms, result: result | {"energy": np.nan})
    assert set(verdicts(audit._contacts(nothing)).values()) == {"failure"}
    assert verdicts(audit._charge_scan(nothing)) == {"charge scan": "failure"}


def test_charge_scan(subject):
    def convex(atoms, result):
        return result | {"energy": {-1: -1.0, 0: 0.0, 1: 9.0}[atoms.info["charge"]]}

    [found] = audit._charge_scan(spoilt(subject, convex))
    assert found.verdict == "ok" and "E(+1) - E(+0) = 9.00 eV" in found.text
    [found] = audit._charge_scan(
        spoilt(
            subject,
            lambda atoms, r: r | {"energy": {-1: -9.0, 0: 0.0, 1: 1.0}[atoms.info["charge"]]},
        )
    )
    assert found.verdict == "warning"


def test_distances_of_pairs():
    """Ring and rod: the nearest atoms are as far apart as asked, down to a contact."""
    a, b = molecule("C6H6"), molecule("C2H2")
    for way in audit.WAYS:
        for distance in (30.0, 4.5, 0.5):
            pair = audit._pair(a, b, way, distance)
            assert np.linalg.norm(
                pair.positions[:12, None] - pair.positions[None, 12:], axis=-1
            ).min() == pytest.approx(distance, abs=1e-9)


def test_the_shell_prints_and_stores(model, tmp_path, monkeypatch):
    """Storing changes the SHA-256 and says so; weights stay as they are."""
    monkeypatch.chdir(tmp_path)
    Path("m.pt").write_bytes(model.read_bytes())
    molecule("H2O").write("water.xyz")
    before = load("m.pt")
    result = CliRunner().invoke(cli.app, ["audit", "m.pt", "--structure", "water.xyz", "--store"])
    assert result.exit_code == 0, result.output
    after = load("m.pt")
    assert (
        before.sha256 in result.stdout
        and after.sha256 in result.stdout
        and before.sha256 != after.sha256
    )
    assert after.card.audit["sha256_before"] == before.sha256
    assert {f["check"] for f in after.card.audit["findings"]} >= {
        "energy at the cutoff",
        "4 copies, +1/2 as fragments",
    }
    for name, value in before.potential.state_dict().items():
        assert torch.equal(value, after.potential.state_dict()[name])
    assert (
        after.card.states == before.card.states
        and [p.name for p in Path().iterdir() if "tmp" in p.name] == []
    )
    assert "audit" in CliRunner().invoke(cli.app, ["info", "m.pt"]).stdout


def test_a_failure_ends_with_one(model, monkeypatch):
    failing = (lambda subject: [audit.Finding("nonsense", "failure", "it is", {})],)
    monkeypatch.setattr(audit, "CHECKS", failing)
    result = CliRunner().invoke(cli.app, ["audit", str(model), "--json"])
    assert result.exit_code == 1 and "nonsense" in result.stderr
    assert json.loads(result.stdout)["findings"][0]["verdict"] == "failure"


def test_bad_input(model, tmp_path):
    odd = tmp_path / "odd.xyz"
    molecule("CH3").write(odd)
    for words, message in (
        ([str(model), "--structure", str(odd)], "even number"),
        (["nosuchmodel"], "nosuchmodel"),
    ):
        result = CliRunner().invoke(cli.app, ["audit", *words])
        assert result.exit_code == 2 and message in result.stderr
