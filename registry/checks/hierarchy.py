"""Finds issues in the parents of agents and in `agent_hierarchy`. Pure.

If the `parent` field of an agent and `agent_hierarchy` differ, the `parent` field is right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from registry.checks.issue import BY_HAND, Issue, IssueKind
from registry.schema.records import ORCHESTRATOR, agent_entries
from registry.storage.codec import Json, kind_of
from registry.text import shown_name

FIELD = "agent_hierarchy"


def hierarchy_findings(file: Path, task: Json) -> Iterator[Issue]:
    """Yields the issues of `parent` fields and of `agent_hierarchy` in a task's registry."""
    raw = task.get(FIELD)
    entries = [(id_, entry) for id_, entry in agent_entries(task) if id_]
    first: dict[str, Json] = {}
    for id_, entry in entries:
        first.setdefault(id_, entry)
    if raw is not None and not isinstance(raw, dict):
        yield _misshapen(file, FIELD, f"is {kind_of(raw)}, not an object")
    hierarchy: Json = raw if isinstance(raw, dict) else {}
    yield from _shapes(file, hierarchy)
    listed = listed_parents(hierarchy)
    loops = list(_loops(first, listed))
    for loop in loops:
        yield Issue(
            IssueKind.LOOP,
            file,
            loop[0],
            "parent",
            list(loop),
            f"is its own ancestor: {' → '.join(map(shown_name, (*loop, loop[0])))}",
            advice="the wrong parent cannot be known: correct the parent of one agent by hand",
        )
    for id_, entry in first.items():
        own = _own_parent(entry)
        if own is not None and own not in first and own != ORCHESTRATOR:
            yield Issue(
                IssueKind.PARENT,
                file,
                id_,
                "parent",
                own,
                "names a parent that does not exist",
                advice="the right parent cannot be known: correct the field by hand",
            )
    if isinstance(raw, dict):
        skipped = {id_ for loop in loops for id_ in loop}
        skipped |= {id_ for id_, count in Counter(id_ for id_, _ in entries).items() if count > 1}
        yield from _disagreements(file, first, hierarchy, listed, skipped)


def _misshapen(file: Path, field: str, what: str) -> Issue:
    return Issue(
        IssueKind.SHAPE,
        file,
        None,
        field,
        what,
        what,
        advice=BY_HAND,
    )


def _shapes(file: Path, hierarchy: Json) -> Iterator[Issue]:
    for parent, children in hierarchy.items():
        field = f"{FIELD}[{parent}]"
        if not isinstance(children, list):
            yield _misshapen(file, field, f"is {kind_of(children)}, not a list")
        elif not all(isinstance(child, str) for child in children):
            yield _misshapen(file, field, "contains a value that is not a string")


def _own_parent(entry: Mapping[str, Any]) -> str | None:
    parent = entry.get("parent")
    return parent if isinstance(parent, str) and parent else None


def listed_parents(hierarchy: Json) -> dict[str, list[str]]:
    """Returns a mapping from the id of each child to the ids of the parents that list the child.

    If a parent lists the child twice, the mapping contains the parent's id twice.
    """
    listed: dict[str, list[str]] = {}
    for parent, children in hierarchy.items():
        for child in children if isinstance(children, list) else ():
            if isinstance(child, str):
                listed.setdefault(child, []).append(parent)
    return listed


def _loops(
    agents: Mapping[str, Json], listed: Mapping[str, list[str]]
) -> Iterator[tuple[str, ...]]:
    """Yields the ids of each loop of parents; the agent that is first in the file comes first."""
    parents: dict[str, str | None] = {}
    for id_, entry in agents.items():
        own = _own_parent(entry)
        if own is None or (own not in agents and own != ORCHESTRATOR):
            own = next(iter(listed.get(id_, ())), None)
        parents[id_] = own if own in agents else None
    order = {id_: number for number, id_ in enumerate(agents)}
    seen: set[str] = set()
    for start in agents:
        path: dict[str, None] = {}
        at: str | None = start
        while at is not None and at not in seen:
            seen.add(at)
            path[at] = None
            at = parents[at]
        if at is None or at not in path:
            continue
        around = list(path)[list(path).index(at) :]
        begin = around.index(min(around, key=order.__getitem__))
        yield tuple(around[begin:] + around[:begin])


def _disagreements(
    file: Path,
    agents: Mapping[str, Json],
    hierarchy: Json,
    listed: Mapping[str, list[str]],
    skipped: Collection[str],
) -> Iterator[Issue]:
    for id_, entry in agents.items():
        own = _own_parent(entry)
        places = listed.get(id_, [])
        if id_ in skipped or places == [own]:
            continue
        if own is not None and (own in agents or own == ORCHESTRATOR):
            says = f"names {shown_name(own)} as its parent, but {FIELD} "
            where = f"under {_several(places)}"
            says += f"lists the agent {where}" if places else "does not list the agent"
            advice = ""
            if not isinstance(hierarchy.get(own, []), list):
                advice = f"{FIELD}[{shown_name(own)}] is not a list: correct this by hand"
            fix = [own]
            yield Issue(IssueKind.HIERARCHY, file, id_, FIELD, places, says, fix, advice)
        elif len(places) > 1:
            yield Issue(
                IssueKind.HIERARCHY,
                file,
                id_,
                FIELD,
                places,
                f"is listed under {_several(places)}",
                advice="the agent names no existing parent: set the agent's parent by hand",
            )
    for id_, places in listed.items():
        if id_ not in agents:
            says = f"is listed under {_several(places)}, but the registry has no such agent"
            yield Issue(IssueKind.HIERARCHY, file, id_, FIELD, places, says, [])


def _several(names: list[str]) -> str:
    return " and ".join(map(shown_name, names))


def set_places(
    hierarchy: Json, moves: Iterable[tuple[str, Collection[str], Sequence[str]]]
) -> None:
    """Lists children once under each of their right parents, and removes them from other lists.

    Args:
        hierarchy: Maps the id of each parent to the list of its children; changed in place.
        moves: For each child: its id, the ids of the parents that list the child now, from
            `listed_parents`, and the ids of the right parents.
    """
    # For each list that changes: how often each of these children stays in the list.
    wanted: dict[str, dict[str, int]] = {}
    for child, found, parents in moves:
        for parent in found:
            wanted.setdefault(parent, {})[child] = int(parent in parents)
        for parent in parents:
            if parent not in found:
                hierarchy.setdefault(parent, []).append(child)
                wanted.setdefault(parent, {})[child] = 1
    for parent, counts in wanted.items():
        kept = []
        for child in hierarchy[parent]:
            if isinstance(child, str) and child in counts:
                counts[child] -= 1
                if counts[child] < 0:
                    continue
            kept.append(child)
        hierarchy[parent] = kept
