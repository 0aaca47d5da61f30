"""One tree of exceptions for everything that can go wrong with a registry.

Every error names the file, and the field where there is one, and says what to
do. Each also is an `OSError`, `ValueError`, `TimeoutError` or `json.JSONDecodeError`,
so that ``except`` clauses written for a plain `open` and `json.load` keep working.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from registry.text import WHOLE_AT_MOST, command_line, quoted_name, shown_name


def _shown(path: Path) -> str:
    return shown_name(path, WHOLE_AT_MOST)


def moving_aside(path: Path) -> str:
    """How to move a file aside, for advice: with a command where one can be typed."""
    command = command_line("mv", names=(str(path), f"{path}.aside"))
    return "move it aside" if command is None else f"move it aside: {command}"


def finding_names(path: Path) -> str:
    """How to find the other names of a file, for advice."""
    command = command_line("find", "/", "-xdev", options=(("-samefile", str(path)),))
    if command is None:
        return "Find its other names (find / -xdev -samefile)"
    return f"Find its other names: {command}"


class RegistryError(Exception):
    """Anything `registry` raises on purpose.

    Attributes:
        reason: What is wrong, without the file's name where that can be left out.
    """

    reason: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickled as it is: calling the class with `args`, as other exceptions are
        # restored, fails, and in a pool of processes takes the whole pool along.
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
    """The flock on a registry could not be had in time.

    Attributes:
        path: The registry that is locked.
        timeout: How long was waited, in seconds; 0 where the caller's own thread holds it.
    """

    def __init__(self, path: Path, timeout: float, *, by_caller: bool = False) -> None:
        asking = command_line("fuser", options=[("-v", str(path))])
        why = (
            "this very thread holds it: one operation within another's lock, a signal handler "
            "in the middle of one, or one file given twice"
            if by_caller
            else "somebody else, or another thread of this process, holds it"
            + (f"; `{asking}` names who" if asking is not None else "")
        )
        super().__init__(
            f"Could not acquire lock on {_shown(path)} after {timeout:g}s: {why}. "
            "Nothing was changed."
        )
        self.path = path
        self.timeout = timeout


class BusyRegistryError(RegistryError, TimeoutError):
    """A writer holds the registry's lock and may be in the middle of writing it.

    Attributes:
        path: The registry.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{_shown(path)} is being written by somebody who holds its lock; try again"
        )
        self.path = path
        self.reason = "is being written by somebody who holds its lock"


class LostLockError(RegistryError, RuntimeError):
    """The lock was gone, or no use, by the time that something was to be written.

    Attributes:
        path: The registry; nothing was written to it.
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{_shown(path)}: not written: {why}; open the registry anew and do it again"
        )
        self.path = path


class RegistryNotFoundError(RegistryError, FileNotFoundError):
    """There is no file at the path of a registry."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"no registry at {_shown(path)}; nothing was changed. Check the path, and whether "
            "somebody moved or removed it"
        )
        self.path = path
        self.reason = "is not there"

    def __str__(self) -> str:
        return str(self.args[0])


_ADVICE = {
    errno.ENOSPC: "free some space on its disk",
    errno.EDQUOT: "the disk quota is used up: remove something, or have it raised",
    errno.EFBIG: "a limit on the size of files is in force (ulimit -f): raise it",
    errno.EIO: "the disk or its connection fails: look at the system's log (dmesg)",
    errno.EROFS: "the file system is mounted read-only: mount it for writing",
    errno.EACCES: "the file and its directory must be writable for this user",
    errno.EPERM: "the file and its directory must be writable for this user",
    errno.EMFILE: "this process has too many files open: close some, or raise its limit "
    "(ulimit -n)",
    errno.ENFILE: "the system has too many files open: end what opens them (lsof), or raise "
    "fs.file-max",
    errno.ENOMEM: "the system has no memory left: end something",
    errno.ENAMETOOLONG: "shorten the path",
    errno.ELOOP: "symlinks on the way lead in a circle: correct them",
    errno.ENOLCK: "its file system has no locks, or none left: put the workspace on a local disk",
    errno.EOPNOTSUPP: "its file system cannot do that: put the workspace on a local disk",
    errno.EAGAIN: "somebody holds it back for a moment: try again",
    errno.ESTALE: "its network file system lost it: open it anew, or mount that again",
}

_OTHERWISE = "try again; if that fails too, look at the file and at the system's log (dmesg)"

