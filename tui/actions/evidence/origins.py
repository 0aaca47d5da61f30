"""Finds out which processes a kill would end, for each step of a plan. Blocks."""

from __future__ import annotations

import math
import os
from pathlib import Path

from registry.audit import EndedSession
from registry.dataclass import replace
from registry.errors import RegistryError
from registry.storage import status_of
from tui.actions.plan import Plan, Step
from tui.host.process import process_tree
from tui.host.process.claims import Claim, users_believed
from tui.host.process.process_tree import Identity, Origin
from tui.host.tmux_types import TmuxSnapshot


def origins_of(
    plan: Plan, answer: TmuxSnapshot, spared: frozenset[Identity]
) -> dict[Step, Origin]:
    """Maps each step that ends processes to the features by which the processes are found.

    Steps on agents without a session are left out.

    Args:
        plan: The plan.
        answer: The latest snapshot of tmux.
        spared: See `Origin`.
    """
    origins = {}
    for step in plan.ending:
        if step.session is not None:
            origin = process_tree.origin_of(step.session, answer)
            origins[step] = replace(origin, spared=spared)
        elif step.earlier is not None:
            owner = owner_of(plan, step)
            origins[step] = origin_of_ended(step.earlier, answer, owner, spared)
    return origins


def owner_of(plan: Plan, step: Step) -> int | None:
    """Returns the owner of an agent's registry; for an orphan, the owner of `Plan.home`.

    Returns:
        The user id; None if the owner cannot be known.
    """
    if step.row is not None:
        # Another user may have replaced the file after muster read it.
        return step.owner
    if plan.home is None:
        return None
    try:
        return status_of(plan.home).st_uid
    except (RegistryError, OSError):
        return None


def origin_of_ended(
    ended: EndedSession,
    answer: TmuxSnapshot,
    owner: int | None = None,
    spared: frozenset[Identity] = frozenset(),
) -> Origin:
    """Returns the features by which the remaining processes of an ended session are found.

    These features do not include a pane of an existing session. Because a pane id is unique only
    on one server, the pid and the start time of the server are compared, too.

    Args:
        ended: The session that was ended.
        answer: The latest snapshot of tmux.
        owner: The user id of the owner of the session's registry; None if the owner is not known.
        spared: See `Origin`.
    """
    same_pid = ended.server_pid == answer.server_pid
    # Each server numbers its panes from %0, so the ids of another server may be the same.
    sessions = answer.sessions.values() if same_pid else ()
    alive = {pane for session in sessions for pane in session.panes}
    panes = tuple(pane for pane in ended.panes if pane not in alive)
    if ended.server_pid is None or (same_pid and ended.server_started != answer.server_started):
        panes = ()
    claim = None
    if ended.told_by is not None:
        users = users_believed(ended.told_by, owner, os.geteuid())
        since = max(ended.created, ended.server_started)
        # Without the end time, no process can prove that it started before the session ended.
        claim = Claim(users, since, -math.inf if ended.ended_at is None else ended.ended_at)
    # The session's own server may still run.
    same = same_pid and ended.server_started == answer.server_started
    began = answer.server_began if same else None
    # The session's id may now be the id of an existing session, or of another server's session.
    known = same or not same_pid
    exists = same and ended.id in {session.id for session in sessions}
    session_id = ended.id if known and panes and not exists else None
    return Origin(
        (),
        panes,
        Path(ended.socket),
        ended.server_pid,
        claim,
        began,
        session_id,
        is_listed=same,
        spared=spared,
    )
