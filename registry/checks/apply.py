"""Applies the fixes of issues to decoded registries. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from registry.checks.hierarchy import FIELD, set_places
from registry.checks.issue import Issue, IssueKind
from registry.schema.records import agent_entries
from registry.storage.codec import Json


def apply_fixes(registry: Json, file: Path, findings: Iterable[Issue]) -> None:
    """Applies the fixes of the issues in one registry.

    The value of a field is replaced as a whole. Only inside `agents`, the content is changed.

    Args:
        registry: The decoded registry; changed in place. It must not have changed since the
            issues were found.
        file: The path of the registry; issues in other files are ignored.
        findings: The issues; issues that are not fixable are ignored.
    """
    issues = [issue for issue in findings if issue.file == file and issue.fixable]
    by_id = {id_: entry for id_, entry in agent_entries(registry) if id_}
    moves = [issue for issue in issues if issue.kind is IssueKind.HIERARCHY]
    if moves:
        hierarchy = {
            parent: list(children) if isinstance(children, list) else children
            for parent, children in registry[FIELD].items()
        }
        for issue in moves:
            set_places(hierarchy, issue.agent or "", issue.found, issue.fix)
        registry[FIELD] = hierarchy
    for issue in issues:
        if issue.kind is IssueKind.COUNTER and issue.field is not None:
            registry[issue.field] = issue.fix
        elif issue.kind is IssueKind.STATUS and issue.agent is not None:
            by_id[issue.agent]["status"] = issue.fix
        elif issue.kind is IssueKind.NOT_LISTED:
            registry["tasks"] = {**(registry.get("tasks") or {}), **issue.fix}
        elif issue.kind is IssueKind.NOT_IN_GLOBAL and issue.agent is not None:
            _add_entry(registry, issue.agent, issue.fix)


def _add_entry(global_: Json, agent_id: str, entry: Json) -> None:
    # The counters are not changed here: they may include the agent already. Wrong counters
    # are separate issues.
    agents = global_.get("agents")
    if isinstance(agents, list):
        agents.append({"id": agent_id, **entry})
    else:
        global_["agents"] = {**(agents or {}), agent_id: dict(entry)}
