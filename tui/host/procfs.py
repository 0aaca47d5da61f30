"""Reading files in /proc that another process may make as large as it likes."""

from __future__ import annotations

import os

LARGEST = 1024 * 1024
"""Bytes that are read of a process's environment or command line, at most.

The kernel starts no process with more than a few megabytes of both. But any process may say
that they are elsewhere in its memory (prctl(2), PR_SET_MM), and of any size.
"""


def read(pid: int, name: str, at_most: int = LARGEST) -> bytes:
    """The beginning of a file in /proc/PID.

    Args:
        pid: The process.
        name: The file's name.
        at_most: Bytes that are read.

    Raises:
        OSError: The process has ended, or the file must not be read.
    """
    with open(f"/proc/{pid}/{name}", "rb", buffering=0) as file:
        chunks = []
        while at_most > 0 and (chunk := os.read(file.fileno(), min(at_most, 1 << 16))):
            chunks.append(chunk)
            at_most -= len(chunk)
        return b"".join(chunks)


def environment(pid: int) -> dict[str, str]:
    """What a process was given as its environment, as far as it is read.

    Raises:
        OSError: The process has ended, or its environment must not be read.
    """
    words = filter(None, read(pid, "environ").split(b"\0"))
    settings = (os.fsdecode(each).partition("=") for each in words)
    return {name: value for name, equals, value in settings if equals}
