"""Finds lost agents: agents with files in a task's directory that no registry lists. Pure.

A process that writes a registry without the registry's lock can delete an entry that another
process has just added. The agent of this entry continues to work, and the agent's files remain.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from registry.agent_output.history import History, Trace
from registry.agent_output.listing import PROMPT
from registry.audit.diff import MISSING, snapshot
from registry.checks.apply import ReturnedAgents
from registry.checks.consistency import is_usable, task_id_of
from registry.checks.hierarchy import FIELD, listed_parents
from registry.checks.issue import BY_HAND, Issue, IssueKind
from registry.errors import RegistryError
from registry.schema.depth import Ancestors
from registry.schema.records import ORCHESTRATOR, agent_entries, text_of
from registry.schema.session_names import SESSION_PREFIX
from registry.schema.timestamps import parse_time
from registry.storage.codec import Json
from registry.storage.files.interruption import hand_on
from registry.text import shown_name

REGISTERED_WITHIN = 60.0
"""An orchestrator registers an agent within this many seconds after the agent's first file."""

_WRITTEN_ONCE = ("type", "tmux_session", "started_at")

_USUAL_ID = re.compile(r"(.+)-\d{6}-[0-9a-f]{6,}", re.ASCII)


def lost_findings(
    file: Path,
    task: Json,
    traces: Sequence[Trace],
    global_file: Path | None,
    global_: Json | None,
    now: float,
    *,
    others: Mapping[str, Path] = MappingProxyType({}),
) -> list[Issue]:
    """Returns one issue for each agent that has files in the task's directory, but no entry.

    The right value (`Issue.fix`) is an entry that is made from the agent's own files. The parent
    is searched in the prompt, then in the other files, then in `agent_hierarchy`. If no parent is
    found, the parent is the orchestrator.

    If the global registry lists such an agent for this task, the type, parent, session and start
    time are taken from the global registry. If no entry can be made for such an agent, only
    `pair_findings` reports the agent.

    Args:
        file: The path of the task's registry.
        task: The task's registry, decoded.
        traces: The files of agents in the task's directory.
        global_file: The path of the global registry that lists the task, or None.
        global_: The global registry, decoded; None if it cannot be read.
        now: The time of the check, in seconds since the epoch.
        others: Maps ids to the registries of other tasks that list these ids.
    """
    if not traces or not is_usable(file, task, as_global=False):
        return []
    obstacle = ""
    if global_file is not None and (
        global_ is None or not is_usable(global_file, global_, as_global=True)
    ):
        obstacle = f"{shown_name(global_file)} may list the agent, but cannot be read: "
        obstacle += "first repair that registry"
    in_global = agent_entries(global_ or {})
    listed = Counter(id_ for id_, _ in in_global)
    task_id = task_id_of(file, task)
    of_task = {
        id_: entry
        for id_, entry in in_global
        if id_ and listed[id_] == 1 and entry.get("task_id") == task_id
    }
    own = {id_ for id_, _ in agent_entries(task)}
    lost = [
        trace
        for trace in traces
        if trace.agent not in own
        and (trace.agent not in listed or trace.agent in of_task)
        and not _is_new(trace, now)
    ]
    advice = {trace.agent: _why_unproven(trace) or obstacle for trace in lost}
    for trace in lost:
        if not advice[trace.agent] and trace.agent in others:
            other = shown_name(others[trace.agent])
            advice[trace.agent] = f"{other} lists an agent with this id; " + BY_HAND
    histories = {
        trace.agent: trace.history
        for trace in lost
        if trace.history is not None and not advice[trace.agent]
    }
    entries, refused = _entries(task, histories, of_task)
    return [
        Issue(
            IssueKind.LOST,
            file,
            trace.agent,
            "agents",
            ["/".join(found.parts) for found in trace.files],
            f"{_says(trace.agent in of_task)}, but has files: {_files(trace)}",
            entries.get(trace.agent, MISSING),
            advice[trace.agent] or refused.get(trace.agent, ""),
        )
        for trace in lost
        if trace.agent in entries or trace.agent not in of_task
    ]


def _says(only_in_global: bool) -> str:
    if only_in_global:
        return "is listed only in the global registry"
    return "is not listed in any registry"


def _is_new(trace: Trace, now: float) -> bool:
    times = [file.modified for file in trace.files]
    started = parse_time(trace.history.started_at) if trace.history is not None else None
    first = min(times if started is None else (*times, started))
    return 0 <= now - first < REGISTERED_WITHIN


def _files(trace: Trace) -> str:
    kinds = dict.fromkeys(
        f"archived {found.kind}" if found.is_archived else found.kind for found in trace.files
    )
    newest = max(found.modified for found in trace.files)
    try:
        written = datetime.fromtimestamp(newest).isoformat(" ", "minutes")
    except (ValueError, OverflowError, OSError) as error:
        hand_on(error)
        return ", ".join(kinds)
    return f"{', '.join(kinds)}; last written {written}"


