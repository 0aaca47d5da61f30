"""Changes of the roll as text and as JSON. Pure; no screen, no Textual."""

from __future__ import annotations

from typing import Any

from registry.text import shown_name
from tui.text.sanitize import harmless, named
from tui.view.diff import (
    AgentChange,
    Change,
    OrphanChange,
    RegistryChange,
    TmuxChange,
    state_of,
)


def change_json(change: Change) -> dict[str, Any]:
    """What a change is about, in the shape that `muster watch --json` promises."""
    match change:
        case AgentChange(_, row, task, changed):
            return {
                "agent": row.record.id,
                "task": task,
                "registry": str(row.key.registry),
                "ordinal": row.key.ordinal,
                **state_of(row),
                "note": row.note or None,
                "changed": {name: list(values) for name, values in changed.items()},
            }
        case OrphanChange(_, session):
            return {"session": session.name, "created": session.created}
        case TmuxChange(before, state, detail):
            return {"state": state.value, "detail": detail, "before": before.value}
        case RegistryChange(_, path, error):
            return {"registry": str(path), "error": error}


def change_words(change: Change) -> str:
    """A change in one harmless line."""
    match change:
        case AgentChange(event, row, task, changed):
            who = f"{named(row.record.id)} ({shown_name(task)})"
            if event == "agent-changed":
                said = ", ".join(
                    f"{name} {_value(was)} → {_value(now)}" for name, (was, now) in changed.items()
                )
            else:
                said = event.removeprefix("agent-") + f": {row.verdict}"
                said += f", {harmless(row.record.status or '-', 40)}"
            note = f"; {harmless(row.note, 400)}" if row.note and "verdict" in changed else ""
            return f"{who}: {said}{note}"
        case OrphanChange(event, session):
            return f"orphan {shown_name(session.name)}: {event.removeprefix('orphan-')}"
        case TmuxChange(before, state, detail):
            return f"tmux: {before} → {state} ({harmless(detail)})"
        case RegistryChange(event, path, error):
            said = "is gone" if event == "registry-gone" else "can be read again"
            said = said if error is None else f"cannot be read: {error}"
            return f"{shown_name(path)}: {harmless(said)}"


def _value(value: str | float | None) -> str:
    if value is None:
        return "-"
    return harmless(value or "-", 40) if isinstance(value, str) else f"{value:g}"