_READING = _ADVICE | {
    errno.EACCES: "the file must be readable, and its directory open, for this user",
    errno.EPERM: "the file must be readable, and its directory open, for this user",
}


class InaccessibleRegistryError(RegistryError, OSError):
    """The registry is there but cannot be opened, read or written.

    Attributes:
        path: The registry.
        errno: The system's error number.
    """

    def __init__(self, path: Path, cause: OSError, doing: str) -> None:
        what = os.strerror(cause.errno or 0)
        said = f"cannot {doing} {_shown(path)}: {what}"
        advice = (_READING if doing == "read" else _ADVICE).get(cause.errno or 0, _OTHERWISE)
        kept = "The journal beside it is kept" if doing == "recover" else "Nothing was changed"
        said = f"{said}. {kept}; {advice}."
        super().__init__(cause.errno, said)
        self.path = path
        self.reason = f"cannot {doing} it: {what}"

    def __str__(self) -> str:
        return str(self.args[1])


class HalfWrittenError(RegistryError, OSError):
    """A write failed, and undoing it failed as well.

    The journal stays beside the registry; the next opener finishes the write, or
    takes it back if it had not begun. Look which before doing it again.

    Attributes:
        path: The registry.
        errno: The system's error number.
    """

    def __init__(self, path: Path, cause: OSError, journals: str) -> None:
        super().__init__(
            cause.errno,
            f"cannot write {_shown(path)}, nor undo it: {os.strerror(cause.errno or 0)}. "
            f"What was to be written is kept in {journals}: whoever opens the registry for "
            "writing next finishes it, or takes it back; look which before you do it again",
        )
        self.path = path

    def __str__(self) -> str:
        return str(self.args[1])


class UntrustedJournalError(RegistryError, OSError):
    """Something that may not be followed lies where a registry's journal belongs.

    Attributes:
        path: The journal.
    """

    def __init__(self, path: Path, what: str, remedy: str | None = None) -> None:
        remedy = remedy or f"Look at it; if it does not belong here, {moving_aside(path)}"
        super().__init__(
            f"{_shown(path)} {what}: it is not followed as a journal; nothing was changed. "
            f"{remedy}. Do not delete it: it may hold the only copy of a change"
        )
        self.path = path


class UnfinishableCommitError(RegistryError, OSError):
    """A commit was refused because not every writer of the registry could finish it.

    If the process was killed in the middle, the registry would stay unreadable for
    a user who may write it but may not read the journal.

    Attributes:
        path: The registry; nothing was written to it.
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{_shown(path)}: not written: if this process was killed in the middle, {why}. "
            "Nothing was changed. Write as the file's owner or as root, or give the file to you "
            "and a group that all its writers are in (chown USER:GROUP)"
        )
        self.path = path
        self.reason = f"cannot be written: if this process was killed in the middle, {why}"


class UntrustedFileError(RegistryError, OSError):
    """Somebody may have put something in the place of one of muster's own files.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{_shown(path)} is not used: {why}")
        self.path = path
        self.reason = why


