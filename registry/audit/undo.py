"""Takes back logged changes, field by field and counter by counter."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from registry import snapshots
from registry.audit import diff, kept_state
from registry.audit import log as auditing
from registry.audit.diff import Reverted
from registry.audit.entries import Entry, Log, State
from registry.audit.log import Audit
from registry.audit.transaction import AuditContext, Made, change_pair
from registry.dataclass import dataclass
from registry.errors import RegistryError
from registry.schema.layout import GLOBAL_REGISTRY
from registry.storage.codec import Json
from registry.storage.files.interruption import hand_on
from registry.storage.files.permissions import is_unmapped
from registry.storage.files.safe_open import look
from registry.storage.locked_file import DEFAULT_TIMEOUT
from registry.text import shown_name

_log = logging.getLogger(__name__)

KILLED = "it was killed; a kill cannot be undone"
"""The reason why a kill, and its changes of registries, cannot be taken back."""

UNDO = "undo"
"""The word for the action "undo" in the log."""


@dataclass(frozen=True, slots=True)
class Undoable:
    """One entry of a log, with the registries that an undo of the entry would change.

    Attributes:
        entry: The entry.
        task: The task's registry; the global registry if only the global registry was changed.
            None if the entry cannot be taken back.
        global_: The global registry if both registries were changed, otherwise None.
        refused: Why the entry cannot be taken back; None if it can be taken back.
    """

    entry: Entry
    task: Path | None
    global_: Path | None
    refused: str | None = None


def last_actions(log: Log) -> Iterator[str]:
    """Yields the ids of actions that are not undone yet, the newest action first."""
    undone = log.taken_back
    seen: set[str] = set()
    for entry in reversed(log.entries):
        if entry.action == UNDO or not _took_place(entry) or entry.place in undone:
            continue
        if entry.action_id not in seen:
            seen.add(entry.action_id)
            yield entry.action_id


def _took_place(entry: Entry) -> bool:
    """Returns whether the step changed, or may have changed, a registry or a session."""
    return entry.state in (State.DONE, State.INTENDED) and bool(entry.changes or entry.session)


def undoables(log: Log, action_id: str, known: Collection[Path]) -> tuple[Undoable, ...]:
    """Returns the steps of an action, the newest step first.

    `Undoable.refused` has a reason if any of these is true:

    - The step is a kill, or the step's log entry says that the step cannot be taken back.
    - The step changed a registry that is not in `known`.
    - The step's log is not the audit log of the registry.
    - The log and the registry belong to different users, so the log's owner may have forged the
      entry.

    Args:
        log: The content of the logs.
        action_id: The id of the action.
        known: The paths of all registries that may be changed.
    """
    steps = [entry for entry in log.entries if entry.action_id == action_id]
    return tuple(_undoable(entry, known) for entry in reversed(steps) if _took_place(entry))


def _undoable(entry: Entry, known: Collection[Path]) -> Undoable:
    if entry.session is not None:
        return Undoable(entry, None, None, KILLED)
    if entry.final is not None:
        return Undoable(entry, None, None, entry.final)
    paths = tuple(_places(entry))
    for path in paths:
        why = _why_refused(entry, path, known)
        if why is not None:
            return Undoable(entry, None, None, why)
    tasks = [path for path in paths if path.name != GLOBAL_REGISTRY]
    globals_ = [path for path in paths if path.name == GLOBAL_REGISTRY]
    if len(tasks) > 1 or len(globals_) > 1:
        why = "the log entry names more than one task's registry, or more than one global registry"
        return Undoable(entry, None, None, why)
    if not tasks:
        return Undoable(entry, globals_[0], None)
    return Undoable(entry, tasks[0], globals_[0] if globals_ else None)


def _why_refused(entry: Entry, path: Path, known: Collection[Path]) -> str | None:
    """Returns why a registry must not be changed because of an entry, or None."""
    if path not in known:
        return (
            f"{shown_name(path)} is not a registry of these workspaces; to change this "
            "registry, name its workspace"
        )
    if path.name != GLOBAL_REGISTRY and auditing.log_of(path) != Path(entry.log):
        return f"{shown_name(entry.log)} is not the audit log of {shown_name(path)}"
    return _why_forgeable(entry, path)


def _why_forgeable(entry: Entry, path: Path) -> str | None:
    """Returns why an entry may be forged to change a registry of another user, or None.

    The users that own the log's files could forge an entry. An undo of the entry must not change
    a file that these users cannot change themselves.
    """
    try:
        # This is the file that will be opened later: below the same directory, and not a symlink.
        owner = look(path).st_uid
    except FileNotFoundError as error:
        hand_on(error)
        # A later read of the missing registry fails.
        return None
    except OSError as error:
        hand_on(error)
        why = error.reason if isinstance(error, RegistryError) else error.strerror
        return f"the owner of {shown_name(path)} cannot be known: {why or error}"
    known = {0, os.geteuid(), owner}
    others = {user for user in entry.writers if user not in known or is_unmapped(user)}
    if not others:
        return None
    return (
        f"{shown_name(path)} belongs to user id {owner}, but the log of the entry belongs to "
        f"user id {min(others)}, which may have forged the entry"
    )


def check_writers(entry: Entry, path: Path) -> None:
    """Requires that an entry was not forged to change a registry or database of another user.

    Raises:
        RegistryError: The entry may be forged.
    """
    why = _why_forgeable(entry, path)
    if why is not None:
        raise RegistryError(f"{why}; nothing was taken back")


def _places(entry: Entry) -> Mapping[Path, str]:
    """Returns a mapping from the path of each changed registry to its `FieldChange.file`."""
    base = auditing.base_of(Path(entry.log))
    return {base / change.file: change.file for change in entry.changes}


def preview(step: Undoable, registries: dict[Path, Json]) -> Reverted:
    """Returns the result that `take_back` would have now; locks and writes no file.

    Args:
        step: The step to take back.
        registries: Maps paths to decoded registries. A registry that is missing in this mapping is
            read and added. The step is taken back in the decoded registries, so that the preview
            of the next step can use the same mapping.

    Raises:
        RegistryError: A registry cannot be read now.
    """
    if step.task is not None and kept_state.is_restoration(step.entry):
        return kept_state.preview_break(step.task, step.entry)
    named: dict[str, Json] = {}
    for path, name in _places(step.entry).items():
        if path not in registries:
            registries[path] = snapshots.read_registry(path)
        named[name] = registries[path]
    return diff.revert(named, step.entry.changes)


def take_back(step: Undoable, audit: Audit, *, timeout: float = DEFAULT_TIMEOUT) -> Made[Reverted]:
    """Takes back one step of an action in one commit, after the undo was logged.

    A field is left unchanged if it was changed again after the step. In this case,
    `Reverted.refused` has the reason.

    Args:
        step: The step; `step.refused` must be None.
        audit: The undo action, for the log.
        timeout: How long to wait for the locks, in seconds.

    Raises:
        AuditError: The audit log cannot be written; nothing was changed.
        RegistryError: A registry cannot be locked or read, or the log entry of the step may be
            forged. Nothing was changed.
        ValueError: `step.refused` is not None.
    """
    if step.task is None:
        raise ValueError(step.refused or "the step changed nothing, so it cannot be taken back")
    first, second = step.task, step.global_

    def check() -> None:
        for path in filter(None, (first, second)):
            check_writers(step.entry, path)

    check()
    if kept_state.is_restoration(step.entry):
        reverted, problems = kept_state.put_broken_back(first, step.entry, audit, timeout)
        written = () if reverted.refused else (first,)
        return Made(reverted, written, problems)
    names = _places(step.entry)

    def revert(task: Json, global_: Json | None) -> Reverted:
        # The check is repeated under the locks. The commit ensures that the locked files are
        # still at these paths.
        check()
        registries = {names[first]: task}
        if second is not None:
            if global_ is None:
                raise RegistryError(
                    f"cannot read or lock {shown_name(second)}; nothing was taken back. Repair "
                    "that registry (muster doctor shows its issues), then undo again"
                )
            registries[names[second]] = global_
        return diff.revert(registries, step.entry.changes)

    on_record = AuditContext(audit, undoes=step.entry.key)
    made = change_pair(first, second, revert, timeout=timeout, on_record=on_record)
    _log.info("Took back %s in %s", step.entry.action_id, first)
    return made
