"""Findings in words: what is wrong with whom, and what is done about it. Pure."""

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
    """Findings by where they are wrong."""
    found: dict[str, list[Issue]] = {}
    for each in findings:
        where = str(each.file) if each.file is not None else "tmux sessions"
        found.setdefault(where, []).append(each)
    return found


def said(finding: Issue) -> str:
    """What is wrong, with whom or with what."""
    names = [finding.agent, finding.field if finding.field != "agents" else None]
    if finding.kind is IssueKind.ORPHAN:
        names = [str(finding.found)]
    subject = ", ".join(shown_name(name) for name in names if name)
    return f"{subject}: {finding.says}" if subject else finding.says


def label(finding: Issue) -> str:
    """Whom or what a finding is about, in few words."""
    if finding.agent is not None:
        return finding.agent or "(no id)"
    if finding.kind is IssueKind.ORPHAN:
        return str(finding.found)
    file = finding.file.parent.name if finding.file is not None else ""
    return f"{file}/{finding.field}" if finding.field else f"{file}/{_name(finding)}"


def _name(finding: Issue) -> str:
    return finding.file.name if finding.file is not None else ""


def remedy(finding: Issue) -> str:
    """What is done about a finding that can be set right."""
    match finding.kind:
        case IssueKind.JOURNAL:
            return "finish or drop the commit that was cut off"
        case IssueKind.NOT_IN_GLOBAL:
            return "put it in the global registry, as its task's has it"
        case IssueKind.NOT_LISTED:
            return "list the task in the global registry"
        case IssueKind.HIERARCHY if not finding.fix:
            return "take it out of agent_hierarchy"
        case IssueKind.HIERARCHY:
            return f"list it under {shown_name(finding.fix[0])} alone in agent_hierarchy"
        case IssueKind.STATUS:
            return f"write status {_value(finding.fix)} in the global registry"
        case IssueKind.ZOMBIE:
            return "mark it terminated, for the reason session_not_found"
        case _:
            return f"write {finding.field} {_value(finding.fix)}"


def _value(value: Any) -> str:
    return json.dumps(value)[:80]


def propose_fix(examination: Examination) -> Preview:
    """What would be set right, in words, to be shown and asked."""
    fixable = examination.fixable
    files: dict[Path, None] = {}
    for each in fixable:
        if each.file is not None:
            files[each.file] = None
    files |= dict.fromkeys(examination.zombies.files)
    return Preview(
        f"Fix {some(len(fixable), 'finding')}"
        if fixable
        else "Nothing that --fix could set right",
        tuple((whole_name(label(each)), remedy(each)) for each in fixable),
        tuple((label(each), each.advice) for each in examination.findings if not each.fixable),
        tuple(files),
        f"tmux was asked at {shown_name(examination.roll.answer.socket)}."
        if examination.zombies.steps
        else "",
        questions=examination.zombies.questions,
    )