def _why_unproven(trace: Trace) -> str:
    """Returns why an agent's files do not prove that the agent worked, or an empty text."""
    if trace.history is not None:
        return ""
    if trace.strangers:
        return (
            "users without write permission for the registry can write the agent's files, so the "
            "files prove nothing: add the agent to the registry by hand, or remove the files"
        )
    if all(found.kind == PROMPT for found in trace.files):
        return (
            "only the agent's instructions exist, because its deployment failed or was withdrawn: "
            "remove the file by hand if you do not need it"
        )
    return (
        "no line of the agent's files names the agent, so it is unknown whether the "
        "agent worked: add the agent to the registry by hand, or remove the agent's files"
    )


def _entries(
    task: Json, histories: Mapping[str, History], in_global: Mapping[str, Json]
) -> tuple[dict[str, Json], dict[str, str]]:
    """Returns the entries of lost agents.

    Args:
        task: The task's decoded registry; not changed.
        histories: Maps the ids of lost agents to what the agents' files prove.
        in_global: Maps ids to the agents' entries in the global registry.

    Returns:
        Two mappings. The first one maps ids to entries; an agent comes after its parent. The
        second one maps the other ids to the reasons why no entry can be added.
    """
    returned = ReturnedAgents(snapshot(task))
    by_id = {id_: entry for id_, entry in agent_entries(task) if id_}
    hierarchy = task.get(FIELD)
    listed = listed_parents(hierarchy if isinstance(hierarchy, dict) else {})
    parents = {
        id_: text_of(in_global.get(id_, {}).get("parent"))
        or history.parent
        or _listed_parent(listed, id_, by_id, histories)
        or ORCHESTRATOR
        for id_, history in histories.items()
    }
    children: dict[str, list[str]] = {}
    for id_, parent in parents.items():
        children.setdefault(parent, []).append(id_)
    entries: dict[str, Json] = {}
    refused: dict[str, str] = {}
    ancestors = Ancestors(by_id)
    ready = [id_ for id_, parent in parents.items() if parent == ORCHESTRATOR or parent in by_id]
    order = {id_: number for number, id_ in enumerate(histories)}
    reached = set(ready)
    while ready:
        added: list[str] = []
        for id_ in ready:
            parent = parents[id_]
            depth = ancestors.depth_below(parent)
            entry = _entry(id_, histories[id_], parent, depth, in_global.get(id_, {}))
            if ancestors.missing_above(parent) == id_:
                refused[id_] = (
                    f"{shown_name(parent)} is both parent and descendant of the agent; {BY_HAND}"
                )
                continue
            try:
                returned.add(entry)
            except RegistryError as error:
                hand_on(error)
                refused[id_] = f"{error}; {BY_HAND}"
                continue
            by_id[id_] = entries[id_] = entry
            ancestors.forget(id_)
            added.append(id_)
        ready = [child for id_ in added for child in children.get(id_, ()) if child not in reached]
        ready.sort(key=order.__getitem__)
        reached.update(ready)
    for id_ in histories:
        if id_ in reached:
            continue
        parent = shown_name(parents[id_])
        refused[id_] = f"the parent {parent} is not in the registry: first add the parent by hand"
    return entries, refused


def _listed_parent(
    listed: Mapping[str, list[str]], agent_id: str, *known: Collection[str]
) -> str | None:
    """Returns the parent of an agent according to `agent_hierarchy`.

    The result is None if several parents list the agent, or if the parent is in none of the
    collections `known`.

    Args:
        listed: The result of `listed_parents`.
        agent_id: The id of the agent.
        known: The ids of agents.
    """
    parents = dict.fromkeys(parent for parent in listed.get(agent_id, ()) if parent != agent_id)
    (parent, *others) = parents or (None,)
    return parent if not others and any(parent in ids for ids in known) else None


def _entry(agent_id: str, history: History, parent: str, depth: int, in_global: Json) -> Json:
    usual = _USUAL_ID.fullmatch(agent_id)
    entry = {
        "id": agent_id,
        "type": usual[1] if usual else agent_id,
        # Only an orchestrator's id implies the name of the session.
        "tmux_session": SESSION_PREFIX + agent_id if usual else None,
        "parent": parent,
        "depth": depth,
        # The orchestrator writes this status when it deploys an agent.
        "status": history.status or "running",
        "started_at": history.started_at,
        "progress": history.progress,
        "last_update": history.last_update,
    }
    # The orchestrator wrote these fields itself.
    entry |= {name: in_global[name] for name in _WRITTEN_ONCE if text_of(in_global.get(name))}
    return {name: value for name, value in entry.items() if value is not None}
