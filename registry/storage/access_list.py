"""POSIX access control lists of files, as Linux keeps them in an extended attribute.

The format is that of ``linux/posix_acl_xattr.h``; see acl(5) for the meaning of entries.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Mapping
from typing import TypeAlias

from registry.storage.interruption import hand_on

OWNER, USER, OWNING_GROUP, GROUP, MASK, OTHERS = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
"""Kinds of entries."""

UNNAMED = 0xFFFFFFFF
"""The number in an entry that is not of a named user or group."""

AccessList: TypeAlias = Mapping[tuple[int, int], int]
"""Permission bits (4 read, 2 write, 1 execute) by kind of entry and user or group."""

_ATTRIBUTE = "system.posix_acl_access"
_VERSION = 2
_HEAD = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")


def unpack(data: bytes) -> AccessList:
    """Reads the attribute's value.

    Raises:
        ValueError: It is not an access control list of a known version.
    """
    if len(data) < _HEAD.size or _HEAD.unpack_from(data) != (_VERSION,):
        raise ValueError("not an access control list")
    try:
        entries = list(_ENTRY.iter_unpack(data[_HEAD.size :]))
    except struct.error as error:
        hand_on(error)
        raise ValueError("not an access control list") from error
    return {(kind, number): bits for kind, bits, number in entries}


def pack(entries: AccessList) -> bytes:
    """Makes the attribute's value; the kernel wants the entries sorted."""
    parts = [_ENTRY.pack(kind, bits, number) for (kind, number), bits in sorted(entries.items())]
    return _HEAD.pack(_VERSION) + b"".join(parts)


def effective(entries: AccessList) -> dict[tuple[int, int], int]:
    """The entries as they count: the mask limits named users and all groups."""
    mask = entries.get((MASK, UNNAMED), 0o7)
    limited = (USER, OWNING_GROUP, GROUP)
    return {
        (kind, number): bits & mask if kind in limited else bits
        for (kind, number), bits in entries.items()
        if kind != MASK
    }


def read(file: int | str) -> AccessList | None:
    """The list of a file; None where its mode says all.

    Args:
        file: A descriptor, or a path; a symlink has no list.

    Raises:
        OSError: It cannot be read.
        ValueError: It cannot be understood.
    """
    try:
        if isinstance(file, int):
            return unpack(os.getxattr(file, _ATTRIBUTE))
        return unpack(os.getxattr(file, _ATTRIBUTE, follow_symlinks=False))
    except OSError as error:
        hand_on(error)
        # The file, or its file system, has none.
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return None
        raise


def write(fd: int, entries: AccessList | None) -> None:
    """Gives an open file a list, or takes away the one that its directory gave it.

    Raises:
        OSError: The file is another user's, or the file system has no lists.
    """
    if entries is not None:
        os.setxattr(fd, _ATTRIBUTE, pack(entries))
    elif read(fd) is not None:
        os.removexattr(fd, _ATTRIBUTE)
