"""The peers that the benchmarks measure against, each as a call for the forces of a structure.

torchmd-net is timed as a bare module with its tensors ready, its best case; MACE and AIMNet2
through their own ASE calculators.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

Call = Callable[[], np.ndarray]

TENSORNET = {
    "model": "tensornet",
    "embedding_dimension": 128,
    "num_layers": 2,
    "num_rbf": 32,
    "rbf_type": "expnorm",
    "trainable_rbf": False,
    "activation": "silu",
    "cutoff_lower": 0.0,
    "cutoff_upper": 4.5,
    "max_z": 128,
    "max_num_neighbors": 64,
    "equivariance_invariance_group": "O(3)",
    "prior_model": None,
    "precision": 32,
    "atom_filter": -1,
    "derivative": True,
    "reduce_op": "sum",
    "output_model": "Scalar",
    "static_shapes": False,
}
MACE_SMALL = {  # the size of MACE-OFF23 small
    "r_max": 4.5,
    "num_bessel": 8,
    "num_polynomial_cutoff": 5,
    "max_ell": 3,
    "num_interactions": 2,
    "num_elements": 10,
    "atomic_numbers": [1, 6, 7, 8, 9, 15, 16, 17, 35, 53],
    "avg_num_neighbors": 15.0,
    "correlation": 3,
    "radial_MLP": [64, 64, 64],
    "radial_type": "bessel",
    "atomic_inter_scale": 1.0,
    "atomic_inter_shift": 0.0,
}


@contextmanager
def torchmd_path(plain: bool) -> Iterator[None]:
    """Let torchmd-net build models with its kernels, or as on a machine without them.

    It decides at import.
    """
    kernels = importlib.import_module("torchmdnet.extensions.warp_ops")
    name = "torchmdnet.models.tensornet"
    own = importlib.import_module(name)
    removed = {}
    if plain:
        # one missing name and it takes none of them
        removed["fn_tensor_norm3"] = vars(kernels).pop("fn_tensor_norm3")
        del sys.modules[name]
    try:
        if plain == bool(importlib.import_module(name).OPT):
            raise RuntimeError("torchmd-net did not take the path asked for")
        yield
    finally:
        vars(kernels).update(removed)
        sys.modules[name] = own


def save_torchmd_net(path: Path) -> None:
    """Let torchmd-net make a model and save it as its training would."""
    import torch
    from torchmdnet.models.model import create_model

    torch.manual_seed(1)
    model = create_model(dict(TENSORNET))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": weights, "hyper_parameters": TENSORNET}, path)


def torchmd_net(
    path: Path, atoms: Atoms, device: str, *, plain: bool = False, compiled: bool = False
) -> Call:
    """TensorNet of torchmd-net.

    Compiled as in its own calculator: static shapes, without the forces, which autograd adds.
    """
    import torch
    from torchmdnet.models.model import create_model

    state = torch.load(path, weights_only=True)["state_dict"]
    with torchmd_path(plain):
        model = create_model(TENSORNET | {"static_shapes": compiled, "derivative": not compiled})
    model.load_state_dict({name.removeprefix("model."): tensor for name, tensor in state.items()})
    model = model.to(device).eval().requires_grad_(False)
    numbers = torch.tensor(atoms.numbers, device=device)
    start = torch.tensor(atoms.positions, dtype=torch.float32, device=device)
    batch = torch.zeros_like(numbers)
    box = (
        torch.tensor(atoms.cell.array, dtype=torch.float32, device=device)
        if atoms.pbc.any()
        else None
    )

    def call() -> np.ndarray:
        _, forces = model(numbers, start.clone().requires_grad_(), batch, box=box)
        return forces.detach().cpu().numpy()

    if not compiled:
        return call
    with torch.no_grad():
        model(numbers, start, batch, box=box)  # sets its sizes, which the compiler cannot
    fast = torch.compile(
        model, backend="inductor", dynamic=False, fullgraph=True, mode="reduce-overhead"
    )

    def compiled_call() -> np.ndarray:
        positions = start.clone().requires_grad_()
        energy, _ = fast(numbers, positions, batch, box=box)
        energy.backward()
        return -positions.grad.cpu().numpy()

    return compiled_call


def mace_small(atoms: Atoms, device: str) -> Call:
    """MACE of the published small size, random weights."""
    import torch

    torch.serialization.add_safe_globals([slice])  # e3nn 0.4.4 reads its constants at import
    from e3nn.o3 import Irreps
    from mace.calculators import MACECalculator
    from mace.modules import (
        RealAgnosticInteractionBlock,
        RealAgnosticResidualInteractionBlock,
        ScaleShiftMACE,
    )

    torch.manual_seed(1)
    settings: dict[str, Any] = MACE_SMALL | {
        "hidden_irreps": Irreps("96x0e"),
        "MLP_irreps": Irreps("16x0e"),
        "gate": torch.nn.functional.silu,
        "atomic_energies": np.zeros(MACE_SMALL["num_elements"]),
        "interaction_cls": RealAgnosticResidualInteractionBlock,
        "interaction_cls_first": RealAgnosticInteractionBlock,
    }
    calculator = MACECalculator(
        models=ScaleShiftMACE(**settings).float(), device=device, default_dtype="float32"
    )
    return moving(atoms, calculator)


def aimnet2(atoms: Atoms, device: str) -> Call:
    """AIMNet2 from its packaged configuration, random weights, Coulomb energy included.

    Raises
    ------
    RuntimeError   a periodic structure on the CPU: a segmentation fault would end all contestants
    """
    if atoms.pbc.any() and device == "cpu":
        raise RuntimeError(
            "its periodic pair list (nvalchemi-toolkit-ops 0.5.0, warp-lang 1.19.0) ends in a"
            " segmentation fault on the CPU"
        )
    import aimnet.models
    import torch
    from aimnet.calculators import AIMNet2ASE, AIMNet2Calculator
    from aimnet.config import build_module

    torch.manual_seed(1)
    model = build_module(str(Path(aimnet.models.__file__).parent / "aimnet2.yaml"))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.isnan().any():  # elements without an embedding
                parameter.normal_()
    model.cutoff = 5.0
    calculator = AIMNet2Calculator(model.to(device).eval(), device=device)
    return moving(atoms, AIMNet2ASE(calculator, charge=0))


def moving(atoms: Atoms, calculator: Any) -> Call:
    """Time a whole calculator; every call sees moved positions, as in dynamics."""
    atoms = atoms.copy()
    atoms.calc = calculator
    start, count = atoms.positions.copy(), [0]

    def call() -> np.ndarray:
        count[0] += 1
        atoms.positions = start + 1e-6 * (count[0] % 7)
        forces: np.ndarray = atoms.get_forces()
        return forces

    return call
