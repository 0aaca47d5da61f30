"""Changes a task's registry and the global registry, and logs each change before it is made."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from registry.audit import log as auditing
from registry.audit.diff import FieldChange, differences, snapshot
from registry.audit.entries import Entry, State
from registry.audit.log import Audit
from registry.dataclass import dataclass, field, replace
from registry.errors import (
    AuditError,
    BusyRegistryError,
    HalfWrittenError,
    UncertainCommitError,
    UntrustedFileError,
)
from registry.pair import editing_pair
from registry.storage.codec import Json
from registry.storage.files.interruption import hand_on
from registry.storage.files.permissions import user_called
from registry.storage.locked_file import until_kept

Result = TypeVar("Result")

Change = Callable[[Json, Json | None], Result]
"""A function that changes a task's decoded registry and the decoded global registry in place.

The second argument is None if there is no global registry, or if it cannot be locked or read.
"""


@dataclass(frozen=True, slots=True)
class AuditContext:
    """What the audit log says about a change, besides the changed fields.

    Attributes:
        audit: The action; the change is a step of this action.
        final: Why the change cannot be taken back; None if it can be taken back.
        undoes: The key of the log entry that the change takes back; None if the change is not an
            undo.
    """

    audit: Audit
    final: str | None = None
    undoes: tuple[str, int] | None = None


OnRecord = AuditContext
"""The name of `AuditContext` in earlier versions."""


@dataclass(frozen=True, slots=True)
class Made(Generic[Result]):
    """The result of `change_pair`.

    Attributes:
        result: The return value of the change.
        written: The paths of the registries that were written.
        problems: Messages about registries that were not written, and about outcomes that were not
            logged.
        owners: Maps the path of each registry to the id of the user that owns it.
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
    """Changes a task's registry and the global registry in one commit.

    If the change is logged, it is made in two passes:

    1. The first pass only finds the fields that will change. Then the fields are logged while no
       lock is held.
    2. The second pass makes the change if exactly these fields change. Otherwise, both passes are
       repeated.

    Args:
        task: The task's registry.
        global_: The global registry, or None. If the global registry is broken, only the task's
            registry is changed.
        change: A function that makes the change in decoded registries. Each pass calls it.
        timeout: How long to wait for the locks in total, in seconds.
        on_record: The context for the audit log; None if the change is not logged.
        owner: The id of the user that owned the task's registry when the change was planned. This
            user must still own the registry. None to compare only the owners in the two passes.

    Raises:
        UntrustedFileError: A registry belongs to another user than before; nothing was changed.
        AuditError: The audit log cannot be written; nothing was changed.
        RegistryError: The task's registry cannot be locked or read; nothing was changed.
    """
    owners = {} if owner is None else {task: owner}
    if on_record is None:
        alone = partial(_pass, task, global_, change, log=None, expected=None, owners=owners)
        return until_kept(alone, timeout)[0]
    log = auditing.log_of(task)

    def one_pass(
        expected: tuple[FieldChange, ...], owners: Mapping[Path, int], left: float
    ) -> tuple[Made[Result], tuple[FieldChange, ...]]:
        alone = partial(_pass, task, global_, change, log=log, expected=expected, owners=owners)
        return until_kept(alone, left)

    return logged(one_pass, task, owners, timeout=timeout, on_record=on_record)


OnePass = Callable[
    [tuple[FieldChange, ...], Mapping[Path, int], float],
    tuple[Made[Result], tuple[FieldChange, ...]],
]
"""A function that makes one pass of a change: finds the changed fields, and writes them if they
are the expected ones. Its arguments are these fields, the ids of the users that must own the
files, and how long to wait in seconds."""


