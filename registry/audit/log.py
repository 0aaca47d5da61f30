"""Writes and reads the audit log, which records each action before the action is done.

The log is `registry/muster_audit.jsonl` in the workspace. Users other than root and the owner of
the folder append to a file of their own beside it (`file_of_user`). Many processes may append to
a file, under a flock of this file. Every record is flushed (fsync), and large logs are rotated.

Before a change is made, a record of the intent is written. After the change, a record of the
outcome is written. If the record of the outcome is missing, the action was interrupted. Then a
comparison of the registry with the intent shows whether the change was made. No registry is locked
while the log is locked.
"""

from __future__ import annotations

import errno
import os
import pwd
import secrets
import socket
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from registry.audit import entries as records
from registry.audit.diff import FieldChange
from registry.audit.entries import EndedSession, Entry, Log, State, Who
from registry.audit.files import LogLines, check_log, read_lines
from registry.dataclass import dataclass, field, replace
from registry.errors import AuditError, RegistryError, UntrustedFileError
from registry.schema.layout import GLOBAL_FOLDER, GLOBAL_REGISTRY, WORKSPACE_NAME
from registry.storage import flock
from registry.storage.files.interruption import hand_on, tolerating
from registry.storage.files.own_files import (
    check_folder,
    check_owner,
    check_same,
    make_empty,
    make_own_folder,
    named_status,
    own_folder,
)
from registry.storage.files.permissions import Access, is_read_only
from registry.storage.files.presence import is_kind
from registry.storage.files.safe_open import write_all
from registry.storage.flock import Lock

AUDIT_LOG = "muster_audit.jsonl"

ROTATE_AT = 8 * 1024 * 1024
"""A log of at least this size, in bytes, is rotated before the next record."""

KEPT = 5
"""The number of rotated logs that are kept; muster_audit.1.jsonl is the newest."""

LOCK_TIMEOUT = 5.0
"""How long to wait for other writers of the log, in seconds."""


def log_of(registry: Path) -> Path:
    """Returns the path of the audit log for a registry.

    The log is in the `registry` folder of the workspace. If the registry is not in a workspace,
    the log is in the directory of the registry.
    """
    return (_folder_of(registry.parent.parent) or registry.parent) / AUDIT_LOG


def log_in(workspace: Path) -> Path:
    """Returns the path of a workspace's audit log."""
    return (_folder_of(workspace) or workspace) / AUDIT_LOG


def _folder_of(workspace: Path) -> Path | None:
    """Returns the path of the `registry` folder of a workspace.

    The result is None if the folder does not exist, and the workspace is not called
    `.agent-workspace`.
    """
    folder = workspace / GLOBAL_FOLDER
    is_folder = is_kind(folder, stat.S_ISDIR) is not False
    if workspace.name == WORKSPACE_NAME or is_folder or os.path.islink(folder):
        return folder
    return None


def base_of(log: Path) -> Path:
    """Returns the directory to which the names of registries in a log are relative.

    This is the workspace, or the log's own directory if the log is not in a workspace.
    """
    return log.parent.parent if log.parent.name == GLOBAL_FOLDER else log.parent


def name_in(log: Path, registry: Path) -> str:
    """Returns the name of a registry in a log: its path, relative to `base_of` if possible."""
    base = base_of(log)
    return str(registry.relative_to(base) if registry.is_relative_to(base) else registry)


def who() -> Who:
    """Returns the user and the process that act, for the log."""
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
    """Returns the present time in UTC, as ISO 8601 text with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def new_action_id() -> str:
    """Returns a new id for an action: the time in UTC, and six random hexadecimal digits."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


@dataclass(slots=True)
class Audit:
    """Logs one action of an operator. Not thread-safe.

    Attributes:
        action: The word for the action: "kill", "complete" or "undo".
        reason: The reason in the operator's words.
        action_id: The id of the action; all steps of the action, in all logs, have this id.
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
        """Logs the intent of a step, and flushes the log to the disk.

        Args:
            log: The path of the log, from `log_of`.
            changes: The fields that will change.
            session: The session that will be killed, or None.
            final: Why the step cannot be taken back; None if it can be taken back.
            undoes: The key of the entry that the step takes back, or None.

        Raises:
            AuditError: The intent cannot be logged, so the caller must not do the step.
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
        """Logs the outcome of a step.

        Raises:
            AuditError: The outcome cannot be logged. The step is not taken back.
        """
        append(log, records.line(records.outcome(entry, timestamp(), state, detail, changes)))


