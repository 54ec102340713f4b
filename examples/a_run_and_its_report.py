"""A run of ethanol by the `polcalc` command, with its trajectory read back: python … [FOLDER]."""

import subprocess
import sys
from pathlib import Path

from ase.build import molecule

from md_runs.records.trajectory import read_trajectory

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "ethanol")
folder.mkdir()
molecule("CH3CH2OH").write(folder / "ethanol.xyz")


def polcalc(*words: str) -> None:
    """Run the command in the folder."""
    subprocess.run([sys.executable, "-m", "md_runs.cli", *words], cwd=folder, check=True)


polcalc("relax", "ethanol.xyz", "--output", "relaxed")
polcalc(
    "md", "relaxed/relaxed.extxyz", "--steps", "2000", "--equilibrate-ps", "0.2", "--output", "run"
)
polcalc("analyse", "run", "--output", "report")
frames = list(read_trajectory(folder / "run" / "trajectory.h5md"))
print(f"{len(frames)} frames; the last has {frames[-1].get_potential_energy():.3f} eV")
print(f"open {folder / 'report' / 'report.html'}")
