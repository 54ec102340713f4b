"""``polcalc labels``: compute reference data of our own.

A run that was stopped goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.progress import track

from md_runs.errors import InputError, as_input_error
from md_runs.records.output import check_writable, to_json
from md_runs.screen import errors, screen
from md_runs.session import read_structure
from polcalc.calculator import electrons
from potentials.datasets.checksum import checksum
from potentials.datasets.formats.hdf5 import write_hdf5
from potentials.datasets.frames import Frames
from potentials.datasets.sets import organic
from potentials.files import write_text
from potentials.labels import carbenes, molecule, organic_set, toy_charge
from potentials.labels.jobs import failures, run_jobs
from potentials.labels.open_shells import geometries as radicals
from potentials.labels.teacher import is_installed


def toy(
    which: str,
    output: Path = Path("polcalc-labels"),
    processes: int = 1,
    limit: int = 0,
) -> None:
    """Compute toy-charge-A or toy-charge-B with GFN2-xTB."""
    check_writable(output)
    name = f"toy-charge-{which.upper()}"
    if name not in toy_charge.SETS:
        raise InputError(f"`which` must be A or B; got {which}. Pass one of these.")
    _need("tblite")
    _run(name, toy_charge.jobs(name), toy_charge.compute, output / name, processes, limit)
    _write(name, toy_charge.collect, toy_charge.card, output)


def carbenes_st(
    output: Path = Path("polcalc-labels"),
    processes: int = 1,
    limit: int = 0,
) -> None:
    """Compute carbenes-st with PySCF: singlet and triplet at every geometry."""
    check_writable(output)
    _need("pyscf")
    _need("rdkit")
    name = carbenes.NAME
    made = carbenes.carbenes()
    minima, geometries = output / name / "minima", output / name / "geometries"
    _run("minima", carbenes.minima(made), carbenes.find_minimum, minima, processes, limit)
    _run(
        "geometries",
        carbenes.geometries(made, minima),
        carbenes.label,
        geometries,
        processes,
        limit,
    )
    _write(name, lambda _, folder: carbenes.collect(folder), carbenes.card, output)


def organic_open_shells(
    output: Path = Path("polcalc-labels"), processes: int = 1, limit: int = 0
) -> None:
    """Compute organic-open-shells with PySCF: radicals, radical ions and triplets of few atoms.

    Seconds a label; the more jobs are done the larger the set. What is there is collected,
    whatever the limit.
    """
    check_writable(output)
    _need("pyscf")
    _need("rdkit")
    _need("tblite")
    name = radicals.NAME
    _run(name, radicals.jobs(), radicals.work(output / name), output / name, processes, limit)
    _write(name, lambda _, folder: radicals.collect(folder), radicals.card, output)


def molecules(
    output: Path = Path("polcalc-labels"),
    labels: int = 260_000,
    open_shells: Path | None = None,
    processes: int = 1,
    limit: int = 0,
    seed: int = 20261130,
) -> None:
    """Label molecules, their ions and zwitterions by AIMNet2, and write the set `organic`."""
    _closed_shells("molecules", output, labels, open_shells, processes, limit, seed)


def clusters(
    output: Path = Path("polcalc-labels"),
    labels: int = 140_000,
    open_shells: Path | None = None,
    processes: int = 1,
    limit: int = 0,
    seed: int = 20261130,
) -> None:
    """Label pairs and clusters of molecules and ions by AIMNet2, and write the set `organic`."""
    _closed_shells("clusters", output, labels, open_shells, processes, limit, seed)


def one_molecule(
    structure: Path,
    frame: int | None = None,
    output: Path = Path("polcalc-labels"),
    labels: int = 24000,
    temperature_K: float = 600.0,
    charge: int | None = None,
    multiplicity: int | None = None,
    processes: int = 1,
    limit: int = 0,
    seed: int = 0,
) -> None:
    """Compute GFN2-xTB labels of one molecule, to start a training from.

    Milliseconds a label, tens of thousands in minutes.

    Train on STRUCTURE.h5 first, then on your own labels with `training.start` naming the model that
    came of it.
    """
    check_writable(output)
    _need("tblite")
    atoms = read_structure(structure, frame)
    with as_input_error():
        state = electrons.resolve(atoms, charge, multiplicity)
        made = molecule.jobs(atoms, state.charge, state.multiplicity, temperature_K, labels, seed)
    name = structure.stem
    asked = {
        "charge": state.charge,
        "multiplicity": state.multiplicity,
        "temperature_K": temperature_K,
        "labels": labels,
        "seed": seed,
    }
    _same_set(output / name, asked | {"structure": checksum(structure)})
    _run(name, made, molecule.compute, output / name, processes, limit)
    _write(
        name,
        lambda _, folder: molecule.collect(made, folder, name),
        lambda _, frames: molecule.card(made, frames, seed),
        output,
    )


def _closed_shells(
    purpose: str,
    output: Path,
    labels: int,
    open_shells: Path | None,
    processes: int,
    limit: int,
    seed: int,
) -> None:
    """Run one purpose, and write the set of all that is there."""
    check_writable(output)
    _need("rdkit")
    if not is_installed():
        raise InputError(
            "`auto3d` must be installed for these labels; got none. Run: pip install --no-deps"
            " auto3d==2.3.1."
        )
    generator = import_module(f"potentials.labels.closed_shells.{purpose}")  # brings RDKit
    _same_set(output / purpose, {"seed": seed})
    jobs = generator.make_jobs(labels, seed)
    _run(purpose, jobs, generator.compute, output / purpose, processes, limit)
    with as_input_error():
        about = organic_set.write_set(output, open_shells)
    _write_card(output / f"{organic.NAME}.json", about)
    _write_card(output / f"{organic.SAMPLE}.json", organic_set.sample_card(about, output))
    screen.print(f"{output / organic.TRAIN}: {about['labels']} labels")


def _run(
    name: str,
    jobs: Mapping[str, Any],
    work: Callable[[Any], Any],
    folder: Path,
    processes: int,
    limit: int,
) -> None:
    chosen = dict(list(jobs.items())[:limit]) if limit else dict(jobs)
    for _ in track(
        run_jobs(chosen, work, folder, processes),
        total=len(chosen),
        description=escape(name),
        console=errors,
        transient=True,
    ):
        pass
    if failed := failures(folder, list(chosen)):
        screen.print(
            f"{len(failed)} of {len(chosen)} jobs have no labels, the first:"
            f" {next(iter(failed.items()))}",
        )


def _write(
    name: str,
    collect: Callable[[str, Path], Frames],
    describe: Callable[[str, Frames], Mapping[str, Any]],
    output: Path,
) -> None:
    """Write the set and its card."""
    with as_input_error():
        frames = collect(name, output / name)
    write_hdf5(output / f"{name}.h5", frames)
    about = dict(describe(name, frames)) | {
        "citation": frames.provenance.citation,
        "url": frames.provenance.url,
        "sha256": checksum(output / f"{name}.h5"),
    }
    _write_card(output / f"{name}.json", about)
    screen.print(f"{output / f'{name}.h5'}: {len(frames)} labels")


def _write_card(path: Path, about: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(json.loads(to_json(about)), indent=1, ensure_ascii=False) + "\n")


def _same_set(folder: Path, asked: Mapping[str, Any]) -> None:
    """Refuse to put the jobs of two sets into one folder: their keys would be the same."""
    path = folder / "set.json"
    if path.is_file() and (found := json.loads(path.read_text(encoding="utf-8"))) != asked:
        raise InputError(
            f"`--output` must hold a run of the same set, {asked}; got {found}. Choose another"
            " folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, to_json(asked))


def _need(program: str) -> None:
    if find_spec(program) is None:
        raise InputError(
            f"`{program}` must be installed for these labels. Run: pip install"
            " 'polcalc[chemistry]'."
        )
