"""Finds processes that may belong to agents whose session is gone. Blocks.

The verdict on an agent depends only on its session. But before muster gives an agent the status
terminated, muster searches for processes that still run although their pane is gone. If such a
process may belong to the agent, muster does not change the status.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from registry.agent_output import FINDINGS, PROGRESS, STREAM_LOG, Identity, output_files
from registry.audit import EndedSession
from registry.dataclass import replace
from registry.errors import RegistryError
from registry.storage import may_exist, outsider_of, writers_of
from registry.text import command_line, shown_name
from tui.actions.evidence.action_evidence import Leftover
from tui.actions.plan import Plan, Step
from tui.host.output_writers import Agent, Watched
from tui.host.process import process_tree
from tui.host.process.claims import ROOT
from tui.host.strays import Stray, find_strays
from tui.host.tmux_advice import user_name
from tui.host.tmux_types import TmuxSnapshot, TmuxState
from tui.model.policy import Policy
from tui.model.roll import Verdict
from tui.model.suspects import any_fits
from tui.text.sanitize import some

_NAMED_AT_MOST = 5
"""The largest number of processes that one message names; further processes are only counted."""

_STILL_ENDING = 1.0
"""The time, in seconds after a kill, that remaining processes have to end before muster reports
them."""

_PAUSE = 0.02

_NOT_KNOWN = "it is not known whether its processes still run"

_OWN_PROCESSES = (
    "its session is gone, but its processes run; end these processes; set its status to terminated"
)


def find_leftovers(
    steps: Iterable[Step],
    answer: TmuxSnapshot,
    spared: Collection[process_tree.Identity] = (),
    *,
    in_sessions: bool = False,
) -> dict[Step, Leftover]:
    """Finds running processes that may belong to zombies among the agents of a plan.

    These are processes whose pane is gone, and processes that write the agents' output. Processes
    that a step itself ends are left out.

    Args:
        steps: The steps of a plan.
        answer: The latest snapshot of tmux. If the state of tmux is unknown, the result is empty.
        spared: The processes of other agents; see `Plan.spared`.
        in_sessions: Which zombies are examined: True for zombies whose session exists, False for
            zombies whose session is gone.
    """
    gone = [
        step
        for step in steps
        if (step.session is not None) is in_sessions
        and step.row is not None
        and step.row.verdict is Verdict.ZOMBIE
    ]
    if not gone or answer.state is TmuxState.UNKNOWN:
        return {}
    watched, whys = _watched(gone)
    leftovers = {
        step: Leftover(None, f"{why}. If the agent has ended, {completing(step, answer.socket)}")
        for step, why in whys.items()
    }
    try:
        strays = _strays(answer, watched, spared)
    except OSError as error:
        return {step: Leftover(None, _unknown(error)) for step in gone}
    for step in gone:
        candidates = _candidates(step, strays, answer)
        left = _leftover(step, candidates, answer) if candidates else None
        if left is not None:
            leftovers.setdefault(step, left)
    return leftovers


def find_survivors(
    ended: Mapping[Step, EndedSession],
    answer: TmuxSnapshot,
    spared: Collection[process_tree.Identity] = (),
) -> dict[Step, str]:
    """Finds processes that still run after a kill, and that may belong to a killed agent.

    Args:
        ended: Maps each step to the session that the kill ended; orphans are ignored.
        answer: A snapshot of tmux that was taken after the kill.
        spared: The processes of other agents; see `Plan.spared`.

    Returns:
        A message for each agent with such processes. If the processes cannot be examined, a
        message for each agent says so.
    """
    ended = {step: session for step, session in ended.items() if step.row is not None}
    if answer.state is TmuxState.UNKNOWN:
        return dict.fromkeys(ended, f"{_NOT_KNOWN}: tmux: {answer.why}")
    if not ended:
        return {}
    give_up_at = time.monotonic() + _STILL_ENDING
    while True:
        watched, messages = _watched(ended)
        try:
            strays = _strays(answer, watched, spared)
        except OSError as error:
            return dict.fromkeys(ended, _unknown(error))
        for step, session in ended.items():
            left = _outlived(step, session, strays, answer)
            if left:
                messages.setdefault(step, _survived(step, left, answer.socket))
        # Processes that tmux itself started for the session may end a moment later.
        if not messages or time.monotonic() >= give_up_at:
            return messages
        time.sleep(_PAUSE)


def _strays(
    answer: TmuxSnapshot, watched: Watched, spared: Collection[process_tree.Identity]
) -> list[Stray]:
    """Returns the processes whose pane is gone, without those of agents that have no session.

    Such an agent may have been started in a pane, but its processes belong to this agent alone. A
    process that may write the output of a watched agent is not left out.

    Raises:
        OSError: The processes cannot be listed.
    """
    strays = list(find_strays(answer, watched))
    others = process_tree.look().of_agents(spared) if spared and strays else ()
    return [each for each in strays if each.may_write_for or each.process.pid not in others]


def _unknown(error: Exception) -> str:
    # The error of a reading: a statement that nothing was changed would only confuse.
    why = error.brief if isinstance(error, RegistryError) else error
    return f"{_NOT_KNOWN}: {why}"


def _watched(steps: Iterable[Step]) -> tuple[Watched, dict[Step, str]]:
    """Returns the output files of agents, and a message for each agent with unreadable files."""
    files: dict[Identity, Agent] = {}
    folders: dict[Identity, Path] = {}
    whys: dict[Step, str] = {}
    agents = set()
    for step in steps:
        agent = _agent_of(step)
        try:
            output = output_files(*agent)
        except (RegistryError, OSError) as error:
            whys[step] = _unknown(error)
            continue
        agents.add(agent)
        folders[output.folder] = agent[0]
        files |= dict.fromkeys(output.files, agent)
    return Watched(frozenset(agents), files, folders), whys


def _candidates(step: Step, strays: Iterable[Stray], answer: TmuxSnapshot) -> list[Stray]:
    """Returns the processes that may belong to an agent, according to their socket and user.

    A process may belong to the agent if any of these is true:

    - The environment of the process names the queried tmux socket.
    - The process may write the agent's output.
    - The agent may run as the user of the process. This user is unknown if muster runs as root,
      because root can start agents as any user, and the process shows no pane.
    """
    agent, users = _agent_of(step), {step.owner, answer.server_user, os.getuid()}
    registries = [step.row.key.registry] if step.row is not None else []
    registries += () if step.source is None else step.source.listing
    # Needed only for processes of other users. The registry is opened at most once.
    writers = functools.cache(lambda: writers_of(registries))
    return [
        stray
        for stray in strays
        if stray.is_here
        or agent in stray.may_write_for
        or stray.users <= users
        or (stray.is_hidden and os.getuid() == 0)
        # Root can write every registry, and starts many processes that show no pane.
        or (
            all(user in writers() for user in stray.users)
            and not (stray.is_hidden and ROOT in stray.users)
        )
    ]


def _outlived(
    step: Step, ended: EndedSession, strays: Iterable[Stray], answer: TmuxSnapshot
) -> list[Stray]:
    """Returns the processes that may belong to an agent whose session was just ended."""
    left: list[Stray] = []
    for group in _by_pane(_candidates(step, strays, answer)):
        if step.session is None:
            is_left = _may_be_of(step, group)
        else:
            is_left = _is_of_ended(step, ended, group)
        if is_left:
            left += group
    return left


def _is_of_ended(step: Step, ended: EndedSession, pane: list[Stray]) -> bool:
    """Returns whether processes of one pane may belong to an agent whose session was just ended.

    The kill has already ended the processes in the panes of the session. So processes of another
    pane may belong to the agent only if any of these is true:

    - The processes may write the agent's output.
    - The pane was created in the ended session.
    - The agent may have had an earlier session with this pane.
    """
    agents, named = _writes_for(pane), pane[0].named_pane
    if _agent_of(step) in _may_write_for(pane):
        return True
    if pane[0].is_hidden:
        return _may_have_begun_at((ended.created,), pane)
    if agents or named is None:
        return False
    same_server = named.server_pid == ended.server_pid and not pane[0].is_former
    if same_server and named.session == ended.id:
        return True
    starts, began = _starts(step), _began(pane)
    # tmux reports the creation time in whole seconds.
    if began > ended.created + 1:
        return False
    # If the agent did not start with this session, the time of an earlier session is not known.
    if not any_fits(starts, ended.created):
        return True
    return any_fits(starts, began)


def _survived(step: Step, processes: list[Stray], socket: Path) -> str:
    writes = any(_agent_of(step) in process.may_write_for for process in processes)
    single = len(processes) == 1
    why = "outlived a pane that is gone"
    if any(process.is_hidden for process in processes):
        why = _hides(single)
    elif writes:
        why = f"{'writes' if single else 'write'} the agent's output"
    return (
        f"still running: {_called(processes)}, which {why}, and may belong to the agent. "
        f"{_advice(single, step, socket)}"
    )


def _advice(single: bool, step: Step, socket: Path) -> str:
    """Returns what the operator can do about processes that may belong to an agent."""
    if single:
        belongs = "If this process belongs to the agent, end the process"
    else:
        belongs = "If these processes belong to the agent, end the processes"
    return f"{belongs} and kill the agent again; if not, {completing(step, socket)}"


def _by_pane(strays: Iterable[Stray]) -> list[list[Stray]]:
    panes: dict[tuple[int, str], list[Stray]] = {}
    for stray in strays:
        panes.setdefault(stray.pane, []).append(stray)
    return list(panes.values())


def _leftover(step: Step, strays: Iterable[Stray], answer: TmuxSnapshot) -> Leftover | None:
    """Returns those of the processes that may belong to an agent; None if there are none."""
    maybe = [
        group
        for group in _by_pane(strays)
        if not _is_ended_by(step, group) and _may_be_of(step, group)
    ]
    if not maybe:
        return None
    processes = [process for group in maybe for process in group]
    panes = [process.named_pane for process in processes if process.named_pane is not None]
    servers = {pane.server_pid for pane in panes}
    owner = step.owner
    sure = all(_is_of(step, group) for group in maybe) and len(servers) == 1
    sure = sure and all(process.users == {owner} for process in processes)
    sure = sure and owner is not None and not _has_pid(step) and _only_owner_writes(owner, step)
    if not sure or owner is None or step.earlier is not None:
        return Leftover(None, _why(step, processes, answer.socket))
    runs = "runs" if len(processes) == 1 else "run"
    first = panes[0]
    session = EndedSession(
        name=step.expected_session or "",
        id=first.session,
        created=int(min(map(_began, maybe))),
        socket=str(answer.socket),
        agent=step.label,
        server_pid=first.server_pid,
        server_started=answer.server_started if first.server_pid == answer.server_pid else 0,
        panes=tuple(dict.fromkeys(pane.pane for pane in panes)),
        told_by=frozenset({owner}),
        ended_at=time.time(),
    )
    return Leftover(session, f"{_called(processes)} of the agent still {runs}: kill the agent")


def _may_be_of(step: Step, pane: list[Stray]) -> bool:
    """Returns whether the processes of one pane may belong to an agent whose session is gone."""
    if _agent_of(step) in _may_write_for(pane):
        return True
    if _has_pid(step) and not pane[0].is_hidden:
        # The agent never had a pane.
        return False
    starts = _starts(step)
    if pane[0].is_hidden:
        return not starts or _may_have_begun_at(starts, pane)
    if starts and pane[0].other_runs and not _writes_for(pane):
        # These may be any processes of the user, so only the time can tell them apart.
        return any_fits(starts, _began(pane), Policy().session_late_limit)
    if _writes_for(pane) or pane[0].named_pane is None:
        return False
    # A session that was created before this limit never counts as the agent's session.
    return not starts or _began(pane) >= starts[0] - Policy().session_early_limit


def _may_have_begun_at(starts: Iterable[float], pane: list[Stray]) -> bool:
    """Returns whether the process session of hidden processes may have begun at a start."""
    since, began = min(process.since for process in pane), _began(pane)
    limit = Policy().session_late_limit
    nearest = (min(max(start, since), began) for start in starts)
    return any(
        any_fits((start,), near, limit) for start, near in zip(starts, nearest, strict=True)
    )


def _has_pid(step: Step) -> bool:
    return step.row is not None and step.row.record.pid is not None


def _is_ended_by(step: Step, pane: list[Stray]) -> bool:
    """Returns whether the step itself ends the processes of a pane."""
    earlier, named = step.earlier, pane[0].named_pane
    if earlier is None or named is None or pane[0].is_former:
        return False
    return named.server_pid == earlier.server_pid and named.pane in earlier.panes


def _is_of(step: Step, pane: list[Stray]) -> bool:
    """Returns whether the processes of one pane certainly belong to a given agent.

    This is certain only if both are true: the processes write the output of this agent and of no
    other agent; the pane began when the agent started. The first condition alone is not enough,
    because the program that started the agent may also write the agent's output.
    """
    return (
        _writes_for(pane) == {_agent_of(step)}
        and all(process.named_pane is not None and process.named_pane.pane for process in pane)
        and _may_write_for(pane) == _writes_for(pane)
        and not any(process.is_former or not process.is_here for process in pane)
        and any_fits(_starts(step), _began(pane))
    )


def _only_owner_writes(owner: int, step: Step) -> bool:
    """Returns whether only a registry's owner and root may write the registry and the output.

    Any other writer could make a process of the owner look like a process of the agent. For
    example, this writer could move a file that the process has open into the agent's folder.
    """
    if step.row is None:
        return False
    folders = [source.folder for source in (PROGRESS, FINDINGS, STREAM_LOG)]
    own = step.row.key.registry
    others = () if step.source is None else step.source.listing
    # The agent's output is beside the task's registry.
    found = [outsider_of(own, {owner}, folders)]
    found += [outsider_of(path, {owner}) for path in others if path != own]
    return found == [None] * len(found)


def _writes_for(pane: Iterable[Stray]) -> frozenset[Agent]:
    return frozenset[Agent]().union(*(process.writes_for for process in pane))


def _may_write_for(pane: Iterable[Stray]) -> frozenset[Agent]:
    return frozenset[Agent]().union(*(process.may_write_for for process in pane))


def _began(pane: Iterable[Stray]) -> float:
    return min(process.began for process in pane)


def _agent_of(step: Step) -> Agent:
    if step.source is not None:
        return step.source.directory, step.label
    return (step.row.key.registry.parent if step.row is not None else Path()), step.label


def _starts(step: Step) -> tuple[float, ...]:
    """Returns an agent's possible start times; empty if the start is missing or in the future."""
    record = step.row.record if step.row is not None else None
    if record is None or record.started is None or record.started > time.time():
        return ()
    return record.possible_starts


