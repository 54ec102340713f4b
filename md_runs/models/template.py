"""A configuration to start from, for ``polcalc train --template``: every entry, and what it means.

What it says of data, state inputs and molecule is chosen from the file of labels that it is for.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase.data import chemical_symbols

from md_runs.errors import as_input_error
from potentials.datasets import Frames, load_frames
from potentials.datasets.statistics import states

INPUTS = {"charge": "total_charge", "multiplicity": "unpaired_electrons"}


def template(source: Path | None) -> str:
    """Write a configuration for a file of labels, or for any.

    Raises
    ------
    InputError   labels that cannot be read as they are: the message says what to declare
    """
    if source is None:
        return _text(
            "my-data.extxyz", [], "# Structures: polcalc data check FILE looks through them."
        )
    with as_input_error():
        frames = load_frames(source)
    return _text(str(source), _varying(frames), "\n".join(f"# {line}" for line in _about(frames)))


def _varying(frames: Frames) -> list[str]:
    """Name what of the state differs within the data: the potential must see it."""
    known = {"charge": frames.total_charge, "multiplicity": frames.multiplicity}
    return [name for name, values in known.items() if len(np.unique(values)) > 1]


def _about(frames: Frames) -> list[str]:
    elements = " ".join(chemical_symbols[z] for z in np.unique(frames.atomic_numbers))
    said = ", ".join(f"{q:+d}/{m}: {n}" for q, m, n in states(frames))
    labels = [name for name in ("forces", "stress") if getattr(frames, name) is not None]
    lines = [
        f"{len(frames)} structures of {frames.n_atoms.min()} to {frames.n_atoms.max()} atoms,"
        f" {elements}; labels: {', '.join(['energy', *labels])}.",
        f"States (charge/multiplicity: structures): {said}.",
    ]
    if frames.references:
        lines.append("Isolated atoms of the file set the energies of their elements.")
    return lines + [f"Not read: {remark}" for remark in frames.remarks]


def _text(source: str, varying: list[str], about: str) -> str:
    inputs = ", ".join(f'"{INPUTS[name]}"' for name in varying)
    name = Path(source).stem
    state = (
        f"state_factor = {{ attributes = [{inputs}] }}  # the data hold several values of it"
        if inputs
        else '# state_factor = { attributes = ["total_charge", "unpaired_electrons"] }'
        "  # to see charge and multiplicity"
    )
    return TEMPLATE.format(name=name, source=source, about=about, state=state)


TEMPLATE = """\
# A training: polcalc train THIS.toml --output DIR. Entries with # have the default that is shown.

name = "{name}"
# description = ""              # for the card of the model, shown by polcalc info
# limits = ""                   # where it will fail, and what to take instead; likewise
# seed = 0                      # of weights and order

[data]
{about}
train = "{source}"
n_train = 0.8                   # structures, or a fraction of them
n_validation = 0.1              # likewise: these choose when to stop
test = "rest"                   # what is left; or another file, or a known set; "": none
# split_seed = 0                # another seed draws other structures
# split = "group"               # what stays together: "group", "geometry" (its states), "label"
# states = [[0, 1], [1, 2]]     # [charge, multiplicity] to train on; none: all
# rehearsal = ""                # further structures to train on, labelled by the start
# energy = "REF_energy"         # names of the labels, where there are several or none is found
# forces = "REF_forces"         # "-gradient" turns the sign
# stress = "REF_stress"         # or virials
# energy_unit = "eV"            # "hartree", "kcal/mol", "kJ/mol", ...
# length_unit = "angstrom"      # of positions and cell: "bohr", "nm"
# forces_unit = "eV/angstrom"   # "hartree/bohr" where energies are in hartree
# stress_unit = "eV/angstrom^3" # "GPa", "kbar"

[potential]                     # with [training] start, whatever is left out is that of the start
cutoff = 4.5                    # Å; atoms see each other directly up to here
# envelope = "cosine"           # or "polynomial"
architecture = {{ name = "tensornet", channels = 64, n_layers = 2 }}
# radial = {{ name = "exp_normal", n_radial = 32 }}  # gaussian, bessel, learned
# embeddings = [{{ name = "species" }}]  # + total_charge, multiplicity, electronic, partial_charges
{state}
# points = {{ name = "fixed" }}           # or "moving"
# attention = {{ name = "none" }}         # or "charged": atoms of ions and radicals see all others
# electrons = {{ name = "global" }}       # or "local": each atom has its share of charge and spin
terms = [{{ name = "readout" }}, {{ name = "reference_energies" }}]  # + zbl, state_energies, ...

[loss]
# name = "mse"                  # or "mae", "huber"
# weights = {{ energy = 1.0, forces = 1.0 }}
# delta = 0.01                  # of "huber", in units of the force scale

[optimizer]
# name = "adamw"                # or "soap"
# learning_rate = 2e-3          # the highest; it falls along a cosine to zero
# options = {{}}
# gradient_clip = 10.0          # norm of the gradient

[schedule]                      # whichever ends first
max_epochs = 200
# time_budget_min = 30.0
# warm_up_steps = 200
# patience_epochs = 50          # stop when validation did not improve for so long

[training]
# batch_size = 8
# ema_decay = 0.999             # of the averaged weights, which are validated and saved
# dtype = "float32"
gradients = "native"            # compiled, TensorNet on a CPU; "autograd" for everything
# validate_every_epochs = 5
# checkpoint_every_min = 1.0
# start = "organic"         # model to start from, a file or a name
"""
