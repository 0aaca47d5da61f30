"""Taking back what is on record, field by field and counter by counter."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from registry import snapshots
from registry.audit import diff
from registry.audit import log as auditing
from registry.audit.diff import Reverted
from registry.audit.entries import Entry, Log, State
from registry.audit.log import Audit
from registry.audit.transaction import AuditContext, Made, change_pair
from registry.errors import RegistryError
from registry.schema.layout import GLOBAL_REGISTRY
from registry.storage.codec import Json
from registry.storage.interruption import hand_on
from registry.storage.locked_file import DEFAULT_TIMEOUT
from registry.storage.permissions import is_unmapped
from registry.storage.safe_open import look
from registry.text import shown_name

_log = logging.getLogger(__name__)

KILLED = "it was killed; a kill cannot be undone"
"""Why nobody takes back that a session was ended, or what was written down of it."""

UNDO = "undo"
"""The word for taking back in the log."""


@dataclass(frozen=True, slots=True)
class Undoable:
    """One entry of a log that can be asked to be taken back.

    Attributes:
        entry: What was done.
        task: The task's registry that it changed, or the only one.
        global_: The global registry that it changed as well, or None.
        refused: Why it cannot be taken back at all, or None.
    """

    entry: Entry
    task: Path | None
    global_: Path | None
    refused: str | None = None


def last_actions(log: Log) -> Iterator[str]:
    """The ids of the actions that changed something and were not taken back, the last first."""
    undone = log.taken_back
    seen: set[str] = set()
    for entry in reversed(log.entries):
        if entry.action == UNDO or not _took_place(entry) or entry.place in undone:
            continue
        if entry.action_id not in seen:
            seen.add(entry.action_id)
            yield entry.action_id


def _took_place(entry: Entry) -> bool:
    """Whether it changed something, or may have."""
    return entry.state in (State.DONE, State.INTENDED) and bool(entry.changes or entry.session)


def undoables(log: Log, action_id: str, known: Collection[Path]) -> tuple[Undoable, ...]:
    """The steps of an action, the last first.

    Args:
        log: What is on record.
        action_id: Which action.
        known: Every registry that may be touched. Of these an entry's are only those whose
            changes its log is for, and that its writers could have changed themselves.
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
        why = _not_to_touch(entry, path, known)
        if why is not None:
            return Undoable(entry, None, None, why)
    tasks = [path for path in paths if path.name != GLOBAL_REGISTRY]
    globals_ = [path for path in paths if path.name == GLOBAL_REGISTRY]
    if len(tasks) > 1 or len(globals_) > 1:
        return Undoable(entry, None, None, "its record names more registries than one pass takes")
    if not tasks:
        return Undoable(entry, globals_[0], None)
    return Undoable(entry, tasks[0], globals_[0] if globals_ else None)


def _not_to_touch(entry: Entry, path: Path, known: Collection[Path]) -> str | None:
    """Why a registry is not changed on the word of an entry, or None."""
    if path not in known:
        said = f"{shown_name(path)} is no registry of these workspaces"
        return f"{said}; to change it name its workspace"
    if path.name != GLOBAL_REGISTRY and auditing.log_of(path) != Path(entry.log):
        return (
            f"changes of {shown_name(path)} are in another audit log than {shown_name(entry.log)}"
        )
    return _doubt(entry, path)


def _doubt(entry: Entry, path: Path) -> str | None:
    """Why those who wrote an entry could not have written a registry themselves, or None.

    What a log says is their word, and who takes it back does it in their stead.
    """
    try:
        # Of the very file that would be opened: through the same directory, and no symlink.
        owner = look(path).st_uid
    except FileNotFoundError as error:
        hand_on(error)
        # What is not there is not changed; that is said where it is read.
        return None
    except OSError as error:
        hand_on(error)
        why = error.reason if isinstance(error, RegistryError) else error.strerror
        return f"whose {shown_name(path)} is cannot be known: {why or error}"
    known = {0, os.geteuid(), owner}
    others = {user for user in entry.writers if user not in known or is_unmapped(user)}
    if not others:
        return None
    return (
        f"{shown_name(path)} belongs to user id {owner}, but the entry is in a log of user id "
        f"{min(others)}, who may have made it up"
    )


def _places(entry: Entry) -> Mapping[Path, str]:
    """Where the registries of an entry lie, with what its changes call them."""
    base = auditing.base_of(Path(entry.log))
    return {base / change.file: change.file for change in entry.changes}


def preview(step: Undoable, registries: dict[Path, Json]) -> Reverted:
    """What taking a step back would do now; nothing is locked or written.

    Args:
        step: What would be taken back.
        registries: Those that were read for the steps before, as they would be after
            them; what this one needs is added, and changed.

    Raises:
        RegistryError: A registry cannot be read now.
    """
    named: dict[str, Json] = {}
    for path, name in _places(step.entry).items():
        if path not in registries:
            registries[path] = snapshots.read_registry(path)
        named[name] = registries[path]
    return diff.revert(named, step.entry.changes)


def take_back(step: Undoable, audit: Audit, *, timeout: float = DEFAULT_TIMEOUT) -> Made[Reverted]:
    """Takes one step back in all its registries, in one commit, on record first.

    What somebody changed since stays as it is, and is said in `Reverted.refused`.

    Args:
        step: What to take back; not refused.
        audit: The action that this is a step of.
        timeout: Seconds to wait for the locks.

    Raises:
        AuditError: It could not be put on record; nothing was changed.
        RegistryError: A registry could not be had, or is not the log's writer's to change;
            nothing was changed.
    """
    if step.task is None:
        raise ValueError(step.refused or "there is nothing to take back")
    first, second = step.task, step.global_

    def check() -> None:
        for path in filter(None, (first, second)):
            why = _doubt(step.entry, path)
            if why is not None:
                raise RegistryError(f"{why}; nothing was taken back")

    check()
    names = _places(step.entry)

    def revert(task: Json, global_: Json | None) -> Reverted:
        # Once more under the locks, which are on what the paths name: a commit makes sure.
        check()
        registries = {names[first]: task}
        if second is not None:
            if global_ is None:
                raise RegistryError(
                    f"{shown_name(second)} cannot be had; nothing was taken back. Set that "
                    "registry right (muster doctor says what is wrong), then undo again"
                )
            registries[names[second]] = global_
        return diff.revert(registries, step.entry.changes)

    on_record = AuditContext(audit, undoes=step.entry.key)
    made = change_pair(first, second, revert, timeout=timeout, on_record=on_record)
    _log.info("Took back %s in %s", step.entry.action_id, first)
    return made
