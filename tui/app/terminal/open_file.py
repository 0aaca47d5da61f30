"""The files of what is under the cursor, and the program that shows them."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import O_NOFOLLOW, O_RDONLY
from pathlib import Path

from registry.errors import RegistryError
from registry.schema import Workspace
from registry.sources import TaskSource, workspace_source
from registry.storage import close_read, is_safe_name, open_regular
from tui.model.roll import AgentRow, RollCall, TaskRoll, WorkspaceRoll
from tui.view.outline import Line

_VIEWERS = ("less", "more")


class NoViewerError(Exception):
    """No program shows files; the text says what to set."""


@dataclass(frozen=True, slots=True)
class Openable:
    """A regular file that is there.

    Attributes:
        name: What it is.
        path: Where it lies.
    """

    name: str
    path: Path


def files_of(line: Line | None, roll: RollCall | None) -> tuple[Openable, ...]:
    """The files that a line stands for, as far as they are there. Reads directories.

    Args:
        line: The line.
        roll: The roll that it is in.
    """
    item = line.item if line is not None else None
    return tuple(each for each in _candidates(item, roll) if _is_regular(each.path))


def _candidates(item: object, roll: RollCall | None) -> Iterator[Openable]:
    if isinstance(item, AgentRow):
        task = roll.task_of(item.key) if roll is not None else None
        if task is not None:
            yield from _of_agent(task.state.source, item.key.id)
    elif isinstance(item, TaskRoll):
        yield from (Openable(each.name, each.path) for each in item.state.source.files)
    elif isinstance(item, WorkspaceRoll):
        source = workspace_source(Workspace(item.path))
        yield from (Openable(each.name, each.path) for each in source.files)


def _of_agent(task: TaskSource, agent_id: str) -> Iterator[Openable]:
    yield from (Openable(each.name, each.path) for each in task.files[:1])
    if is_safe_name(agent_id):
        for facts in reversed(task.output_facts(agent_id)):
            if facts.error is None and facts.size is not None:
                yield Openable(facts.name, facts.path)
        yield Openable("prompt", task.directory / f"agent_prompt_{agent_id}.txt")


def _is_regular(path: Path) -> bool:
    try:
        close_read(open_regular(path, O_RDONLY | O_NOFOLLOW))
    except RegistryError:
        return False
    return True


def viewer(environment: Mapping[str, str]) -> list[str]:
    """The program that shows files, with its arguments: ``$PAGER``, or else ``$EDITOR``.

    Raises:
        NoViewerError: Neither is set to something that can be run, and no pager is there.
    """
    for name in ("PAGER", "EDITOR"):
        try:
            words = shlex.split(environment.get(name, ""))
        except ValueError:
            raise NoViewerError(f"${name} cannot be read: a quote in it does not end.") from None
        if words and shutil.which(words[0], path=environment.get("PATH")) is None:
            raise NoViewerError(f"${name} is set to {words[0]}, which is not there.")
        if words:
            return words
    found = next((each for each in _VIEWERS if shutil.which(each)), None)
    if found is None:
        raise NoViewerError("Set $PAGER or $EDITOR to a program that shows files.")
    return [found]
