"""Plans and outcomes as text and as JSON. Pure; no screen, no Textual."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from registry.text import shown_name, whole_name
from tui.actions.outcome import Outcome
from tui.actions.plan import Footprint, Plan
from tui.actions.preview import Preview, grouped
from tui.text.sanitize import harmless


def plan_json(plan: Plan) -> dict[str, Any]:
    """A plan as JSON."""
    ending = frozenset(plan.ending)
    return {
        "action": plan.verb.value,
        "status": plan.status,
        "socket": str(plan.socket),
        "steps": [
            {
                "agent": step.label,
                "session": step.session.name if step.session else None,
                "does": step.says,
                **_weight_json(step.footprint if step in ending else Footprint(0, 0)),
            }
            for step in plan.steps
        ],
        "sessions": plan.sessions,
        **_weight_json(plan.footprint),
        "second_question": "\n".join(each.asks for each in plan.questions) or None,
        "questions": [{"asks": each.asks, "option": each.option} for each in plan.questions],
        **refused_and_files(plan.preview()),
    }


def _weight_json(footprint: Footprint | None) -> dict[str, int | None]:
    """Processes, and bytes of memory that they hold; null where that cannot be told."""
    return {
        "processes": footprint.processes if footprint else None,
        "memory": footprint.memory if footprint else None,
    }


def undo_json(action_id: str, preview: Preview) -> dict[str, Any]:
    """What taking an action back will do, as JSON."""
    return {
        "action": "undo",
        "undoes": action_id,
        "steps": [{"agent": label, "does": says} for label, says in preview.steps],
        **refused_and_files(preview),
    }


def refused_and_files(preview: Preview) -> dict[str, Any]:
    """What every plan has in JSON: who or what stays as it is, and what changes."""
    return {
        "refused": [{"agent": label, "reason": reason} for label, reason in preview.refused],
        "files": [str(path) for path in preview.files],
    }


def proposal_lines(preview: Preview) -> Iterator[str]:
    """What will be done, as lines of text."""
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
        yield from (harmless(each.asks) for each in preview.questions)


def refused_lines(preview: Preview) -> Iterator[str]:
    """Who or what stays as it is, and why, as lines of text."""
    if preview.refused:
        yield "Not touched:"
        for label, reason in preview.refused:
            yield f"  {whole_name(label)}: {harmless(reason)}"


def outcome_json(outcome: Outcome, preview: Preview) -> dict[str, Any]:
    """What became of a proposal, as JSON."""
    return {
        "action": outcome.verb.value,
        "complete": outcome.complete,
        "agents": [
            {"agent": each.label, "result": each.result.value, "detail": each.detail}
            for each in outcome.steps
        ],
        "refused": refused_and_files(preview)["refused"],
        "written": [str(path) for path in outcome.written],
        "problems": list(outcome.problems),
    }


def outcome_lines(outcome: Outcome) -> Iterator[str]:
    """An outcome as lines of text, agent by agent."""
    for each in outcome.steps:
        detail = f" ({harmless(each.detail)})" if each.detail else ""
        yield f"{each.result.value}: {whole_name(each.label)}{detail}"
    for problem in outcome.problems:
        yield f"problem: {harmless(problem)}"
