"""The exceptions of the `registry` package.

The message of every error names the file, the field if there is one, and a remedy. Every class
also derives from `OSError`, `ValueError`, `RuntimeError` or `json.JSONDecodeError`. So ``except``
clauses that were written for `open` and `json.load` keep working.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from registry.advice import after_error, finding_names, moving_aside
from registry.text import WHOLE_AT_MOST, command_line, quoted_name, shown_name


def _shown(path: Path) -> str:
    return shown_name(path, WHOLE_AT_MOST)


class RegistryError(Exception):
    """The base class of all errors that `registry` raises.

    Attributes:
        reason: The problem, as words that can follow the file's name, for example "is not a
            regular file"; None if the message has no such part.
    """

    reason: str | None = None

    _brief: str | None = None

    @property
    def brief(self) -> str:
        """The message without a statement that nothing was changed.

        An action of several steps shows this text if an earlier step was done.
        """
        if self._brief is not None:
            return self._brief
        return str(self).replace("; nothing was changed", "").replace(" Nothing was changed.", "")

    def __reduce__(self) -> tuple[Any, ...]:
        # By default, unpickling calls the class with `args`. That would fail in a process pool,
        # because the constructors take other arguments.
        state = dict(vars(self))
        if isinstance(self, OSError) and self.errno is not None:
            state |= {"errno": self.errno, "strerror": self.strerror}
        return _restored, (type(self), self.args, state)


def _restored(
    kind: type[RegistryError], args: tuple[Any, ...], state: dict[str, Any]
) -> RegistryError:
    error = kind.__new__(kind)
    error.args = args
    for name, value in state.items():
        setattr(error, name, value)
    return error


class LockTimeoutError(RegistryError, TimeoutError):
    """The lock of a registry could not be acquired in time.

    Attributes:
        path: The locked registry.
        timeout: The waiting time in seconds; 0 if the calling thread itself holds the lock.
    """

    def __init__(self, path: Path, timeout: float, *, by_caller: bool = False) -> None:
        asking = command_line("fuser", options=[("-v", str(path))])
        why = (
            "this thread already holds the lock. Do not start an operation inside another one, or "
            "in a signal handler, and do not name the same file twice"
            if by_caller
            else "another process, or another thread of this process, holds the lock"
            + (f"; find the process with `{asking}`" if asking is not None else "")
        )
        self._brief = f"could not acquire lock on {_shown(path)} after {timeout:g}s: {why}"
        super().__init__(
            f"Could not acquire lock on {_shown(path)} after {timeout:g}s: {why}. "
            "Nothing was changed."
        )
        self.path = path
        self.timeout = timeout


class BusyRegistryError(RegistryError, TimeoutError):
    """Another process may be writing the registry.

    Attributes:
        path: The registry.
    """

    def __init__(self, path: Path, *, locked: bool = True) -> None:
        why = (
            "another process holds its lock"
            if locked
            else "the text is incomplete, and was just changed"
        )
        self.reason = f"is being written: {why}"
        super().__init__(f"{_shown(path)} {self.reason}; try again")
        self.path = path


class LostLockError(RegistryError, RuntimeError):
    """The lock was lost before a write, or did not protect the registry any more.

    Attributes:
        path: The registry; it was not changed.
        by_peer: Whether another process replaced or wrote the file. If so, the operations of this
            library repeat the change, and raise this error only after their timeout.
    """

    def __init__(self, path: Path, why: str, *, by_peer: bool = True) -> None:
        super().__init__(
            f"cannot write {_shown(path)}: {why}; open the registry again and repeat the change"
        )
        self.path = path
        self.by_peer = by_peer


class RegistryNotFoundError(RegistryError, FileNotFoundError):
    """No file exists at the path of the registry."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"no registry at {_shown(path)}; nothing was changed. Check the path, and whether "
            "the file was moved or removed"
        )
        self.path = path
        self.reason = "does not exist"

    def __str__(self) -> str:
        return str(self.args[0])


