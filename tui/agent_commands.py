"""The commands for agents and scripts: register, and report. They ask no tmux."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from registry.errors import LimitReachedError, RegistryError
from registry.reading import read_global, read_task
from registry.records import GlobalTask
from registry.registering import register_agent
from registry.reporting import report_progress
from registry.workspace import TaskPlace, Workspace, task_places
from tui.console import DONE, NOT_ALL_DONE, UsageError, find, safe
from tui.listing import as_json


def register(options: argparse.Namespace) -> int:
    """`muster register`."""
    place = _task(find(options), options.task)
    try:
        agent = register_agent(
            place.registry,
            place.global_registry,
            options.type,
            parent=options.parent,
            agent_id=options.id,
            reuse=options.reuse,
            prompt=options.prompt,
        )
    except LimitReachedError as error:
        print(f"muster: {safe(str(error))}", file=sys.stderr)
        return NOT_ALL_DONE
    print(as_json(dataclasses.asdict(agent)) if options.json else safe(agent.agent_id))
    return _said(agent.problems)


def report(options: argparse.Namespace) -> int:
    """`muster report`."""
    workspaces = find(options)
    if options.task is not None:
        place = _task(workspaces, options.task)
    else:
        place = _task_of(workspaces, options.agent)
    done = report_progress(
        place.registry,
        place.global_registry,
        options.agent,
        status=options.status,
        progress=options.progress,
        message=" ".join(options.message),
    )
    if options.json:
        print(as_json(dataclasses.asdict(done)))
    return _said(done.problems)


def _said(problems: tuple[str, ...]) -> int:
    for problem in problems:
        print(f"muster: {safe(problem)}", file=sys.stderr)
    return NOT_ALL_DONE if problems else DONE


def _places(workspaces: tuple[Workspace, ...]) -> Iterator[TaskPlace]:
    for workspace in workspaces:
        listed: Mapping[str, GlobalTask] = {}
        # Tasks that lie in the workspace are found without it.
        with contextlib.suppress(RegistryError):
            listed = read_global(workspace.global_registry).record.tasks
        for place in task_places(workspace, listed):
            if place.problem is None:
                yield place


def _task(workspaces: tuple[Workspace, ...], task_id: str | None) -> TaskPlace:
    """The task of an id, or the only one that there is.

    Raises:
        UsageError: There is none, or more than one.
    """
    places = list(_places(workspaces))
    found = [each for each in places if task_id in (None, each.directory.name)]
    if len(found) == 1:
        return found[0]
    where = ", ".join(str(each.path) for each in workspaces)
    if not places:
        raise UsageError(f"there is no task in {where}")
    names = ", ".join(sorted({each.directory.name for each in places}))
    if task_id is None:
        raise UsageError(f"choose one with --task: {names}")
    if found:
        raise UsageError(f"task {task_id!r} is in more than one workspace: choose with -w")
    raise UsageError(f"there is no task {task_id!r} in {where}, but: {names}")


def _task_of(workspaces: tuple[Workspace, ...], agent_id: str) -> TaskPlace:
    """The task that has an agent.

    Raises:
        UsageError: None has it, or more than one.
    """
    found: list[TaskPlace] = []
    unread: list[Path] = []
    for place in _places(workspaces):
        try:
            record = read_task(place.registry).record
        except RegistryError:
            unread.append(place.registry)
            continue
        if any(agent.id == agent_id for agent in record.agents):
            found.append(place)
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(each.directory.name for each in found)
        raise UsageError(f"{agent_id!r} is in more than one task: choose with --task: {names}")
    where = ", ".join(str(each.path) for each in workspaces)
    said = f"no agent {agent_id!r} in {where}"
    if unread:
        said += f"; not readable, and it may be in there: {', '.join(map(str, unread))}"
    raise UsageError(said)
