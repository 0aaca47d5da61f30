"""Repairs issues in decoded registries. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from registry.audit.diff import MISSING
from registry.checks.hierarchy import FIELD, set_places
from registry.checks.issue import Issue, IssueKind
from registry.schema import edits
from registry.schema.counters import counter_drifts
from registry.schema.records import agent_entries
from registry.storage.codec import Json


def apply_fixes(registry: Json, file: Path, findings: Iterable[Issue]) -> None:
    """Repairs the issues of one registry.

    The value of a field is replaced as a whole. Only the content of `agents` is changed in place.

    Args:
        registry: The decoded registry in which the issues were found; changed in place.
        file: The path of the registry; issues in other files are ignored.
        findings: The issues; issues that are not fixable are ignored.
    """
    issues = [issue for issue in findings if issue.file == file and issue.fixable]
    for issue in issues:
        if issue.kind is IssueKind.LOST:
            put_back(registry, issue.fix)
    by_id = {id_: entry for id_, entry in agent_entries(registry) if id_}
    moves = [issue for issue in issues if issue.kind is IssueKind.HIERARCHY]
    if moves:
        hierarchy = _copied(registry[FIELD])
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


def put_back(task: Json, entry: Mapping[str, Any]) -> None:
    """Adds an agent's entry to a task's registry, and to the parent's list in `agent_hierarchy`.

    Counters with a correct value are adapted. A wrong counter is not changed, because it may
    already include the agent.

    Args:
        task: The task's decoded registry. Fields are replaced, but their old values are not
            changed in place.
        entry: The entry, with `id` and `parent`.

    Raises:
        DuplicateAgentError, WrongShapeError: See `edits.add_agent`; nothing was changed.
    """
    wrong = {drift.counter for drift in counter_drifts(task)}
    kept = {name: task.get(name, MISSING) for name in wrong}
    hierarchy = task.get(FIELD)
    if isinstance(hierarchy, dict):
        task[FIELD] = _copied(hierarchy)
    edits.add_agent(task, dict(entry), entry["parent"])
    for name, value in kept.items():
        if value is MISSING:
            task.pop(name, None)
        else:
            task[name] = value


def _copied(hierarchy: Json) -> Json:
    return {
        parent: list(children) if isinstance(children, list) else children
        for parent, children in hierarchy.items()
    }


def _add_entry(global_: Json, agent_id: str, entry: Json) -> None:
    # The counters are not changed, because they may already include the agent. Wrong counters
    # are separate issues.
    agents = global_.get("agents")
    if isinstance(agents, list):
        agents.append({"id": agent_id, **entry})
    else:
        global_["agents"] = {**(agents or {}), agent_id: dict(entry)}