class InaccessibleRegistryError(RegistryError, OSError):
    """The registry exists, but cannot be opened, read or written.

    Attributes:
        path: The registry.
        errno: The error number of the system.
    """

    def __init__(self, path: Path, cause: OSError, doing: str) -> None:
        problem = os.strerror(cause.errno or 0)
        advice = after_error(cause.errno, doing)
        kept = "Its journal is kept" if doing == "recover" else "Nothing was changed"
        message = f"cannot {doing} {_shown(path)}: {problem}. {kept}; {advice}."
        super().__init__(cause.errno, message)
        self._brief = f"cannot {doing} {_shown(path)}: {problem}; {advice}"
        self.path = path
        self.reason = f"cannot {doing} it: {problem}"

    def __str__(self) -> str:
        return str(self.args[1])


class HalfWrittenError(RegistryError, OSError):
    """A write failed, and the old content could not be restored.

    The journal is kept. The next process that opens the registry finishes the write, or restores
    the old content. Check the registry before you repeat the change.

    Attributes:
        path: The registry.
        errno: The error number of the system.
    """

    def __init__(self, path: Path, cause: OSError, journals: str) -> None:
        super().__init__(
            cause.errno,
            f"cannot write {_shown(path)}, and cannot take the write back: "
            f"{os.strerror(cause.errno or 0)}. The new content is kept in {journals}. The next "
            "process that opens the registry for writing finishes the write or takes the write "
            "back; check the registry before you repeat the change",
        )
        self.path = path

    def __str__(self) -> str:
        return str(self.args[1])


class UntrustedJournalError(RegistryError, OSError):
    """The file at the path of a registry's journal cannot be trusted.

    Attributes:
        path: The journal.
    """

    def __init__(self, path: Path, what: str, remedy: str | None = None) -> None:
        remedy = remedy or f"Look at this file; if it does not belong here, {moving_aside(path)}"
        super().__init__(
            f"{_shown(path)} {what}: this file is not used as a journal; nothing was changed. "
            f"{remedy}. Do not delete this file: it may contain the only copy of a change"
        )
        self.path = path


class UnfinishableCommitError(RegistryError, OSError):
    """A commit was refused, because some users could not finish it after a crash.

    These users are allowed to write the registry, but not to read the journal. If this process
    died during the commit, these users could not use the registry any more.

    Attributes:
        path: The registry, which was not changed.
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"cannot write {_shown(path)}: if this process was killed during the write, {why}. "
            "Nothing was changed. Write as the file's owner or as root, or change the file's "
            "owner to your user, and the file's group to a group with all writers of the file "
            "(chown USER:GROUP)"
        )
        self.path = path
        self.reason = f"cannot be written: if this process was killed during the write, {why}"


class UntrustedFileError(RegistryError, OSError):
    """Another user may have replaced a file of muster in the workspace.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{_shown(path)} is not used: {why}")
        self.path = path
        self.reason = why


class AuditError(RegistryError, OSError):
    """The audit log cannot be written or read. A change that cannot be logged is not made.

    Attributes:
        path: The log.
        is_denied: Whether the permissions or the owner of the log prevent the use.
    """

    def __init__(self, path: Path, why: str, cause: BaseException | None = None) -> None:
        problem = f"cannot use the audit log {_shown(path)}: {why}"
        advice = "make that file and its directory readable and writable for this user"
        denied = (errno.EACCES, errno.EPERM)
        self.is_denied = isinstance(cause, UntrustedFileError) or (
            isinstance(cause, OSError) and cause.errno in denied
        )
        if isinstance(cause, UntrustedFileError):
            advice = "then try again"
        elif isinstance(cause, (BusyRegistryError, LockTimeoutError)):
            advice = "try again"
        elif isinstance(cause, OSError) and cause.errno not in denied:
            advice = after_error(cause.errno, otherwise=advice)
        self._brief = f"{problem}; {advice}"
        super().__init__(f"{problem}. Changes that cannot be logged are not made; {advice}")
        self.path = path
        self.reason = f"its audit log cannot be used: {why}"


