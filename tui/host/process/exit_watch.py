"""Reports the end of processes without polling. Linux only: pidfd_open(2)."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import select
import threading
from collections.abc import Iterable

# Descriptors that stay free for files, watches, child processes and the screen.
_OTHER_DESCRIPTORS = 256


def _room_for(descriptors: int) -> int:
    """Increases muster's limit of open files if needed.

    Args:
        descriptors: The number of descriptors that are wanted.

    Returns:
        How many of these descriptors can be opened.
    """
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
    """Waits for the end of any process in a set, without polling.

    The watcher opens a pidfd for each process (Linux 5.3), and increases muster's limit of open
    files if needed. If no descriptor is free for a process, only the next roll call notices the
    end of this process.
    """

    def __init__(self) -> None:
        self._poll = select.poll()
        self._fds: dict[int, int] = {}
        self._ended: set[int] = set()
        self._closing = threading.Lock()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll.register(self._wake_read, select.POLLIN)

    def watch(self, pids: Iterable[int]) -> frozenset[int]:
        """Replaces the set of watched processes.

        Returns:
            The pids in the new set whose process has ended. `wait` does not report these
            processes.
        """
        wanted = set(pids)
        # Ended processes get no second pidfd: it would be ready at once, until they are reaped.
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
                    # Some kernels report a reaped process this way while its group exists.
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
        """Waits until a process ends, or until `wake` is called; returns False after the timeout.

        Args:
            timeout: The timeout in seconds.
        """
        events = self._poll.poll(max(0.0, timeout) * 1000)
        ready = {fd for fd, _ in events}
        if self._wake_read in ready:
            os.read(self._wake_read, 4096)
        for pid in [pid for pid, fd in self._fds.items() if fd in ready]:
            self._drop(pid)
            self._ended.add(pid)
        return bool(events)

    def wake(self) -> None:
        """Ends a `wait` in another thread; does nothing after `close`."""
        with self._closing:
            if self._wake_write < 0:
                # The descriptor is closed, and its number may belong to another file.
                return
            with contextlib.suppress(OSError):
                os.write(self._wake_write, b"\0")

    def close(self) -> None:
        """Closes all descriptors."""
        self.watch(())
        with self._closing:
            os.close(self._wake_read)
            os.close(self._wake_write)
            self._wake_read = self._wake_write = -1
