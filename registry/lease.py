"""Write leases: holding back, for a moment, whoever opens a locked file (Linux).

While a process has a write lease on a file of its own, the kernel makes every
other ``open`` of it wait, even a careless ``open(path, "w")`` that knows no lock,
and refuses those with ``O_NONBLOCK`` (fcntl(2), F_SETLEASE). It is refused while
anybody else has the file open, which tells of peers that wait with the file open.
An extra: nothing goes wrong without it. A read lease is refused only while somebody
has the file open for writing: that tells peers that wait from those who just look.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import signal


def take(fd: int) -> bool:
    """Takes a write lease on a locked file.

    Args:
        fd: Holds the exclusive lock, for milliseconds only: others wait to open it.

    Returns:
        False if somebody else has the file open; True if the lease was had, or if
        there is none to be had here.
    """
    return _ask(fd, fcntl.F_WRLCK)


def nobody_has_it_open_to_write(fd: int) -> bool:
    """Whether a file is open for writing nowhere, as far as the system can tell.

    Args:
        fd: Open for reading only, and closed soon: until then who opens it to write waits.
    """
    return _ask(fd, fcntl.F_RDLCK)


def _ask(fd: int, kind: int) -> bool:
    try:
        # By default the kernel tells of an open with SIGIO, which would end us.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, kind)
    except OSError as error:
        return error.errno != errno.EAGAIN
    return True


def drop(fd: int) -> None:
    """Lets a lease go, if there is one."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