class NotARegularFileError(RegistryError, OSError):
    """The path of a registry leads to a FIFO, device, directory or link.

    Attributes:
        path: The registry.
        what: The kind of file, with an article.
    """

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"{_shown(path)} is {what}, not a regular file; it was not read or changed. "
            "Move it aside, and put the right file in its place"
        )
        self.path = path
        self.what = what
        self.reason = f"is {what}, not a regular file"


class LinkedRegistryError(NotARegularFileError):
    """The registry is a symlink, is in a symlinked directory, or has a second hard link.

    Below a workspace, links are not followed, because a link could lead into another workspace.

    Args:
        path: The registry.
        link: The symlink; the registry itself if it has a second hard link.
        target: The path to which the symlink leads, not resolved further; None if unknown.
        hard: Whether the reason is a second hard link.

    Attributes:
        link: The symlink; the registry itself if it has a second hard link.
    """

    def __init__(
        self, path: Path, link: Path, target: str | None = None, *, hard: bool = False
    ) -> None:
        if hard:
            what = "a file with a second name (hard link)"
            self.reason = "has a second name (hard link)"
            message = (
                f"{_shown(path)} has a second name (hard link), which may be in another "
                f"workspace; nothing was read or changed. {finding_names(path)}; then remove the "
                "wrong name. The other name keeps the data"
            )
        else:
            what = "a symlink"
            where = "" if link == path else "lies in a directory that "
            rest = [] if link == path else [path.relative_to(link)]
            shown = shown_name(os.path.join(target or os.fspath(link), *rest), WHOLE_AT_MOST)
            self.reason = (
                f"{where}is a symlink, which is not followed; use its target instead: {shown}"
            )
            message = (
                f"cannot use {_shown(path)}: {_shown(link)} is a symlink, and symlinks below a "
                "workspace are not followed; nothing was read or changed. Use its target "
                f"instead: {shown}"
            )
        OSError.__init__(self, message)
        self.path = path
        self.link = link
        self.what = what


class ReplacedWorkspaceError(RegistryError, OSError):
    """The path of a workspace leads to another directory than at its first use.

    The owner of a directory above the workspace could have redirected the path.

    Attributes:
        path: The workspace.
    """

    def __init__(self, path: Path) -> None:
        self.reason = (
            "was replaced while muster ran, possibly by another user; the new directory was not "
            "read or changed. If the new directory is the right workspace, start muster again and "
            "name the workspace"
        )
        super().__init__(errno.ESTALE, f"workspace {_shown(path)} {self.reason}")
        self.path = path

    def __str__(self) -> str:
        return str(self.args[1])


class UnreadableDatabaseError(RegistryError, OSError):
    """The database of a workspace exists, but its content cannot be read or understood.

    Attributes:
        path: The database, or a file beside it.
        remedy: The advice for the user.
        field: The table, or the table and column, that the database lacks; None for another
            problem.
    """

    def __init__(self, path: Path, why: str, remedy: str, field: str | None = None) -> None:
        super().__init__(f"{_shown(path)} {why}; nothing was changed. {remedy}")
        self.path = path
        self.reason = why
        self.remedy = remedy
        self.field = field


class UnwritableDatabaseError(RegistryError, OSError):
    """The database of a workspace can be read, but must not or cannot be written.

    Attributes:
        path: The database, which was not changed.
        remedy: The advice for the user.
    """

    def __init__(self, path: Path, why: str, remedy: str) -> None:
        self._brief = f"{_shown(path)} {why}. {remedy}"
        super().__init__(f"{_shown(path)} {why}; nothing was changed. {remedy}")
        self.path = path
        self.reason = why
        self.remedy = remedy


