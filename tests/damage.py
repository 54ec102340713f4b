"""Files as disks, copies and editors leave them: what every reader must refuse in one line."""

from __future__ import annotations

import numpy as np


def damage(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip a bit, change a byte, zero or swap a block, or cut the end off."""
    harmed = bytearray(data)
    at, n = int(rng.integers(len(data))), int(rng.integers(1, 2000))
    match int(rng.integers(5)):
        case 0:
            harmed[at] ^= 1 << int(rng.integers(8))
        case 1:
            harmed[at] = int(rng.integers(256))
        case 2:
            harmed[at : at + n] = bytes(len(harmed[at : at + n]))
        case 3:
            other = int(rng.integers(len(data)))
            size = min(n, len(data) - max(at, other))
            first, second = harmed[at : at + size], harmed[other : other + size]
            harmed[at : at + size], harmed[other : other + size] = second, first
        case _:
            del harmed[at:]
    return bytes(harmed)
