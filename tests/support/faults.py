"""Makes any single system call fail that a commit makes for its files."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import portalocker

from registry import durable_commits
from registry.storage.files import descriptor
from registry.storage.journal import journal_path
from tests.support.kept_journals import kept_journal, without_kept
from tests.support.registries import agent, global_registry, task_registry, write

TASK = "TASK-1/AGENT_REGISTRY.json"
GLOBAL = "registry/GLOBAL_REGISTRY.json"

Texts = dict[str, bytes]
Act = Callable[[Path], None]

# The remedy in the message of each error.
ADVICE = {
    errno.EIO: "dmesg",
    errno.ENOSPC: "free space",
    errno.EDQUOT: "quota",
    errno.EFBIG: "ulimit",
    errno.EROFS: "mount it for writing",
    errno.EACCES: "writable for this user",
}

# The functions of `os` that the library calls for a file.
BY_PATH = ("link", "lstat", "open", "stat", "unlink")
BY_DESCRIPTOR = ("close", "fchmod", "fdatasync", "fstat", "fsync", "ftruncate", "pread", "pwrite")


@dataclass(frozen=True, slots=True)
class Call:
    """One system call.

    Attributes:
        name: The name of the function in `os` or `fcntl`.
        of: The file, relative to the watched directory.
    """

    name: str
    of: str

    def __str__(self) -> str:
        return f"{self.name} of {self.of}"


Fault = Callable[[int, Call], int | None]
"""Given the number of earlier calls and a call, returns the error number, or None for no error."""


def at(*numbers: int, error: int = errno.EIO) -> Fault:
    """Returns a fault for the calls with these numbers."""
    return lambda number, _: error if number in numbers else None


def from_on(first: int, error: int = errno.EIO) -> Fault:
    """Returns a fault for the call with this number and all later calls."""
    return lambda number, _: error if number >= first else None


@dataclass(slots=True)
class Faults:
    """The calls that were made, and the choice of the calls that fail.

    Attributes:
        root: The watched directory; its path must contain no symlink.
        fault: Chooses the calls that fail.
        halved: Whether a failing write first writes half of the data, as the kernel does if the
            disk gets full in the middle.
        calls: The calls that were made.
    """

    root: Path
    fault: Fault
    halved: bool = False
    calls: list[Call] = field(default_factory=list)
    _owed: int | None = None
    _linked: dict[tuple[int, int], str] = field(default_factory=dict)

    def watch(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a function that records a call, and then makes it or raises an error."""

        def called(first: Any, *rest: Any, **named: Any) -> Any:
            if name == "link":
                # A link gives a name to a new file that had no name before.
                of = self._below(rest[0], named.get("dst_dir_fd"))
            else:
                of = self._below(first, named.get("dir_fd"))
            if of is None:
                return real(first, *rest, **named)
            number = len(self.calls)
            call = Call(name, of)
            self.calls.append(call)
            error, self._owed = self._owed or self.fault(number, call), None
            if error is None:
                # Flushes are skipped: their effect cannot be seen here, and thousands take long.
                if name in ("fsync", "fdatasync"):
                    return None
                result = real(first, *rest, **named)
                if name == "link":
                    status = _real_stat(first)
                    self._linked[status.st_dev, status.st_ino] = of
                return result
            if name == "close":
                # The kernel closes the descriptor even if the call fails.
                real(first)
            if name == "pwrite" and self.halved and len(rest[0]) > 1:
                self._owed = error
                return real(first, rest[0][: len(rest[0]) // 2], *rest[1:])
            raise OSError(error, os.strerror(error))

        return called

    def _below(self, of: Any, folder: int | None) -> str | None:
        if isinstance(of, int):
            status = _real_fstat(of)
            if (linked := self._linked.get((status.st_dev, status.st_ino))) is not None:
                return linked
            of = _real_readlink(f"/proc/self/fd/{of}")
        if folder is not None:
            of = os.path.join(_real_readlink(f"/proc/self/fd/{folder}"), of)
        whole = os.fspath(of)
        beneath = f"{self.root}{os.sep}"
        return whole.removeprefix(beneath) if whole.startswith(beneath) else None


_real_readlink, _real_stat, _real_fstat = os.readlink, os.stat, os.fstat


@contextmanager
def failing(root: Path, fault: Fault, *, halved: bool = False) -> Iterator[Faults]:
    """Makes system calls for files below a directory fail until the block ends."""
    faults = Faults(root, fault, halved)
    shims: dict[str, Any] = {
        name: faults.watch(name, getattr(os, name)) for name in (*BY_PATH, *BY_DESCRIPTOR)
    }

    class Watched:
        """A descriptor that is closed by its owner, and not by `os.close`."""

        def __init__(self, fd: int) -> None:
            self._owner = select.epoll.fromfd(fd)
            self.fileno = self._owner.fileno

        @property
        def closed(self) -> bool:
            return self._owner.closed

        def close(self) -> None:
            if not self.closed:
                faults.watch("close", lambda _: self._owner.close())(self.fileno())

        def __enter__(self) -> Watched:
            return self

        def __exit__(self, *_: object) -> None:
            self.close()

        def __del__(self) -> None:
            with suppress(OSError):
                self.close()

    lease = faults.watch("fcntl", fcntl.fcntl)
    lock = faults.watch("flock", fcntl.flock)
    with (
        mock.patch.multiple(os, **shims),
        mock.patch.object(descriptor, "_own", Watched),
        mock.patch.object(fcntl, "fcntl", lease),
        mock.patch.object(portalocker.portalocker, "LOCKER", lock),
    ):
        yield faults


@dataclass(frozen=True, slots=True)
class Place:
    """Two registries that are created again for each fault.

    Attributes:
        root: The directory of the registries.
        kept: Whether the task's registry already has a journal of a finished commit. The global
            registry has no journal at first.
    """

    root: Path
    kept: bool = True

    def lay_out(self, texts: Texts | None = None) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        write(self.root / TASK, task_registry(agent("busy"), agent("done", "completed")))
        write(self.root / GLOBAL, global_registry(agent("busy", None)))
        (self.root / TASK).chmod(0o640)
        if self.kept:
            kept = journal_path(self.root / TASK)
            kept.write_bytes(kept_journal())
            kept.chmod(0o640)
        for name, text in (texts or {}).items():
            (self.root / name).write_bytes(text)

    def texts(self) -> Texts:
        """Returns the content of every file, except the journals of finished commits."""
        files = (path for path in self.root.rglob("*") if path.is_file())
        there = {str(path.relative_to(self.root)): path.read_bytes() for path in files}
        return without_kept(there)

    def status(self) -> list[tuple[int, ...]]:
        """Returns the inode, mode, owner, group and number of links of both registries."""
        found = (os.stat(self.root / name) for name in (TASK, GLOBAL))
        return [(s.st_ino, stat.S_IMODE(s.st_mode), s.st_uid, s.st_gid, s.st_nlink) for s in found]

    def assert_let_go(self) -> None:
        """Checks that no process holds a lock, and that this process has no file open."""
        for name in (TASK, GLOBAL):
            with (self.root / name).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
        targets = [os.readlink(link) for link in links if os.path.lexists(link)]
        assert not [each for each in targets if each.startswith(str(self.root))]


@dataclass(frozen=True, slots=True)
class Attempt:
    """The result of an operation on registries that were just created.

    Attributes:
        faults: The calls that were made.
        error: The error that the operation raised, or None.
        texts: The content of all files afterwards.
    """

    faults: Faults
    error: Exception | None
    texts: Texts


def attempt(
    place: Place,
    act: Act,
    fault: Fault,
    *,
    durable: bool = False,
    halved: bool = False,
    texts: Texts | None = None,
) -> Attempt:
    """Runs an operation while calls fail; checks that the files are the same and not locked."""
    place.lay_out(texts)
    status = place.status()
    caught: Exception | None = None
    with failing(place.root, fault, halved=halved) as faults:
        try:
            with durable_commits(durable):
                act(place.root)
        except Exception as error:
            caught = error
    assert place.status() == status
    place.assert_let_go()
    return Attempt(faults, caught, place.texts())