class UncertainCommitError(RegistryError, OSError):
    """The disk failed during the commit of a database, so the outcome is not known.

    Check the database before you repeat the change.

    Attributes:
        path: The database.
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{_shown(path)} {why}. It is not known whether the change was written: the next "
            "process that opens the database finishes or drops it. Check the agents before you "
            "repeat the change"
        )
        self.path = path
        self.reason = why


class NotSupportedError(RegistryError, RuntimeError):
    """This version of muster does not make this change for this storage format.

    Attributes:
        path: The database or registry, which was not changed.
    """

    def __init__(self, path: Path, why: str, remedy: str) -> None:
        super().__init__(f"{_shown(path)}: {why}; nothing was changed. {remedy}")
        self.path = path
        self.reason = why


class CorruptRegistryError(RegistryError, json.JSONDecodeError):
    """The file is not a JSON object that can be read and written without loss.

    Attributes:
        path: The registry.
        remedy: The advice for the user.
        pos, lineno, colno: The position of the failure, as in `json.JSONDecodeError`.
    """

    def __init__(
        self,
        path: Path,
        reason: str,
        text: str = "",
        pos: int = 0,
        remedy: str = "Correct the file by hand, or restore a copy",
    ) -> None:
        json.JSONDecodeError.__init__(self, reason, text, pos)
        # Otherwise every stored traceback would keep the whole text in memory.
        self.doc = ""
        where = f" at line {self.lineno} column {self.colno}" if text else ""
        self.path = path
        self.reason = f"{reason}{where}"
        self.remedy = remedy
        self.args = (f"{_shown(path)}: {self.reason}; nothing was written. {remedy}",)


class UnnamedError(RegistryError):
    """An error that is raised by a function that does not know the path of the registry.

    Attributes:
        path: The registry; None until `named` sets it.
    """

    path: Path | None = None

    def named(self, path: Path) -> Self:
        """Adds the path of the registry to a message without a path, and returns the error."""
        if self.path is None:
            self.path = path
            self.args = (f"{_shown(path)}: {self}",)
        return self


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Adds the path of the registry to every `UnnamedError` that the ``with`` block raises."""
    try:
        yield
    except UnnamedError as error:
        raise error.named(path) from None


class WrongShapeError(UnnamedError, ValueError):
    """A field, or an argument for a field, has the wrong type or value.

    Attributes:
        field: The field, for example ``agents``.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(
            f"field {field!r} {problem}; nothing was changed. Correct the value in the file, or "
            "the argument of the call"
        )
        self.field = field


class AgentNotFoundError(UnnamedError, ValueError):
    """The registry has no agent with this id."""

    def __init__(self, agent_id: str) -> None:
        super().__init__(
            f"agent {quoted_name(agent_id)} not found; nothing was changed. Check the id and the "
            "task"
        )
        self.agent_id = agent_id


class DuplicateAgentError(UnnamedError, ValueError):
    """The registry already has an agent with this id."""

    def __init__(self, agent_id: str) -> None:
        super().__init__(
            f"agent {quoted_name(agent_id)} already exists; nothing was changed. Choose another id"
        )
        self.agent_id = agent_id


class LimitReachedError(UnnamedError, RuntimeError):
    """A limit in the registry does not allow another agent.

    Attributes:
        limit: The field with the limit, for example ``max_agents``.
        allowed: The value of the limit.
        found: The present number of agents, or the depth that the new agent would have.
    """

    def __init__(self, limit: str, allowed: int, found: int, what: str) -> None:
        super().__init__(
            f"{limit} is {allowed}: {what}; nothing was changed. Wait, or raise the limit"
        )
        self.limit = limit
        self.allowed = allowed
        self.found = found


class SilentWorkspaceError(RegistryError, RuntimeError):
    """The search for workspaces ended, because a file system does not answer."""

    def __init__(self) -> None:
        self.reason = "the file system does not answer"
        super().__init__(
            f"cannot look for workspaces: {self.reason}; check its server, or unmount it"
        )


class WorkspaceNotFoundError(RegistryError, FileNotFoundError):
    """The search found no workspace.

    Attributes:
        looked: The searched directories, in order.
    """

    def __init__(self, looked: tuple[Path, ...], advice: str) -> None:
        places = "\n".join(f"  {_shown(place)}" for place in looked)
        super().__init__(f"no .agent-workspace found. Searched:\n{places}\n{advice}")
        self.looked = looked

    def __str__(self) -> str:
        return str(self.args[0])
