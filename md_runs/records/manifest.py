"""What a run was made from: options, versions, model, seed, machine."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import torch

from md_runs.records.versions import version_of

PACKAGES = ("polcalc", "torch", "ase", "numpy", "h5py", "vesin")


def make_manifest(command: str, options: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Collect what is needed to repeat a run.

    ``status`` is ``running`` until the run says otherwise.
    """
    return {
        "command": command,
        "status": "running",
        "started": now(),
        "options": dict(options),
        **more,
        **made_with(),
        "arguments": sys.argv[1:],
    }


def made_with() -> dict[str, Any]:
    """Collect versions and machine."""
    return {
        "versions": {
            "python": platform.python_version(),
            **{name: version_of(name) for name in PACKAGES},
        },
        "machine": {
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
    }


def now() -> str:
    """Time of day in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
