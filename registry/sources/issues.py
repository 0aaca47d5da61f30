"""Finds the issues of tasks and workspaces, including differences between registries."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from registry.agent_output.deployments import find_database_deployment
from registry.agent_output.history import Trace, TraceReader
from registry.audit.diff import MISSING
from registry.audit.kept_state import offer
from registry.audit.log import denial, log_of
from registry.checks.consistency import (
    global_findings,
    pair_findings,
    task_findings,
    task_id_of,
    with_lost,
)
from registry.checks.issue import Issue, IssueKind
from registry.checks.lost import lost_findings
from registry.checks.statuses import WrittenStatus, unknown_status_findings
from registry.dataclass import replace
from registry.errors import CorruptRegistryError, RegistryError, RegistryNotFoundError
from registry.schema.layout import GLOBAL_REGISTRY, Workspace, database_beside
from registry.schema.records import agent_entries, global_record, text_of
from registry.snapshots import read_registry
from registry.sources.database_issues import add_database_issues
from registry.sources.found import Found, Job, unreadable
from registry.sources.source import Dialect, TaskSource, WorkspaceSource
from registry.storage.codec import Json
from registry.storage.files.interruption import hand_on
from registry.storage.files.permissions import is_denied
from registry.storage.files.presence import may_exist
from registry.storage.files.safe_open import is_safe_name
from registry.storage.hot_journal import is_hot
from registry.storage.partner import TASK_REGISTRY, workspace_of
from registry.storage.shared_lock import refuses_locks
from registry.text import shown_name

_NO_LOCKS = (
    "the file system refuses locks, so the registry cannot be changed; move the workspace to a "
    "local disk"
)


_DATABASES_AT_MOST = 30.0
"""The time, in seconds, after which no further database is searched for tasks."""


def find_issues(
    workspaces: Iterable[WorkspaceSource],
    tasks: Iterable[TaskSource],
    unread: Mapping[Path, str],
    reader: TraceReader | None = None,
) -> Found:
    """Returns the issues of tasks and workspaces. Changes no file, and takes no lock.

    Args:
        workspaces: The workspaces that the user named.
        tasks: All tasks of these workspaces.
        unread: Maps the path of each registry that must not be opened to the reason.
        reader: Reads the files of lost agents; None for a new reader.
    """
    workspaces, tasks = tuple(workspaces), tuple(tasks)
    decoded: dict[Path, Json] = {}
    found = _find(workspaces, tasks, unread, decoded, reader or TraceReader())
    found.files = _possible(found.files)
    found.tasks = [replace(job, findings=tuple(_possible(job.findings))) for job in found.tasks]
    found.globals_ = [
        replace(job, findings=tuple(_possible(job.findings))) for job in found.globals_
    ]
    statuses = [
        WrittenStatus(source.path, "status", agent_id or "", status)
        for source in tasks
        if source.dialect is Dialect.JSON
        for agent_id, entry in agent_entries(decoded.get(source.path, {}))
        if (status := text_of(entry.get("status")))
    ]
    statuses += add_database_issues(found, workspaces, tasks, decoded)
    found.files += unknown_status_findings(statuses)
    return found


def _find(
    workspaces: Iterable[WorkspaceSource],
    tasks: Iterable[TaskSource],
    unread: Mapping[Path, str],
    decoded: dict[Path, Json],
    reader: TraceReader,
) -> Found:
    """Returns the issues of JSON registries, and adds the decoded registries to `decoded`."""
    found = Found()
    lists = {source.path: source for source in workspaces if not source.is_single_task}
    # The orchestrator leaves a JSON registry in the directory of each task of a database.
    sources = {source.path: source for source in tasks if source.dialect is Dialect.JSON}
    globals_ = {source.global_registry for source in sources.values()}
    now = time.time()
    for path in dict.fromkeys((*lists, *(path for path in globals_ if path is not None))):
        _open(path, decoded, found.files)
    for path, source in sources.items():
        # A path that leaves the workspace, for example by a symlink, is not followed.
        if path not in unread:
            _open(path, decoded, found.files)
        elif may_exist(path):
            describe = _broken if source.problem is None else unreadable
            found.files.append(describe(path, unread[path]))
    twice = Counter(
        (source.global_registry, task_id_of(path, decoded[path]))
        for path, source in sources.items()
        if path in decoded
    )
    listed_by: dict[Path | None, dict[str, Path]] = {}
    for path, source in sources.items():
        for agent_id, _ in agent_entries(decoded.get(path, {})):
            listed_by.setdefault(source.global_registry, {})[agent_id or ""] = path
    unkept = _unkept(decoded)
    by_global: dict[Path, list[tuple[Path, Json]]] = {}
    for path, source in sources.items():
        task = decoded.get(path)
        if task is None:
            continue
        global_path = source.global_registry
        kept = unkept.isdisjoint({path, global_path})
        task_id = task_id_of(path, task)
        global_ = decoded.get(global_path) if global_path is not None else None
        lost: list[Issue] = []
        if kept and twice[global_path, task_id] == 1:
            traces = _traces(path, task, found.files, reader)
            others = listed_by.get(global_path, {})
            lost = lost_findings(path, task, traces, global_path, global_, now, others=others)
        issues = task_findings(path, task, kept=path not in unkept, lost=lost)
        if kept and global_path is not None and global_ is not None:
            if twice[global_path, task_id] == 1:
                will_be = with_lost(path, task, lost)
                by_global.setdefault(global_path, []).append((path, will_be))
                issues += pair_findings(path, task, global_path, global_, now, lost=lost)
            else:
                issues.append(_task_twice(path, task_id))
        found.tasks.append(Job(source, tuple(issues)))
    existing = {path.parent.name for path in sources if may_exist(path)}
    existing |= {task_id_of(path, decoded[path]) for path in sources if path in decoded}
    for path, home in lists.items():
        if path in decoded:
            known = existing | _not_missing(decoded[path], home.directory)
            pairs, kept = by_global.get(path, ()), path not in unkept
            issues = global_findings(path, decoded[path], pairs, known, now=now, kept=kept)
            found.globals_.append(Job(home, tuple(issues)))
    return found


def _unkept(decoded: Mapping[Path, Json]) -> set[Path | None]:
    """Returns the registries that the orchestrator does not keep, because of a database.

    The database may be missing: then its tasks have registries without agents, and records of
    deployments to a database. After `_DATABASES_AT_MOST` seconds, all further registries are in
    the result.
    """
    unkept: set[Path | None] = set()
    give_up_at = time.monotonic() + _DATABASES_AT_MOST
    for path, registry in decoded.items():
        if time.monotonic() > give_up_at or database_beside(path) is not None:
            unkept.add(path)
        elif path.name != GLOBAL_REGISTRY and _is_of_database(path, registry):
            unkept |= {path, Workspace(workspace_of(path)).global_registry}
    return unkept


def _is_of_database(path: Path, registry: Json) -> bool:
    return not registry.get("agents") and find_database_deployment(path.parent) is not None


def _possible(issues: Iterable[Issue]) -> list[Issue]:
    """Returns issues; an issue that this user certainly cannot repair is not fixable."""
    reason_of = functools.cache(_why_not_repairable)
    result: list[Issue] = []
    for issue in issues:
        why = None
        if issue.fixable and issue.file is not None:
            # The completion of an interrupted commit is not logged.
            why = reason_of(issue.file, issue.kind is not IssueKind.JOURNAL)
        result.append(issue if why is None else replace(issue, advice=why))
    return result


def _why_not_repairable(path: Path, is_logged: bool) -> str | None:
    if refuses_locks(path):
        return _NO_LOCKS
    if is_denied(path):
        return (
            "this user cannot write the registry: make the file writable for this user, or run "
            "muster as its owner"
        )
    denied = denial(log_of(path)) if is_logged else None
    return None if denied is None else f"the repair cannot be logged: {denied.brief}"


def _open(path: Path, decoded: dict[Path, Json], files: list[Issue]) -> None:
    """Reads a registry.

    Args:
        path: The path of the registry; this file may be missing.
        decoded: Maps paths to decoded registries; the registry is added if it can be read.
        files: The issues of whole files; issues of this file are appended.
    """
    try:
        if is_hot(path):
            files.append(_interrupted(path))
    except RegistryError as error:
        hand_on(error)  # The read below fails too, and reports the reason.
    try:
        decoded[path] = read_registry(path)
    except RegistryNotFoundError as error:
        hand_on(error)
        return
    except CorruptRegistryError as error:
        hand_on(error)
        files.append(_broken(path, error.reason or str(error)))
    except RegistryError as error:
        hand_on(error)
        files.append(unreadable(path, error.reason or str(error)))


def _broken(path: Path, why: str) -> Issue:
    """Returns the issue of a registry that cannot be decoded.

    muster can repair the issue if a kept state of the registry exists.
    """
    kept = offer(path)
    if kept is None:
        return unreadable(path, why)
    says = f"cannot be read: {why}; {kept}"
    return Issue(IssueKind.UNREADABLE, path, None, None, MISSING, says)


def _traces(path: Path, task: Json, files: list[Issue], reader: TraceReader) -> tuple[Trace, ...]:
    """Reads the files of agents that a task's registry does not list.

    Appends an issue to `files` for each directory that cannot be read completely.
    """
    listed = {id_ for id_, _ in agent_entries(task)}
    traces, problems = reader.traces_in(path, lambda agent_id: agent_id not in listed)
    for directory, why in problems:
        files.append(
            Issue(
                IssueKind.UNREADABLE,
                directory,
                None,
                None,
                MISSING,
                f"cannot be read completely: {why}",
                advice="agents that no registry lists may have files there: check the directory",
            )
        )
    return traces


def _interrupted(path: Path) -> Issue:
    says = "a commit was interrupted, and has not been finished or dropped yet"
    return Issue(IssueKind.JOURNAL, path, None, None, MISSING, says)


def _task_twice(path: Path, task_id: str) -> Issue:
    return Issue(
        IssueKind.DUPLICATE,
        path,
        None,
        "task_id",
        task_id,
        f"another task of this workspace also has the id {shown_name(task_id)}",
        advice="the global registry cannot distinguish the two tasks: rename one of them by hand",
    )


def _not_missing(global_: Json, workspace: Path) -> set[str]:
    """Returns the ids of the tasks in a global registry whose own registries may exist."""
    return {
        task_id
        for task_id, task in global_record(global_).tasks.items()
        if (task.elsewhere and not _is_here(Path(task.elsewhere), workspace))
        # If a workspace cannot be listed, its tasks may still exist.
        or (is_safe_name(task_id) and may_exist(workspace / task_id / TASK_REGISTRY))
    }


def _is_here(written: Path, workspace: Path) -> bool:
    """Returns whether a task's `workspace` field names this workspace, not another one.

    Args:
        written: The field, which may name the workspace, a directory in the workspace, or the
            workspace's parent directory.
        workspace: The path of this workspace.
    """
    return written == workspace.parent or written.is_relative_to(workspace)
