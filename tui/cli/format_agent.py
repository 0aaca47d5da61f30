"""Formats everything about one agent as text and as JSON. Pure; does not import Textual."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from registry.agent_output import AgentFinding, ProgressReport
from registry.audit import Entry, Log
from registry.dataclass import dataclass
from tui.actions.audit_text import log_lines
from tui.cli.format_roll import SCHEMA
from tui.details.fields import Field, agent_fields
from tui.details.output_text import record_lines
from tui.details.sources import Fields
from tui.model.roll import AgentRow, TaskRoll
from tui.text.sanitize import harmless

_ACTIONS = 5
"""How many audited actions of an agent are shown."""


@dataclass(frozen=True, slots=True)
class About:
    """Everything about one agent at one moment.

    Attributes:
        row: The agent in the roll call.
        task: The agent's task.
        more: Data from the agent's files and registries.
        reports, findings: The last progress reports and findings.
        log: The whole audit log.
        actions: The entries of the audit log about this agent.
        problems: Messages about data that could not be read.
    """

    row: AgentRow
    task: TaskRoll
    more: Fields
    reports: tuple[ProgressReport, ...]
    findings: tuple[AgentFinding, ...]
    log: Log
    actions: tuple[Entry, ...]
    problems: tuple[str, ...]

    def fields(self, now: float) -> Iterator[Field]:
        """Yields the fields that the Overview tab of the monitor shows too."""
        return agent_fields(self.row, self.task, self.more, now)


def about_json(about: About, now: float) -> dict[str, Any]:
    """Returns the document of `muster show --json`.

    Args:
        about: The agent.
        now: Seconds since the epoch.
    """
    keys = {(entry.action_id, entry.part) for entry in about.actions}
    document: dict[str, Any] = {"schema": SCHEMA}
    for field in about.fields(now):
        document.update(field.data)
    return {
        **document,
        "entry": about.more.entry or {},
        "listed": about.more.listed,
        "progress": [asdict(report) for report in about.reports],
        "findings": [asdict(finding) for finding in about.findings],
        "audit": [r for r in about.log.records if (r.get("id"), r.get("part")) in keys],
        "problems": list(about.problems),
    }


def about_lines(about: About, now: float) -> Iterator[str]:
    """Yields the lines of `muster show`; control characters in them are escaped.

    Args:
        about: The agent.
        now: Seconds since the epoch.
    """
    yield from _columns([field for field in about.fields(now) if field.label or field.value])
    for name, records in (("progress", about.reports), ("findings", about.findings)):
        lines = [line for record in records for line in record_lines(record)]
        yield from _section(f"{name}, the last {len(records)}", lines)
    actions = about.actions[-_ACTIONS:]
    yield from _section(
        f"actions in the audit log, the last {len(actions)} of {len(about.actions)}",
        log_lines(about.log, actions),
    )
    yield from _section("problems", map(harmless, about.problems))


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    shown = list(lines)
    if shown:
        yield ""
        yield f"{title}:"
        yield from (f"  {line}".rstrip() for line in shown)


def _columns(fields: list[Field]) -> Iterator[str]:
    # The parts of a field have long labels, which would make the first column too wide.
    wide = max((len(field.label) for field in fields if not field.level), default=0)
    for field in fields:
        indent = "  " * field.level
        if not field.label:
            yield f"{indent}{field.value}".rstrip()
        else:
            room = 0 if field.level else wide
            yield f"{indent}{field.label:<{room}}  {field.value}".rstrip()
