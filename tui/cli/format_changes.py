"""Formats changes of the roll call as text and as JSON. Pure; does not import Textual."""

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
    """Returns the fields of a change in `muster watch --json`, without `event` and `at`."""
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
    """Returns one line that describes a change; control characters in it are escaped."""
    match change:
        case AgentChange(event, row, task, changed):
            agent = f"{named(row.record.id)} ({shown_name(task)})"
            if event == "agent-changed":
                text = ", ".join(
                    f"{name} {_value(was)} → {_value(now)}" for name, (was, now) in changed.items()
                )
            else:
                text = event.removeprefix("agent-") + f": {row.verdict}"
                text += f", {harmless(row.record.status or '-', 40)}"
            note = f"; {harmless(row.note, 400)}" if row.note and "verdict" in changed else ""
            return f"{agent}: {text}{note}"
        case OrphanChange(event, session):
            return f"orphan {shown_name(session.name)}: {event.removeprefix('orphan-')}"
        case TmuxChange(before, state, detail):
            return f"tmux: {before} → {state} ({harmless(detail)})"
        case RegistryChange(event, path, error):
            text = "is gone" if event == "registry-gone" else "can be read again"
            text = text if error is None else f"cannot be read: {error}"
            return f"{shown_name(path)}: {harmless(text)}"


def _value(value: str | float | None) -> str:
    if value is None:
        return "-"
    return harmless(value or "-", 40) if isinstance(value, str) else f"{value:g}"
