"""Write leases, which delay every ``open`` of a registry while its text is replaced (Linux).

While a process has a write lease on its own file, the kernel makes every other ``open`` wait, even
an ``open(path, "w")`` without a lock. An ``open`` with ``O_NONBLOCK`` fails instead (fcntl(2),
F_SETLEASE). The kernel refuses a lease while another process has the file open. So a refusal often
shows that another writer waits for the lock. Commits are correct without leases, too.

A stopped process (SIGSTOP) keeps its lease. Then every ``open`` of the file hangs for up to 45 s
(/proc/sys/fs/lease-break-time). So a lease is held only for the few system calls that replace a
text. During these calls, no process can use the text anyway, because its first byte is NUL.

Measured with four writers that make 175 commits per second:

- Reads without the lock that fail to decode: 3 in 1,000 (10 KB) to 6 in 1,000 (140 KB) without a
  lease, and 0 of 1,500 with this lease.
- Writes by ``open(path, "w")`` that are overwritten: 1 in 1,200 without a lease, and 0 of 1,700
  with this lease.
"""

from __future__ import annotations

import errno
import fcntl
import signal

from registry.storage.files.interruption import hand_on, tolerating


def take(fd: int) -> bool:
    """Takes a write lease on a locked file.

    Args:
        fd: The descriptor, which holds the exclusive lock. The caller must call `drop` after a few
            system calls.

    Returns:
        False if another process has the file open. True if the lease was obtained, or if the file
        system does not support leases.
    """
    try:
        # By default the kernel signals an open with SIGIO, which would end this process.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError as error:
        hand_on(error)
        return error.errno != errno.EAGAIN
    return True


def drop(fd: int) -> None:
    """Releases the lease, if this process has one."""
    with tolerating(OSError):
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
