"""What sessions cost: CPU and memory of their whole process trees, with one look at all.

Which processes are a session's, the rule of a kill tells (`tui.host.process_tree`).
Cheap enough to be asked every few seconds: one read of ``/proc/PID/stat`` for each process,
and of its environment once for each program that it runs. Linux only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from tui.host.process_tree import Looker, origin_of
from tui.host.procfs import Stat
from tui.host.tmux_types import Session, TmuxSnapshot

Key = TypeVar("Key", bound=Hashable)

_TICKS = os.sysconf("SC_CLK_TCK")

# Less time than that between two looks tells of nothing but the grain of the clock.
_LEAST = 0.5


@dataclass(frozen=True, slots=True)
class Load:
    """What the processes of one session cost.

    Attributes:
        cpu: Percent of one CPU since the look before; None at the first.
        memory: The sum of their resident sizes in bytes; what they share counts for each.
        processes: How many there are.
    """

    cpu: float | None
    memory: int
    processes: int


@dataclass(frozen=True, slots=True)
class Sample(Generic[Key]):
    """The processes of some sessions at one moment.

    Attributes:
        at: Seconds of the monotonic clock.
        stats: All processes by pid, also others'.
        owned: The processes of each session.
    """

    at: float
    stats: Mapping[int, Stat]
    owned: Mapping[Key, Collection[int]]


def loads(before: Sample[Key] | None, now: Sample[Key]) -> dict[Key, Load]:
    """What each of some sessions costs, from two looks; those without any process are left out.

    CPU time of a process that ended in between is with whoever waited for it, so it is
    the time of all that counts, not the sum over those that are left.
    """
    passed = now.at - before.at if before else 0.0
    found = {}
    for key, pids in now.owned.items():
        running = [stat for pid in pids if not (stat := now.stats[pid]).is_ended]
        if running:
            cpu = None
            if before is not None and passed >= _LEAST:
                ticks = _ticks_since(before, now, key)
                cpu = max(0.0, 100 * ticks / _TICKS / passed)
            found[key] = Load(cpu, sum(stat.memory for stat in running), len(running))
    return found


def _ticks_since(before: Sample[Key], now: Sample[Key], key: Key) -> int:
    """The CPU time that a session took between two looks."""
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
    """Measures sessions again and again; keeps the look before. Blocks: for a worker."""

    def __init__(self) -> None:
        self._before: Sample[Key] | None = None
        self._looker = Looker()

    def measure(self, sessions: Mapping[Key, Session], answer: TmuxSnapshot) -> dict[Key, Load]:
        """What each of some sessions costs now; those without any process are left out.

        Args:
            sessions: By whatever tells them apart.
            answer: What the server that has them said. Where its processes cannot be seen
                nothing can be told.

        Raises:
            OSError: The processes cannot be listed.
        """
        now = self.sample(sessions, answer)
        before = self._before
        if before is None or now.at - before.at >= _LEAST:
            self._before = now
        return loads(before, now)

    def sample(self, sessions: Mapping[Key, Session], answer: TmuxSnapshot) -> Sample[Key]:
        """The processes of some sessions now; see `measure`."""
        at = time.monotonic()
        if answer.foreign_pids:
            return Sample(at, {}, {})
        look = self._looker.look()
        owned = {
            key: look.belonging(origin_of(session, answer)) for key, session in sessions.items()
        }
        return Sample(at, look.stats, owned)
