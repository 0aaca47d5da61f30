"""One change of a task's registry and the global one, on record before it is made."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from registry.audit import log as auditing
from registry.audit.diff import FieldChange, differences, snapshot
from registry.audit.entries import Entry, State
from registry.audit.log import Audit
from registry.errors import AuditError, BusyRegistryError, HalfWrittenError, UntrustedFileError
from registry.pair import editing_pair
from registry.storage.codec import Json
from registry.storage.interruption import hand_on
from registry.storage.permissions import user_called

Result = TypeVar("Result")

Change = Callable[[Json, Json | None], Result]
"""Changes a task's decoded registry and the global one (None if it cannot be had) in place."""


@dataclass(frozen=True, slots=True)
class AuditContext:
    """How to put a change on record.

    Attributes:
        audit: The action that it is a step of.
        final: Why it cannot be taken back, if so.
        undoes: Key of the entry that it takes back, if so.
    """

    audit: Audit
    final: str | None = None
    undoes: tuple[str, int] | None = None


OnRecord = AuditContext
"""The name of `AuditContext` in earlier versions."""


@dataclass(frozen=True, slots=True)
class Made(Generic[Result]):
    """A change that was made.

    Attributes:
        result: What the change returned.
        written: The registries that were written.
        problems: What was left out, and why; what could not be put on record.
        owners: The users whom the registries belong to, by their numbers.
    """

    result: Result
    written: tuple[Path, ...]
    problems: tuple[str, ...]
    owners: Mapping[Path, int] = field(default_factory=dict)


def change_pair(
    task: Path,
    global_: Path | None,
    change: Change[Result],
    *,
    timeout: float,
    on_record: AuditContext | None,
    owner: int | None = None,
) -> Made[Result]:
    """Changes both registries in one locked pass and one commit.

    With `on_record` the first pass only looks what will change; that is put on record
    with no lock held, and the second pass makes the change if it is the same still.

    Args:
        task: The task's registry.
        global_: The workspace's, or None. While it is broken the task's is changed alone.
        change: Called with what is there; more than once if somebody else comes between.
        timeout: Seconds to wait for the locks, in all.
        on_record: How to put it on record; None does not.
        owner: The user whose the task's registry was when it was judged, by its number. Who
            may exchange tasks' folders may put one there that it may not write itself. None
            compares the passes alone.

    Raises:
        UntrustedFileError: A registry of another user lies there now; nothing was changed.
        AuditError: It could not be put on record; nothing was changed.
        RegistryError: The task's registry could not be had; nothing was changed.
    """
    owners = {} if owner is None else {task: owner}
    if on_record is None:
        return _pass(task, global_, change, timeout, None, None, owners)[0]
    audit, log = on_record.audit, auditing.log_of(task)
    deadline = time.monotonic() + timeout
    expected: tuple[FieldChange, ...] = ()
    entry: Entry | None = None
    while True:
        left = max(0.0, deadline - time.monotonic())
        try:
            done, made = _pass(task, global_, change, left, log, expected, owners)
        except HalfWrittenError:
            # The next opener will finish it: no outcome, so that its fields tell.
            raise
        except Exception as error:
            # An interruption (Ctrl-C) has no outcome either: it may come after the commit.
            hand_on(error)
            if entry is not None:
                _end(audit, log, entry, State.FAILED, str(error) or type(error).__name__)
            raise
        if _same(made, expected):
            if entry is not None:
                # Said again only where others moved the counters in between.
                counted = () if made == expected else made
                problem = _end(audit, log, entry, State.DONE, "", counted)
                if problem is not None:
                    done = replace(done, problems=(*done.problems, problem))
            return done
        if entry is not None:
            _end(audit, log, entry, State.VOID, "the registry had changed meanwhile")
            if not left:
                raise BusyRegistryError(task)
        expected, owners = made, {**done.owners, **owners}
        entry = None
        if expected:
            entry = audit.begin(
                log, changes=expected, final=on_record.final, undoes=on_record.undoes
            )


def _end(
    audit: Audit,
    log: Path,
    entry: Entry,
    state: State,
    detail: str,
    changes: Sequence[FieldChange] = (),
) -> str | None:
    try:
        audit.end(log, entry, state, detail, changes)
    except AuditError as error:
        hand_on(error)
        return f"how it ended is not on record: {error}"
    return None


def _same(made: Sequence[FieldChange], expected: Sequence[FieldChange]) -> bool:
    return [each.means_the_same() for each in made] == [each.means_the_same() for each in expected]


def _pass(
    task: Path,
    global_: Path | None,
    change: Change[Result],
    timeout: float,
    log: Path | None,
    expected: tuple[FieldChange, ...] | None,
    owners: Mapping[Path, int],
) -> tuple[Made[Result], tuple[FieldChange, ...]]:
    """One locked pass.

    Args:
        task: The task's registry.
        global_: The global one, or None.
        change: What to do.
        timeout: Seconds to wait for the locks.
        log: What names the registries in the differences; None for their own paths.
        expected: Only this is written; None writes whatever comes.
        owners: The users whom the registries must belong to, as far as that is known.

    Returns:
        What was done, and every field that differs.
    """
    with editing_pair(task, global_, timeout) as (task_edit, global_edit, problems):
        edits = [each for each in (task_edit, global_edit) if each is not None]
        for edit in edits:
            if owners.get(edit.path, edit.owner) != edit.owner:
                raise UntrustedFileError(
                    edit.path,
                    f"belongs to {user_called(edit.owner)} now, and did to "
                    f"{user_called(owners[edit.path])}; nothing was changed: look at it anew",
                )
        before = [snapshot(each.registry) for each in edits]
        result = change(task_edit.registry, global_edit.registry if global_edit else None)
        made: list[FieldChange] = []
        written: list[Path] = []
        for edit, old in zip(edits, before, strict=True):
            name = str(edit.path) if log is None else auditing.name_in(log, edit.path)
            found = differences(name, old, edit.registry)
            made += found
            if found:
                written.append(edit.path)
        if expected is None or _same(made, expected):
            for edit in edits:
                edit.changed = edit.path in written
        found_owners = {edit.path: edit.owner for edit in edits}
    return Made(result, tuple(written), tuple(problems), found_owners), tuple(made)
