"""Finds processes that still run in sessions whose first process has ended. Blocks."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from registry.dataclass import replace
from registry.text import shown_name
from tui.actions.evidence.action_evidence import Leftover
from tui.actions.evidence.leftovers import completing, find_leftovers
from tui.actions.plan import Step
from tui.host.process import process_tree
from tui.host.tmux_types import Session, TmuxSnapshot, TmuxState
from tui.model.roll import Verdict
from tui.text.sanitize import some

_NAMED_AT_MOST = 5
"""The largest number of processes that one message names; further processes are only counted."""


def find_running(
    sessions: Mapping[Step, Session],
    answer: TmuxSnapshot,
    spared: Collection[process_tree.Identity] = (),
) -> dict[Step, Leftover]:
    """Finds running processes that may belong to zombies whose session exists.

    A zombie with such processes must be killed, and not only get a terminal status.

    Args:
        sessions: The present session of each step. Only the sessions of zombies are examined.
        answer: The latest snapshot of tmux. If the state of tmux is unknown, the result is empty.
        spared: The processes of other agents; see `Plan.spared`.
    """
    sessions = {step: session for step, session in sessions.items() if _is_zombie(step)}
    if not sessions or answer.state is TmuxState.UNKNOWN:
        return {}
    origins = {
        step: replace(process_tree.origin_of(now, answer), spared=frozenset(spared))
        for step, now in sessions.items()
    }
    try:
        by_step = process_tree.processes_of(origins)
    except OSError as error:
        why = f"it is not known whether its processes still run: {error}"
        return {step: Leftover(None, why) for step in sessions}
    # Processes outside the session may write the agent's output.
    running = find_leftovers(sessions, answer, spared, in_sessions=True)
    for step, held in by_step.items():
        if processes := held.processes + held.doubted:
            running[step] = Leftover(None, _why(step, processes, answer))
    return running


def _is_zombie(step: Step) -> bool:
    return step.row is not None and step.row.verdict is Verdict.ZOMBIE


def _why(step: Step, processes: tuple[process_tree.Process, ...], answer: TmuxSnapshot) -> str:
    named = [f"{shown_name(process.name)} ({process.pid})" for process in processes]
    more = f" and {len(named) - _NAMED_AT_MOST} more" if len(named) > _NAMED_AT_MOST else ""
    count = some(len(named), "process", "processes")
    subject = "this process belongs" if len(named) == 1 else "these processes belong"
    return (
        f"{count} may still run in the agent's session: "
        f"{', '.join(named[:_NAMED_AT_MOST])}{more}. If {subject} to the agent, "
        f"kill the agent; if not, {completing(step, answer.socket)}"
    )
