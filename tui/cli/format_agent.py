"""Everything about one agent, as text and as JSON. Pure; no screen, no Textual."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from registry.agent_output import AgentFinding, ProgressReport
from registry.audit import Entry, Log
from tui.actions.audit_text import log_lines
from tui.cli.format_roll import SCHEMA
from tui.details.fields import Field, agent_fields
from tui.details.output_text import record_lines
from tui.details.sources import Fields
from tui.model.roll import AgentRow, TaskRoll
from tui.text.sanitize import harmless

_ACTIONS = 5
"""Actions on an agent that are shown."""


@dataclass(frozen=True, slots=True)
class About:
    """Everything about one agent at one moment.

    Attributes:
        row: The agent on the roll.
        task: Its task.
        more: What was read of it; without an entry if the task's registry cannot be read.
        reports, findings: The last ones.
        log: All that is on record; `actions` are the ones about this agent.
        problems: What could not be read, in words.
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
        """What the panel's overview says of it as well."""
        return agent_fields(self.row, self.task, self.more, now)


def about_json(about: About, now: float) -> dict[str, Any]:
    """In the shape that `muster show --json` promises.

    Args:
        about: The agent.
        now: Seconds since the epoch.
    """
    keys = {(each.action_id, each.part) for each in about.actions}
    document: dict[str, Any] = {"schema": SCHEMA}
    for field in about.fields(now):
        document.update(field.data)
    return {
        **document,
        "entry": about.more.entry or {},
        "listed": about.more.listed,
        "progress": [asdict(each) for each in about.reports],
        "findings": [asdict(each) for each in about.findings],
        "audit": [r for r in about.log.records if (r.get("id"), r.get("part")) in keys],
        "problems": list(about.problems),
    }


def about_lines(about: About, now: float) -> Iterator[str]:
    """Line by line, harmless.

    Args:
        about: The agent.
        now: Seconds since the epoch.
    """
    yield from _columns(list(about.fields(now)))
    for name, records in (("progress", about.reports), ("findings", about.findings)):
        lines = [line for each in records for line in record_lines(each)]
        yield from _section(f"{name}, the last {len(records)}", lines)
    done = about.actions[-_ACTIONS:]
    yield from _section(
        f"done with muster, the last {len(done)} of {len(about.actions)}",
        log_lines(about.log, done),
    )
    yield from _section("problems", map(harmless, about.problems))


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    shown = list(lines)
    if shown:
        yield ""
        yield f"{title}:"
        yield from (f"  {line}".rstrip() for line in shown)


def _columns(fields: list[Field]) -> Iterator[str]:
    # Parts of a field would make the first column wide, and are under their own names.
    wide = max((len(each.label) for each in fields if not each.level), default=0)
    for each in fields:
        indent = "  " * each.level
        if not each.label:
            yield f"{indent}{each.value}".rstrip()
        else:
            room = 0 if each.level else wide
            yield f"{indent}{each.label:<{room}}  {each.value}".rstrip()
