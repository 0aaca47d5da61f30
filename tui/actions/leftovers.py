"""What may still run of agents whose session is gone, before they are called dead. Blocks.

The verdict on an agent is by its session alone. But before its death is written down, the
processes that outlived their pane are looked at: of each it is its own, another's, or
nobody can tell, and then nothing is written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from registry.agent_output import Identity, output_files
from registry.audit import EndedSession
from registry.errors import RegistryError
from registry.storage import writers_of
from registry.text import command_line, shown_name
from tui.actions.plan import Plan, Step
from tui.host.strays import Agent, Stray, Watched, find_strays
from tui.host.tmux_advice import user_name
from tui.host.tmux_types import TmuxSnapshot, TmuxState
from tui.model.policy import Policy
from tui.model.roll import Verdict
from tui.model.suspects import any_fits
from tui.text.sanitize import some

_NAMED_AT_MOST = 5
"""Processes that are named; the others are counted."""

_STILL_ENDING = 1.0
"""Seconds that what writes to a file is given to end after its session."""

_PAUSE = 0.02

_OWN = "its session is gone, but processes of it run; end them; mark it terminated"


@dataclass(frozen=True, slots=True)
class Leftover:
    """What may be left of an agent.

    Attributes:
        session: What its own processes are told by; None where it is not sure that all of
            them are its own.
        why: Why it cannot be called dead, and what to do about it.
    """

    session: EndedSession | None
    why: str


def find_leftovers(steps: Iterable[Step], answer: TmuxSnapshot) -> dict[Step, Leftover]:
    """What may be left of those of some agents whose session is gone.

    What the step itself ends already is not told again.

    Args:
        steps: Of a plan.
        answer: What tmux said last; nothing is told where it cannot tell.
    """
    gone = [
        step
        for step in steps
        if step.session is None and step.row is not None and step.row.verdict is Verdict.ZOMBIE
    ]
    if not gone or answer.state is TmuxState.UNKNOWN:
        return {}
    watched, whys = _watched(gone)
    found = {step: Leftover(None, why) for step, why in whys.items()}
    try:
        strays = find_strays(answer, watched)
    except OSError as error:
        return {step: Leftover(None, _untold(error)) for step in gone}
    for step in gone:
        theirs = [each for each in strays if _may_count(step, each, answer)]
        left = _of(step, theirs, answer) if theirs else None
        if left is not None:
            found.setdefault(step, left)
    return found


def find_survivors(ended: Mapping[Step, EndedSession], answer: TmuxSnapshot) -> dict[Step, str]:
    """What may still run of agents whose processes were just ended.

    Args:
        ended: Their sessions; orphans are passed over.
        answer: What tmux said since.

    Returns:
        In words, for each of which something may, or that cannot be told.
    """
    ended = {step: session for step, session in ended.items() if step.row is not None}
    if not ended or answer.state is TmuxState.UNKNOWN:
        return {}
    give_up_at = time.monotonic() + _STILL_ENDING
    while True:
        watched, found = _watched(ended)
        try:
            strays = find_strays(answer, watched)
        except OSError as error:
            return dict.fromkeys(ended, _untold(error))
        for step, session in ended.items():
            left = _outlived(step, session, strays, answer)
            if left:
                found.setdefault(step, _survived(step, left, answer.socket))
        # What tmux itself had started for the session may be about to end with it.
        if not found or time.monotonic() >= give_up_at:
            return found
        time.sleep(_PAUSE)


def _untold(error: Exception) -> str:
    return f"whether processes of it still run cannot be told: {error}"


def _watched(steps: Iterable[Step]) -> tuple[Watched, dict[Step, str]]:
    """The output of agents, opened anew; and why that of some cannot be looked at."""
    files: dict[Identity, Agent] = {}
    folders: dict[Identity, Path] = {}
    whys: dict[Step, str] = {}
    agents = set()
    for step in steps:
        agent = _who(step)
        try:
            output = output_files(*agent)
        except (RegistryError, OSError) as error:
            whys[step] = _untold(error)
            continue
        agents.add(agent)
        folders[output.folder] = agent[0]
        files |= dict.fromkeys(output.files, agent)
    return Watched(frozenset(agents), files, folders), whys


def _may_count(step: Step, stray: Stray, answer: TmuxSnapshot) -> bool:
    """Whether what a process says is any reason to doubt an agent's death.

    What names the socket that was asked, or writes the agent's output, is one, whoever's it
    is. What names another socket is one only if it is of a user whose the agent may be.
    """
    if stray.is_here or _who(step) in stray.may_write_for:
        return True
    users = {step.owner, answer.server_user, os.getuid()}
    if stray.users <= users:
        return True
    writers = writers_of([step.row.key.registry] if step.row is not None else [])
    return all(each in writers for each in stray.users)


def _outlived(
    step: Step, ended: EndedSession, strays: Iterable[Stray], answer: TmuxSnapshot
) -> list[Stray]:
    """What may be left of an agent after its session was ended."""
    found: list[Stray] = []
    for group in _by_pane(each for each in strays if _may_count(step, each, answer)):
        if step.session is None:
            is_left = _may_be_of(step, group)
        else:
            is_left = _is_of_ended(step, ended, group)
        if is_left:
            found += group
    return found


def _is_of_ended(step: Step, ended: EndedSession, pane: list[Stray]) -> bool:
    """Whether the processes of a pane may be an agent's whose session was there until now.

    Its other panes are known. So these are its own only if they write its output, if their
    pane was made in that session, or if it may have had another session before.
    """
    agents, said = _writes_for(pane), pane[0].said
    if _who(step) in _may_write_for(pane):
        return True
    if agents or said is None or not pane[0].is_here:
        return False
    same_server = said.server_pid == ended.server_pid and not pane[0].is_former
    if same_server and said.session == ended.id:
        return True
    started, began = _started(step), _began(pane)
    # tmux says it in whole seconds.
    if began > ended.created + 1:
        return False
    if started is None:
        return True
    # The session that it has had since its start is the only one of its on this server.
    return any_fits([started], began) and not (same_server and any_fits([started], ended.created))


def _survived(step: Step, processes: list[Stray], socket: Path) -> str:
    writes = any(_who(step) in each.may_write_for for each in processes)
    it = len(processes) == 1
    why = "outlived a pane that is gone"
    if writes:
        why = f"{'writes' if it else 'write'} its output"
    return (
        f"still running: {_called(processes)}, which may be its: {'it' if it else 'they'} {why}. "
        f"If so, end {'it' if it else 'them'} and kill the agent again; "
        f"if not, {completing(step, socket)}"
    )


def _by_pane(strays: Iterable[Stray]) -> list[list[Stray]]:
    panes: dict[tuple[int, str], list[Stray]] = {}
    for each in strays:
        panes.setdefault(each.pane, []).append(each)
    return list(panes.values())


def _of(step: Step, strays: Iterable[Stray], answer: TmuxSnapshot) -> Leftover | None:
    """What of some processes may be left of one agent; None if nothing."""
    maybe = [
        group
        for group in _by_pane(strays)
        if not _is_ended_by(step, group) and _may_be_of(step, group)
    ]
    if not maybe:
        return None
    processes = [each for group in maybe for each in group]
    panes_said = [each.said for each in processes if each.said is not None]
    servers = {said.server_pid for said in panes_said}
    owner = step.owner
    sure = all(_is_of(step, group) for group in maybe) and len(servers) == 1
    # Whoever has the task's directory could have moved another user's open file into it.
    sure = sure and all(each.users == {owner} for each in processes)
    if not sure or owner is None or step.earlier is not None:
        return Leftover(None, _why(step, processes, answer.socket))
    runs = "runs" if len(processes) == 1 else "run"
    first = panes_said[0]
    session = EndedSession(
        name=step.expected_session or "",
        id=first.session,
        created=int(min(map(_began, maybe))),
        socket=str(answer.socket),
        agent=step.label,
        server_pid=first.server_pid,
        server_started=answer.server_started if first.server_pid == answer.server_pid else 0,
        panes=tuple(dict.fromkeys(said.pane for said in panes_said)),
        told_by=frozenset({owner}),
        ended_at=time.time(),
    )
    return Leftover(session, f"{_called(processes)} of it still {runs}: kill it")


def _may_be_of(step: Step, pane: list[Stray]) -> bool:
    """Whether the processes of a pane may be an agent's, as far as they tell."""
    if _who(step) in _may_write_for(pane):
        return True
    if _writes_for(pane) or pane[0].said is None:
        return False
    started = _started(step)
    # A session made longer before than that is never taken for its own.
    return started is None or _began(pane) >= started - Policy().session_early_limit


