"""Hides the processes that are older than the tests, because they cannot belong to a test.

A scan of all processes reads several files of each process. So a scan would take longer the more
processes of other programs run, and a test would depend on these processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from tui.host.process import procfs
from tui.host.process.procfs import Stat


def start_of_this() -> int:
    """Returns the start time of this process, in clock ticks since the boot."""
    stat = procfs.stat_of(os.getpid())
    assert stat is not None
    return stat.started


def _ancestors() -> Iterator[int]:
    pid = os.getpid()
    while pid and (stat := procfs.stat_of(pid)) is not None:
        yield pid
        pid = stat.parent


class OwnProcesses:
    """Lists the processes that may belong to a test, and the ancestors of this process."""

    def __init__(self, since: int) -> None:
        """Hides the processes that started earlier.

        Args:
            since: A start time, in clock ticks since the boot.
        """
        self._since = since
        self._ancestors = frozenset(_ancestors())
        self._older: set[int] = set()

    def forget(self) -> None:
        """Examines all processes again, because the system uses pids again after a while."""
        self._older.clear()

    def all_stats(self) -> dict[int, Stat]:
        """Replaces `procfs.all_stats`."""
        stats = {}
        for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()):
            if pid in self._older or (stat := procfs.stat_of(pid)) is None:
                continue
            if stat.started < self._since and pid not in self._ancestors:
                self._older.add(pid)
            else:
                stats[pid] = stat
        return stats
