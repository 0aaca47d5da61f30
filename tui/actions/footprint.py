"""What a plan to kill needs to know of the host before it is shown. Blocks."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from registry.audit import EndedSession, log_in, read_logs
from registry.errors import RegistryError
from registry.storage import status_of
from tui.actions.evidence import evidence_of_roll, looked_at
from tui.actions.leftovers import with_leftovers
from tui.actions.plan import Footprint, Plan, Step
from tui.actions.plan_kill import plan_kill
from tui.actions.preconditions import KILL, checked
from tui.actions.questions import with_questions
from tui.host import process_tree
from tui.host.claims import Claim, users_believed
from tui.host.process_tree import Origin
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
    """Plans a kill as `plan_kill` does, with what earlier kills left, and weighs it.

    Args:
        roll: The roll call.
        rows: Which agents.
        orphans: Which orphaned sessions.
        whole: As in `plan_kill`.
        all_orphans: Finish all orphans that an earlier kill did not end with all processes.
    """
    rows = tuple(rows)
    homes = [workspace.path for workspace in roll.workspaces] if all_orphans else []
    tasks = {row.key.registry: roll.task_of(row.key) for row in rows}
    logs = {each.state.source.audit_log for each in tasks.values() if each is not None}
    logs |= set(map(log_in, homes))
    unread: tuple[tuple[str, str], ...] = ()
    unfinished: tuple[EndedSession, ...] = ()
    try:
        log = read_logs(sorted(logs))
        unfinished = log.unfinished_ends
        if log.left_out:
            why = f"{size(log.left_out)} of older records were not read: the log is too large"
            unread = (("what earlier kills left", why),)
    except (RegistryError, OSError) as error:
        unread = (("what earlier kills left", f"cannot be known: {error}"),)
    ended = [each for each in unfinished if all_orphans and _is_left_over(each, roll.answer)]
    plan = plan_kill(
        roll,
        rows,
        orphans,
        whole=whole,
        unfinished=unfinished,
        ended_orphans=ended,
    )
    plan = checked_kill(plan, roll)
    return weigh(replace(plan, refused=(*plan.refused, *unread)), roll.answer)


def checked_kill(plan: Plan, roll: RollCall) -> Plan:
    """A plan to kill without what this host has something against. Blocks.

    What is surely left of agents whose session is gone is ended, too.

    Args:
        plan: What `plan_kill` returned.
        roll: What it was made of.
    """
    sessions = [step.session for step in plan.steps if step.session is not None]
    evidence = looked_at(plan, evidence_of_roll(roll, sessions))
    plan = with_leftovers(plan, evidence.leftovers)
    return with_questions(checked(plan, KILL, evidence), roll)


def _is_left_over(ended: EndedSession, answer: TmuxSnapshot) -> bool:
    """Whether an ended session was an orphan of this server's that is not there again."""
    here = ended.socket == str(answer.socket)
    return here and ended.agent is None and ended.name not in answer.sessions


def weigh(plan: Plan, answer: TmuxSnapshot) -> Plan:
    """A plan that knows how many processes will be ended, and what they hold.

    Args:
        plan: A plan to kill.
        answer: What tmux said; where its server cannot be seen nothing can be told.
    """
    origins = _origins(plan, answer)
    if not origins or answer.foreign_pids:
        return plan
    try:
        found = process_tree.processes_of(origins)
    except OSError:
        return plan
    going_on = servers_going_on(found.values())
    return replace(
        plan,
        steps=tuple(
            replace(
                step,
                footprint=_weight(found[step].processes),
                says=step.says + going_on(found[step]) + _left_alone_by(step, found[step]),
            )
            if step in found
            else step
            for step in plan.steps
        ),
    )


def servers_going_on(held: Iterable[process_tree.Held]) -> Callable[[process_tree.Held], str]:
    """What to say of the tmux servers that sessions started, which outlive them. Blocks.

    Args:
        held: What belongs to the sessions.

    Returns:
        Says it of one of them, to follow what is said of it; empty if there is none.
    """
    pids = {pid for each in held for pid in (*each.servers, *each.perhaps)}
    pids = {pid for pid in pids if process_tree.begun(pid) is not None}
    described: dict[int, str] = {}
    if pids:
        # Not at the top: most sessions have started none.
        from tui.host.tmux_servers import described_server

        described = {pid: described_server(pid) for pid in pids}

    def say(each: process_tree.Held) -> str:
        started = [(pid, "started") for pid in each.servers]
        started += [(pid, "may have started") for pid in each.perhaps]
        return "".join(
            f"; it {how} {described[pid]}, which goes on"
            for pid, how in started
            if pid in described
        )

    return say


def left_alone(held: process_tree.Held) -> str:
    """What to say of processes that may belong to a session, which they do not prove."""
    return f"; left alone: {'; '.join(held.doubts)}" if held.doubts else ""


def _left_alone_by(step: Step, held: process_tree.Held) -> str:
    said = left_alone(held)
    return f"{said}; it is not marked while that runs" if said and step.writes else said


def _weight(held: Iterable[process_tree.Process]) -> Footprint:
    return sum((Footprint(1, each.memory) for each in held), Footprint(0, 0))


def _origins(plan: Plan, answer: TmuxSnapshot) -> dict[Step, Origin]:
    """What tells the processes of each step that ends any."""
    found = {}
    for step in plan.ending:
        if step.session is not None:
            found[step] = process_tree.origin_of(step.session, answer)
        elif step.earlier is not None:
            found[step] = origin_of_ended(step.earlier, answer, owner_of(plan, step))
    return found


def owner_of(plan: Plan, step: Step) -> int | None:
    """Who owns what a step is about: an agent's registry, or the workspace of an orphan.

    Returns:
        The user's number; None if that cannot be known.
    """
    if step.row is not None:
        # Of the file that was read: by now, another user may have put one of another's there.
        return step.owner
    if plan.home is None:
        return None
    try:
        return status_of(plan.home).st_uid
    except (RegistryError, OSError):
        return None


def origin_of_ended(ended: EndedSession, answer: TmuxSnapshot, owner: int | None = None) -> Origin:
    """What tells the processes that are left of a session that was ended before.

    Pane ids count within the life of one server, which its process and start tell
    apart; a pane that lives on in another session is not left over.

    Args:
        ended: The session.
        answer: What tmux said last.
        owner: Who owns the registry that it belongs to, if that is known.
    """
    same_pid = ended.server_pid == answer.server_pid
    # Another server counts its panes anew.
    sessions = answer.sessions.values() if same_pid else ()
    alive = {pane for session in sessions for pane in session.panes}
    panes = tuple(pane for pane in ended.panes if pane not in alive)
    if ended.server_pid is None or (same_pid and ended.server_started != answer.server_started):
        panes = ()
    claim = None
    if ended.told_by is not None:
        users = users_believed(ended.told_by, owner, os.geteuid())
        since = max(ended.created, ended.server_started)
        # Without a time nothing can prove that it began before it.
        claim = Claim(users, since, -math.inf if ended.ended_at is None else ended.ended_at)
    # The very server that had it may still run.
    same = same_pid and ended.server_started == answer.server_started
    began = answer.server_began if same else None
    # Its id is that of a session that is there, or of one on another server.
    known = same or not same_pid
    there = same and ended.id in {session.id for session in sessions}
    session_id = ended.id if known and panes and not there else None
    return Origin((), panes, Path(ended.socket), ended.server_pid, claim, began, session_id)
