"""Settings and data that every test shares."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: several workers share the cores
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("MPLBACKEND", "Agg")

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("POLCALC_DATA", REPOSITORY.parent / "shared" / "data"))

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def reference_data() -> Callable[[str], Path]:
    """Return a function that finds ``reference_data("rmd17/…")``, or skips the test."""

    def find(name: str) -> Path:
        path = DATA / name
        if not path.exists():
            pytest.skip(f"no reference data at {path}; set POLCALC_DATA")
        return path

    return find


@pytest.fixture(autouse=True)
def unchanged_torch() -> Iterator[None]:
    """Hold every test to its seed, and let none leave another default dtype behind."""
    torch.manual_seed(0)
    dtype = torch.get_default_dtype()
    yield
    left_behind = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    assert left_behind == dtype, f"the test left the default dtype at {left_behind}"