def _hides(single: bool) -> str:
    return "does not show its former pane" if single else "do not show their former panes"


def _called(processes: list[Stray]) -> str:
    first = [stray.process for stray in processes[:_NAMED_AT_MOST]]
    named = [f"{shown_name(process.name)} ({process.pid})" for process in first]
    others = set[int]().union(*(stray.users for stray in processes)) - {os.getuid()}
    more = len(processes) - len(named)
    count = some(len(processes), "process", "processes")
    users = ", ".join(shown_name(user_name(user)) for user in sorted(others))
    of_others = f" (of user {users})" if users else ""
    return f"{count} {', '.join(named)}{f' and {more} more' if more else ''}{of_others}"


def why_not_recorded(step: Step, socket: Path) -> str:
    """Returns the message that a kill did not change the status, because processes still run."""
    return (
        "not recorded, because processes that were left alone may belong to the agent. "
        f"{_advice(False, step, socket)}"
    )


def completing(step: Step, socket: Path, status: str | None = None) -> str:
    """Returns the advice to complete one agent, with a command that works in every directory.

    Args:
        step: The step of the agent.
        socket: The tmux socket of the plan.
        status: The new status; None for the status that the agent reported, or terminated.
    """
    options = [("-S", str(socket)), *([] if status is None else [("--as", status)])]
    if step.row is not None:
        registry = step.row.key.registry
        # A task in a database may have lost its directory; then the workspace is named.
        place = registry if may_exist(registry) else registry.parent.parent
        options.insert(0, ("-w", str(place)))
    line = command_line("muster", "complete", names=[step.label], options=options)
    return f"run `{line}`" if line else "complete this agent alone"


def _why(step: Step, processes: list[Stray], socket: Path) -> str:
    pids = ",".join(str(stray.process.pid) for stray in processes)
    single = len(processes) == 1
    why = f"outlived the tmux server or session that started {'it' if single else 'them'}"
    if any(stray.is_hidden for stray in processes):
        why = _hides(single)
    elif any(stray.named_pane is None for stray in processes):
        why = f"{'writes' if single else 'write'} the agent's output"
    return (
        f"{_called(processes)} {why}, and may belong to the agent: see `ps -fp {pids}`. "
        f"{_advice(single, step, socket)}"
    )


def with_leftovers(plan: Plan, leftovers: Mapping[Step, Leftover]) -> Plan:
    """Returns a plan that also ends the processes that certainly belong to its agents.

    Args:
        plan: A plan to kill.
        leftovers: The result of `find_leftovers` for the steps of the plan.
    """
    steps = tuple(
        replace(step, earlier=left.session, says=_OWN_PROCESSES)
        if (left := leftovers.get(step)) is not None and left.session is not None
        else step
        for step in plan.steps
    )
    return replace(plan, steps=steps)
