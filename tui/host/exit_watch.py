"""Being told of the end of processes, without asking again and again.

Linux only: pidfd_open(2).
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import select
import threading
from collections.abc import Iterable

# Left to files, watches, children and the screen when sessions are many.
_OTHER_DESCRIPTORS = 256


def _room_for(descriptors: int) -> int:
    """Raises the limit on open files if need be; how many of so many there can be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = descriptors + _OTHER_DESCRIPTORS
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return descriptors
    new = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (new, hard))
        soft = new
    return max(0, soft - _OTHER_DESCRIPTORS)


class ExitWatcher:
    """Tells at once when one of a set of processes ends, without polling.

    Holds a pidfd for each (Linux 5.3, pidfd_open(2)), and raises this process's limit
    on open files where it must; processes that cannot be watched are left to the sweep.
    """

    def __init__(self) -> None:
        self._poll = select.poll()
        self._fds: dict[int, int] = {}
        self._ended: set[int] = set()
        self._closing = threading.Lock()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll.register(self._wake_read, select.POLLIN)

    def watch(self, pids: Iterable[int]) -> frozenset[int]:
        """Watches exactly these processes from now on.

        Returns:
            Those that have ended already, and are not told of again.
        """
        wanted = set(pids)
        # One that its parent never reaps would be told of for ever.
        self._ended &= wanted
        for pid in self._fds.keys() - wanted:
            self._drop(pid)
        room = _room_for(len(wanted))
        for pid in wanted - self._fds.keys() - self._ended:
            if len(self._fds) >= room:
                break
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                self._ended.add(pid)
                continue
            except OSError as error:
                if error.errno == errno.EINVAL:
                    # So some kernels say of one that was reaped while its group lives on.
                    self._ended.add(pid)
                continue
            self._fds[pid] = fd
            self._poll.register(fd, select.POLLIN)
        return frozenset(self._ended)

    def _drop(self, pid: int) -> None:
        fd = self._fds.pop(pid)
        self._poll.unregister(fd)
        os.close(fd)

    def wait(self, timeout: float) -> bool:
        """Waits for an end or for `wake`; returns whether there was one of them."""
        events = self._poll.poll(max(0.0, timeout) * 1000)
        ready = {fd for fd, _ in events}
        if self._wake_read in ready:
            os.read(self._wake_read, 4096)
        for pid in [pid for pid, fd in self._fds.items() if fd in ready]:
            self._drop(pid)
            self._ended.add(pid)
        return bool(events)

    def wake(self) -> None:
        """Ends a `wait` in another thread; after `close` does nothing."""
        with self._closing:
            if self._wake_write < 0:
                # By now the number may be another file's.
                return
            with contextlib.suppress(OSError):
                os.write(self._wake_write, b"\0")

    def close(self) -> None:
        """Lets go of all descriptors."""
        self.watch(())
        with self._closing:
            os.close(self._wake_read)
            os.close(self._wake_write)
            self._wake_read = self._wake_write = -1
