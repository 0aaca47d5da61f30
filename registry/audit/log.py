"""The audit log: what operators did, on the disk before it is done.

`registry/muster_audit.jsonl` in the workspace: appended to under a flock of its
own, by any number of processes, flushed (fsync) with every record, rotated. An
intent is written first, then the change is made, then its outcome is written; no
registry is locked while the log is. An intent without an outcome was cut off,
and its fields tell whether the change came about.
"""

from __future__ import annotations

import os
import pwd
import secrets
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from registry.audit import entries as records
from registry.audit.diff import FieldChange
from registry.audit.entries import EndedSession, Entry, Log, State, Who
from registry.audit.files import LogLines, check_log, read_lines
from registry.errors import AuditError, RegistryError, RegistryNotFoundError, UntrustedFileError
from registry.schema.layout import GLOBAL_FOLDER, WORKSPACE_NAME
from registry.storage import flock
from registry.storage.flock import Lock
from registry.storage.interruption import hand_on, tolerating
from registry.storage.own_files import (
    check_folder,
    check_same,
    make_empty,
    make_own_folder,
    own_folder,
)
from registry.storage.safe_open import write_all

AUDIT_LOG = "muster_audit.jsonl"

ROTATE_AT = 8 * 1024 * 1024
"""Size in bytes from which a log is put aside before the next record."""

KEPT = 5
"""Logs that were put aside and are kept: muster_audit.1.jsonl is the youngest."""

LOCK_TIMEOUT = 5.0
"""Seconds to wait for other writers of the log."""


def log_of(registry: Path) -> Path:
    """Where changes of a registry are put on record.

    In the `registry` folder of its workspace; beside the registry where it lies in none.
    """
    return (_folder_of(registry.parent.parent) or registry.parent) / AUDIT_LOG


def log_in(workspace: Path) -> Path:
    """Where what concerns a workspace, but no task in it, is put on record."""
    return (_folder_of(workspace) or workspace) / AUDIT_LOG


def _folder_of(workspace: Path) -> Path | None:
    """The folder of a workspace's global registry; None where this is no workspace."""
    folder = workspace / GLOBAL_FOLDER
    if workspace.name == WORKSPACE_NAME or folder.is_dir() or folder.is_symlink():
        return folder
    return None


def base_of(log: Path) -> Path:
    """The directory that a log names registries from: a workspace, or its own."""
    return log.parent.parent if log.parent.name == GLOBAL_FOLDER else log.parent


def name_in(log: Path, registry: Path) -> str:
    """What a log calls a registry: its path beneath `base_of`, or the whole path."""
    base = base_of(log)
    return str(registry.relative_to(base) if registry.is_relative_to(base) else registry)


def who() -> Who:
    """This process and its user."""
    tty = None
    for fd in (0, 1, 2):
        with tolerating(OSError):
            tty = os.ttyname(fd)
            break
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError as error:
        hand_on(error)
        user = str(os.geteuid())
    return Who(user, os.environ.get("SUDO_USER") or None, socket.gethostname(), os.getpid(), tty)


def timestamp() -> str:
    """Now, in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def new_action_id() -> str:
    """An id for an action: when it began, in UTC, and a few digits of chance."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


@dataclass(slots=True)
class Audit:
    """One action of an operator, while it is put on record. Not for several threads.

    Attributes:
        action: What is done, in a word: "kill", "complete", "undo".
        reason: Why, in the operator's words.
        action_id: Shared by all steps, in whichever logs they stand.
    """

    action: str
    reason: str
    action_id: str = field(default_factory=new_action_id)
    _parts: int = 0
    _who: Who = field(default_factory=who)

    def begin(
        self,
        log: Path,
        *,
        changes: Sequence[FieldChange] = (),
        session: EndedSession | None = None,
        final: str | None = None,
        undoes: tuple[str, int] | None = None,
    ) -> Entry:
        """Puts on record what is about to be done; it is on the disk on return.

        Args:
            log: As `log_of` gives it.
            changes: The fields that will change.
            session: The session that will end.
            final: Why this cannot be taken back, if so.
            undoes: Key of the entry that this takes back, if so.

        Raises:
            AuditError: It could not be put on record, so it must not be done.
        """
        self._parts += 1
        entry = Entry(
            self.action_id,
            self._parts,
            timestamp(),
            self.action,
            self.reason,
            self._who,
            tuple(changes),
            session,
            final,
            undoes,
        )
        append(log, records.line(records.intent(entry)))
        return entry

    def end(
        self,
        log: Path,
        entry: Entry,
        state: State,
        detail: str = "",
        changes: Sequence[FieldChange] = (),
    ) -> None:
        """Puts the outcome on record.

        Raises:
            AuditError: It could not be; what was done stays done.
        """
        append(log, records.line(records.outcome(entry, timestamp(), state, detail, changes)))


