"""Commits on disks that are full or read-only.

Run as ``python -m tests.support.small_disk WHAT DIRECTORY``, with a small file system mounted at
the directory; `way_to_mount` finds a way to mount one.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

from registry import (
    Audit,
    AuditContext,
    HalfWrittenError,
    InaccessibleRegistryError,
    durable_commits,
    finish_agents,
    recover_registry,
    report_progress,
)
from registry.pair import editing_both
from registry.snapshots import read_task
from registry.storage.locked_file import editing
from tests.support.faults import ADVICE, GLOBAL, TASK, Act, Place, Texts, failing
from tests.support.workspaces import entry, write

_ROOT = Path(__file__).parents[2]
_PAGE = 4096
_SMALL = 256 << 20


def grow_one(root: Path) -> None:
    with editing(root / TASK, timeout=0) as edit:
        edit.registry["note"] = "n" * 9000
        edit.changed = True


def grow_both(root: Path) -> None:
    with editing_both(root / TASK, root / GLOBAL, timeout=0) as edits:
        for edit in edits:
            edit.registry["note"] = "n" * 9000
            edit.changed = True


ACTS: dict[str, Act] = {"one": grow_one, "both": grow_both}


class Room(Protocol):
    """The free space of a disk."""

    def leave(self, pages: int) -> None:
        """Leaves this many pages free; a negative number leaves all of them."""


class Ballast:
    """Fills a real disk with a file."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._fd = os.open(directory / "ballast", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)

    def leave(self, pages: int) -> None:
        if pages < 0:
            os.ftruncate(self._fd, 0)
            return
        too_many = self._free() - pages
        size = os.fstat(self._fd).st_size
        if too_many < 0:
            os.ftruncate(self._fd, size + too_many * _PAGE)
        for page in range(max(0, too_many)):
            os.pwrite(self._fd, b"\xff" * _PAGE, size + page * _PAGE)
        assert self._free() == pages

    def _free(self) -> int:
        found = os.statvfs(self._directory)
        return found.f_bavail * found.f_frsize // _PAGE

    def remove(self) -> None:
        os.close(self._fd)
        (self._directory / "ballast").unlink()


