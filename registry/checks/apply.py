"""Repairs issues in decoded registries. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from registry.checks.hierarchy import FIELD, set_places
from registry.checks.issue import Issue, IssueKind
from registry.schema import counters, edits
from registry.schema.records import agent_entries, counts_as_active, is_certainly_active
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
    lost = [issue for issue in issues if issue.kind is IssueKind.LOST]
    if lost:
        returned = ReturnedAgents(registry)
        for issue in lost:
            returned.add(issue.fix)
    by_id = {id_: entry for id_, entry in agent_entries(registry) if id_}
    moves = [issue for issue in issues if issue.kind is IssueKind.HIERARCHY]
    if moves:
        hierarchy = _copied(registry[FIELD])
        set_places(hierarchy, [(issue.agent or "", issue.found, issue.fix) for issue in moves])
        registry[FIELD] = hierarchy
    tasks: Json = {}
    entries: Json = {}
    for issue in issues:
        if issue.kind is IssueKind.COUNTER and issue.field is not None:
            registry[issue.field] = issue.fix
        elif issue.kind is IssueKind.STATUS and issue.agent is not None:
            by_id[issue.agent]["status"] = issue.fix
        elif issue.kind is IssueKind.NOT_LISTED:
            tasks |= issue.fix
        elif issue.kind is IssueKind.NOT_IN_GLOBAL and issue.agent is not None:
            entries[issue.agent] = issue.fix
    if tasks:
        registry["tasks"] = {**(registry.get("tasks") or {}), **tasks}
    if entries:
        _add_entries(registry, entries)


class ReturnedAgents:
    """The agents that are put back into a task's registry.

    The agents are added to `agents` and to the parents' lists in `agent_hierarchy`. Counters with
    a correct value are adapted. A wrong counter is not changed, because it may already include the
    agent. The time for each agent does not depend on the size of the registry.

    Args:
        task: The task's decoded registry. Fields are replaced, but their old values are not
            changed in place.
    """

    def __init__(self, task: Json) -> None:
        self._task = task
        hierarchy = task.get(FIELD)
        if isinstance(hierarchy, dict):
            task[FIELD] = _copied(hierarchy)
        self._appender = edits.Appender(task)
        self._all, self._actives = counters.count_all(task), counters.active_range(task)
        self._least, self._most = counters.completed_range(task)

    def add(self, entry: Mapping[str, Any]) -> None:
        """Adds an agent.

        Args:
            entry: The agent's entry, with `id` and `parent`.

        Raises:
            DuplicateAgentError, WrongShapeError: See `edits.add_agent`; nothing was changed.
        """
        task, names = self._task, counters.counter_names(self._task)
        added = self._appender.append(entry, entry["parent"])
        is_active = int(counts_as_active(task, added))
        is_sure = int(is_certainly_active(task, added))
        self._adapt(names.total, self._all, self._all, 1)
        self._adapt(names.active, *self._actives, is_active)
        if names.completed is not None:
            by = int(counters.ended_by_itself(added))
            self._adapt(names.completed, self._least, self._most, by)
        least, most = counters.completions_of(added)
        self._all += 1
        self._actives = self._actives[0] + is_sure, self._actives[1] + is_active
        self._least += least
        self._most += most

    def _adapt(self, counter: str, least: int, most: float, by: int) -> None:
        value = self._task.get(counter)
        if counters.is_within(value, least, most):
            self._task[counter] = value + by


def _copied(hierarchy: Json) -> Json:
    return {
        parent: list(children) if isinstance(children, list) else children
        for parent, children in hierarchy.items()
    }


def _add_entries(global_: Json, entries: Mapping[str, Json]) -> None:
    # The counters are not changed, because they may already include the agents. Wrong counters
    # are separate issues.
    agents = global_.get("agents")
    if isinstance(agents, list):
        agents += ({"id": agent_id, **entry} for agent_id, entry in entries.items())
    else:
        added = {agent_id: dict(entry) for agent_id, entry in entries.items()}
        global_["agents"] = {**(agents or {}), **added}
