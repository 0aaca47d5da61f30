"""Tells what the orchestrator does after the last active agent of a phase was ended. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from registry.dataclass import dataclass
from registry.schema import is_terminal
from registry.sources import Dialect
from registry.text import shown_name
from tui.model.roll import AgentKey, TaskRoll

_NEXT = {
    "ACTIVE": "submit_phase_for_review",
    "FIXING": "mark_revision_ready",
}
"""Maps the status of a phase to the orchestrator's tool that starts the review of the phase."""


@dataclass(frozen=True, slots=True)
class PhaseNote:
    """A remark about a phase whose last active agents a plan ends.

    Attributes:
        text: The remark.
        agents: The agents of the phase that the plan ends.
    """

    text: str
    agents: frozenset[AgentKey]


def phase_notes(tasks: Iterable[TaskRoll], ended: Collection[AgentKey]) -> tuple[PhaseNote, ...]:
    """Returns a remark for each phase of which a plan ends the last active agents.

    Args:
        tasks: All tasks in the roll call.
        ended: The agents that get a terminal status.
    """
    return tuple(note for task in tasks for note in _notes(task, frozenset(ended)))


def _notes(task: TaskRoll, ended: frozenset[AgentKey]) -> Iterator[PhaseNote]:
    record = task.state.record
    if record is None or task.state.source.dialect is not Dialect.SQLITE:
        return
    for number, phase in record.phases.items():
        tool = _NEXT.get(phase.status)
        agents = [row for row in task.agents if row.record.phase == number]
        active = {row.key for row in agents if not is_terminal(row.record.meaning)}
        if tool is None or not active or not active <= ended:
            continue
        name = f" ({shown_name(phase.name)})" if phase.name else ""
        yield PhaseNote(
            f"After this, phase {number + 1} of {len(record.phases)}{name} of "
            f"{shown_name(task.task_id)} has no active agent. The orchestrator starts the review "
            "of a phase when an agent itself reports its end, not after a change by muster. To "
            f"start the review, call the orchestrator's tool {tool}.",
            frozenset(active),
        )
