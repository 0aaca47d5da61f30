"""Repairs issues in registries, and logs each repair before it is made."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from registry.agent_output.history import TraceReader
from registry.audit.transaction import AuditContext, Made, change_pair
from registry.checks.apply import apply_fixes
from registry.checks.consistency import global_findings, pair_findings, task_findings
from registry.checks.issue import Issue, IssueKind
from registry.checks.lost import lost_findings
from registry.dataclass import dataclass
from registry.schema.layout import database_beside
from registry.storage.codec import Json
from registry.storage.locked_file import DEFAULT_TIMEOUT


@dataclass(frozen=True, slots=True)
class Fixed:
    """The result of a repair.

    Attributes:
        done: The repaired issues.
        left: The issues that were not repaired, each with the reason.
    """

    done: tuple[Issue, ...]
    left: tuple[tuple[Issue, str], ...]


def fix_task(
    task: Path,
    global_: Path | None,
    planned: Sequence[Issue],
    *,
    on_record: AuditContext | None,
    timeout: float = DEFAULT_TIMEOUT,
    reader: TraceReader | None = None,
) -> Made[Fixed]:
    """Repairs issues in a task's registry, and the differences from the global registry.

    Both registries are checked again under their locks. If an issue has changed or no longer
    exists, the issue is not repaired.

    Args:
        task: The path of the task's registry.
        global_: The path of the global registry that lists the task, or None.
        planned: The issues to repair.
        on_record: The context for the audit log; None to write no log entry.
        timeout: How long to wait for the locks, in seconds.
        reader: Reads the files of lost agents; None for a new reader.

    Raises:
        AuditError: The audit log cannot be written; nothing was changed.
        RegistryError: The task's registry cannot be locked or read; nothing was changed.
    """
    # The files are read before the locks are acquired, so that no other process has to wait.
    wanted = {issue.agent for issue in planned if issue.kind is IssueKind.LOST}
    reader = reader or TraceReader()
    traces = reader.traces_in(task, wanted.__contains__)[0] if wanted else ()

    def change(in_task: Json, in_global: Json | None) -> Fixed:
        registries = {task: in_task}
        now = time.time()
        kept = database_beside(task) is None
        both_kept = kept and (global_ is None or database_beside(global_) is None)
        lost = lost_findings(task, in_task, traces, global_, in_global, now) if both_kept else []
        present = task_findings(task, in_task, kept=kept, lost=lost)
        if global_ is not None and in_global is not None:
            registries[global_] = in_global
            if both_kept:
                present += pair_findings(task, in_task, global_, in_global, now, lost=lost)
        return fix(registries, planned, present)

    return change_pair(task, global_, change, timeout=timeout, on_record=on_record)


def fix_global(
    global_: Path,
    planned: Sequence[Issue],
    *,
    on_record: AuditContext | None,
    timeout: float = DEFAULT_TIMEOUT,
) -> Made[Fixed]:
    """Repairs the counters of a global registry. First call `fix_task` for all listed tasks.

    Args:
        global_: The path of the global registry.
        planned: The issues to repair.
        on_record: The context for the audit log; None to write no log entry.
        timeout: How long to wait for the lock, in seconds.

    Raises:
        AuditError: The audit log cannot be written; nothing was changed.
        RegistryError: The registry cannot be locked or read; nothing was changed.
    """

    def change(registry: Json, _: Json | None) -> Fixed:
        kept = database_beside(global_) is None
        present = global_findings(global_, registry, now=time.time(), kept=kept)
        return fix({global_: registry}, planned, present)

    return change_pair(global_, None, change, timeout=timeout, on_record=on_record)


def fix(registries: Mapping[Path, Json], planned: Sequence[Issue], now: Iterable[Issue]) -> Fixed:
    """Repairs the planned issues that still exist in decoded registries.

    Args:
        registries: Maps paths to the decoded registries; changed in place.
        planned: The issues to repair.
        now: The issues that the registries have at present.
    """
    unlocked = [issue for issue in planned if issue.file not in registries]
    locked = [issue for issue in planned if issue.file in registries]
    done, left = still_present(locked, now)
    left += [(issue, "the registry cannot be locked or read") for issue in unlocked]
    for file, registry in registries.items():
        apply_fixes(registry, file, done)
    return Fixed(tuple(done), tuple(left))


def still_present(
    planned: Iterable[Issue], now: Iterable[Issue]
) -> tuple[list[Issue], list[tuple[Issue, str]]]:
    """Compares planned issues with the present ones.

    Args:
        planned: The issues to repair.
        now: The issues that exist at present.

    Returns:
        The present issues that are planned, and the other planned issues with the reasons.
    """
    by_place = {issue.place: issue for issue in now}
    found: list[Issue] = []
    left: list[tuple[Issue, str]] = []
    for issue in planned:
        present = by_place.get(issue.place)
        if present is None:
            left.append((issue, "the issue no longer exists: the registry was changed meanwhile"))
        elif present.identity != issue.identity:
            reason = f"the registry was changed meanwhile; the present issue: {present.says}"
            left.append((issue, reason))
        else:
            # If the agent has reported meanwhile, `present` has newer values than the plan.
            found.append(present)
    return found, left
