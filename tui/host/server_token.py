"""Identifies a tmux server process by a token, a short text that belongs to no other process.

A pid alone is not enough, because a later process may have the same pid. So the token also
contains the start time of the process, and a checksum of the boot id and of the PID namespace.
"""

from __future__ import annotations

import os
import re
import zlib

from tui.host.process import procfs

_FORM = r"[0-9]{1,10}@[0-9]{1,20}-[0-9a-f]{8}"
_BOOT = "/proc/sys/kernel/random/boot_id"


def is_token(text: str) -> bool:
    """Returns whether a text has the form of a token, for example "1234@56789-0a1b2c3d"."""
    return re.fullmatch(_FORM, text) is not None


def token_of(pid: int) -> str | None:
    """Returns the token of a process; None if the process or this boot cannot be identified."""
    stat = procfs.stat_of(pid)
    if stat is None or not procfs.numbers_are_ours():
        return None
    try:
        with open(_BOOT, "rb") as file:
            boot = file.read(64)
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return None
    return f"{pid}@{stat.started}-{zlib.crc32(b'%b %d' % (boot, namespace)):08x}"
