"""Fetch files of known data sets: streamed to a hidden name, checked, then renamed.

A half file never has the final name.
"""

from __future__ import annotations

import http.client
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from potentials.datasets.checksum import checksum
from potentials.datasets.recipe import RemoteFile

BLOCK = 2**18  # bytes
TIMEOUT = 30.0  # s, without a byte

Watch = Callable[[str, int, int | None], None]  # file name, bytes so far, bytes in all if known


class DownloadError(OSError):
    """A file could not be fetched."""


def _silent(name: str, done: int, total: int | None) -> None:
    pass


def fetch(file: RemoteFile, folder: str | Path, watch: Watch = _silent) -> Path:
    """Bring a file into a folder, unless it is there already.

    Parameters
    ----------
    file : RemoteFile
    folder : str or Path   made if necessary
    watch : callable       told of the progress: name, bytes so far, bytes in all or None

    Returns
    -------
    Path                   of the file, its checksum right where one is known

    Raises
    ------
    DownloadError          no connection, not found, broken off
    ValueError             wrong checksum; nothing is left but a file that was there before
    """
    folder = Path(folder).expanduser()
    path = folder / file.name
    if path.exists():
        _verify(path, file, "Delete it and fetch again.")
        return path
    if file.made_by:
        raise DownloadError(
            f"`{file.name}` must be computed; nobody publishes it. Run `{file.made_by} --output"
            f" {folder}`."
        )
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{file.name}.partial"
    if file.archive:
        archive = fetch(RemoteFile(file.archive, file.url, file.archive_sha256), folder, watch)
        _extract(archive, file.member, temporary)
    else:
        _download(file, temporary, watch)
    try:
        _verify(
            temporary, file, "Fetch again; if it happens twice, the file at the source has changed."
        )
    except ValueError:
        temporary.unlink()
        raise
    os.replace(temporary, path)
    return path


def _download(file: RemoteFile, temporary: Path, watch: Watch) -> None:
    """Stream a file; go on with what an earlier attempt left, if a checksum can prove the whole."""
    done = temporary.stat().st_size if file.sha256 and temporary.exists() else 0
    request = urllib.request.Request(
        file.url, headers={"User-Agent": "polcalc", **({"Range": f"bytes={done}-"} if done else {})}
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            done = done if answer.status == http.HTTPStatus.PARTIAL_CONTENT else 0
            length = answer.headers.get("Content-Length")
            total = None if length is None else done + int(length)
            with temporary.open("ab" if done else "wb") as sink:
                done = _copy(answer, sink, done, total, lambda n: watch(file.name, n, total))
    except urllib.error.HTTPError as error:
        if (
            error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        ):  # all of it was there already, or more: the checksum tells
            return
        raise DownloadError(
            f"`url` must lead to {file.name}; got HTTP {error.code} from {file.url}."
            f" {_by_hand(file)}"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise DownloadError(
            f"`url` must be reachable for {file.name}; got {reason} from {file.url}."
            f" {_by_hand(file)}"
        ) from error


def _copy(
    source: IO[bytes], sink: IO[bytes], done: int, total: int | None, watch: Callable[[int], None]
) -> int:
    while block := source.read(BLOCK):
        sink.write(block)
        done += len(block)
        watch(done)
    sink.flush()
    os.fsync(sink.fileno())
    if total is not None and done < total:
        raise http.client.IncompleteRead(b"", total - done)
    return done


def _extract(archive: Path, member: str, temporary: Path) -> None:
    """Copy one member of a zip or tar archive; whatever else is in there is left alone."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                name = next(n for n in opened.namelist() if f"/{n}".endswith(f"/{member}"))
                with opened.open(name) as source, temporary.open("wb") as sink:
                    shutil.copyfileobj(source, sink)
            return
        with tarfile.open(archive) as packed:
            entry = next(m for m in packed if m.isfile() and f"/{m.name}".endswith(f"/{member}"))
            found = packed.extractfile(entry)
            assert found is not None  # it is a file
            with found, temporary.open("wb") as sink:
                shutil.copyfileobj(found, sink)
    except StopIteration:
        raise ValueError(
            f"`{archive.name}` must hold {member}; got no such member. The file at the source has"
            " changed."
        ) from None
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise ValueError(
            f"`{archive.name}` must be a whole archive; got {error}. Delete it and fetch again."
        ) from error


def _verify(path: Path, file: RemoteFile, advice: str) -> None:
    if not file.sha256:
        return
    found = checksum(path)
    if found != file.sha256:
        raise ValueError(f"`{file.name}` must have SHA-256 {file.sha256}; got {found}. {advice}")


def _by_hand(file: RemoteFile) -> str:
    return f"Check the connection, or copy {file.archive or file.name} there by hand."
