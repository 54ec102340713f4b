"""Ctrl-C and polite kills: heard within two seconds, also in the middle of a long computation.

Python hears a signal between two of its own steps. A library that computes for minutes, as LAPACK
does, is one step. A thread therefore listens as well: where the main thread does not hear within
`PATIENCE_S`, it has the last words said (`last_words`) and ends the process.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

PATIENCE_S = 1.5
INTERRUPTED = 130  # exit code, as of shells
HEARD = (signal.SIGINT, signal.SIGTERM)

_last_words: list[Callable[[], None]] = []


@contextmanager
def last_words(say: Callable[[], None]) -> Iterator[None]:
    """Name what has to be written if the process must end within a computation."""
    _last_words.append(say)
    try:
        yield
    finally:
        _last_words.remove(say)


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn both signals into KeyboardInterrupt, or into the end of the process.

    In a thread that is not the main one nothing changes: Python hears signals in that one alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = threading.Event()

    def hear(number: int, frame: FrameType | None) -> None:
        heard.set()
        raise KeyboardInterrupt

    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = [signal.signal(number, hear) for number in HEARD]
    wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(reader, heard), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in zip(HEARD, before, strict=True):
            signal.signal(number, handler)
        writer.close()


def end_quietly() -> None:
    """Let both signals end the process at once, while nothing depends on it.

    Libraries that are being imported would print a traceback, or swallow a KeyboardInterrupt.
    """
    for number in HEARD:
        signal.signal(number, lambda *_: os._exit(INTERRUPTED))


def _listen(reader: socket.socket, heard: threading.Event) -> None:
    """Wait for a signal, and end the process where the main thread does not hear it."""
    with reader:
        while byte := reader.recv(1):
            if byte[0] not in HEARD or heard.wait(PATIENCE_S):
                continue
            for say in reversed(_last_words):
                with suppress(Exception):
                    say()
            with suppress(Exception):
                print("interrupted in the middle of a computation", file=sys.stderr, flush=True)
            os._exit(INTERRUPTED)
