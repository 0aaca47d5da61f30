"""Keeps a copy of the last complete text of each registry, to replace a broken text.

A text is broken if it cannot be decoded, for example because two processes wrote the registry at
the same time without the lock. So muster copies each registry while its text is complete. The copy
is called the kept state. It is in the directory of the audit log, and has the owner, group and
mode of the registry. Only the user can decide to replace a broken text by the kept state.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from registry.audit import log as auditing
from registry.audit.diff import WHOLE_FILE, FieldChange, Reverted
from registry.audit.entries import Entry, State
from registry.audit.log import Audit
from registry.dataclass import dataclass
from registry.errors import (
    AuditError,
    BusyRegistryError,
    HalfWrittenError,
    RegistryError,
    WrongShapeError,
)
from registry.schema.edits import check_global, check_task
from registry.schema.records import agent_entries
from registry.snapshots import read_text
from registry.storage import recovery
from registry.storage.codec import MAX_BYTES, decode, parses
from registry.storage.commit import Write, commit, stamp
from registry.storage.files.file_age import is_in_the_making
from registry.storage.files.interruption import hand_on, tolerating
from registry.storage.files.own_files import named_status, own_folder
from registry.storage.files.permissions import Access, journal_access, reachable
from registry.storage.files.safe_open import folder_of, is_safe_name, open_file, read_all
from registry.storage.files.same_access import giving_access, save_beside
from registry.storage.files.whole_file import replace_whole
from registry.storage.journal import digest
from registry.storage.journal_file import read_journal
from registry.storage.journal_trust import why_not_of_writer
from registry.storage.locked_file import DEFAULT_TIMEOUT
from registry.storage.partner import GLOBAL_REGISTRY
from registry.text import shown_name

LARGEST = 16 * 1024 * 1024
"""The size of the largest registry of which a copy is kept, in bytes."""

_ASIDE = re.compile(r"\.[A-Za-z0-9_.-]+\.\d{8}-\d{6}-\d{6}\.broken", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,128}", re.ASCII)
_ID = re.compile(
    rb'"(?:id"\s*:\s*"|tmux_session"\s*:\s*"agent_)([A-Za-z0-9_.-]{1,128})"'
    rb'|"([A-Za-z0-9_.-]{1,128})"\s*:\s*\{'
)
_IDS_AT_MOST = 1_000_000
_NAMED_AT_MOST = 5


@dataclass(frozen=True, slots=True)
class Kept:
    """The kept state of a registry: a copy of its last complete text.

    Attributes:
        text: The text.
        agents: The ids of the agents in the text.
        at: When the copy was made, in seconds since the epoch.
    """

    text: bytes
    agents: frozenset[str]
    at: float


class Restored(NamedTuple):
    """The result of `restore`.

    Attributes:
        aside: The path of the file with the broken text.
        problems: The reasons why the outcome could not be logged.
    """

    aside: Path
    problems: tuple[str, ...]


def place_of(registry: Path) -> Path:
    """Returns the path of a registry's kept state, a hidden file in the audit log's directory."""
    folder = "" if registry.name == GLOBAL_REGISTRY else f"{registry.parent.name}."
    return auditing.log_of(registry).with_name(f".{folder}{registry.name}.kept")


def keep(registry: Path) -> bool:
    """Copies the present text of a registry, unless the last copy has the same text.

    Takes no lock. A user who may not write the registry keeps no copy.

    Args:
        registry: A task's registry, or a global registry.

    Returns:
        Whether a copy was written.

    Raises:
        RegistryError: The file cannot be read, or is not a registry; or `kept_of` would not trust
            a copy of this user. The last copy stays.
        OSError: The copy cannot be written. The last copy stays.
    """
    place = place_of(registry)
    if not is_safe_name(registry.parent.name):
        return False
    read = read_text(registry, LARGEST)
    text = read.record
    _checked(registry, text)
    with folder_of(registry) as directory, open_file(registry, os.O_RDONLY) as opened:
        # Another user may have moved another file or directory to the path meanwhile.
        for status in (os.fstat(opened.fileno()), named_status(registry, directory)):
            if read.signature.identity != (status.st_dev, status.st_ino):
                raise BusyRegistryError(registry, locked=False)
        if not os.access(registry.name, os.W_OK, dir_fd=directory, effective_ids=True):
            return False
        present = _kept_for(opened.fileno(), registry)
        access = Access.of(opened.fileno())
        # Users who cannot reach the registry must not read the copy.
        narrowed = reachable(access, Access.at(directory, "."))
    with own_folder(place) as folder:
        if present is not None and present.text == text and _has_access(place, folder, narrowed):
            return False

        def prepare(fd: int) -> None:
            giving_access(narrowed)(fd)
            why = why_not_of_writer(place, Access.of(fd), access)
            if why is not None:
                raise RegistryError(f"a copy by this user would not be trusted: it {why}")

        owners = {os.geteuid()} if os.geteuid() != 0 else {0, access.owner}
        replace_whole(place.name, folder, text, prepare, owners)
    return True


def _has_access(place: Path, folder: int, access: Access) -> bool:
    present = Access.at(folder, place.name)
    return present == journal_access(present.owner, present.group, access)


def kept_of(registry: Path) -> Kept | None:
    """Returns the kept state of a registry; None if there is no trusted kept state.

    A kept state is trusted if its file belongs to a user that may write the registry.
    """
    try:
        with open_file(registry, os.O_RDONLY) as opened:
            return _kept_for(opened.fileno(), registry)
    except (RegistryError, OSError) as error:
        hand_on(error)
        return None


def _kept_for(fd: int, registry: Path) -> Kept | None:
    """Returns the trusted kept state of an open registry, or None; see `kept_of`."""
    place = place_of(registry)
    try:
        text = read_journal(place, fd, registry, LARGEST)
        with own_folder(place) as folder:
            at = os.stat(place.name, dir_fd=folder, follow_symlinks=False).st_mtime
        return Kept(text, _checked(registry, text), at)
    except (RegistryError, OSError) as error:
        hand_on(error)
        return None


def _checked(registry: Path, text: bytes) -> frozenset[str]:
    """Returns the ids of the agents in a text.

    Raises:
        RegistryError: The text is not a registry of the expected kind (task's or global).
    """
    decoded = decode(text, registry)
    if not isinstance(decoded.get("agents"), (list, dict)):
        raise WrongShapeError("agents", "is missing").named(registry)
    if registry.name == GLOBAL_REGISTRY:
        check_global(decoded)
    else:
        check_task(decoded)
        # Whoever can rename files must not give one task the kept state of another task.
        if decoded.get("task_id") != registry.parent.name:
            raise WrongShapeError("task_id", "is not the name of the folder").named(registry)
    return frozenset(id_ for id_, _ in agent_entries(decoded) if id_)


def offer(registry: Path) -> str | None:
    """Describes the kept state that can replace the broken text of a registry.

    The description also names the agents that are in only one of the two texts.

    Args:
        registry: A registry that cannot be decoded.

    Returns:
        The description; None if there is no kept state, or if the registry is not broken.
    """
    try:
        with open_file(registry, os.O_RDONLY) as opened:
            kept = _kept_for(opened.fileno(), registry)
            broken = read_all(opened.fileno(), registry, MAX_BYTES) if kept is not None else b""
    except (RegistryError, OSError) as error:
        hand_on(error)
        return None
    if kept is None or not _is_broken(broken, registry):
        return None
    named, keys = _ids_in(broken)
    text = f"muster kept the state of {_shown_time(kept.at)}, with {len(kept.agents)} agents"
    lost = sorted(named - kept.agents)
    if lost:
        text += f"; {len(lost)} more agents are only in the broken text: {_names(lost)}"
    gone = sorted(filter(_PLAIN.fullmatch, kept.agents - named - keys))
    if gone:
        text += f"; {len(gone)} agents are not in the broken text: {_names(gone)}"
    return text


def _ids_in(broken: bytes) -> tuple[set[str], set[str]]:
    """Returns ids in a broken text: values of an id, and keys of objects, which may be ids."""
    named: set[str] = set()
    keys: set[str] = set()
    for match in islice(_ID.finditer(broken), _IDS_AT_MOST):
        if match[1]:
            named.add(match[1].decode("ascii"))
        else:
            keys.add(match[2].decode("ascii"))
    return named, keys


def _shown_time(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError) as error:
        hand_on(error)
        return "an unknown time"


def _names(agents: list[str]) -> str:
    more = len(agents) - _NAMED_AT_MOST
    return ", ".join(map(shown_name, agents[:_NAMED_AT_MOST])) + (
        f" and {more} more" if more > 0 else ""
    )


def restore(registry: Path, audit: Audit, timeout: float = DEFAULT_TIMEOUT) -> Restored:
    """Replaces the broken text of a registry by the registry's kept state, and logs this change.

    The broken text is written to a file in the directory of the registry.

    Args:
        registry: The registry.
        audit: The action that this change is a step of.
        timeout: How long to wait for the lock, in seconds.

    Raises:
        BusyRegistryError: Another process is writing the registry.
        AuditError: The audit log cannot be written; nothing was changed.
        RegistryError: There is no kept state, the registry is not broken, or the registry cannot
            be written. Nothing was changed.
    """
    kept = kept_of(registry)
    if kept is None:
        raise RegistryError(f"no state of {shown_name(registry)} is kept; nothing was changed")
    with _locked(registry, timeout) as fd:
        broken = _broken(fd, registry)
    aside = registry.with_name(f".{registry.name}.{datetime.now():%Y%m%d-%H%M%S-%f}.broken")
    change = FieldChange(
        file=auditing.name_in(auditing.log_of(registry), registry),
        agent=None,
        nth=0,
        field=WHOLE_FILE,
        before={"aside": aside.name, "sha256": digest(broken)},
        after={"sha256": digest(kept.text)},
    )

    def write(fd: int) -> None:
        # Another user may have moved another file to the path.
        present = _kept_for(fd, registry)
        if _broken(fd, registry) != broken or present is None or present.text != kept.text:
            raise BusyRegistryError(registry, locked=False)
        save_beside(aside, Access.of(fd), broken)
        commit([Write(fd, registry, broken, kept.text, stamp(fd))])

    return Restored(aside, _on_record(registry, audit, change, write, timeout))


def _on_record(
    registry: Path,
    audit: Audit,
    change: FieldChange,
    write: Callable[[int], None],
    timeout: float,
    undoes: tuple[str, int] | None = None,
) -> tuple[str, ...]:
    """Logs a change, makes the change under the registry's lock, and logs the outcome.

    Returns:
        The reasons why the outcome could not be logged.
    """
    log = auditing.log_of(registry)
    entry = audit.begin(log, changes=(change,), undoes=undoes)
    try:
        with _locked(registry, timeout) as fd:
            write(fd)
    except HalfWrittenError:
        raise
    except Exception as error:
        hand_on(error)
        with tolerating(AuditError):
            audit.end(log, entry, State.FAILED, str(error))
        raise
    try:
        audit.end(log, entry, State.DONE)
    except AuditError as error:
        hand_on(error)
        return (f"the registry was changed, but the outcome was not logged: {error.brief}",)
    return ()


@contextmanager
def _locked(registry: Path, timeout: float) -> Iterator[int]:
    lock = recovery.acquire(registry, timeout)
    try:
        yield lock.fd
    finally:
        lock.release()


def _broken(fd: int, registry: Path) -> bytes:
    """Returns the broken text of a registry.

    Raises:
        BusyRegistryError: Another process may be writing the text without the lock.
        RegistryError: The text is not broken.
    """
    text = read_all(fd, registry, MAX_BYTES)
    if not _is_broken(text, registry):
        raise RegistryError(f"{shown_name(registry)} is not broken any more; nothing was changed")
    if is_in_the_making(os.fstat(fd)):
        raise BusyRegistryError(registry, locked=False)
    return text


def _is_broken(text: bytes, registry: Path) -> bool:
    """Returns whether a text is complete, and no program can decode it.

    A text that was not read to its end, or that has another encoding, may be valid for others.
    """
    if len(text) > MAX_BYTES or parses(text, registry):
        return False
    for candidate in (text, text.decode("latin-1")):
        try:
            json.loads(candidate)
        except (ValueError, RecursionError) as error:
            hand_on(error)
        else:
            return False
    return True


def is_restoration(entry: Entry) -> bool:
    """Returns whether an entry of the audit log replaced the whole text of a registry."""
    return any(change.replaces_file for change in entry.changes)


def preview_break(registry: Path, entry: Entry) -> Reverted:
    """Returns the result that `put_broken_back` would have now; writes no file.

    Raises:
        RegistryError: The registry cannot be read.
    """
    (change,) = entry.changes
    with open_file(registry, os.O_RDONLY) as opened:
        why = _why_not_undoable(opened.fileno(), registry, change)
    return Reverted((), (), {WHOLE_FILE: why}) if why else Reverted((), (WHOLE_FILE,), {})


def put_broken_back(
    registry: Path, entry: Entry, audit: Audit, timeout: float
) -> tuple[Reverted, tuple[str, ...]]:
    """Undoes `restore`: writes the broken text to the registry again, and logs this change.

    Returns:
        The result, and the reasons why the outcome could not be logged.

    Raises:
        AuditError: The audit log cannot be written; nothing was changed.
        RegistryError: The registry cannot be locked, read or written; nothing was changed.
    """
    (change,) = entry.changes
    found = preview_break(registry, entry)
    if found.refused:
        return found, ()
    back = FieldChange(
        file=change.file,
        agent=None,
        nth=0,
        field=WHOLE_FILE,
        before=change.after,
        after=change.before,
    )

    def write(fd: int) -> None:
        why = _why_not_undoable(fd, registry, change)
        if why is not None:
            raise RegistryError(f"{shown_name(registry)} {why}; nothing was taken back")
        present = read_all(fd, registry, MAX_BYTES)
        broken = _aside_text(fd, registry, change)
        commit([Write(fd, registry, present, broken, stamp(fd))])

    return found, _on_record(registry, audit, back, write, timeout, entry.key)


def _why_not_undoable(fd: int, registry: Path, change: FieldChange) -> str | None:
    """Returns why `restore` cannot be undone, or None.

    The reason continues a sentence that starts with the path of the registry.
    """
    if digest(read_all(fd, registry, MAX_BYTES)) != _field(change.after, "sha256"):
        return "was changed after it was restored"
    try:
        _aside_text(fd, registry, change)
    except (RegistryError, OSError) as error:
        hand_on(error)
        return f"cannot get its broken text back: {error}"
    return None


def _aside_text(fd: int, registry: Path, change: FieldChange) -> bytes:
    name = _field(change.before, "aside")
    if not _ASIDE.fullmatch(name):
        raise RegistryError(f"{shown_name(name)} cannot be the file of a broken text")
    text = read_journal(registry.with_name(name), fd, registry, MAX_BYTES)
    if digest(text) != _field(change.before, "sha256"):
        raise RegistryError(f"{shown_name(name)} was changed")
    return text


def _field(value: object, name: str) -> str:
    return str(value.get(name, "")) if isinstance(value, dict) else ""
