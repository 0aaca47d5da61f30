"""Files in the place of a database that no process may use."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from registry import (
    LinkedRegistryError,
    NotARegularFileError,
    RegistryError,
    RegistryNotFoundError,
    UnreadableDatabaseError,
)


def _old(path: Path) -> None:
    os.utime(path, (1_700_000_000, 1_700_000_000))


def _empty(path: Path) -> None:
    path.write_bytes(b"")
    _old(path)


def _no_database(path: Path) -> None:
    path.write_bytes(b'{"agents": []}' * 100)
    _old(path)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)
    _old(path)


def _as_link(path: Path) -> None:
    path.rename(path.with_name("other"))
    path.symlink_to("other")


def _in_linked_folder(path: Path) -> None:
    folder = path.parent
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")


def _replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


def _beside(end: str, make: Callable[[Path], object] = Path.touch) -> Callable[[Path], None]:
    def add(path: Path) -> None:
        make(path.with_name(path.name + end))

    return add


BAD: dict[str, tuple[Callable[[Path], None], type[RegistryError], str]] = {
    "missing": (Path.unlink, RegistryNotFoundError, "no registry at"),
    "FIFO": (_replaced(os.mkfifo), NotARegularFileError, "a FIFO"),
    "directory": (_replaced(Path.mkdir), NotARegularFileError, "a directory"),
    "device": (
        _replaced(lambda path: path.symlink_to("/dev/zero")),
        NotARegularFileError,
        "is a symlink",
    ),
    "symlink": (_as_link, LinkedRegistryError, "is a symlink"),
    "linked folder": (_in_linked_folder, LinkedRegistryError, "is a symlink"),
    "second name": (
        lambda path: os.link(path, path.with_name("other")),
        LinkedRegistryError,
        "second name",
    ),
    "empty": (_empty, UnreadableDatabaseError, "is empty"),
    "not a database": (_no_database, UnreadableDatabaseError, "not a valid database"),
    "cut": (_cut, UnreadableDatabaseError, "not a valid database"),
    "log without index": (
        _beside("-wal", lambda path: path.write_bytes(b"any")),
        UnreadableDatabaseError,
        "-shm does not",
    ),
    "index without log": (_beside("-shm"), UnreadableDatabaseError, "-wal does not"),
    "rollback journal": (_beside("-journal"), UnreadableDatabaseError, "rollback journal"),
    "log is a FIFO": (_beside("-wal", os.mkfifo), NotARegularFileError, "a FIFO"),
    "index is a symlink": (
        _beside("-shm", lambda path: path.symlink_to("/dev/zero")),
        NotARegularFileError,
        "is a symlink",
    ),
}
"""Maps each kind to a function that makes it, the error, and words of the error."""
