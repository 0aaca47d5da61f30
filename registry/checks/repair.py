"""Setting right what was found, on record, if it still is so under the lock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.audit.transaction import AuditContext, Made, change_pair
from registry.checks.apply import mend
from registry.checks.consistency import global_findings, pair_findings, task_findings
from registry.checks.issue import Issue
from registry.schema.layout import database_beside
from registry.storage.codec import Json
from registry.storage.locked_file import DEFAULT_TIMEOUT


@dataclass(frozen=True, slots=True)
class Fixed:
    """What became of findings that were to be set right.

    Attributes:
        done: Those that were.
        left: Those that were not, each with the reason.
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
) -> Made[Fixed]:
    """Sets right what was found in a task's registry, and where the global one differs.

    Both are looked at anew under their locks; what is no more, or is another finding
    now, is left as it is.

    Args:
        task: The task's registry.
        global_: The global registry that follows it, or None.
        planned: What to set right.
        on_record: How to put it on record; None does not.
        timeout: Seconds to wait for the locks.

    Raises:
        AuditError: It could not be put on record; nothing was changed.
        RegistryError: The task's registry could not be had; nothing was changed.
    """

    def change(in_task: Json, in_global: Json | None) -> Fixed:
        registries = {task: in_task}
        kept = database_beside(task) is None
        now = task_findings(task, in_task, kept=kept)
        if global_ is not None and in_global is not None:
            registries[global_] = in_global
            if kept and database_beside(global_) is None:
                now += pair_findings(task, in_task, global_, in_global)
        return fix(registries, planned, now)

    return change_pair(task, global_, change, timeout=timeout, on_record=on_record)


def fix_global(
    global_: Path,
    planned: Sequence[Issue],
    *,
    on_record: AuditContext | None,
    timeout: float = DEFAULT_TIMEOUT,
) -> Made[Fixed]:
    """Sets a global registry's counters right, after all of its tasks were.

    Args:
        global_: The global registry.
        planned: What to set right; as `fix_task`.
        on_record: As for `fix_task`.
        timeout: Seconds to wait for the lock.

    Raises:
        AuditError: It could not be put on record; nothing was changed.
        RegistryError: The registry could not be had; nothing was changed.
    """

    def change(registry: Json, _: Json | None) -> Fixed:
        kept = database_beside(global_) is None
        now = global_findings(global_, registry, kept=kept)
        return fix({global_: registry}, planned, now)

    return change_pair(global_, None, change, timeout=timeout, on_record=on_record)


def fix(registries: Mapping[Path, Json], planned: Sequence[Issue], now: Iterable[Issue]) -> Fixed:
    """Sets right what was planned and is found still. Pure; changes the registries.

    Args:
        registries: Decoded, by their paths.
        planned: What to set right.
        now: What is found in them now.
    """
    there = {each.place: each for each in now}
    done: list[Issue] = []
    left: list[tuple[Issue, str]] = []
    for each in planned:
        same = there.get(each.place)
        if each.file not in registries:
            left.append((each, "its registry could not be had"))
        elif same is None:
            left.append((each, "is so no more: somebody changed it meanwhile"))
        elif same.identity != each.identity:
            left.append((each, f"was changed meanwhile, and {same.says} now"))
        else:
            done.append(each)
    for file, registry in registries.items():
        mend(registry, file, done)
    return Fixed(tuple(done), tuple(left))
