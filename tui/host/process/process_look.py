"""One scan of all processes, and the rule for the processes that belong to a tmux session.

A process is identified by its pid *and* its start time. Linux only: /proc.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from registry.dataclass import dataclass, replace
from tui.host.process import procfs
from tui.host.process.ancestry import (
    child_above,
    line_of,
    with_descendants,
)
from tui.host.process.claims import ROOT, Claim, Facts, believed
from tui.host.process.pane_environment import PaneEnvironment
from tui.host.process.pane_origin import is_of_another_pane
from tui.host.process.procfs import INIT, Stat
from tui.host.process.server_processes import (
    Led,
    Listens,
    OrderOf,
    UsersOf,
    names_former,
)
from tui.host.process.session_origin import Identity, Origin, owner_of
from tui.host.process.socket_path import is_socket


@dataclass(frozen=True, slots=True)
class Process:
    """A running process.

    Attributes:
        pid: The process id.
        started: The start time in clock ticks since the boot. No other process has the same pid
            and the same start time.
        name: The name of the program.
        memory: The resident memory in bytes.
        users: User ids. A signal is sent only if the real, effective and saved user of the process
            are all among these users. None allows any user.
    """

    pid: int
    started: int
    name: str
    memory: int
    users: frozenset[int] | None = None

    @property
    def identity(self) -> tuple[int, int]:
        """The pid and the start time, which together identify the process."""
        return self.pid, self.started


@dataclass(frozen=True, slots=True)
class Look:
    """The result of one scan of all processes.

    Attributes:
        stats: Maps pids to the data of the processes.
        panes: Maps pids to the panes that the processes name in their environments. Processes
            without ``TMUX`` are left out.
        servers: The pids of the tmux servers, and of processes that may be tmux servers.
        sure: The pids of the processes that are certainly tmux servers.
        former: The pids of the processes whose environment names a tmux server that has ended. A
            newer tmux server has the pid of that server.
        runs_on: Maps pids to the tmux servers that started the processes, directly or indirectly.
            Processes without a tmux server are left out.
        ourselves: The pids of muster and its ancestors.
        users_of: See `UsersOf`. Called only when needed.
        listens: See `Listens`. Called only when needed.
        children: See `children_of`.
        led: See `Led`.
        saying: Maps two values to the pids of the processes whose environment names both: the pid
            of a tmux server, and the id of a pane or session.
        order_of: See `OrderOf`. Called only when needed.
        unread: The pids of the processes whose environment is too large to be read.
        hidden: The pids of the processes whose environment muster is not allowed to read, or that
            have overwritten their environment.
    """

    stats: Mapping[int, Stat]
    panes: Mapping[int, PaneEnvironment]
    servers: frozenset[int]
    sure: frozenset[int]
    former: frozenset[int]
    runs_on: Mapping[int, int]
    ourselves: frozenset[int]
    users_of: UsersOf
    listens: Listens
    children: Mapping[int, Sequence[int]]
    led: Led
    saying: Mapping[tuple[int, str], Sequence[int]]
    order_of: OrderOf
    unread: frozenset[int] = frozenset()
    hidden: frozenset[int] = frozenset()

    def runs(self, process: Process) -> bool:
        """Returns whether a process was running when this scan was made."""
        stat = self.stats.get(process.pid)
        return stat is not None and stat.identity == process.identity and not stat.is_ended

    def belonging(self, origin: Origin) -> set[int]:
        """Returns the pids of all processes of a session that tmux listed.

        The result includes ended processes that their parents have not reaped.
        """
        return self.came_from(self._roots(origin), [origin])

    def _roots(self, origin: Origin) -> set[int]:
        """Returns the pids of the first processes of a session's panes, without reused pids."""
        return {pid for pid in origin.pids if self._is_root(pid, origin)}

    def _is_root(self, pid: int, origin: Origin) -> bool:
        server = origin.server_pid
        if pid not in self.stats or server is None:
            return pid in self.stats
        # The first process of a pane is a child of the server, and leads a process session. Any
        # other pid was reused, or belongs to another PID namespace.
        stat = self.stats[pid]
        if stat.parent != server or stat.session != pid:
            return False
        # The pids that tmux reports are more reliable than the environment. But while another
        # process has the pane's terminal open, tmux reports the pid of an ended process.
        panes = origin.panes
        if panes is None or pid not in origin.shared:
            return True
        return not is_of_another_pane(self.panes.get(pid), server, panes)

    def _believed(self, origin: Origin, known: Collection[int] = ()) -> set[int]:
        """Returns the pids of processes that belong to a session because of their environment.

        The environment is a proof only if the process runs as the user of the session's tmux
        server, or as root.

        Args:
            origin: The session.
            known: Pids that are left out of the result.
        """
        return self._trusted(self.said_to_be_of(origin).difference(known), origin)

    def _trusted(self, pids: Collection[int], origin: Origin) -> set[int]:
        """Returns the given processes that run as the user of a session's server, or as root."""
        if not pids:
            return set()
        server = origin.server_pid
        users = self.users_of(server) if server is not None and server in self.servers else None
        if users is not None:
            trusted = {ROOT, *users}
        else:
            owner = owner_of(origin.socket)
            trusted = {ROOT, os.getuid(), os.getuid() if owner is None else owner}
        return {
            pid
            for pid in pids
            if (own := self.users_of(pid)) is not None and trusted.issuperset(own)
        }

    def came_from(self, roots: set[int], origins: Collection[Origin]) -> set[int]:
        """Returns given processes, their descendants, and all processes that belong to sessions.

        These processes are left out:

        - init, muster, and the ancestors of muster
        - the tmux servers of the sessions
        - any other tmux server that is not in `roots`
        - processes on a tmux server that has none of the sessions and none of the roots
        - the processes in `Origin.spared`, and all that they have started
        - processes that descend only from left-out processes

        Args:
            roots: The pids of the given processes.
            origins: The sessions.
        """
        servers = {origin.server_pid for origin in origins if origin.server_pid is not None}
        with_server = [origin for origin in origins if origin.server_pid is not None]
        without_server = [origin for origin in origins if origin.server_pid is None]
        believed_pids = set[int]().union(*map(self._believed, without_server))
        own = servers | roots | {self.runs_on.get(pid) for pid in roots}
        # A session without a server's pid is recognized by the socket alone.
        own |= {self.panes[pid].server_pid for pid in believed_pids}

        of_others = self.of_agents({one for origin in origins for one in origin.spared}, roots)

        def is_spared(pid: int) -> bool:
            if pid <= INIT or pid in self.ourselves or pid in servers:
                return True
            if pid in of_others:
                return True
            # A server is ended only if it is itself a root.
            if pid in self.servers and pid not in roots:
                return True
            server = self.runs_on.get(pid)
            return server is not None and server not in own

        # A process that init adopted and that cleared its environment keeps its process session.
        led = {pid for root in roots for pid in self.led.get(root, ())}
        led |= {pid for origin in origins for pid in self._left_by_dead(origin)[0]}
        pids = with_descendants(roots | led | believed_pids, self.children, is_spared)
        for origin in with_server:
            more = self._believed(origin, pids)
            pids |= with_descendants(more, self.children, is_spared)
        return pids

    def of_agents(self, processes: Collection[Identity], roots: Collection[int] = ()) -> set[int]:
        """Returns the pids of all processes of agents that run without a session.

        These are the given processes, their descendants, and the members of the process sessions
        that they lead. The processes below `roots` are left out.

        Args:
            processes: The pids and the start times of the agents' processes.
            roots: The pids of other processes.
        """
        agents = {pid for pid, started in processes if self._is_started(pid, started)}
        if not agents:
            return set()
        led = {pid for agent in agents for pid in self.led.get(agent, ())}
        below = with_descendants(roots, self.children, agents.__contains__)
        return with_descendants(agents | led, self.children, below.__contains__)

    def _is_started(self, pid: int, started: int) -> bool:
        stat = self.stats.get(pid)
        return stat is not None and stat.started == started

    def said_to_be_of(self, origin: Origin) -> set[int]:
        """Returns the pids of the processes whose environment names a session or one of its panes.

        The environment must also name the session's tmux server.
        """
        if origin.server_pid is None or origin.panes is None:
            candidates: Iterable[int] = self.panes
        else:
            names = origin.panes if origin.session is None else (*origin.panes, origin.session)
            keys = ((origin.server_pid, name) for name in names)
            candidates = (pid for key in keys for pid in self.saying.get(key, ()))
        return {pid for pid in candidates if self._says(pid, origin)}

    def _says(self, pid: int, origin: Origin) -> bool:
        """Returns whether a process names a session or its panes, and the session's server."""
        named = self.panes[pid]
        # Another server may have a pane with the same id.
        if origin.server_pid not in (None, named.server_pid):
            return False
        if not self._names(pid, origin):
            return False
        began = self._server_began(origin)
        if began is not None:
            # No other server has had this pid after the start of the server. So the path of the
            # socket is not compared; it may be relative, or of another mount namespace.
            return not names_former(pid, began, self.stats, self.panes, self.led, self.order_of)
        return is_socket(named.socket, origin.socket)

    def _names(self, pid: int, origin: Origin) -> bool:
        """Returns whether a process names a session or one of its panes; ignores the server."""
        named = self.panes[pid]
        if origin.panes is None:
            return True
        # The data of the kernel is more reliable than the environment.
        if origin.is_listed and self.pane_of(pid, named.server_pid) not in (None, *origin.pids):
            return False
        if origin.session is not None and self.is_job(pid, named.server_pid):
            # tmux names the session in the environment of a job. If a job names a pane, the
            # server was started in that pane.
            return named.session == origin.session
        if named.pane:
            return named.pane in origin.panes and named.session in self._sessions_of(named, origin)
        # A process below the server runs in a pane, which may have been moved to another session.
        return named.session == origin.session and named.server_pid not in line_of(pid, self.stats)

    def _sessions_of(self, named: PaneEnvironment, origin: Origin) -> set[str]:
        """Returns the ids of the sessions that processes in a session's panes may name.

        If a pane was created in another session, the processes in the pane name that session.
        """
        if origin.session is None:
            return {named.session}
        firsts = (self.panes.get(pid) for pid in origin.pids)
        session_ids = {first.session for first in firsts if first is not None}
        return {origin.session, *session_ids}

    def _contradicting(self, origin: Origin) -> set[int]:
        """Returns the pids of processes that name a session's pane, but the id of another session.

        Jobs of the tmux server (see `is_job`) are left out, because a job may name a pane of
        another server: the pane in which the job's server was started.
        """
        if origin.session is None or origin.server_pid is None:
            return set()
        by_pane = self.said_to_be_of(replace(origin, session=None))
        return {
            pid
            for pid in by_pane - self.said_to_be_of(origin)
            if not self.is_job(pid, origin.server_pid)
        }

    def pane_of(self, pid: int, server: int) -> int | None:
        """Returns the pid of the first process of the pane in which a process runs.

        A process runs in a pane if it descends from the first process of the pane, or is in the
        process session (setsid(2)) of this first process. A process can change its environment,
        but not these two facts.

        Args:
            pid: The process.
            server: The pid of the tmux server that has the pane.

        Returns:
            The pid; None if the process runs in no open pane of the server.
        """
        for first in (child_above(pid, server, self.stats), self.stats[pid].session):
            stat = None if first is None else self.stats.get(first)
            # The first process of a closed pane has no terminal.
            if stat is not None and stat.parent == server and stat.leads_terminal:
                return first
        return None

    def is_in_pane_of_another(self, pid: int, server: int) -> bool:
        """Returns whether a process runs in a pane of another tmux server than the given one.

        Only the process session (setsid(2)) of the process counts. The ancestors prove nothing: a
        process in a pane can adopt the processes of a server that is gone
        (PR_SET_CHILD_SUBREAPER).
        """
        first = self.stats.get(self.stats[pid].session)
        return (
            first is not None
            and first.leads_terminal
            and first.parent in self.servers
            and first.parent != server
        )

    def is_job(self, pid: int, server: int) -> bool:
        """Returns whether a tmux server started a process outside of panes (``run-shell``).

        Such a process is called a job. A job is in the process session (setsid(2)) of the server.
        The first process of a pane leads another process session.
        """
        if server not in self.servers:
            return False
        session = self.stats[server].session
        top = child_above(pid, server, self.stats)
        return self.stats[pid if top is None else top].session == session

    def _left_by_dead(self, origin: Origin) -> tuple[set[int], set[int]]:
        """Returns the pids of processes that remain from the dead panes of a session.

        The first process of each dead pane led a process session (setsid(2)). If a member of this
        process session is older than the end of the pane, all members belong to the pane.
        Otherwise, it may be a new process session with the same id: the kernel reuses the id when
        no member is left.

        Returns:
            The processes that certainly belong to a dead pane, and the processes that may belong
            to a dead pane.
        """
        sure: set[int] = set()
        perhaps: set[int] = set()
        for pane in origin.dead:
            first = self.stats.get(pane.pid)
            if first is not None and not (first.is_ended and first.parent == origin.server_pid):
                continue
            members = self.led.get(pane.pid, ())
            began = [procfs.begun_at(self.stats[pid]) for pid in members]
            # tmux reports the end in whole seconds.
            is_old = pane.ended is not None and min(began, default=math.inf) <= pane.ended + 1
            (sure if is_old else perhaps).update(members)
        return sure, perhaps

    def doubts_of(self, origin: Origin, known: Collection[int]) -> dict[int, str]:
        """Returns the pids of processes that may belong to a session, each with a reason.

        Args:
            origin: The session.
            known: The pids that certainly belong to the session; left out of the result.
        """
        by_dead = "which may come from a dead pane of the session"
        doubts = dict.fromkeys(self._left_by_dead(origin)[1], by_dead)
        contradicts = "whose environment names a pane of the session, but another session"
        doubts |= dict.fromkeys(self._trusted(self._contradicting(origin), origin), contradicts)
        # A process that runs in another pane belongs to that pane, whatever its environment names.
        unread = self.unread - self.runs_on.keys() - self.servers
        unread = frozenset(pid for pid in unread if self._is_young(pid, origin))
        too_large = "whose environment is too large to be read"
        doubts |= dict.fromkeys(self._trusted(unread, origin), too_large)
        return {pid: why for pid, why in doubts.items() if pid not in {*known, *self.ourselves}}

    def _is_young(self, pid: int, origin: Origin) -> bool:
        """Returns whether a process started late enough to descend from a session's server.

        A process cannot join the process session of an unrelated process. So a process does not
        descend from the server if any process in the same process session is older than the
        server.
        """
        began = self._server_began(origin)
        members = self.led[self.stats[pid].session]
        return began is None or all(self.stats[member].started >= began for member in members)

    def _server_began(self, origin: Origin) -> int | None:
        """Returns when a session's server started, in ticks since the boot; None if unknown."""
        if origin.server_began is not None or origin.claim is not None:
            return origin.server_began
        server = origin.server_pid
        return self.stats[server].started if server in self.servers else None

    def proven(self, origin: Origin, claim: Claim) -> tuple[set[int], dict[int, str]]:
        """Checks the processes whose environment names a session from a log; see `believed`.

        Args:
            origin: The session.
            claim: The conditions that the processes must meet.

        Returns:
            The pids of the processes that meet the conditions, and a map from the pid of each
            other process to the reason.
        """
        spared = self.ourselves | {0, INIT} | self.servers | self.of_agents(origin.spared)
        facts = {}
        for pid in self.said_to_be_of(origin) - spared:
            users = self.users_of(pid)
            if users is not None and self.runs_on.get(pid) in (None, origin.server_pid):
                stat = self.stats[pid]
                facts[pid] = Facts(stat.parent, frozenset(users), procfs.begun_at(stat))
        return believed(claim, facts)

    def servers_from(self, pids: Collection[int], origin: Origin) -> tuple[int, ...]:
        """Returns the pids of the tmux servers that were started in a session.

        Args:
            pids: The pids of the session's processes.
            origin: The session.
        """
        named_by = self._believed(origin)
        leaders = {*self._roots(origin), *(pane.pid for pane in origin.dead)}
        started = {
            pid
            for pid in self.servers
            if pid in named_by
            or self.stats[pid].parent in pids
            or self.stats[pid].session in leaders
        }
        return tuple(sorted(started - {origin.server_pid} - set(pids)))

    def servers_perhaps_from(
        self, origin: Origin, pane_of: Callable[[int], str | None]
    ) -> frozenset[int]:
        """Returns the pids of tmux servers that may have been started in a pane of a session.

        To start a server inside a pane, a user unsets ``TMUX``. Then the environment of the new
        server contains only ``TMUX_PANE``. This id is not a proof, because panes of different
        servers can have the same id.

        Args:
            origin: The session.
            pane_of: Returns the pane id in the environment of a process, or None.
        """
        servers = self.sure - self.panes.keys() - {origin.server_pid}
        began, panes = self._server_began(origin), origin.panes
        if began is None or panes is None:
            return frozenset()
        young = {pid for pid in servers if self.stats[pid].started >= began}
        return frozenset(pid for pid in self._trusted(young, origin) if pane_of(pid) in panes)

    def doubts_about(self, servers: Iterable[int]) -> dict[int, str]:
        """Returns the pids in `servers` that may not be tmux servers, each with a reason."""
        why = "which is perhaps not a tmux server"
        return {
            pid: why for pid in servers if pid not in self.sure or self.listens(pid) is not True
        }

    def described(
        self, pids: Iterable[int], users: frozenset[int] | None = None
    ) -> tuple[Process, ...]:
        """Returns the data of running processes; see the function `described`."""
        return described(pids, self.stats, users)


def described(
    pids: Iterable[int], stats: Mapping[int, Stat], users: frozenset[int] | None = None
) -> tuple[Process, ...]:
    """Returns the data of running processes, sorted by pid; ended processes are left out.

    Args:
        pids: The pids of the processes.
        stats: Maps pids to the data of the processes.
        users: See `Process`.
    """
    return tuple(
        Process(pid, stat.started, procfs.program_name(stat), stat.memory, users)
        for pid in sorted(pids)
        if not (stat := stats[pid]).is_ended
    )
