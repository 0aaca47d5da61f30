"""Formats plans and outcomes as text and as JSON. Pure; does not import Textual."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from registry.text import shown_name, whole_name
from tui.actions.outcome import Outcome
from tui.actions.plan import Footprint, Plan
from tui.actions.preview import Preview, grouped
from tui.text.sanitize import harmless


def plan_json(plan: Plan) -> dict[str, Any]:
    """Returns a plan as JSON."""
    ending = frozenset(plan.ending)
    return {
        "action": plan.verb.value,
        "status": plan.status,
        "socket": str(plan.socket),
        "steps": [
            {
                "agent": step.label,
                "session": step.session.name if step.session else None,
                "pid": step.process.pid if step.process and step in ending else None,
                "status": plan.status_of(step) if step.writes else None,
                "does": step.says,
                **_footprint_json(step.footprint if step in ending else Footprint(0, 0)),
            }
            for step in plan.steps
        ],
        "sessions": plan.sessions,
        **_footprint_json(plan.footprint),
        "second_question": "\n".join(question.asks for question in plan.questions) or None,
        "questions": [
            {"asks": question.asks, "option": question.option} for question in plan.questions
        ],
        **refused_and_files(plan.preview()),
    }


def _footprint_json(footprint: Footprint | None) -> dict[str, int | None]:
    """Returns the number of processes, and their memory in bytes; None (null) if unknown."""
    return {
        "processes": footprint.processes if footprint else None,
        "memory": footprint.memory if footprint else None,
    }


def undo_json(action_id: str, preview: Preview) -> dict[str, Any]:
    """Returns the plan of an undo as JSON."""
    return {
        "action": "undo",
        "undoes": action_id,
        "steps": [{"agent": label, "does": says} for label, says in preview.steps],
        **refused_and_files(preview),
    }


def refused_and_files(preview: Preview) -> dict[str, Any]:
    """Returns two JSON fields of a plan: the refused agents, and the files that will change."""
    return {
        "refused": [{"agent": label, "reason": reason} for label, reason in preview.refused],
        "files": [str(path) for path in preview.files],
    }


def proposal_lines(preview: Preview) -> Iterator[str]:
    """Yields the lines that describe a plan."""
    yield harmless(preview.title) + (":" if preview.steps else "")
    for says, labels in grouped(preview.steps):
        if len(labels) == 1:
            yield f"  {harmless(labels[0])}: {harmless(says)}"
            continue
        yield f"  {harmless(says)}:"
        yield from (f"    {harmless(label)}" for label in labels)
    yield from refused_lines(preview)
    if preview.files:
        yield "Files that change:"
        for path in preview.files:
            yield f"  {shown_name(path)}"
    if preview.steps and preview.note:
        yield harmless(preview.note)
    if preview.steps:
        yield from map(harmless, preview.remarks)
        yield from (harmless(question.asks) for question in preview.questions)


def refused_lines(preview: Preview) -> Iterator[str]:
    """Yields lines about the agents and sessions that are not changed, with the reasons."""
    if preview.refused:
        yield "Not touched:"
        for label, reason in preview.refused:
            yield f"  {whole_name(label)}: {harmless(reason)}"


def outcome_json(outcome: Outcome, preview: Preview) -> dict[str, Any]:
    """Returns the outcome of a plan as JSON."""
    return {
        "action": outcome.verb.value,
        "complete": outcome.complete,
        "agents": [
            {"agent": step.label, "result": step.result.value, "detail": step.detail}
            for step in outcome.steps
        ],
        "refused": refused_and_files(preview)["refused"],
        "written": [str(path) for path in outcome.written],
        "problems": list(outcome.problems),
        "notes": list(outcome.notes),
    }


def outcome_lines(outcome: Outcome) -> Iterator[str]:
    """Yields an outcome as lines of text, one for each agent and problem."""
    for step in outcome.steps:
        detail = f" ({harmless(step.detail)})" if step.detail else ""
        yield f"{step.result.value}: {whole_name(step.label)}{detail}"
    for problem in outcome.problems:
        yield f"problem: {harmless(problem)}"
    for note in outcome.notes:
        yield f"note: {harmless(note)}"
