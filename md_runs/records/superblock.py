"""Mend an HDF5 file whose writer was killed before it entered single-writer mode.

Opening to write sets one flag in the superblock, and a file with that flag alone is refused by
every reader. Nothing else was written by then, so clearing the flag makes the file whole. Layout
and checksum: HDF5 File Format Specification 3.0, II.A (version 3) and VII; the checksum is Bob
Jenkins' lookup3, in the public domain.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

# offsets in bytes; the checksum follows at LENGTH
SIGNATURE, VERSION, FLAGS, LENGTH = b"\x89HDF\r\n\x1a\n", 8, 11, 44
OPEN_TO_WRITE = 1
MASK = 0xFFFFFFFF
PATIENCE_S = 1.0  # a living writer is in this moment for microseconds


def mend_superblock(path: str | Path) -> None:
    """Clear the flag that a dead writer left.

    Wait for a living one, which holds a lock on the file.

    Raises
    ------
    OSError   a living writer keeps it locked, it cannot be written, or it is no such file
    """
    handle = os.open(path, os.O_RDWR)
    try:
        _lock(handle)
        block = bytearray(os.pread(handle, LENGTH + 4, 0))
        if (
            block[:8] != SIGNATURE
            or block[VERSION] != 3
            or checksum(bytes(block[:LENGTH])) != int.from_bytes(block[LENGTH:], "little")
        ):
            raise OSError(f"{path} is damaged: its superblock is not as it was written.")
        if block[FLAGS] == OPEN_TO_WRITE:
            block[FLAGS] = 0
            block[LENGTH:] = checksum(bytes(block[:LENGTH])).to_bytes(4, "little")
            os.pwrite(handle, block, 0)
    finally:
        os.close(handle)


def checksum(data: bytes) -> int:
    """Hash bytes with lookup3 (hashlittle, initial value 0)."""
    a = b = c = (0xDEADBEEF + len(data)) & MASK
    blocks = [data[n : n + 12] for n in range(0, len(data), 12)]
    for n, block in enumerate(blocks):
        x, y, z = (int.from_bytes(block[k : k + 4], "little") for k in (0, 4, 8))
        a, b, c = (a + x) & MASK, (b + y) & MASK, (c + z) & MASK
        a, b, c = _final(a, b, c) if n == len(blocks) - 1 else _mix(a, b, c)
    return c


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for turn in (4, 6, 8, 16, 19, 4):
        a = ((a - c) & MASK) ^ _rotated(c, turn)
        c = (c + b) & MASK
        a, b, c = b, c, a
    return a, b, c


def _final(a: int, b: int, c: int) -> tuple[int, int, int]:
    for turn in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotated(b, turn)) & MASK
        a, b, c = b, c, a
    return c, a, b


def _rotated(x: int, turn: int) -> int:
    return (x << turn | x >> (32 - turn)) & MASK


def _lock(handle: int) -> None:
    """Take HDF5's own lock, which says that nobody writes."""
    patience = time.monotonic() + PATIENCE_S
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > patience:
                raise
            time.sleep(0.01)
