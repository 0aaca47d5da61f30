"""Looks up the processes of agents that run without a tmux session. Linux only: /proc."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

from registry.dataclass import dataclass
from tui.host.process import procfs

NO_PROC = "/proc belongs to another container (PID namespace); run muster in that container"
"""Why no process can be looked up, and the remedy, if `numbers_are_ours` is false."""

_ALONE = "If you know that the agent has ended, complete this agent alone"
_HIDDEN = f"/proc hides the processes of other users (hidepid); run muster as root. {_ALONE}"
_IN_CONTAINER = (
    "muster runs in a container (with its own PID namespace), and cannot see processes outside; "
    f"run muster on the host. {_ALONE}"
)

_UNREADABLE = (
    "process {} exists, but muster cannot read its data in /proc; run muster as root, or, if you "
    "know that the agent has ended, complete this agent alone"
)


@dataclass(frozen=True, slots=True)
class AgentProcess:
    """The data of the process whose pid the registry names for an agent.

    Attributes:
        pid: The pid in the registry.
        started: The start time in clock ticks since the boot; None if no process has this pid.
        began: The start time in seconds since the epoch; None if no process has this pid.
        unseen: Why a process with this pid may run although muster does not see it, and a remedy;
            None if muster sees the process, or if no process can have the pid.
        words: The beginning of the command line; empty if it cannot be read.
    """

    pid: int
    started: int | None = None
    began: float | None = None
    unseen: str | None = None
    words: bytes = b""

    @property
    def identity(self) -> tuple[int, int] | None:
        """The pid and the start time, which together identify the process; None without one."""
        return None if self.started is None else (self.pid, self.started)

    def names(self, agent_id: str) -> bool:
        """Returns whether the command line contains an agent's id as a whole word."""
        word = re.escape(os.fsencode(agent_id))
        return re.search(rb"(?<![\w.-])" + word + rb"(?![\w.-])", self.words) is not None


def look_up(pids: Iterable[int], before: Mapping[int, AgentProcess]) -> Mapping[int, AgentProcess]:
    """Returns the present processes with the given pids.

    Args:
        pids: The pids.
        before: The result of an earlier call. A process keeps its data, because each calculation
            of `AgentProcess.began` has a slightly different result.
    """
    if not procfs.numbers_are_ours():
        return {pid: AgentProcess(pid, unseen=NO_PROC) for pid in pids}
    why_all = _why_blind()
    inner: Mapping[int, int] | None = None
    members: Mapping[int, int] | None = None
    seen: dict[int, AgentProcess] = {}
    for pid in pids:
        stat = procfs.stat_of(pid)
        known = before.get(pid)
        if stat is not None and not stat.is_ended:
            if known is not None and known.identity == (pid, stat.started):
                seen[pid] = known
                continue
            process = AgentProcess(pid, stat.started, procfs.begun_at(stat), words=_words(pid))
        elif why_all is not None:
            process = AgentProcess(pid, unseen=why_all)
        elif stat is None and procfs.may_exist(pid):
            process = AgentProcess(pid, unseen=_UNREADABLE.format(pid))
        elif known is not None and known.started is None and known.unseen is None:
            process = known
        else:
            inner = _inner_pids() if inner is None else inner
            members = _session_members() if members is None else members
            why = _why_inner(pid, inner) or _why_survived(pid, members)
            process = AgentProcess(pid, unseen=why)
        same = known is not None and (known.identity, known.unseen) == (
            process.identity,
            process.unseen,
        )
        seen[pid] = known if known is not None and same else process
    return seen


def _words(pid: int) -> bytes:
    try:
        return b"\0".join(procfs.arguments(pid))
    except OSError:
        return b""


def _why_blind() -> str | None:
    """Returns why muster does not see all processes of the host; None if it sees them all."""
    if procfs.hides_processes():
        return _HIDDEN
    return None if procfs.sees_the_host() else _IN_CONTAINER


def _inner_pids() -> dict[int, int]:
    """Maps the pids in inner PID namespaces to the pids of these processes for muster."""
    inner: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            _, *others = procfs.namespace_pids_of(int(name)) or (0,)
            inner |= dict.fromkeys(others, int(name))
    return inner


def _session_members() -> dict[int, int]:
    """Maps the id of each process session and process group to the pid of a process in it."""
    members: dict[int, int] = {}
    for stat in procfs.all_stats().values():
        if not stat.is_ended:
            members |= {number: stat.pid for number in (stat.group, stat.session) if number}
    return members


def _why_survived(pid: int, members: Mapping[int, int]) -> str | None:
    # While a process session or group exists, the kernel gives its id to no new process. So the
    # process that had this pid led the session or group.
    if pid not in members:
        return None
    return (
        f"process {pid} has ended, but process {members[pid]} of its process session runs. If "
        "it belongs to the agent, end it by hand; if not, complete this agent alone"
    )


def _why_inner(pid: int, inner: Mapping[int, int]) -> str | None:
    if pid not in inner:
        return None
    return (
        f"no process has the pid {pid}, but process {inner[pid]} has this pid in its container "
        f"(PID namespace); run muster in that container. {_ALONE}"
    )