def append(log: Path, text: bytes) -> None:
    """Appends a whole line and flushes it to the disk, under the log's own lock.

    Raises:
        AuditError: The log cannot be written; it holds what it held.
    """
    try:
        with _locked(log) as lock:
            _append(lock.fd, text)
    except AuditError:
        raise
    except RegistryError as error:
        hand_on(error)
        raise AuditError(log, error.reason or str(error)) from error
    except OSError as error:
        hand_on(error)
        raise AuditError(log, error.strerror or str(error)) from error


def _append(fd: int, text: bytes) -> None:
    end = os.fstat(fd).st_size
    try:
        # A crash may have cut the last line off: the new one starts its own.
        if end and os.pread(fd, 1, end - 1) != b"\n":
            text = b"\n" + text
        write_all(fd, text, end)
        os.fsync(fd)
    except BaseException:
        with tolerating(OSError):
            os.ftruncate(fd, end)
        raise


@contextmanager
def _locked(log: Path) -> Iterator[Lock]:
    # For all tries together: another user may put the log aside, or fill it, before each.
    deadline = time.monotonic() + LOCK_TIMEOUT
    make_own_folder(log)
    with own_folder(log) as folder:
        while (lock := _try_locked(log, folder, deadline)) is None:
            if time.monotonic() >= deadline:
                raise UntrustedFileError(log, "was put aside each time it was opened; try again")
        try:
            yield lock
        finally:
            lock.release()


def _try_locked(log: Path, folder: int, deadline: float) -> Lock | None:
    """The lock on a log that has room, made if need be; None where it was put aside."""
    if make_empty(log, folder, 0o600):
        os.fsync(folder)
    try:
        lock = flock.acquire(log, max(0.0, deadline - time.monotonic()))
    except RegistryNotFoundError as error:
        hand_on(error)
        # Put aside between the two steps; or the whole folder was, and then for good.
        check_folder(log, folder)
        return None
    try:
        _check(log, lock.fd, folder)
        if os.fstat(lock.fd).st_size < ROTATE_AT:
            return lock
        _rotate(log, folder)
    except BaseException:
        lock.release()
        raise
    lock.release()
    return None


def _check(log: Path, fd: int, folder: int) -> None:
    """Refuses what somebody put in the log's place."""
    check_same(log, fd, folder)
    check_log(log, os.fstat(fd), folder)


def aside(log: Path, number: int) -> Path:
    """The name of a log that was put aside; 1 is the youngest."""
    return log.with_name(f"{log.stem}.{number}{log.suffix}")


def _rotate(log: Path, folder: int) -> None:
    names = [log.name, *(aside(log, number).name for number in range(1, KEPT + 1))]
    for older, younger in zip(names[:0:-1], names[-2::-1], strict=True):
        with tolerating(FileNotFoundError):
            os.rename(younger, older, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def read_log(log: Path) -> Log:
    """What is on record, oldest first. Takes no lock.

    A log that is larger than muster lets one become is read from its youngest end; the
    rest is counted in `Log.left_out`.

    Raises:
        AuditError: A log is there and cannot be read, or others than its owner, who must
            be this user, root or the owner of its folder, could have written it.
    """
    return _read(log, LogLines(), 1)[0]


def _read(log: Path, before: LogLines, share: int) -> tuple[Log, LogLines]:
    found = read_lines(log, _files_of(log), before, share)
    read = records.merge(
        [line for line, _ in found.lines], str(log), [writer for _, writer in found.lines]
    )
    damaged = read.damaged + found.too_long
    return replace(read, damaged=damaged, left_out=found.left_out), found


def _files_of(log: Path) -> list[Path]:
    return [log, *(aside(log, number) for number in range(1, KEPT + 1))]


def _size(log: Path) -> int:
    size = 0
    for path in _files_of(log):
        with tolerating(OSError):
            size += os.lstat(path).st_size
    return size


def read_logs(logs: Iterable[Path]) -> Log:
    """Several logs as one, in the order of their times.

    All together have the room that one log has, in equal parts. What one does not need is
    left to the larger ones; what is not read of any is counted in `Log.left_out`.

    Raises:
        AuditError: A log is there and cannot be read.
    """
    given = list(dict.fromkeys(logs))
    found: dict[Path, Log] = {}
    before = LogLines()
    for log in sorted(given, key=_size):
        found[log], before = _read(log, before, len(given) - len(found))
    read = [found[log] for log in given]
    # Of the same millisecond those of one log stay in the order they were written in.
    entries = sorted((e for each in read for e in each.entries), key=lambda e: e.at)
    raw = sorted((r for each in read for r in each.records), key=lambda r: str(r.get("at")))
    damaged, left_out = sum(each.damaged for each in read), sum(each.left_out for each in read)
    return Log(tuple(entries), tuple(raw), damaged, left_out)
