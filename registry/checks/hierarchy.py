"""Who started whom, as the agents and as `agent_hierarchy` have it: where it goes wrong. Pure.

An agent's `parent` is its own word; `agent_hierarchy` only repeats it, and is what is
brought in line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from registry.checks.issue import BY_HAND, Issue, IssueKind
from registry.schema.records import ORCHESTRATOR, agent_entries
from registry.storage.codec import Json, kind_of
from registry.text import shown_name

FIELD = "agent_hierarchy"


def hierarchy_findings(file: Path, task: Json) -> Iterator[Issue]:
    """What is wrong with parents, children and `agent_hierarchy` of a task's registry."""
    raw = task.get(FIELD)
    entries = [(id_, entry) for id_, entry in agent_entries(task) if id_]
    first: dict[str, Json] = {}
    for id_, entry in entries:
        first.setdefault(id_, entry)
    if raw is not None and not isinstance(raw, dict):
        yield _misshapen(file, FIELD, f"is {kind_of(raw)}, not an object")
    hierarchy: Json = raw if isinstance(raw, dict) else {}
    yield from _shapes(file, hierarchy)
    listed = _listed(hierarchy)
    loops = list(_loops(first, listed))
    for loop in loops:
        yield Issue(
            IssueKind.LOOP,
            file,
            loop[0],
            "parent",
            list(loop),
            f"is its own ancestor: {' → '.join(map(shown_name, (*loop, loop[0])))}",
            advice="nobody can tell which of them came first: set the parent of one right by hand",
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
                "says that its parent is an agent that is not there",
                advice="nobody can tell who started it: set its parent right by hand",
            )
    if isinstance(raw, dict):
        left_alone = {id_ for loop in loops for id_ in loop}
        left_alone |= {
            id_ for id_, count in Counter(id_ for id_, _ in entries).items() if count > 1
        }
        yield from _disagreements(file, first, hierarchy, listed, left_alone)


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
        elif not all(isinstance(each, str) for each in children):
            yield _misshapen(file, field, "holds something that is no id")


def _own_parent(entry: Mapping[str, Any]) -> str | None:
    parent = entry.get("parent")
    return parent if isinstance(parent, str) and parent else None


def _listed(hierarchy: Json) -> dict[str, list[str]]:
    """Under whom each child is listed, as often as it is."""
    listed: dict[str, list[str]] = {}
    for parent, children in hierarchy.items():
        for child in children if isinstance(children, list) else ():
            if isinstance(child, str):
                listed.setdefault(child, []).append(parent)
    return listed


def _loops(
    agents: Mapping[str, Json], listed: Mapping[str, list[str]]
) -> Iterator[tuple[str, ...]]:
    """Every loop of parents once, from its first agent in file order on."""
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
    left_alone: Iterable[str],
) -> Iterator[Issue]:
    skipped = frozenset(left_alone)
    for id_, entry in agents.items():
        own = _own_parent(entry)
        places = listed.get(id_, [])
        if id_ in skipped or places == [own]:
            continue
        if own is not None and (own in agents or own == ORCHESTRATOR):
            says = f"says that its parent is {shown_name(own)}; "
            says += f"{FIELD} has it under {_several(places)}"
            advice = ""
            if not isinstance(hierarchy.get(own, []), list):
                advice = f"{FIELD}[{shown_name(own)}] is no list: mend that by hand first"
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
                advice="it names no parent of its own that is there: set its parent by hand",
            )
    for id_, places in listed.items():
        if id_ not in agents:
            says = f"is listed under {_several(places)}, but is no agent here"
            yield Issue(IssueKind.HIERARCHY, file, id_, FIELD, places, says, [])


def _several(names: list[str]) -> str:
    return " and ".join(map(shown_name, names)) if names else "nobody"


def set_places(hierarchy: Json, child: str, found: list[str], parents: list[str]) -> None:
    """Lists a child under these parents alone, once each. Changes lists in place.

    Args:
        hierarchy: Its lists belong to the caller.
        child: Whom.
        found: Under whom it is listed now, as often as it is.
        parents: Under whom it is to be.
    """
    for parent in dict.fromkeys(found):
        kept = []
        wanted = int(parent in parents)
        for each in hierarchy[parent]:
            if each == child:
                wanted -= 1
                if wanted < 0:
                    continue
            kept.append(each)
        hierarchy[parent] = kept
    for parent in parents:
        if parent not in found:
            hierarchy.setdefault(parent, []).append(child)
