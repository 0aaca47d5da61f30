"""Finds the user who controls a file, also on file systems that a user mounted (FUSE). Linux only.

The program behind a FUSE mount decides which owner and permissions each file seems to have. The
program may show different values to different processes. So muster treats all files of such a file
system as files of the user who mounted the file system.
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

    Usually this is the owner of the file. If a user other than root and the user of this process
    mounted the file system, the result is that user instead.

    Args:
        fd: The descriptor; a descriptor with `O_PATH` is enough.

    Raises:
        OSError: The file cannot be examined, or its file system is not mounted any more.
    """
    status = os.fstat(fd)
    user = _mounted_by(fd, status)
    return status.st_uid if user in (None, 0, os.geteuid()) else user


def _mounted_by(fd: int, status: os.stat_result) -> int | None:
    """Returns the id of the user who mounted a FUSE file system; None for other file systems."""
    # The owner of the root directory controls all paths anyway.
    if status.st_dev == os.lstat("/").st_dev:
        return None
    mount = _MOUNT.search(Path(f"/proc/self/fdinfo/{fd}").read_bytes())
    # The open descriptor keeps the mount, so no other mount can have the same number.
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        number, _, device, *_, kind, _, options = line.split(b" ")
        is_same = number == mount[1] if mount else device == _device(status)
        if is_same:
            found = _MOUNTED_BY.search(options) if kind.startswith(b"fuse") else None
            return int(found[1]) if found else None
    if mount:
        # A user can unmount a file system while the program behind the mount delays an answer.
        raise OSError(errno.ENODEV, "its file system is not mounted any more")
    return None


def _device(status: os.stat_result) -> bytes:
    return f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}".encode()
