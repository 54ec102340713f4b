"""``polcalc conformers``: the shapes of one molecule, and how often each occurs."""

from __future__ import annotations

from pathlib import Path

from md_runs import session
from md_runs.conformers.report import conformers_csv, plot_conformers, structures, table_of
from md_runs.conformers.search import Settings, search, starts
from md_runs.conformers.topology import Topology, of_smiles, of_structure
from md_runs.errors import InputError, NotConverged
from md_runs.records.manifest import make_manifest
from md_runs.records.output import check_free, recorded, write_figure
from md_runs.records.structures import write_structures
from md_runs.screen import screen, show, tracked
from md_runs.session import ModelOptions
from md_runs.surfaces.flight import flight
from md_runs.surfaces.relax import choose_optimizer
from md_runs.surfaces.vib import check_positive
from potentials.files import write_text
from potentials.shipped import DEFAULT


def conformers(
    molecule: str,
    model: str | None = None,
    frame: int | None = None,
    embed: int | None = None,
    window_eV: float = 0.3,
    temperature_K: float = 298.15,
    optimizer: str = "auto",
    fmax_eV_per_A: float = 0.005,
    steps: int = 500,
    seed: int = 0,
    charge: int | None = None,
    multiplicity: int | None = None,
    device: str = "auto",
    dtype: str = "float64",
    engine: str = "auto",
    output: Path = Path("polcalc-conformers"),
) -> None:
    """Find the conformers of a molecule, their energies and Boltzmann weights.

    Writes conformers.extxyz and conformers.csv, the lowest first, conformers.png and manifest.json.

    Raises
    ------
    InputError     bad input
    NotConverged   no conformer was found
    """
    check_positive(window_eV=window_eV, temperature_K=temperature_K, fmax_eV_per_A=fmax_eV_per_A)
    settings = Settings(embed, window_eV, temperature_K, optimizer, fmax_eV_per_A, steps, seed)
    check_free(output)
    topology = read_topology(molecule, frame, seed, charge, multiplicity)
    atoms = topology.template
    choose_optimizer(optimizer, len(atoms))
    calculator = session.make_calculator(
        ModelOptions(model, device, dtype, engine, charge, multiplicity)
    )
    atoms.calc = calculator
    session.evaluate_first(atoms)
    state = calculator.state
    assert state is not None
    manifest = make_manifest("conformers", settings._asdict(), **session.describe(calculator))
    manifest["molecule"] = molecule
    with recorded(output, manifest):
        screen.print(f"{atoms.get_chemical_formula()}, {state}")
        found = search(
            topology,
            starts(topology, settings),
            flight(calculator),
            settings,
            lambda landings, total: tracked(landings, "relaxing", total),
        )
        manifest |= {"found": len(found.kept)} | {
            name: value for name, value in found._asdict().items() if name != "kept"
        }
        frames = structures(found.kept, calculator, state)
        write_structures(output / "conformers.extxyz", frames)
        write_text(output / "conformers.csv", conformers_csv(found.kept))
        if found.kept:
            title = f"{atoms.get_chemical_formula()}, {model or DEFAULT}"
            write_figure(
                output / "conformers.png", plot_conformers(found.kept, title, temperature_K)
            )
    show(table_of(found.kept))
    if topology.n_open:
        screen.print(
            f"{topology.n_open} stereocentres or double bonds that the SMILES leaves open were"
            " chosen by the seed, the same for all conformers"
        )
    left_out = found.left_out()
    screen.print(f"from {found.embedded} geometries" + (f"; {left_out}" if left_out else ""))
    screen.print(f"Results in {output}")
    if not found.kept:
        raise NotConverged(f"no conformer was found: of {found.embedded} geometries {left_out}.")


def read_topology(
    molecule: str, frame: int | None, seed: int, charge: int | None, multiplicity: int | None
) -> Topology:
    """Read a SMILES, or the bonds of the structure in a file of that name.

    Raises
    ------
    InputError
    """
    if not Path(molecule).is_file():
        if frame is not None:
            raise InputError("`--frame` must come with a structure file; got a SMILES. Drop it.")
        return of_smiles(molecule, seed)
    atoms = session.read_structure(Path(molecule), frame)
    return of_structure(atoms, charge, multiplicity)