def logged(
    one_pass: OnePass[Result],
    place: Path,
    owners: Mapping[Path, int],
    *,
    timeout: float,
    on_record: AuditContext,
) -> Made[Result]:
    """Makes a change in two passes, and logs it between them; see `change_pair`.

    Args:
        one_pass: Makes one pass.
        place: The registry or database that is changed.
        owners: Maps the paths of files to the ids of the users that must own them.
        timeout: How long to wait for other writers in total, in seconds.
        on_record: The context for the audit log.

    Raises:
        AuditError: The audit log cannot be written; nothing was changed.
        RegistryError: See `one_pass`.
    """
    audit, log = on_record.audit, auditing.log_of(place)
    deadline = time.monotonic() + timeout
    expected: tuple[FieldChange, ...] = ()
    entry: Entry | None = None
    while True:
        left = max(0.0, deadline - time.monotonic())
        try:
            done, made = one_pass(expected, owners, left)
        except (HalfWrittenError, UncertainCommitError):
            # The next process that opens the registry finishes or drops the write. The outcome
            # is not known yet, so it is not logged.
            raise
        except Exception as error:
            # KeyboardInterrupt is not caught: it may come after the commit, so the outcome is
            # not known.
            hand_on(error)
            if entry is not None:
                _end(audit, log, entry, State.FAILED, str(error) or type(error).__name__)
            raise
        if same_changes(made, expected):
            if entry is not None:
                # The changes are logged again only if other processes changed the counters between
                # the two passes.
                counted = () if made == expected else made
                problem = _end(audit, log, entry, State.DONE, "; ".join(done.problems), counted)
                if problem is not None:
                    done = replace(done, problems=(*done.problems, problem))
            return done
        if entry is not None:
            _end(audit, log, entry, State.VOID, "the registry was changed meanwhile")
            if not left:
                raise BusyRegistryError(place)
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
        return f"the registries were changed, but the outcome was not logged: {error.brief}"
    return None


def same_changes(made: Sequence[FieldChange], expected: Sequence[FieldChange]) -> bool:
    """Returns whether the same fields were changed in the same way."""
    return [change.means_the_same() for change in made] == [
        change.means_the_same() for change in expected
    ]


def _pass(
    task: Path,
    global_: Path | None,
    change: Change[Result],
    timeout: float,
    log: Path | None,
    expected: tuple[FieldChange, ...] | None,
    owners: Mapping[Path, int],
) -> tuple[Made[Result], tuple[FieldChange, ...]]:
    """Makes one pass of `change_pair` under the locks of both registries.

    Args:
        task: The task's registry.
        global_: The global registry, or None.
        change: A function that makes the change in decoded registries.
        timeout: How long to wait for the locks, in seconds.
        log: The path of the audit log, which determines the names of registries in the changed
            fields. None to use paths as names.
        expected: The expected changes. If other changes are made, nothing is written. None to
            write all changes.
        owners: Maps the paths of registries to the ids of the users that must own them.

    Returns:
        The result, and all changed fields.

    Raises:
        UntrustedFileError: A registry has another owner than `owners` says.
    """
    with editing_pair(task, global_, timeout) as (task_edit, global_edit, problems):
        edits = [edit for edit in (task_edit, global_edit) if edit is not None]
        for edit in edits:
            if owners.get(edit.path, edit.owner) != edit.owner:
                raise UntrustedFileError(
                    edit.path,
                    f"belonged to {user_called(owners[edit.path])} before, and belongs to "
                    f"{user_called(edit.owner)} now; nothing was changed. Check that registry, "
                    "and try again",
                )
        before = [snapshot(edit.registry) for edit in edits]
        result = change(task_edit.registry, global_edit.registry if global_edit else None)
        made: list[FieldChange] = []
        written: list[Path] = []
        for edit, old in zip(edits, before, strict=True):
            name = str(edit.path) if log is None else auditing.name_in(log, edit.path)
            changes = differences(name, old, edit.registry)
            made += changes
            if changes:
                written.append(edit.path)
        if expected is None or same_changes(made, expected):
            for edit in edits:
                edit.changed = edit.path in written
        present_owners = {edit.path: edit.owner for edit in edits}
    return Made(result, tuple(written), tuple(problems), present_owners), tuple(made)
