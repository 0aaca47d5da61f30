"""Records the changes that a program makes to its files, as events of the disk model."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from tests.support.disk_model import (
    Created,
    Event,
    Flushed,
    FlushedDirectory,
    Removed,
    Resized,
    Wrote,
)


class _Killed(BaseException):
    """Stands for the end of a process: the code after it has no effect."""


@contextmanager
def recorded(root: Path, events: list[Event], killed_after: int | None = None) -> Iterator[None]:
    """Records the changes of files below `root`. Flushes are recorded, but not made."""
    last = None if killed_after is None else len(events) + killed_after
    real_open, real_unlink = os.open, os.unlink
    real_link, real_fstat = os.link, os.fstat
    real_pwrite, real_ftruncate = os.pwrite, os.ftruncate
    names: dict[int, str] = {}
    # Whether each file that has no name yet is flushed.
    nameless: dict[int, bool] = {}

    def live() -> None:
        if last is not None and len(events) >= last:
            raise _Killed

    beneath = f"{root}{os.sep}"

    def whole_of(path: str | Path, dir_fd: int | None) -> str:
        folder = "" if dir_fd is None else os.readlink(f"/proc/self/fd/{dir_fd}")
        return os.path.normpath(os.path.join(folder, os.fspath(path)))

    def below(path: str | Path, dir_fd: int | None = None) -> str | None:
        whole = whole_of(path, dir_fd)
        return whole.removeprefix(beneath) if whole.startswith(beneath) else None

    def open_(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        name = below(path, dir_fd)
        new = not os.path.lexists(whole_of(path, dir_fd))
        live()
        fd = real_open(path, flags, mode, dir_fd=dir_fd)
        # The number may have been another file's, because owners close without `os.close`.
        names.pop(fd, None)
        nameless.pop(fd, None)
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            nameless[fd] = True
        elif name is not None:
            names[fd] = name
            if new:
                events.append(Created(name))
            assert not flags & os.O_TRUNC, "the model knows no O_TRUNC"
        return fd

    def link(source: str, path: str, *, dst_dir_fd: int, follow_symlinks: bool) -> None:
        # A link gives a name to a file that had no name before; the source is its descriptor.
        live()
        real_link(source, path, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)
        if (name := below(path, dst_dir_fd)) is not None:
            fd = int(os.path.basename(source))
            names[fd] = name
            content = os.pread(fd, real_fstat(fd).st_size, 0)
            events.append(Created(name, content, nameless.pop(fd)))

    def unlink(path: str, *, dir_fd: int | None = None) -> None:
        live()
        real_unlink(path, dir_fd=dir_fd)
        if (name := below(path, dir_fd)) is not None:
            events.append(Removed(name))

    def pwrite(fd: int, data: bytes, offset: int) -> int:
        live()
        written = real_pwrite(fd, data, offset)
        if fd in names:
            events.append(Wrote(names[fd], offset, bytes(data[:written])))
        elif fd in nameless:
            nameless[fd] = False
        return written

    def ftruncate(fd: int, size: int) -> None:
        live()
        real_ftruncate(fd, size)
        if fd in names:
            events.append(Resized(names[fd], size))
        elif fd in nameless:
            nameless[fd] = False

    def fsync(fd: int) -> None:
        live()
        if (name := names.get(fd)) is not None:
            is_folder = (root / name).is_dir()
            events.append(FlushedDirectory(name) if is_folder else Flushed(name))
        elif fd in nameless:
            nameless[fd] = True

    shims: dict[str, Any] = {
        "open": open_,
        "link": link,
        "unlink": unlink,
        "pwrite": pwrite,
        "ftruncate": ftruncate,
        "fsync": fsync,
        # The model does not contain times and other attributes, which fdatasync does not flush.
        "fdatasync": fsync,
    }
    with mock.patch.multiple(os, **shims), contextlib.suppress(_Killed):
        yield
