"""Measures the CPU time and the memory that all processes of a session, or of an agent, use.

These are the processes that a kill would end (`tui.host.process.process_tree`). Each measurement
reads ``/proc/PID/stat`` of every process. It reads the environment of a process only once for each
program that the process runs. Linux only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Hashable, Mapping
from types import MappingProxyType
from typing import Generic, TypeVar

from registry.dataclass import dataclass
from tui.host.process.process_tree import Identity, Looker, origin_of, pids_from
from tui.host.process.procfs import Stat
from tui.host.tmux_types import Session, TmuxSnapshot

Key = TypeVar("Key", bound=Hashable)

_TICKS = os.sysconf("SC_CLK_TCK")

# The least number of seconds between two samples that are compared, because CPU times are coarse.
_LEAST = 0.5


@dataclass(frozen=True, slots=True)
class Load:
    """The CPU and memory that the processes of one session use.

    Attributes:
        cpu: The CPU time since the previous measurement, in percent of one CPU. None if no
            measurement was made at least 0.5 s earlier.
        memory: The sum of the processes' resident memory in bytes. Memory that several processes
            share is counted for each of them.
        processes: The number of processes.
    """

    cpu: float | None
    memory: int
    processes: int


@dataclass(frozen=True, slots=True)
class Sample(Generic[Key]):
    """The processes of sessions at one moment.

    Attributes:
        at: The time of the sample, in seconds of the monotonic clock.
        stats: Maps the pid of each process of the host to the data of the process.
        owned: Maps the key of each session or agent to the pids of its processes.
    """

    at: float
    stats: Mapping[int, Stat]
    owned: Mapping[Key, Collection[int]]


def loads(before: Sample[Key] | None, now: Sample[Key]) -> dict[Key, Load]:
    """Returns the load of each session that has processes, from two samples.

    The kernel adds the CPU time of an ended process to the process that reaped it. So the CPU time
    is computed for a whole session, not for each process.
    """
    passed = now.at - before.at if before else 0.0
    session_loads = {}
    for key, pids in now.owned.items():
        running = [stat for pid in pids if not (stat := now.stats[pid]).is_ended]
        if running:
            cpu = None
            if before is not None and passed >= _LEAST:
                ticks = _ticks_since(before, now, key)
                cpu = max(0.0, 100 * ticks / _TICKS / passed)
            session_loads[key] = Load(cpu, sum(stat.memory for stat in running), len(running))
    return session_loads


def _ticks_since(before: Sample[Key], now: Sample[Key], key: Key) -> int:
    """Returns the CPU time that a session used between two samples, in clock ticks."""
    ticks = 0
    for pid in now.owned[key]:
        stat, was = now.stats[pid], before.stats.get(pid)
        known = was is not None and was.started == stat.started
        ticks += stat.ticks - (was.ticks if was is not None and known else 0)
    for pid in before.owned.get(key, ()):
        stat, after = before.stats[pid], now.stats.get(pid)
        if after is None or after.started != stat.started:
            ticks -= stat.ticks
    return ticks


class Meter(Generic[Key]):
    """Measures the load of sessions repeatedly. A measurement blocks, so use a worker thread."""

    def __init__(self) -> None:
        self._before: Sample[Key] | None = None
        self._looker = Looker()

    def measure(
        self,
        sessions: Mapping[Key, Session],
        answer: TmuxSnapshot,
        roots: Mapping[Key, Identity] = MappingProxyType({}),
    ) -> dict[Key, Load]:
        """Returns the present load of each session and agent that has processes.

        Args:
            sessions: Maps any keys to the sessions.
            answer: The snapshot of the sessions' server. If muster cannot see the processes of the
                server, the result has no sessions.
            roots: Maps further keys to the processes of agents that run without a session.

        Raises:
            OSError: The processes cannot be listed.
        """
        now = self.sample(sessions, answer, roots)
        before = self._before
        if before is None or now.at - before.at >= _LEAST:
            self._before = now
        return loads(before, now)

    def sample(
        self,
        sessions: Mapping[Key, Session],
        answer: TmuxSnapshot,
        roots: Mapping[Key, Identity] = MappingProxyType({}),
    ) -> Sample[Key]:
        """Returns the present processes of sessions and agents; see `measure`."""
        at = time.monotonic()
        seen = {} if answer.foreign_pids else sessions
        if not seen and not roots:
            return Sample(at, {}, {})
        look = self._looker.look()
        owned = {key: look.belonging(origin_of(session, answer)) for key, session in seen.items()}
        owned |= {key: pids_from(look, root) for key, root in roots.items()}
        return Sample(at, look.stats, owned)