def _is_ended_by(step: Step, pane: list[Stray]) -> bool:
    """Whether a step looks at the processes of a pane itself, and says what it leaves."""
    earlier, said = step.earlier, pane[0].said
    if earlier is None or said is None or pane[0].is_former:
        return False
    return said.server_pid == earlier.server_pid and said.pane in earlier.panes


def _is_of(step: Step, pane: list[Stray]) -> bool:
    """Whether the processes of a pane are surely an agent's, and no other's.

    One of them writes its output. That alone may be whoever started it, and many others;
    but this pane began as it did.
    """
    started = _started(step)
    return (
        _writes_for(pane) == {_who(step)}
        and all(each.said is not None and each.said.pane for each in pane)
        and _may_write_for(pane) == _writes_for(pane)
        and not any(each.is_former or not each.is_here for each in pane)
        and started is not None
        and any_fits([started], _began(pane))
    )


def _writes_for(pane: Iterable[Stray]) -> frozenset[Agent]:
    return frozenset[Agent]().union(*(each.writes_for for each in pane))


def _may_write_for(pane: Iterable[Stray]) -> frozenset[Agent]:
    return frozenset[Agent]().union(*(each.may_write_for for each in pane))


def _began(pane: Iterable[Stray]) -> float:
    return min(each.began for each in pane)


