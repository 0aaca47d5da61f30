"""What is wrong in tasks and in workspaces, each by itself and compared with each other."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from registry.audit.diff import MISSING
from registry.checks.consistency import global_findings, pair_findings, task_findings, task_id_of
from registry.checks.issue import Issue, IssueKind
from registry.errors import RegistryError, RegistryNotFoundError
from registry.schema.layout import database_beside
from registry.schema.records import global_record
from registry.snapshots import read_registry
from registry.sources.source import Source, TaskSource, WorkspaceSource
from registry.storage import recovery
from registry.storage.codec import Json
from registry.storage.interruption import hand_on
from registry.text import shown_name


@dataclass(frozen=True, slots=True)
class Job:
    """What is repaired in one locked pass.

    Attributes:
        source: The task, or the workspace where there is no task.
        findings: What was found there; not all of it can be repaired.
    """

    source: Source
    findings: tuple[Issue, ...]

    @property
    def fixable(self) -> tuple[Issue, ...]:
        """Those that can be."""
        return tuple(each for each in self.findings if each.fixable)


@dataclass(slots=True)
class Found:
    """What one look at tasks and workspaces found.

    Attributes:
        files: What is wrong with whole files.
        tasks: By task.
        globals_: By workspace.
    """

    files: list[Issue] = field(default_factory=list)
    tasks: list[Job] = field(default_factory=list)
    globals_: list[Job] = field(default_factory=list)

    @property
    def findings(self) -> list[Issue]:
        """All of them."""
        jobs = (*self.tasks, *self.globals_)
        return [*self.files, *(each for job in jobs for each in job.findings)]


def find_issues(
    workspaces: Iterable[WorkspaceSource],
    tasks: Iterable[TaskSource],
    unread: Mapping[Path, str],
) -> Found:
    """Looks at tasks and workspaces. Blocks; changes nothing, and waits for no lock.

    Args:
        workspaces: Those that were asked for.
        tasks: All tasks that were found for them.
        unread: By task, why it is not to be opened.
    """
    found = Found()
    lists = {each.path: each for each in workspaces if not each.is_single_task}
    sources = {each.path: each for each in tasks}
    followed = {each.global_registry for each in sources.values()} - {None}
    decoded: dict[Path, Json] = {}
    for path in dict.fromkeys((*lists, *(each for each in followed if each is not None))):
        _open(path, decoded, found.files)
    for path in sources:
        # What is no file of the workspace, as a link out of it, is not followed here either.
        if path not in unread:
            _open(path, decoded, found.files)
        elif os.path.lexists(path):
            found.files.append(unreadable(path, unread[path]))
    twice = Counter(
        (source.global_registry, task_id_of(path, decoded[path]))
        for path, source in sources.items()
        if path in decoded
    )
    unkept: set[Path | None] = {path for path in decoded if database_beside(path) is not None}
    by_global: dict[Path, list[tuple[Path, Json]]] = {}
    for path, source in sources.items():
        task = decoded.get(path)
        if task is None:
            continue
        issues = task_findings(path, task, kept=path not in unkept)
        global_path = source.global_registry
        if unkept.isdisjoint({path, global_path}) and global_path in decoded:
            task_id = task_id_of(path, task)
            if twice[global_path, task_id] == 1:
                by_global.setdefault(global_path, []).append((path, task))
                issues += pair_findings(path, task, global_path, decoded[global_path])
            else:
                issues.append(_task_twice(path, task_id))
        found.tasks.append(Job(source, tuple(issues)))
    there = {path.parent.name for path in sources if os.path.lexists(path)}
    there |= {task_id_of(path, decoded[path]) for path in sources if path in decoded}
    for path, home in lists.items():
        if path in decoded:
            known = there | _elsewhere(decoded[path], home.directory)
            pairs, kept = by_global.get(path, ()), path not in unkept
            issues = global_findings(path, decoded[path], pairs, known, kept=kept)
            found.globals_.append(Job(home, tuple(issues)))
    return found


def _open(path: Path, decoded: dict[Path, Json], files: list[Issue]) -> None:
    """Reads a registry, and notes what is wrong with it as a file; none there is no fault."""
    try:
        if recovery.is_hot(path):
            files.append(_hot(path))
    except RegistryError as error:
        hand_on(error)  # Else reading it says why it cannot be read.
    try:
        decoded[path] = read_registry(path)
    except RegistryNotFoundError as error:
        hand_on(error)
        return
    except RegistryError as error:
        hand_on(error)
        files.append(unreadable(path, error.reason or str(error)))


def unreadable(path: Path, why: str) -> Issue:
    """That a file or a directory cannot be read.

    Args:
        path: Which.
        why: The reason, in words.
    """
    return Issue(
        IssueKind.UNREADABLE,
        path,
        None,
        None,
        MISSING,
        f"cannot be read: {why}",
        advice="mend it by hand, or put back a copy; muster writes nothing to it meanwhile",
    )


def _hot(path: Path) -> Issue:
    says = "a commit was cut off here, and nobody has finished or dropped it yet"
    return Issue(IssueKind.JOURNAL, path, None, None, MISSING, says)


def _task_twice(path: Path, task_id: str) -> Issue:
    return Issue(
        IssueKind.DUPLICATE,
        path,
        None,
        "task_id",
        task_id,
        f"another task of this workspace is called {shown_name(task_id)} as well",
        advice="nobody can tell which of them the global registry means: rename one by hand",
    )


def _elsewhere(global_: Json, workspace: Path) -> set[str]:
    """Tasks that are said to lie in another workspace: whether they do cannot be seen here."""
    return {
        task_id
        for task_id, task in global_record(global_).tasks.items()
        if task.elsewhere and not _is_here(Path(task.elsewhere), workspace)
    }


def _is_here(written: Path, workspace: Path) -> bool:
    """Whether a task's `workspace` means this one, by itself or by the project it is in."""
    return written == workspace.parent or written.is_relative_to(workspace)