class AuditError(RegistryError, OSError):
    """The audit log cannot be written or read.

    Nothing is changed that cannot be put on record first.

    Attributes:
        path: The log.
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"the audit log {_shown(path)} cannot be used: {why}. Nothing is changed that cannot "
            "be put on record: let this user read and write that file and its directory"
        )
        self.path = path
        self.reason = f"its audit log cannot be used: {why}"


class NotARegularFileError(RegistryError, OSError):
    """A FIFO, device, directory or link stands in a registry's place.

    Attributes:
        what: What it is, with an article.
    """

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"{_shown(path)} is {what}, not a regular file; it was not opened further. "
            "Move it aside, and put the file that belongs there in its place"
        )
        self.path = path
        self.what = what
        self.reason = f"is {what}, not a regular file"


class LinkedRegistryError(NotARegularFileError):
    """A symlink or a hard link stands in a registry's place, or a symlink in its directory's.

    Below a workspace no link is followed: it could lead into another workspace.

    Attributes:
        link: The symlink; the registry itself where that has a second name.
    """

    def __init__(self, path: Path, link: Path, *, hard: bool = False) -> None:
        if hard:
            what = "a file with a second name (hard link)"
            self.reason = "has a second name (hard link)"
            said = (
                f"{_shown(path)} has a second name (hard link), which may lie in another "
                f"workspace; nothing was read or changed. {finding_names(path)}; then remove the "
                "one that does not belong there. The other keeps the data"
            )
        else:
            what = "a symlink"
            target = shown_name(os.path.realpath(path), WHOLE_AT_MOST)
            where = "" if link == path else "lies in a directory that "
            self.reason = (
                f"{where}is a symlink, which is not followed; name what it leads to: {target}"
            )
            said = (
                f"{_shown(path)}: {_shown(link)} is a symlink, and below a workspace none is "
                "followed; nothing was read or changed. To use what it leads to, name that "
                f"itself: {target}"
            )
        OSError.__init__(self, said)
        self.path = path
        self.link = link
        self.what = what


class ReplacedWorkspaceError(RegistryError, OSError):
    """A workspace's path leads to another directory than when this process first opened it.

    Whoever owns a directory above it could have it lead anywhere, between any two steps.

    Attributes:
        path: The workspace.
    """

    def __init__(self, path: Path) -> None:
        self.reason = (
            "was replaced while muster ran, and another user could have done that; nothing in "
            "what is there now was read or changed. If that is the right workspace, start muster "
            "anew and name it"
        )
        super().__init__(errno.ESTALE, f"workspace {_shown(path)} {self.reason}")
        self.path = path

    def __str__(self) -> str:
        return str(self.args[1])


class CorruptRegistryError(RegistryError, json.JSONDecodeError):
    """The file is not a JSON object that can be read, or read and written safely.

    Attributes:
        path: The registry.
        remedy: What to do about it.
        pos, lineno, colno: Where decoding failed (of `json.JSONDecodeError`).
    """

    def __init__(
        self,
        path: Path,
        reason: str,
        text: str = "",
        pos: int = 0,
        remedy: str = "Correct it there by hand, or put back a copy of the file",
    ) -> None:
        json.JSONDecodeError.__init__(self, reason, text, pos)
        # The whole registry would otherwise live on in every stored traceback.
        self.doc = ""
        where = f" at line {self.lineno} column {self.colno}" if text else ""
        self.path = path
        self.reason = f"{reason}{where}"
        self.remedy = remedy
        self.args = (f"{_shown(path)}: {self.reason}; nothing was written. {remedy}",)


class UnnamedError(RegistryError):
    """An error of a pure function, which does not know the registry's file.

    Attributes:
        path: The registry, once it is known.
    """

    path: Path | None = None

    def named(self, path: Path) -> Self:
        """The same error, which now names the file."""
        if self.path is None:
            self.path = path
            self.args = (f"{_shown(path)}: {self}",)
        return self


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Names the file in every error of a pure function within the block."""
    try:
        yield
    except UnnamedError as error:
        raise error.named(path) from None


class WrongShapeError(UnnamedError, ValueError):
    """A field that an operation needs has a type it cannot work with.

    Attributes:
        field: The field, for example ``agents``.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(
            f"field {field!r} {problem}; nothing was changed. Correct it in the call or, if it "
            "stands there, in the file"
        )
        self.field = field


class AgentNotFoundError(UnnamedError, ValueError):
    """No agent of that id is in the registry."""

    def __init__(self, agent_id: str) -> None:
        super().__init__(
            f"agent {quoted_name(agent_id)} not found; nothing was changed. Check the id, and "
            "which task it is of"
        )
        self.agent_id = agent_id


class DuplicateAgentError(UnnamedError, ValueError):
    """An agent of that id is in the registry already."""

    def __init__(self, agent_id: str) -> None:
        super().__init__(
            f"agent {quoted_name(agent_id)} is there already; nothing was changed. "
            "Choose another id"
        )
        self.agent_id = agent_id


class LimitReachedError(UnnamedError, RuntimeError):
    """A limit of the registry leaves no room for one agent more.

    Attributes:
        limit: The field that sets it, for example ``max_agents``.
        allowed: Its value.
        found: How many there are, or how deep the agent would be.
    """

    def __init__(self, limit: str, allowed: int, found: int, what: str) -> None:
        super().__init__(
            f"{limit} is {allowed}: {what}; nothing was changed. Wait, or raise the limit"
        )
        self.limit = limit
        self.allowed = allowed
        self.found = found


class WorkspaceNotFoundError(RegistryError, FileNotFoundError):
    """No workspace where one was looked for.

    Attributes:
        looked: The places that were looked at, in order.
    """

    def __init__(self, looked: tuple[Path, ...], advice: str) -> None:
        places = "\n".join(f"  {_shown(place)}" for place in looked)
        super().__init__(f"no .agent-workspace found. Looked at:\n{places}\n{advice}")
        self.looked = looked

    def __str__(self) -> str:
        return str(self.args[0])
