"""Creates records of an audit log, and reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from registry import Audit, AuditContext, FinishReport, finish_agents
from registry.audit import log as audit
from registry.audit.diff import Reverted
from registry.audit.entries import Entry, Log, intent, line
from registry.audit.undo import last_actions, take_back, undoables


def last_action(log: Log) -> str | None:
    """Returns the id of the last action that was not undone, or None."""
    return next(last_actions(log), None)


def numbered_record(name: str, number: int) -> bytes:
    """Returns a record of one writer. Some records are longer than a page."""
    reason = f"{number} " * (2000 if number % 10 == 3 else 5)
    return line(intent(Entry(name, number, "", "complete", reason, audit.who())))


def raw(log: Path) -> list[dict[str, Any]]:
    """Returns the records of a log file, read without the library; all lines must be complete."""
    text = log.read_text("ascii")
    assert text.endswith("\n")
    return [json.loads(each) for each in text.splitlines()]


def complete(task: Path, global_: Path | None, *ids: str, **options: Any) -> FinishReport:
    """Gives agents the status completed, and logs the action."""
    on_record = AuditContext(Audit("complete", "they are through"))
    return finish_agents(task, global_, ids, status="completed", on_record=on_record, **options)


def entries(task: Path) -> tuple[Entry, ...]:
    """Returns all entries of the audit log of a task's workspace."""
    return audit.read_log(audit.log_of(task)).entries


def undo(*known: Path, action: str | None = None) -> list[Reverted]:
    """Undoes the given action, or the last one; returns the result of each step."""
    log = audit.read_log(audit.log_of(known[0]))
    action = action or last_action(log)
    assert action is not None
    steps = undoables(log, action, known)
    return [take_back(each, Audit("undo", "a mistake")).result for each in steps]
