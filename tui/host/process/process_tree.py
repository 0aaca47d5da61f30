"""Finds the processes that belong to tmux sessions.

Kills, the plans of kills, `show` and the columns of the roll all use this module, so that they
agree. A process is identified by its pid *and* its start time. Linux only: /proc.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Collection, Hashable, Iterable, Mapping
from typing import TypeVar

from registry.dataclass import dataclass
from registry.text import shown_name
from tui.host.process import pane_environment, procfs
from tui.host.process.ancestry import children_of, line_of, with_descendants
from tui.host.process.process_look import Look, Process, described
from tui.host.process.process_scan import Looker, look, look_at
from tui.host.process.procfs import Stat
from tui.host.process.session_origin import Identity, Origin, origin_of, owner_of, sparing
from tui.host.tmux_types import Session, TmuxSnapshot

__all__ = [
    "Held",
    "Identity",
    "Look",
    "Looker",
    "Origin",
    "Process",
    "begun",
    "families",
    "families_of",
    "holds_us",
    "line_of",
    "look",
    "look_at",
    "origin_of",
    "owner_of",
    "pids_from",
    "processes_from",
    "processes_of",
    "processes_with_argument",
    "session_processes",
    "sparing",
]

_NAMED = 3
"""The largest number of processes that one message names. Further processes are only counted."""

Key = TypeVar("Key", bound=Hashable)


def processes_with_argument(argument: str) -> tuple[Process, ...]:
    """Returns the processes of muster's user that were started with exactly this argument.

    muster and its ancestors are left out. Processes of other users are left out too, because
    another user can start a process with any argument.
    """
    if not procfs.numbers_are_ours():
        return ()
    stats = procfs.all_stats()
    own = line_of(os.getpid(), stats)
    pids = []
    for pid in stats.keys() - own:
        users = procfs.users_of(pid)
        # The argument of another user's process proves nothing.
        if users is None or users.real != os.getuid():
            continue
        try:
            if os.fsencode(argument) in procfs.arguments(pid)[1:]:
                pids.append(pid)
        except OSError:
            continue
    return described(pids, stats)


def processes_from(
    roots: Mapping[Key, Identity], spared: Collection[Identity] = ()
) -> dict[Key, Held]:
    """Returns the processes of agents that run without a session, with one scan of all processes.

    These are the agent's process, the descendants of this process, and the members of the process
    session (setsid(2)) that this process leads. The same processes as in `processes_of` are
    never among them.

    Args:
        roots: Maps any keys to the pid and the start time of the agents' processes.
        spared: See `Origin`.

    Raises:
        OSError: The processes cannot be listed.
    """
    now = look()
    return {key: Held(now.described(pids_from(now, root, spared))) for key, root in roots.items()}


def pids_from(now: Look, root: Identity, spared: Collection[Identity] = ()) -> set[int]:
    """Returns the pids of the processes of one agent without a session; see `processes_from`.

    The result is empty if the agent's process has ended, or is a tmux server.

    Args:
        now: A scan of all processes.
        root: The pid and the start time of the agent's process.
        spared: See `Origin`.
    """
    pid, _ = root
    stat = now.stats.get(pid)
    if stat is None or stat.identity != root or stat.is_ended or pid in now.servers:
        return set()
    return now.came_from({pid}, [sparing(spared)])


@dataclass(frozen=True, slots=True)
class Held:
    """The processes of a session, and related processes that do not belong to the session.

    Attributes:
        processes: All processes that belong to the session.
        servers: The pids of tmux servers that were started in the session. These servers and their
            panes do not belong to the session.
        doubts: Messages about the processes in `doubted`.
        perhaps: The pids of tmux servers that may have been started in the session.
        doubted: The processes that may belong to the session, without proof. A kill does not end
            these processes.
    """

    processes: tuple[Process, ...]
    servers: tuple[int, ...] = ()
    doubts: tuple[str, ...] = ()
    perhaps: tuple[int, ...] = ()
    doubted: tuple[Process, ...] = ()


def session_processes(origin: Origin) -> tuple[Process, ...]:
    """Returns all processes that belong to a session; see `processes_of`."""
    return processes_of({None: origin})[None].processes


def processes_of(origins: Mapping[Key, Origin]) -> dict[Key, Held]:
    """Returns all processes that belong to each session, with one scan of all processes.

    These processes belong to a session that tmux listed:

    - the first process of each pane, the descendants of this process, and the members of the
      process session (setsid(2)) that this process leads
    - every process whose environment names a pane of the session, and the session's server;
      processes keep ``TMUX_PANE`` after setsid, nohup or a double fork

    If a session comes from a log (`Origin.claim`), only processes of the second kind belong to the
    session. These processes must also meet the conditions of `tui.host.process.claims.believed`.

    These processes never belong to a session: muster, the ancestors of muster, init, tmux servers,
    and processes in panes of another tmux server.

    Args:
        origins: Maps any keys to the sessions.

    Raises:
        OSError: The processes cannot be listed.
    """
    now = look()
    pane_of = functools.cache(pane_environment.pane_id_of)
    held = {}
    for key, origin in origins.items():
        if origin.claim is None:
            pids = now.belonging(origin)
            doubts = now.doubts_of(origin, pids)
            left = now.described(pids)
        else:
            pids, doubts = now.proven(origin, origin.claim)
            left = now.described(pids, origin.claim.users)
        servers = now.servers_from(pids, origin)
        doubts |= now.doubts_about(servers)
        named = tuple(pid for pid in servers if pid not in doubts)
        perhaps = now.servers_perhaps_from(origin, pane_of) - {*servers, *pids}
        messages = tuple(_messages(doubts, now))
        held[key] = Held(left, named, messages, tuple(sorted(perhaps)), now.described(doubts))
    return held


def _messages(doubts: Mapping[int, str], now: Look) -> Iterable[str]:
    by_reason: dict[str, list[str]] = {}
    for pid, why in sorted(doubts.items()):
        for process in now.described({pid}):
            by_reason.setdefault(why, []).append(f"{shown_name(process.name)} ({pid})")
    for why, names in by_reason.items():
        more = len(names) - _NAMED
        yield ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "") + f", {why}"


def families(groups: Mapping[Key, Collection[int]]) -> dict[Key, frozenset[int]]:
    """Returns the processes of each group with all their descendants; scans all processes once.

    Args:
        groups: Maps any keys to the pids of the groups.
    """
    stats = procfs.all_stats()
    children = children_of(stats)
    return {
        key: frozenset(with_descendants({pid for pid in pids if pid in stats}, children))
        for key, pids in groups.items()
    }


def families_of(
    sessions: Collection[Session], answer: TmuxSnapshot
) -> dict[Session, frozenset[int]]:
    """Returns the pids of all processes that a kill of each session would end.

    These are the first processes of the panes, the descendants of these processes, and the
    processes that `processes_of` returns. If muster cannot see the tmux server, the result
    contains only the first two kinds.

    Args:
        sessions: The sessions.
        answer: The snapshot of the server that has the sessions.

    Raises:
        OSError: The processes cannot be listed.
    """
    pids = families({session: session.pids for session in sessions})
    if answer.server_process is None or not procfs.numbers_are_ours():
        return pids
    now = look()
    return {
        session: frozenset(pids[session] | now.belonging(origin_of(session, answer)))
        for session in sessions
    }


def begun(pid: int) -> float | None:
    """Returns when a process started, in seconds since the epoch; None if it is not visible."""
    stat = procfs.stat_of(pid)
    return None if stat is None else procfs.begun_at(stat)


def holds_us(pane_pids: Collection[int]) -> bool:
    """Returns whether muster runs in one of the panes.

    Args:
        pane_pids: The pids of the panes' first processes.
    """
    stats: dict[int, Stat] = {}
    pid = os.getpid()
    while pid not in stats and (stat := procfs.stat_of(pid)) is not None:
        stats[pid] = stat
        pid = stat.parent
    return not line_of(os.getpid(), stats).isdisjoint(pane_pids)