def append(log: Path, text: bytes) -> None:
    """Appends a complete line to a log under the log's lock, and flushes the log to the disk.

    Raises:
        AuditError: The log cannot be written; its content was not changed.
    """
    try:
        with _locked(log) as lock:
            _append(lock.fd, text)
    except AuditError:
        raise
    except RegistryError as error:
        hand_on(error)
        raise AuditError(log, error.reason or str(error), error) from error
    except OSError as error:
        hand_on(error)
        raise AuditError(log, error.strerror or str(error), error) from error


def denial(log: Path) -> AuditError | None:
    """Returns the error that `append` would raise now because of owners or permissions.

    Changes nothing. Other errors, for example of a full disk, are not examined.
    """
    try:
        try:
            with own_folder(log) as folder:
                _check_permission(log, folder)
        except FileNotFoundError as error:
            hand_on(error)
            # The folder is created together with the log.
            if log.parent.name == GLOBAL_FOLDER:
                with own_folder(log.parent) as workspace:
                    _check_access(".", os.W_OK | os.X_OK, workspace)
    except (RegistryError, OSError) as error:
        hand_on(error)
        reason = error.reason if isinstance(error, RegistryError) else None
        denied = AuditError(log, reason or getattr(error, "strerror", None) or str(error), error)
        return denied if denied.is_denied else None
    return None


def _check_permission(log: Path, folder: int) -> None:
    file = file_of_user(log, folder)
    try:
        status = named_status(file, folder)
    except FileNotFoundError as error:
        hand_on(error)
        _check_access(".", os.W_OK | os.X_OK, folder)
        return
    check_log(file, status, folder)
    _check_access(file.name, os.R_OK | os.W_OK, folder)


def _check_access(name: str, mode: int, folder: int) -> None:
    """Raises an error if this user has no permission; ignores file systems without any writes."""
    if not is_read_only(folder) and not os.access(name, mode, dir_fd=folder, effective_ids=True):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)


def _append(fd: int, text: bytes) -> None:
    end = os.fstat(fd).st_size
    try:
        # After a crash, the last line may be incomplete. Then the text starts on a new line.
        if end and os.pread(fd, 1, end - 1) != b"\n":
            text = b"\n" + text
        write_all(fd, text, end)
        os.fsync(fd)
    except BaseException:
        with tolerating(OSError):
            os.ftruncate(fd, end)
        raise


def file_of_user(log: Path, folder: int) -> Path:
    """Returns the file of a log to which this user appends.

    Root and the owner of the log's folder use the log itself. Each other user has a file of its
    own beside the log, because a file that several users can write could not be trusted.

    Args:
        log: The path of the log.
        folder: A descriptor of the log's folder.
    """
    user = os.geteuid()
    if user in (0, os.fstat(folder).st_uid):
        return log
    return log.with_name(f"{log.stem}.uid{user}{log.suffix}")


def _access(folder: int) -> tuple[int, int | None]:
    """Returns the permission bits and the group for a new log.

    The users who may write the global registry may read the log. Only its owner may write it.
    """
    with tolerating(OSError):
        shared = Access.at(folder, GLOBAL_REGISTRY)
        # With an access list, the group bits are the mask of the entries in the list.
        writers = 0o022 if shared.listed is None else 0o002
        return 0o600 | (shared.mode & writers) << 1, shared.group
    return 0o600, None


@contextmanager
def _locked(log: Path) -> Iterator[Lock]:
    # One deadline holds for all attempts: another user may move or fill the log before each
    # attempt.
    deadline = time.monotonic() + LOCK_TIMEOUT
    make_own_folder(log)
    with own_folder(log) as folder:
        log = file_of_user(log, folder)
        while (lock := _try_locked(log, folder, deadline)) is None:
            if time.monotonic() >= deadline:
                raise UntrustedFileError(log, "was moved each time it was opened; try again")
        try:
            yield lock
        finally:
            lock.release()


