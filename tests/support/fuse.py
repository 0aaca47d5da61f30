"""Mounts a directory through /dev/fuse, as a file system that can stop answering. Needs root.

A separate process serves the file system. After the end of this process, every access fails:

    python -m tests.support.fuse SOURCE MOUNTPOINT USER

The file system reports root as the owner of all files, whichever user mounts it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.selection import TESTS

needs_fuse = pytest.mark.skipif(
    os.geteuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK),
    reason="only root, with /dev/fuse, can mount a file system",
)

_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ, _STATFS, _RELEASE = 1, 2, 3, 14, 15, 17, 18
_INIT, _OPENDIR, _READDIR, _RELEASEDIR, _BATCH_FORGET = 26, 27, 28, 29, 42
_HEADER = struct.Struct("<IIQQIIIHH")
_ENOENT, _ENOSYS = 2, 38
_libc = ctypes.CDLL(None, use_errno=True)


class _Passed:
    """Serves a directory as a read-only file system."""

    def __init__(self, root: Path, fd: int) -> None:
        self._fd = fd
        self._paths: dict[int, Path] = {1: root}
        self._ids: dict[Path, int] = {root: 1}
        self._answering = threading.Event()
        self._answering.set()
        self.asked = threading.Event()

    def hang(self) -> None:
        """Stops answering requests."""
        self.asked.clear()
        self._answering.clear()

    def answer(self) -> None:
        """Answers requests, also the requests that are waiting."""
        self._answering.set()

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                asked = os.read(self._fd, 1 << 20)
                if not self._answering.is_set():
                    self.asked.set()
                    self._answering.wait()
                _, what, unique, node, *_ = _HEADER.unpack_from(asked)
                if what in (_FORGET, _BATCH_FORGET):
                    continue
                error, answer = 0, b""
                try:
                    answer = self._do(what, node, asked[_HEADER.size :])
                except OSError as failure:
                    error = failure.errno or _ENOSYS
                os.write(self._fd, struct.pack("<IiQ", 16 + len(answer), -error, unique) + answer)

    def _do(self, what: int, node: int, more: bytes) -> bytes:
        path = self._paths.get(node, Path("/nowhere"))
        if what == _INIT:
            major, minor, ahead, _ = struct.unpack_from("<IIII", more)
            return struct.pack(
                "<IIIIHHII", major, min(minor, 31), ahead, 0, 8, 8, 1 << 16, 1
            ) + bytes(36)
        if what == _LOOKUP:
            child = path / os.fsdecode(more.split(b"\0")[0])
            attributes = _attributes(child, self._id(child))
            # Disables caches, so that each access causes a request.
            return struct.pack("<QQQQII", self._id(child), 1, 0, 0, 0, 0) + attributes
        if what == _GETATTR:
            return struct.pack("<QII", 0, 0, 0) + _attributes(path, node)
        if what in (_OPEN, _OPENDIR):
            return struct.pack("<QII", 0, 1, 0)  # FOPEN_DIRECT_IO
        if what in (_READ, _READDIR):
            _, offset, size = struct.unpack_from("<QQI", more)
            if what == _READ:
                return path.read_bytes()[offset : offset + size]
            return self._entries(path, offset, size)
        if what in (_RELEASE, _RELEASEDIR):
            return b""
        if what == _STATFS:
            return bytes(80)
        raise OSError(_ENOSYS, "not needed")

    def _id(self, path: Path) -> int:
        number = self._ids.setdefault(path, len(self._ids) + 1)
        self._paths[number] = path
        return number

    def _entries(self, path: Path, offset: int, size: int) -> bytes:
        text = b""
        for number, name in enumerate(sorted(os.listdir(path))[offset:], start=offset + 1):
            mode = os.lstat(path / name).st_mode
            raw = os.fsencode(name)
            entry = struct.pack(
                "<QQII", self._id(path / name), number, len(raw), stat.S_IFMT(mode) >> 12
            )
            entry += raw + bytes(-len(raw) % 8)
            if len(text) + len(entry) > size:
                break
            text += entry
        return text


def _attributes(path: Path, node: int) -> bytes:
    found = os.lstat(path)
    seconds, rest = divmod(found.st_mtime_ns, 10**9)
    times = struct.pack("<QQQIII", seconds, seconds, seconds, rest, rest, rest)
    return (
        struct.pack("<QQQ", node, found.st_size, found.st_blocks)
        + times
        + struct.pack("<IIIIIII", found.st_mode, found.st_nlink, 0, 0, 0, 4096, 0)
    )


def _serve(source: str, at: str, user: str) -> None:
    """Mounts a directory, prints "mounted", and executes the words on standard input."""
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={fd},rootmode=40000,user_id={user},group_id={user},allow_other".encode()
    if _libc.mount(b"muster-test", os.fsencode(at), b"fuse", 0, options):
        print(os.strerror(ctypes.get_errno()), flush=True)
        return
    served = _Passed(Path(source), fd)
    threading.Thread(target=served.serve, daemon=True).start()
    print("mounted", flush=True)
    for word in sys.stdin:
        served.hang() if word.strip() == "hang" else served.answer()
        print("done", flush=True)
        if word.strip() == "hang":
            served.asked.wait()
            print("asked", flush=True)


class Mounted:
    """A mounted file system, and the process that serves it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def _say(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        assert self.hear() == "done"

    def hear(self) -> str:
        """Waits for the next line of the serving process; returns the line."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def hang(self) -> None:
        """Stops answering requests."""
        self._say("hang")

    def wait_until_asked(self) -> None:
        """Waits until a request is waiting for an answer."""
        assert self.hear() == "asked"

    def answer(self) -> None:
        """Answers requests, also the requests that are waiting."""
        self._say("answer")


@contextmanager
def passed_through(source: Path, at: Path, user: int = 0) -> Iterator[Mounted]:
    """Mounts a directory at an existing directory, as a user, until the block ends.

    At the end, every request that is waiting gets an error.
    """
    words = [sys.executable, "-m", "tests.support.fuse", str(source), str(at), str(user)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=TESTS.parent
    ) as process:
        made = Mounted(process)
        try:
            said = made.hear()
            if said != "mounted":
                pytest.skip(f"cannot mount a FUSE file system: {said}")
            yield made
        finally:
            process.kill()
            process.wait()
            _libc.umount2(os.fsencode(at), 1 | 2)  # MNT_FORCE, MNT_DETACH


if __name__ == "__main__":
    _serve(*sys.argv[1:])
