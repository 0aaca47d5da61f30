"""Reads and writes POSIX access control lists, which Linux stores in an extended attribute.

The format is defined in ``linux/posix_acl_xattr.h``; see acl(5) for the meaning of the entries.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Mapping
from typing import TypeAlias

from registry.storage.files.interruption import hand_on

OWNER, USER, OWNING_GROUP, GROUP, MASK, OTHERS = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
"""The kinds of entries."""

UNNAMED = 0xFFFFFFFF
"""The id in an entry that names no user and no group."""

AccessList: TypeAlias = Mapping[tuple[int, int], int]
"""Maps the kind and the id of an entry to the permission bits (4 read, 2 write, 1 execute)."""

_ATTRIBUTE = "system.posix_acl_access"
_VERSION = 2
_HEAD = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")


def unpack(data: bytes) -> AccessList:
    """Decodes an access control list from the value of the extended attribute.

    Raises:
        ValueError: The value is not an access control list of a known version.
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
    """Encodes an access control list for the kernel, which requires sorted entries."""
    parts = [_ENTRY.pack(kind, bits, number) for (kind, number), bits in sorted(entries.items())]
    return _HEAD.pack(_VERSION) + b"".join(parts)


def effective(entries: AccessList) -> dict[tuple[int, int], int]:
    """Returns the entries with the permissions that they really give.

    The mask limits all entries except those for the owner and for others.
    """
    mask = entries.get((MASK, UNNAMED), 0o7)
    limited = (USER, OWNING_GROUP, GROUP)
    return {
        (kind, number): bits & mask if kind in limited else bits
        for (kind, number), bits in entries.items()
        if kind != MASK
    }


def read(file: int | str) -> AccessList | None:
    """Returns the access control list of a file; None if the file has only a mode.

    Args:
        file: A descriptor, or a path. A symlink is not followed, and has no list.

    Raises:
        OSError: The list cannot be read.
        ValueError: The format of the list is not known.
    """
    try:
        if isinstance(file, int):
            return unpack(os.getxattr(file, _ATTRIBUTE))
        return unpack(os.getxattr(file, _ATTRIBUTE, follow_symlinks=False))
    except OSError as error:
        hand_on(error)
        # The file has no list, or its file system does not support lists.
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return None
        raise


def write(fd: int, entries: AccessList | None) -> None:
    """Sets the access control list of an open file.

    Args:
        fd: The descriptor of the file.
        entries: The list; None removes a list that the file inherited from its directory.

    Raises:
        OSError: The file belongs to another user, or the file system does not support lists.
    """
    if entries is not None:
        os.setxattr(fd, _ATTRIBUTE, pack(entries))
    elif read(fd) is not None:
        os.removexattr(fd, _ATTRIBUTE)
