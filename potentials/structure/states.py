"""The names under which ``atoms.info`` tells charge and multiplicity: one table for all readers.

``multiplicity`` is 2S + 1, unpaired electrons are 2S. Every key has one meaning but `SPIN_KEY`,
which is 2S + 1 to some programs and 2S to others. It is believed where both say the same of what
can be: 2S + 1 that fits the electrons, or zero. What fits as 2S alone is refused, for as often the
charge is missing: hydroxide with ``spin=1`` would become the radical.
"""

from __future__ import annotations

CHARGE_KEYS = ("charge", "total_charge")
MULTIPLICITY_KEYS = {  # and what to add to the value to get 2S + 1
    "multiplicity": 0,  # SO3LR
    "spin_multiplicity": 0,
    "mult": 0,  # AIMNet2
    "total_spin": 0,  # MACE writes 2S + 1 under this name
    "unpaired_electrons": 1,
    "num_unpaired_electrons": 1,
    "uhf": 1,  # xtb
}
SPIN_KEY = "spin"  # 2S + 1 for UMA, OrbMol, MACE-OMOL and AIMNet2; 2S for PySCF and some data sets
STATE_KEYS = (*CHARGE_KEYS, *MULTIPLICITY_KEYS, SPIN_KEY)
SUM_TOLERANCE = 0.05  # e, or electrons: what partial charges of three digits add up to


def fits(multiplicity: int, n_electrons: int) -> bool:
    """Say whether this many electrons can have this multiplicity."""
    return 1 <= multiplicity <= n_electrons + 1 and (multiplicity + n_electrons) % 2 == 1


def multiplicity_of_spin(spin: int, n_electrons: int) -> int | None:
    """Read a bare spin as 2S + 1 that fits the electrons, or as none unpaired; None otherwise."""
    if fits(spin, n_electrons):
        return spin
    return 1 if spin == 0 and fits(1, n_electrons) else None


def is_spin_of(multiplicity: int, spin: float) -> bool:
    """Say whether a bare spin may stand beside a multiplicity: as 2S + 1, 2S or S."""
    return spin in (multiplicity, multiplicity - 1, (multiplicity - 1) / 2)
