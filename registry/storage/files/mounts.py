"""Finds the owner of files on file systems that a user has mounted (FUSE). Linux only.

The program behind a FUSE mount decides which owner and permissions each file seems to have. It may
show different values to different processes. So all files of such a file system count as files of
the user who mounted the file system.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

_MOUNT = re.compile(rb"^mnt_id:\s*(\d+)$", re.MULTILINE)
_MOUNTED_BY = re.compile(rb"(?:^|,)user_id=(\d+)(?:,|$)")


def owner_of(fd: int) -> int:
    """Returns the id of the user who controls an open file.

    If another user than root and this user mounted the file system, the result is that user.
    Otherwise the result is the owner of the file. The descriptor may have been opened with
    `O_PATH`.

    Raises:
        OSError: The file cannot be examined, or its file system is not mounted any more.
    """
    status = os.fstat(fd)
    user = _mounted_by(fd, status)
    return status.st_uid if user in (None, 0, os.geteuid()) else user


def _mounted_by(fd: int, status: os.stat_result) -> int | None:
    """Returns the user who mounted the file system of a file; None if the system did."""
    # The owner of the root directory controls all paths anyway.
    if status.st_dev == os.lstat("/").st_dev:
        return None
    mount = _MOUNT.search(Path(f"/proc/self/fdinfo/{fd}").read_bytes())
    # The descriptor keeps the mount, so this list cannot show another one with its number.
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        number, _, device, *_, kind, _, options = line.split(b" ")
        is_same = number == mount[1] if mount else device == _device(status)
        if is_same:
            found = _MOUNTED_BY.search(options) if kind.startswith(b"fuse") else None
            return int(found[1]) if found else None
    if mount:
        # A user may unmount it while the program behind it delays an answer.
        raise OSError(errno.ENODEV, "its file system is not mounted any more")
    return None


def _device(status: os.stat_result) -> bytes:
    return f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}".encode()
