"""Writing what findings say belongs there, into decoded registries. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from registry.checks.hierarchy import FIELD, set_places
from registry.checks.issue import Issue, IssueKind
from registry.schema.records import agent_entries
from registry.storage.codec import Json


def mend(registry: Json, file: Path, findings: Iterable[Issue]) -> None:
    """Writes the fixes that concern one registry, and nothing else.

    Fields are replaced, never changed inside, but for the collection of agents.

    Args:
        registry: Changed in place; in it everything is still as it was found.
        file: Its path; findings in other files are left out.
        findings: What to set right; all fixable.
    """
    mine = [each for each in findings if each.file == file and each.fixable]
    by_id = {id_: entry for id_, entry in agent_entries(registry) if id_}
    moved = [each for each in mine if each.kind is IssueKind.HIERARCHY]
    if moved:
        hierarchy = {
            parent: list(children) if isinstance(children, list) else children
            for parent, children in registry[FIELD].items()
        }
        for each in moved:
            set_places(hierarchy, each.agent or "", each.found, each.fix)
        registry[FIELD] = hierarchy
    for each in mine:
        if each.kind is IssueKind.COUNTER and each.field is not None:
            registry[each.field] = each.fix
        elif each.kind is IssueKind.STATUS and each.agent is not None:
            by_id[each.agent]["status"] = each.fix
        elif each.kind is IssueKind.NOT_LISTED:
            registry["tasks"] = {**(registry.get("tasks") or {}), **each.fix}
        elif each.kind is IssueKind.NOT_IN_GLOBAL and each.agent is not None:
            _put_in(registry, each.agent, each.fix)


def _put_in(global_: Json, agent_id: str, entry: Json) -> None:
    # Its counters are findings of their own: they may count it already.
    agents = global_.get("agents")
    if isinstance(agents, list):
        agents.append({"id": agent_id, **entry})
    else:
        global_["agents"] = {**(agents or {}), agent_id: dict(entry)}
