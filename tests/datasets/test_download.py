"""Against a real HTTP server on this machine."""

from __future__ import annotations

import hashlib
import http.server
import io
import socket
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from potentials.datasets.download import DownloadError, fetch
from potentials.datasets.recipe import RemoteFile

CONTENT = bytes(range(256)) * 4096  # 1 MiB


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`, may break off after `break_after` bytes, and remembers the requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.break_after: int | None = None
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        content = self.server.files.get(self.path.removeprefix("/"))
        if content is None:
            self.send_error(404)
            return
        start = (
            int(wanted.removeprefix("bytes=").removesuffix("-"))
            if wanted and self.server.ranges
            else 0
        )
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = len(content) if self.server.break_after is None else start + self.server.break_after
        self.wfile.write(content[start:end])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_fetch(server: Server, tmp_path: Path) -> None:
    server.files["a.npz"] = CONTENT
    seen: list[tuple[str, int, int | None]] = []
    path = fetch(
        RemoteFile("mine.npz", server.url("a.npz"), sha256(CONTENT)),
        tmp_path / "new" / "folder",
        lambda *s: seen.append(s),
    )
    assert path == tmp_path / "new" / "folder" / "mine.npz"
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["mine.npz"]
    assert seen[-1] == ("mine.npz", len(CONTENT), len(CONTENT))


def test_a_file_that_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(CONTENT)
    file = RemoteFile("a.npz", server.url("a.npz"), sha256(CONTENT))
    assert fetch(file, tmp_path) == tmp_path / "a.npz"
    assert server.asked == []
    (tmp_path / "a.npz").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"`a.npz` must have SHA-256 .* Delete it"):
        fetch(file, tmp_path)
    assert (tmp_path / "a.npz").read_bytes() == b"mine"


def test_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.files["a.npz"] = CONTENT[:-1] + b"x"
    with pytest.raises(ValueError, match=r"must have SHA-256 .* got .* Fetch again"):
        fetch(RemoteFile("a.npz", server.url("a.npz"), sha256(CONTENT)), tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.files["a.npz"], server.break_after, server.ranges = CONTENT, 300_000, ranges
    file = RemoteFile("a.npz", server.url("a.npz"), sha256(CONTENT))
    with pytest.raises(DownloadError, match=r"must be reachable for a.npz"):
        fetch(file, tmp_path)
    assert not (tmp_path / "a.npz").exists()
    server.break_after = None
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert names(tmp_path) == ["a.npz"]
    assert server.asked[1] == ("/a.npz", "bytes=300000-")


def test_without_checksum_a_broken_download_starts_again(server: Server, tmp_path: Path) -> None:
    server.files["a.npz"], server.break_after = CONTENT, 1000
    file = RemoteFile("a.npz", server.url("a.npz"))
    with pytest.raises(DownloadError):
        fetch(file, tmp_path)
    server.files["a.npz"], server.break_after = b"another", None
    assert fetch(file, tmp_path).read_bytes() == b"another"


def test_a_partial_file_that_is_complete_is_kept(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".a.npz.partial").write_bytes(CONTENT)
    server.files["a.npz"] = CONTENT
    assert (
        fetch(RemoteFile("a.npz", server.url("a.npz"), sha256(CONTENT)), tmp_path).read_bytes()
        == CONTENT
    )


def test_not_found(server: Server, tmp_path: Path) -> None:
    with pytest.raises(
        DownloadError, match=r"`url` must lead to a.npz; got HTTP 404 from http://127.0.0.1"
    ):
        fetch(RemoteFile("a.npz", server.url("nowhere")), tmp_path)
    assert names(tmp_path) == []


def test_offline(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(
        DownloadError,
        match=r"must be reachable for a.npz; got .*refused.* Check the connection, or copy a.npz",
    ):
        fetch(RemoteFile("a.npz", f"http://127.0.0.1:{port}/a"), tmp_path)
    assert names(tmp_path) == []


def tar_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:bz2") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_one_member_of_an_archive(server: Server, tmp_path: Path, pack) -> None:  # type: ignore[no-untyped-def]
    server.files["all"] = pack({"set/b.npz": b"other", "set/a.npz": CONTENT, "../evil": b"x"})
    files = [
        RemoteFile(
            name, server.url("all"), sha256(content), archive="all.packed", member=f"set/{name}"
        )
        for name, content in {"a.npz": CONTENT, "b.npz": b"other"}.items()
    ]
    folder = tmp_path / "data"
    assert [fetch(file, folder).read_bytes() for file in files] == [CONTENT, b"other"]
    assert names(folder) == ["a.npz", "all.packed", "b.npz"] and names(tmp_path) == ["data"]
    assert len(server.asked) == 1  # the archive serves both
    with pytest.raises(ValueError, match=r"`all.packed` must hold set/c.npz"):
        fetch(
            RemoteFile("c.npz", server.url("all"), archive="all.packed", member="set/c.npz"), folder
        )


def test_not_an_archive(server: Server, tmp_path: Path) -> None:
    server.files["all"] = b"<html>maintenance</html>"
    with pytest.raises(ValueError, match=r"`all.tar` must be a whole archive"):
        fetch(RemoteFile("a.npz", server.url("all"), archive="all.tar", member="a.npz"), tmp_path)
    assert not (tmp_path / "a.npz").exists()
