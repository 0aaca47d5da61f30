"""Describes findings and their repairs in words. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from registry.checks import Issue, IssueKind
from registry.text import shown_name, whole_name
from tui.actions.preview import Preview
from tui.doctor.examine import Examination
from tui.text.sanitize import some


def by_file(findings: Iterable[Issue]) -> Mapping[str, list[Issue]]:
    """Maps the path of each file to its findings; "tmux sessions" stands for no file."""
    grouped: dict[str, list[Issue]] = {}
    for finding in findings:
        place = str(finding.file) if finding.file is not None else "tmux sessions"
        grouped.setdefault(place, []).append(finding)
    return grouped


def description(finding: Issue) -> str:
    """Returns a line about a finding: the agent, the field and the problem."""
    names = [finding.agent, finding.field if finding.field != "agents" else None]
    if finding.kind is IssueKind.ORPHAN:
        names = [str(finding.found)]
    subject = ", ".join(shown_name(name) for name in names if name)
    return f"{subject}: {finding.says}" if subject else finding.says


def label(finding: Issue) -> str:
    """Returns a short name for what a finding is about: an agent, a session, a field or a file."""
    if finding.agent is not None:
        return finding.agent or "(no id)"
    if finding.kind is IssueKind.ORPHAN:
        return str(finding.found)
    if finding.kind is IssueKind.UNKNOWN_STATUS:
        return f"status {shown_name(finding.found)}"
    file = finding.file.parent.name if finding.file is not None else ""
    return f"{file}/{finding.field}" if finding.field else f"{file}/{_name(finding)}"


def _name(finding: Issue) -> str:
    return finding.file.name if finding.file is not None else ""


def repair(finding: Issue) -> str:
    """Returns a description of how `--fix` repairs a fixable finding."""
    match finding.kind:
        case IssueKind.JOURNAL:
            return "complete or roll back the interrupted commit"
        case IssueKind.UNREADABLE:
            return (
                "replace the broken text by the valid state that muster kept; another file keeps "
                "the broken text, and undo restores the broken text"
            )
        case IssueKind.NOT_IN_GLOBAL:
            return "copy the agent's entry from the task's registry to the global registry"
        case IssueKind.LOST:
            status, parent = shown_name(finding.fix["status"]), shown_name(finding.fix["parent"])
            return (
                f"list the agent again, with status {status} and parent {parent}, as the agent's "
                "files prove"
            )
        case IssueKind.NOT_LISTED:
            return "list the task in the global registry"
        case IssueKind.HIERARCHY if not finding.fix:
            return "remove the agent from agent_hierarchy"
        case IssueKind.HIERARCHY:
            return f"list the agent only under {shown_name(finding.fix[0])} in agent_hierarchy"
        case IssueKind.ZOMBIE | IssueKind.STATUS if finding.reported:
            # The session of a zombie is gone.
            session = "; no session is ended" if finding.kind is IssueKind.STATUS else ""
            return (
                f"set the agent's status to {finding.fix}, as the agent reported, with the "
                f"agent's message as the reason{session}"
            )
        case IssueKind.STATUS:
            return f"write status {_value(finding.fix)} in the global registry"
        case IssueKind.ZOMBIE:
            return "set the agent's status to terminated, with the reason session_not_found"
        case _:
            return f"write {finding.field} {_value(finding.fix)}"


def _value(value: Any) -> str:
    return json.dumps(value)[:80]


def propose_fix(examination: Examination) -> Preview:
    """Returns the plan of `muster doctor --fix`, which the user must confirm."""
    fixable = examination.fixable
    files: dict[Path, None] = {}
    for finding in fixable:
        if finding.file is not None:
            files[finding.file] = None
    files |= dict.fromkeys(examination.zombies.files)
    return Preview(
        f"Repair {some(len(fixable), 'finding')}" if fixable else "Nothing that --fix can repair",
        tuple((whole_name(label(finding)), repair(finding)) for finding in fixable),
        tuple(
            (label(finding), finding.advice)
            for finding in examination.findings
            if not finding.fixable
        ),
        tuple(files),
        f"tmux was queried at {shown_name(examination.roll.answer.socket)}."
        if examination.zombies.steps
        else "",
        questions=examination.zombies.questions,
    )