def _who(step: Step) -> Agent:
    if step.source is not None:
        return step.source.directory, step.label
    return (step.row.key.registry.parent if step.row is not None else Path()), step.label


def _started(step: Step) -> float | None:
    """When an agent started, as its registry says; None where that tells nothing."""
    started = step.row.record.started if step.row is not None else None
    return started if started is not None and started <= time.time() else None


def _called(processes: list[Stray]) -> str:
    first = [each.process for each in processes[:_NAMED_AT_MOST]]
    named = [f"{shown_name(each.name)} ({each.pid})" for each in first]
    others = set[int]().union(*(each.users for each in processes)) - {os.getuid()}
    more = len(processes) - len(named)
    count = some(len(processes), "process", "processes")
    users = ", ".join(shown_name(user_name(each)) for each in sorted(others))
    of_others = f" (of user {users})" if users else ""
    return f"{count} {', '.join(named)}{f' and {more} more' if more else ''}{of_others}"


def why_not_recorded(step: Step, socket: Path) -> str:
    """Why an agent is not called dead after a kill that left processes alone, and what to do."""
    return (
        "not recorded, for what is left alone may be its: end that and kill it again, "
        f"or, if it is not, {completing(step, socket)}"
    )


def completing(step: Step, socket: Path) -> str:
    """How to write down the end of one agent alone; from whatever directory that is run.

    Args:
        step: Of the agent.
        socket: The tmux socket that was asked.
    """
    options = [("-S", str(socket))]
    if step.row is not None:
        options.insert(0, ("-w", str(step.row.key.registry)))
    line = command_line("muster", "complete", names=[step.label], options=options)
    return f"`{line}`" if line else "complete this agent alone"


def _why(step: Step, processes: list[Stray], socket: Path) -> str:
    pids = ",".join(str(each.process.pid) for each in processes)
    outlived = "outlived the tmux server or session that started them"
    if any(each.said is None for each in processes):
        outlived = f"{'writes' if len(processes) == 1 else 'write'} its output"
    return (
        f"{_called(processes)} {outlived}, and may "
        f"be its: see `ps -fp {pids}`. If so, end them and kill it again; if not, "
        f"{completing(step, socket)}"
    )


def with_leftovers(plan: Plan, found: Mapping[Step, Leftover]) -> Plan:
    """A plan to kill that ends what is surely left of agents too.

    Args:
        plan: A plan to kill.
        found: What `find_leftovers` found of its steps.
    """
    steps = tuple(
        replace(step, earlier=left.session, says=_OWN)
        if (left := found.get(step)) is not None and left.session is not None
        else step
        for step in plan.steps
    )
    return replace(plan, steps=steps)
