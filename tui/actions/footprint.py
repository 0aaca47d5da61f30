"""Plans kills with data of this host: the processes, and the logs of earlier kills. Blocks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from registry.audit import EndedSession, log_in, read_logs
from registry.dataclass import replace
from registry.errors import RegistryError
from registry.sources import TaskSource
from registry.storage import outsider_of
from tui.actions.evidence.collect import evidence_of_roll, looked_at
from tui.actions.evidence.leftovers import with_leftovers
from tui.actions.evidence.origins import origins_of
from tui.actions.plan import Footprint, Plan, Step
from tui.actions.plan_kill import plan_kill
from tui.actions.preconditions import KILL, checked
from tui.actions.questions import trusted_users, with_questions
from tui.host.process import process_tree
from tui.host.process.claims import ROOT
from tui.host.process.socket_path import is_logged_socket
from tui.host.tmux_types import Session, TmuxSnapshot
from tui.model.roll import AgentRow, RollCall
from tui.text.sanitize import size


def weighed_kill(
    roll: RollCall,
    rows: Iterable[AgentRow],
    orphans: Iterable[Session] = (),
    *,
    whole: bool = False,
    all_orphans: bool = False,
) -> Plan:
    """Plans a kill like `plan_kill`, but with data of this host.

    The plan also ends the processes that remained after earlier kills. Each step gets the number
    and the memory of the processes that it ends.

    Args:
        roll: The roll call.
        rows: The agents to kill.
        orphans: The orphaned sessions to end.
        whole: See `plan_kill`.
        all_orphans: Whether the plan also ends processes of orphans that remained after earlier
            kills.
    """
    rows = tuple(rows)
    homes = [workspace.path for workspace in roll.workspaces] if all_orphans else []
    tasks = {row.key.registry: roll.task_of(row.key) for row in rows}
    logs = {task.state.source.audit_log for task in tasks.values() if task is not None}
    logs |= set(map(log_in, homes))
    unread: tuple[tuple[str, str], ...] = ()
    unfinished: tuple[EndedSession, ...] = ()
    try:
        log = read_logs(sorted(logs))
        unfinished = log.unfinished_ends
        if log.left_out:
            why = f"{size(log.left_out)} of older records were not read: the log is too large"
            unread = ((_EARLIER_KILLS, why),)
        unread += tuple((_EARLIER_KILLS, f"cannot be known: {error}") for error in log.unread)
    except (RegistryError, OSError) as error:
        unread = ((_EARLIER_KILLS, f"cannot be known: {error}"),)
    ended = [session for session in unfinished if all_orphans and _is_left(session, roll.answer)]
    plan = plan_kill(
        roll,
        rows,
        orphans,
        whole=whole,
        unfinished=unfinished,
        ended_orphans=ended,
    )
    plan = checked_kill(plan, roll)
    return with_footprints(replace(plan, refused=(*plan.refused, *unread)), roll.answer)


_EARLIER_KILLS = "leftovers of earlier kills"


def checked_kill(plan: Plan, roll: RollCall) -> Plan:
    """Returns a plan to kill in which the steps that fail a check are refused. Blocks.

    If the session of an agent is gone, the returned plan also ends the running processes that
    certainly belong to this agent.

    Args:
        plan: The result of `plan_kill`.
        roll: The roll call of the plan.
    """
    sessions = [step.session for step in plan.steps if step.session is not None]
    evidence = looked_at(plan, evidence_of_roll(roll, sessions))
    plan = with_leftovers(plan, evidence.leftovers)
    plan = checked(plan, KILL, evidence)
    return with_questions(plan, roll, _outsiders(plan, trusted_users(roll.answer)))


def _outsiders(plan: Plan, trusted: Collection[int]) -> dict[Path, str]:
    """Returns the registries that an untrusted user may write, each with one such user."""
    sources = {
        step.row.key.registry: step.source
        for step in plan.steps
        if step.session is not None and step.row is not None
    }
    outsiders: dict[Path, str] = {}
    for registry, source in sources.items():
        _add(outsiders, registry, source, trusted)
    for step in plan.steps:
        if step.process is not None and step.row is not None and step.owner is not None:
            # The owner of the registry is also the user of the process.
            _add(outsiders, step.row.key.registry, step.source, {ROOT, step.owner})
    return outsiders


def _add(
    outsiders: dict[Path, str], registry: Path, source: TaskSource | None, trusted: Collection[int]
) -> None:
    """Adds a user or group that may write one of the files that list a task's agents."""
    for path in (registry,) if source is None else source.listing:
        other = outsider_of(path, trusted)
        if other is not None:
            outsiders.setdefault(registry, other)


def _is_left(ended: EndedSession, answer: TmuxSnapshot) -> bool:
    """Returns whether a session that was ended was an orphan on this socket, and is gone now."""
    if ended.agent is not None or ended.name in answer.sessions:
        return False
    return is_logged_socket(ended.socket, answer.socket)


def with_footprints(plan: Plan, answer: TmuxSnapshot) -> Plan:
    """Adds to each step of a plan the number and the memory of the processes that the step ends.

    If muster cannot see the processes of the tmux server, the plan is returned unchanged.
    """
    origins = origins_of(plan, answer, plan.spared)
    roots = {
        step: step.process.identity
        for step in plan.ending
        if step.process is not None and step.process.identity is not None
    }
    if not (origins or roots) or answer.foreign_pids:
        return plan
    try:
        by_step = process_tree.processes_of(origins) if origins else {}
        by_step |= process_tree.processes_from(roots, plan.spared) if roots else {}
    except OSError:
        return plan
    describe = describe_servers(by_step.values())
    return replace(
        plan,
        steps=tuple(
            replace(
                step,
                footprint=_footprint(by_step[step].processes),
                says=step.says + describe(by_step[step]) + _left_alone_by(step, by_step[step]),
            )
            if step in by_step
            else step
            for step in plan.steps
        ),
    )


def describe_servers(held: Iterable[process_tree.Held]) -> Callable[[process_tree.Held], str]:
    """Describes the tmux servers that were started in sessions. Blocks.

    A kill of the sessions does not end these servers.

    Args:
        held: The processes of the sessions.

    Returns:
        A function that returns the text about the servers of one session. The text is empty if no
        server was started in the session.
    """
    pids = {pid for session in held for pid in (*session.servers, *session.perhaps)}
    pids = {pid for pid in pids if process_tree.begun(pid) is not None}
    described: dict[int, str] = {}
    if pids:
        # Imported here, because most sessions have not started a server.
        from tui.host.tmux_servers import described_server

        described = {pid: described_server(pid) for pid in pids}

    def describe(session: process_tree.Held) -> str:
        started = [(pid, "started") for pid in session.servers]
        started += [(pid, "may have started") for pid in session.perhaps]
        return "".join(
            f"; the session {verb} {described[pid]}, which continues"
            for pid, verb in started
            if pid in described
        )

    return describe


def left_alone(held: process_tree.Held) -> str:
    """Returns a text about the processes that a kill leaves running.

    It is not certain that these processes belong to the session.
    """
    return f"; left alone: {'; '.join(held.doubts)}" if held.doubts else ""


def _left_alone_by(step: Step, held: process_tree.Held) -> str:
    text = left_alone(held)
    if not text or not step.writes:
        return text
    return f"{text}; while these processes run, the agent does not get the status terminated"


def _footprint(processes: Iterable[process_tree.Process]) -> Footprint:
    return sum((Footprint(1, process.memory) for process in processes), Footprint(0, 0))
