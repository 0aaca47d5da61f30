"""What sessions cost: CPU and memory of their whole process trees, with one look at all.

Cheap enough to be asked every few seconds: one read of ``/proc/PID/stat`` for each
process, and of the environment only of those that no parent or process session explains,
once in their life. Whose a process is, is told as a kill tells it (`tui.host.process_tree`).
Linux only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from tui.host.pane_origin import Said, is_of_another_pane, said_by
from tui.host.tmux_types import SERVER_NAME, Session

Key = TypeVar("Key", bound=Hashable)

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")

# Less time than that between two looks tells of nothing but the grain of the clock.
_LEAST = 0.5

_SERVER_NAME = SERVER_NAME.encode()


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
class Stat:
    """One process at one moment.

    Attributes:
        session: Its process session, not a session of tmux.
        ticks: CPU time of it and of its children that ended and were waited for.
        started: In ticks since the host was booted; with the pid it names the process.
        memory: Resident bytes.
        serves: Whether it is a tmux server.
    """

    pid: int
    parent: int
    session: int
    ticks: int
    started: int
    memory: int
    serves: bool = False

    @property
    def name(self) -> tuple[int, int]:
        """Tells it from a later process of the same pid."""
        return self.pid, self.started


def read_stat(text: bytes) -> Stat | None:
    """Reads the content of ``/proc/PID/stat`` (proc_pid_stat(5)), or None if it is cut off."""
    # A program's name may have blanks and brackets in it.
    pid, _, rest = text.partition(b" ")
    name, _, after = rest.rpartition(b")")
    fields = after.split()
    try:
        number = [int(field) for field in fields[1:22]]
        return Stat(
            int(pid),
            number[0],
            number[2],
            sum(number[10:14]),
            number[18],
            number[20] * _PAGE,
            name[1:] == _SERVER_NAME,
        )
    except (ValueError, IndexError):
        return None


def owners(
    stats: Mapping[int, Stat],
    roots: Mapping[int, Key],
    says: Callable[[Stat], Key | None],
    server_pid: int | None,
) -> dict[int, Key]:
    """Whose each process is, of those that are somebody's.

    Args:
        stats: All processes by pid.
        roots: The panes' first processes.
        says: What a process says of itself; asked where nothing else tells.
        server_pid: The tmux server, which is nobody's, nor is what came from it alone, or
            from another one.
    """
    found: dict[int, Key | None] = {0: None, 1: None}
    found |= {pid: None for pid, stat in stats.items() if stat.serves}
    if server_pid is not None:
        found[server_pid] = None
    found |= {pid: key for pid, key in roots.items() if pid in stats}
    for pid in stats:
        path = []
        while pid not in found:
            stat = stats.get(pid)
            # What cannot be seen, or was given the pid of its own parent, ends the way up.
            found[pid] = None
            if stat is None:
                break
            path.append(stat)
            pid = stat.parent
        owner = found[pid]
        for stat in reversed(path):
            if owner is None:
                owner = roots.get(stat.session) if stat.session in stats else None
            if owner is None:
                owner = says(stat)
            found[stat.pid] = owner
    return {pid: key for pid, key in found.items() if key is not None}


@dataclass(frozen=True, slots=True)
class Look(Generic[Key]):
    """All processes at one moment, and whose they are.

    Attributes:
        at: Seconds of the monotonic clock.
        stats: By pid.
        owned: By pid.
    """

    at: float
    stats: Mapping[int, Stat]
    owned: Mapping[int, Key]


def loads(keys: Iterable[Key], before: Look[Key] | None, now: Look[Key]) -> dict[Key, Load]:
    """What each of some sessions costs, from two looks.

    CPU time of a process that ended in between is with whoever waited for it, so it is
    the time of all that counts, not the sum over those that are left.
    """
    ticks: dict[Key, int] = dict.fromkeys(keys, 0)
    memory = dict.fromkeys(ticks, 0)
    count = dict.fromkeys(ticks, 0)
    stats_before = before.stats if before else {}
    spent = {stat.name: stat.ticks for stat in stats_before.values()}
    for pid, key in now.owned.items():
        if key not in ticks:
            continue
        stat = now.stats[pid]
        ticks[key] += stat.ticks - spent.get(stat.name, 0)
        memory[key] += stat.memory
        # Who has ended and was not waited for yet has no memory any more.
        count[key] += stat.memory > 0
    for pid, key in before.owned.items() if before else ():
        stat = stats_before[pid]
        after = now.stats.get(pid)
        if key in ticks and (after is None or after.started != stat.started):
            ticks[key] -= stat.ticks
    passed = now.at - before.at if before else 0.0
    return {
        key: Load(
            max(0.0, 100 * ticks[key] / _TICKS / passed) if passed >= _LEAST else None,
            memory[key],
            count[key],
        )
        for key in ticks
        if count[key]
    }


class Meter(Generic[Key]):
    """Measures sessions again and again; keeps the look before. Blocks: for a worker."""

    def __init__(self) -> None:
        self._before: Look[Key] | None = None
        self._said: dict[tuple[int, int], Said | None] = {}

    def measure(self, sessions: Mapping[Key, Session], server_pid: int | None) -> dict[Key, Load]:
        """What each of some sessions costs now; those without any process are left out.

        Args:
            sessions: By whatever tells them apart.
            server_pid: The server that has them.
        """
        at = time.monotonic()
        stats = {stat.pid: stat for stat in _all_stats()}
        self._said = {
            stat.name: self._said[stat.name] for stat in stats.values() if stat.name in self._said
        }
        panes = {pane: key for key, session in sessions.items() for pane in session.panes}
        roots = {
            pid: key
            for key, session in sessions.items()
            for pid in session.pids
            if pid in stats and self._is_root(stats[pid], server_pid, session.panes)
        }

        def says(stat: Stat) -> Key | None:
            said = self._said_by(stat)
            return panes.get(said.pane) if said and said.server_pid == server_pid else None

        now = Look(at, stats, owners(stats, roots, says, server_pid))
        before = self._before
        if before is None or now.at - before.at >= _LEAST:
            self._before = now
        return loads(sessions, before, now)

    def _is_root(self, stat: Stat, server_pid: int | None, panes: Collection[str]) -> bool:
        """Whether the process of a pane's pid still is that pane's; as a kill tells it."""
        # A server's panes are its children; another's pid was given away since.
        return server_pid is None or (
            stat.parent == server_pid
            and not is_of_another_pane(self._said_by(stat), server_pid, panes)
        )

    def _said_by(self, stat: Stat) -> Said | None:
        if stat.name not in self._said:
            self._said[stat.name] = said_by(stat.pid)
        return self._said[stat.name]


def _all_stats() -> Iterable[Stat]:
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                text = _read(f"/proc/{name}/stat", 4096)
            except OSError:
                continue
            if (stat := read_stat(text)) is not None:
                yield stat


def _read(path: str, at_most: int) -> bytes:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, at_most)
    finally:
        os.close(file)