def _try_locked(log: Path, folder: int, deadline: float) -> Lock | None:
    """Locks a log; creates the log if it does not exist.

    Returns:
        The lock. None if the log was rotated, or was moved by another process. In this case, the
        caller must try again.

    Raises:
        RegistryError: The log cannot be locked before the deadline, or must not be trusted.
    """
    mode, group = _access(folder)
    if make_empty(log, folder, mode, group):
        os.fsync(folder)
    try:
        # Before the open, because a file of another user often cannot be opened.
        check_owner(log, named_status(log, folder), folder)
        lock = flock.acquire(log, max(0.0, deadline - time.monotonic()))
    except FileNotFoundError as error:
        hand_on(error)
        # The log was moved after its creation. If the whole folder was moved, another attempt
        # would also fail; in this case `check_folder` raises an error.
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
    """Raises an error if another user may have put a file in the place of the log."""
    check_same(log, fd, folder)
    check_log(log, os.fstat(fd), folder)


def aside(log: Path, number: int) -> Path:
    """Returns the path of a rotated log; number 1 is the newest."""
    return log.with_name(f"{log.stem}.{number}{log.suffix}")


def _rotate(log: Path, folder: int) -> None:
    names = [log.name, *(aside(log, number).name for number in range(1, KEPT + 1))]
    for older, younger in zip(names[:0:-1], names[-2::-1], strict=True):
        with tolerating(FileNotFoundError):
            os.rename(younger, older, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def read_log(log: Path) -> Log:
    """Reads a log; the oldest entry is first. Takes no lock.

    If a log is larger than muster's limits, only the newest part is read. `Log.left_out` has the
    size of the rest.

    A log is trusted if both are true: only the log's owner can write the log, and this owner is
    root, the user of this process or the owner of the log's folder.

    Raises:
        AuditError: The log exists, but cannot be read or is not trusted.
    """
    return _read(log, LogLines(), 1)[0]


def _read(log: Path, before: LogLines, share: int) -> tuple[Log, LogLines]:
    lines = read_lines(log, _files_of(log), before, share)
    content = records.merge(
        [line for line, _ in lines.lines], str(log), [writer for _, writer in lines.lines]
    )
    damaged = content.damaged + lines.too_long
    return replace(content, damaged=damaged, left_out=lines.left_out), lines


def _files_of(log: Path) -> list[Path]:
    """Returns the files of a log that this user may have written or that its owner wrote."""
    files = [log]
    with tolerating(OSError), own_folder(log) as folder:
        files = list(dict.fromkeys([file_of_user(log, folder), log]))
    return [path for file in files for path in _with_rotated(file)]


def _with_rotated(file: Path) -> list[Path]:
    return [file, *(aside(file, number) for number in range(1, KEPT + 1))]


def _size(log: Path) -> int:
    size = 0
    for path in _files_of(log):
        with tolerating(OSError):
            size += os.lstat(path).st_size
    return size


def read_logs(logs: Iterable[Path]) -> Log:
    """Reads several logs, and merges the entries in the order of time.

    Each log gets an equal part of muster's limits; large logs also get what small logs do not
    need. `Log.left_out` has the size of the parts that were not read. If a log cannot be read or
    is not trusted, `Log.unread` has the error, and the other logs are read.
    """
    distinct = list(dict.fromkeys(logs))
    by_path: dict[Path, Log] = {}
    unread: dict[Path, str] = {}
    before = LogLines()
    for path in sorted(distinct, key=_size):
        try:
            by_path[path], before = _read(path, before, len(distinct) - len(by_path))
        except AuditError as error:
            hand_on(error)
            by_path[path] = Log((), ())
            unread[path] = str(error)
    contents = [by_path[path] for path in distinct]
    # The sort is stable: entries of one log with equal times keep the order of the log.
    entries = sorted((e for log in contents for e in log.entries), key=lambda e: e.at)
    raw = sorted((r for log in contents for r in log.records), key=lambda r: str(r.get("at")))
    damaged = sum(log.damaged for log in contents)
    left_out = sum(log.left_out for log in contents)
    errors = tuple(unread[path] for path in distinct if path in unread)
    return Log(tuple(entries), tuple(raw), damaged, left_out, errors)
