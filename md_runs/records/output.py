"""Files of a run: a directory belongs to one run, and a file appears whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from md_runs.errors import InputError
from md_runs.records.manifest import now
from md_runs.signals import last_words
from potentials.files import replacing, write_text

if TYPE_CHECKING:  # the command that draws imports it; the others start without
    from matplotlib.figure import Figure

MANIFEST = "manifest.json"


def check_free(directory: Path) -> None:
    """Refuse a directory that already holds something, before any work is done.

    Raises
    ------
    InputError   the directory is in use, or cannot be written to
    """
    if directory.exists() and not directory.is_dir():
        raise InputError(
            f"`--output` must be a directory; got the file {directory}. Choose another name."
        )
    if directory.is_dir() and any(directory.iterdir()):
        raise InputError(
            f"`--output` must be a new or empty directory; got {directory}, which is in use. Choose"
            " another name."
        )
    check_writable(directory)


def check_new(file: Path, option: str = "--output") -> None:
    """Refuse a file that is there, or cannot be written, before any work is done.

    Raises
    ------
    InputError
    """
    if file.exists():
        raise InputError(
            f"`{option}` must be a new file; got {file}, which exists. Choose another name."
        )
    check_writable(file.parent, option)


def check_writable(directory: Path, option: str = "--output") -> None:
    """Refuse a directory that cannot be made or written to; leave everything as it is.

    Raises
    ------
    InputError
    """
    missing: list[Path] = []
    try:
        missing += [place for place in (directory, *directory.parents) if not place.exists()]
        directory.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise InputError(
            f"`{option}` must be writable; got {directory} ({error.strerror}). Choose another"
            " place."
        ) from error
    finally:
        for place in missing:
            with suppress(OSError):
                place.rmdir()


def claim(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Make the directory this run's own: of two runs that ask at once, one is refused."""
    check_free(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / MANIFEST).open("x", encoding="utf-8") as file:
            file.write(to_json(manifest))
    except FileExistsError as error:
        raise InputError(
            f"`--output` must be a new or empty directory; got {directory}, which is in use. Choose"
            " another name."
        ) from error
    except OSError as error:
        raise InputError(
            f"`--output` must be writable; got {directory} ({error.strerror}). Choose another"
            " place."
        ) from error


@contextmanager
def recorded(directory: Path, manifest: dict[str, Any]) -> Iterator[None]:
    """Claim a directory for a piece of work, and have its manifest say how that ended.

    What the work adds to the manifest is written too.
    """
    claim(directory, manifest)
    with ending(directory, manifest):
        yield


@contextmanager
def ending(directory: Path, manifest: dict[str, Any]) -> Iterator[None]:
    """Have the manifest of a directory say how the work in it ended."""
    status = "failed"
    try:
        with last_words(partial(say_interrupted, directory, manifest)):
            yield
        status = "finished"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        manifest |= {"status": status, "ended": now()}
        write_text(directory / MANIFEST, to_json(manifest))


def say_interrupted(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Have a manifest say that its work was interrupted."""
    ended = {"status": "interrupted", "ended": now()}
    write_text(directory / MANIFEST, to_json(dict(manifest) | ended))


@contextmanager
def hold(directory: Path, option: str = "--restart") -> Iterator[None]:
    """Keep every other run out of a directory while this one writes.

    The lock goes with the process, however it ends.

    Raises
    ------
    InputError   another run is at work there
    """
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise InputError(
            f"`{option}` must be a run that has stopped; got {directory}, where one is at work."
            " Wait for it."
        ) from error
    finally:
        os.close(handle)


def reserve(handle: int, n_bytes: int) -> None:
    """Make an open file longer by zeros that the disk really has room for, or leave it as it is.

    Raises
    ------
    OSError   the disk has no room
    """
    size = os.fstat(handle).st_size
    try:
        os.posix_fallocate(handle, size, n_bytes)
    except OSError:
        os.ftruncate(handle, size)
        raise


def write_figure(path: Path, figure: Figure) -> None:
    """Write a PNG at once or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def to_json(content: Mapping[str, Any]) -> str:
    """Format plain values for people and programs.

    Numbers that are not finite become null, as JSON wants.
    """
    return json.dumps(_plain(content), indent=2, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and value not in (float("inf"), float("-inf")) and value == value:
        return value
    if isinstance(value, float):
        return None
    return value if isinstance(value, bool | int | str | None) else str(value)