class Pretended:
    """Counts the written pages in this process, as a disk of that size would."""

    def __init__(self) -> None:
        self._pages = -1

    def leave(self, pages: int) -> None:
        self._pages = pages

    @contextmanager
    def counted(self) -> Iterator[None]:
        real = os.pwrite

        def pwrite(fd: int, data: bytes, offset: int) -> int:
            have = -(-os.fstat(fd).st_size // _PAGE)
            end = offset + len(data)
            if self._pages >= 0:
                end = min(end, (have + self._pages) * _PAGE)
            if end <= offset:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written = real(fd, data[: end - offset], offset)
            if self._pages >= 0:
                self._pages -= max(0, -(-(offset + written) // _PAGE) - have)
            return written

        with mock.patch.object(os, "pwrite", pwrite):
            yield


def assert_refused(place: Place, error: OSError, number: int, before: Texts) -> None:
    """Checks that nothing was changed or is locked, and that the error names file and remedy."""
    said = str(error)
    assert isinstance(error, InaccessibleRegistryError), said
    assert error.errno == number, said
    assert str(place.root) in said, said
    assert "REGISTRY.json" in said, said
    assert os.strerror(number) in said, said
    assert ADVICE[number] in said, said
    assert place.texts() == before, said
    place.assert_let_go()


def every_shortage(place: Place, room: Room, act: Act, durable: bool) -> int:
    """Commits with each number of free pages that is too small; returns how many there are."""
    pages = 0
    room.leave(-1)
    place.lay_out()
    before = place.texts()
    act(place.root)
    after = place.texts()
    while True:
        room.leave(-1)
        place.lay_out()
        status = place.status()
        room.leave(pages)
        try:
            with durable_commits(durable):
                act(place.root)
        except OSError as error:
            assert_refused(place, error, errno.ENOSPC, before)
            assert place.status() == status
        else:
            assert place.texts() == after
            assert place.status() == status
            return pages
        room.leave(-1)
        act(place.root)
        assert place.texts() == after
        pages += 1


def recovery_without_room(place: Place, room: Room) -> int:
    """Checks that an interrupted commit keeps its journals until there is room to finish it."""
    room.leave(-1)
    place.lay_out()
    before = place.texts()
    grow_both(place.root)
    after = place.texts()
    place.lay_out()
    # The first write into a registry and all later calls fail, so both journals stay.
    begun = [0]

    def cut(number: int, call: Any) -> int | None:
        begun[0] += call.name == "pwrite" and call.of == TASK
        return errno.EIO if begun[0] else None

    with contextlib.suppress(HalfWrittenError), failing(place.root, cut):
        grow_both(place.root)
    journals = place.texts().keys() - before.keys()
    assert len(journals) == 2, journals
    pages = 0
    while True:
        room.leave(pages)
        try:
            recover_registry(place.root / TASK, timeout=0)
            recover_registry(place.root / GLOBAL, timeout=0)
        except InaccessibleRegistryError as error:
            assert error.errno == errno.ENOSPC
            assert "Its journal is kept; free space" in str(error)
            for name in (TASK, GLOBAL):
                assert json.loads((place.root / name).read_bytes()) in (
                    json.loads(before[name]),
                    json.loads(after[name]),
                )
            place.assert_let_go()
        else:
            assert place.texts() == after
            return pages
        pages += 1


def full(directory: Path, room: Room) -> dict[str, int]:
    """Runs all tests for a disk that gets full; returns the counts."""
    place = Place(directory / "disk", kept=False)
    counts = {
        f"{name}, {'durable' if durable else 'plain'}": every_shortage(place, room, act, durable)
        for name, act in ACTS.items()
        for durable in (False, True)
    }
    counts["recovery"] = recovery_without_room(place, room)
    return counts


def _full(directory: Path) -> dict[str, int]:
    room = Ballast(directory)
    try:
        return full(directory, room)
    finally:
        room.remove()


def _no_inode(directory: Path) -> dict[str, int]:
    """Commits on a disk that has space, but no free inode."""
    place = Place(directory / "disk", kept=False)
    refused = 0
    for act in ACTS.values():
        place.lay_out()
        before = place.texts()
        (directory / "fillers").mkdir()
        with contextlib.suppress(OSError):
            for number in range(1000):
                (directory / "fillers" / str(number)).touch()
        try:
            act(place.root)
        except OSError as error:
            assert_refused(place, error, errno.ENOSPC, before)
            refused += 1
        for filler in (directory / "fillers").iterdir():
            filler.unlink()
        (directory / "fillers").rmdir()
        act(place.root)
    return {"refused": refused}


def _remount(directory: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,bind,{how}", directory], check=True)


def _read_only(directory: Path) -> dict[str, int]:
    """Commits on a read-only disk; then with each registry on a writable mount of its own."""
    place = Place(directory / "disk", kept=False)
    refused = 0
    for separately in (False, True):
        place.lay_out()
        if separately:
            for name in (TASK, GLOBAL):
                file = place.root / name
                beside = Path(tempfile.mkdtemp(dir=directory.parent)) / file.name
                beside.write_bytes(file.read_bytes())
                subprocess.run(["mount", "--bind", beside, file], check=True)
        before = place.texts()
        _remount(directory, "ro")
        for act in ACTS.values():
            try:
                act(place.root)
            except OSError as error:
                assert_refused_reading(place, error, before)
                refused += 1
        assert read_task(place.root / TASK).record.task_id == "TASK-1"
        _remount(directory, "rw")
        grow_both(place.root)
    return {"refused": refused}


def assert_refused_reading(place: Place, error: OSError, before: Texts) -> None:
    """Checks like `assert_refused`, on a disk where no file can be opened for writing."""
    said = str(error)
    assert isinstance(error, InaccessibleRegistryError), said
    assert error.errno == errno.EROFS, said
    assert "REGISTRY.json" in said, said
    assert ADVICE[errno.EROFS] in said, said
    assert place.texts() == before


def _steps(directory: Path) -> dict[str, int]:
    """Reports and completes an agent with each number of free pages.

    Checks that the error or the problems say what was written, and counts the cases.
    """
    room = Ballast(directory)
    task = directory / "disk" / TASK
    found = {"refused": 0, "part": 0, "whole": 0}
    try:
        for act in (_report, _complete):
            pages = 0
            while True:
                room.leave(-1)
                shutil.rmtree(directory / "disk", ignore_errors=True)
                write(task, {"task_id": "TASK-1", "agents": [entry("a")], "note": "n" * 9000})
                before = task.read_bytes()
                room.leave(pages)
                pages += 1
                try:
                    problems = act(task)
                except OSError as error:
                    assert "free space on the disk" in str(error), error
                    assert task.read_bytes() == before
                    found["refused"] += 1
                    continue
                assert task.read_bytes() != before
                if not problems:
                    found["whole"] += 1
                    break
                (problem,) = problems
                assert problem.startswith("the regist"), problem
                assert "free space on the disk" in problem and "othing was" not in problem, problem
                found["part"] += 1
    finally:
        room.remove()
    return found


def _report(task: Path) -> Sequence[str]:
    return report_progress(task, None, "a", progress=77, message="m" * 3000).problems


def _complete(task: Path) -> Sequence[str]:
    context = AuditContext(Audit("complete", "r" * 3000))
    return finish_agents(task, None, ["a"], status="completed", on_record=context).problems


SCENARIOS: dict[str, Callable[[Path], dict[str, int]]] = {
    "full": _full,
    "no inode": _no_inode,
    "read-only": _read_only,
    "steps": _steps,
}


@dataclass(frozen=True, slots=True)
class Way:
    """A way to mount a small file system.

    Attributes:
        name: The name of the way.
        prefix: The words before a command that give it the right to mount.
    """

    name: str
    prefix: tuple[str, ...]


WAYS = (
    Way("a user namespace", ("unshare", "-rm")),
    Way("root's own mounts", ("unshare", "-m")),
    Way("sudo", ("sudo", "-n", "unshare", "-m")),
)

_MOUNT = 'mount -t tmpfs -o "$1" small "$2" && shift 2 && exec "$@"'


def mounted(way: Way, directory: Path, options: str, *command: str) -> Any:
    """Runs a command with a small file system mounted at a directory."""
    return subprocess.run(
        [*way.prefix, "sh", "-c", _MOUNT, "sh", options, str(directory), *command],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )


def way_to_mount(directory: Path) -> Way | None:
    """Returns the first way to mount that works on this host, or None."""
    for way in WAYS:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            if mounted(way, directory, "size=64k", sys.executable, "-c", "").returncode == 0:
                return way
    return None


def small_disk_that_is_there() -> Path | None:
    """Creates a directory on a small file system that is mounted already, or returns None."""
    for place in ("/dev/shm", "/run/lock", "/run/shm"):
        with contextlib.suppress(OSError):
            found = os.statvfs(place)
            if found.f_blocks * found.f_frsize <= _SMALL and os.access(place, os.W_OK):
                return Path(tempfile.mkdtemp(prefix="small-disk-", dir=place))
    return None


def main(arguments: list[str]) -> None:
    """Runs one scenario in a directory, and prints the counts."""
    what, directory = arguments
    print(json.dumps(SCENARIOS[what](Path(directory))))


if __name__ == "__main__":
    main(sys.argv[1:])
