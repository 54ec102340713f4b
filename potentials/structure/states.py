"""The names under which ``atoms.info`` tells charge and multiplicity: one table for all readers.

``multiplicity`` is 2S + 1, unpaired electrons are 2S. Every key has one meaning but `SPIN_KEY`,
which is 2S + 1 to some programs and 2S to others: the number of electrons tells which.
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
