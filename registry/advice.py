"""The advice in error messages: what the user can do, with a command if one can be typed. Pure."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from registry.text import command_line, shown_name

_ADVICE = {
    errno.ENOSPC: "free space on the disk",
    errno.EDQUOT: "the disk quota is used up: remove files, or have the quota raised",
    errno.EFBIG: "the limit on file sizes is too low: raise it (ulimit -f)",
    errno.EIO: "the disk or its connection fails: look at the system log (dmesg)",
    errno.EROFS: "the file system is mounted read-only: mount it for writing",
    errno.EACCES: "make the file and its directory writable for this user",
    errno.EPERM: "make the file and its directory writable for this user",
    errno.EMFILE: "this process has too many open files: close some, or raise the limit "
    "(ulimit -n)",
    errno.ENFILE: "the system has too many open files: end the processes that hold them (lsof), "
    "or raise fs.file-max",
    errno.ENOMEM: "the system has no memory left: end other processes",
    errno.ENAMETOOLONG: "shorten the path",
    errno.ELOOP: "the symlinks in the path form a loop: correct them",
    errno.ENOLCK: "the file system offers no locks, or no more locks: move the workspace to a "
    "local disk",
    errno.EOPNOTSUPP: "the file system cannot do this: move the workspace to a local disk",
    errno.ENOSYS: "the file system cannot do this: move the workspace to a local disk",
    errno.EAGAIN: "another process blocks the file for a moment: try again",
    errno.ESTALE: "the network file system lost the file: try again, or mount the file "
    "system again",
}

_OTHERWISE = "try again; if it fails again, look at the file and at the system log (dmesg)"

_READING = _ADVICE | {
    errno.EACCES: "make the file readable, and its directory searchable, for this user",
    errno.EPERM: "make the file readable, and its directory searchable, for this user",
}

_NO_LOCKS = "the file system refuses locks: move the workspace to a local disk"

# No permissions of the file matter here, because the file is open already.
_LOCKING = _ADVICE | dict.fromkeys(
    (errno.EACCES, errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS), _NO_LOCKS
)

_BY_STEP = {"read": _READING, "lock": _LOCKING}


def after_error(number: int | None, step: str = "", otherwise: str = _OTHERWISE) -> str:
    """Returns the advice for an error of the system.

    Args:
        number: The error number; None if it is unknown.
        step: The step that failed; for "read" and "lock", some advice differs.
        otherwise: The advice for all other errors.
    """
    return _BY_STEP.get(step, _ADVICE).get(number or 0, otherwise)


def moving_aside(path: Path) -> str:
    """Returns the advice to move a file aside, with the command if it can be typed."""
    command = _moving((path,), Path(f"{path}.aside"))
    return "move it aside" if command is None else f"move it aside: {command}"


def _moving(paths: Sequence[Path], folder: Path) -> str | None:
    """Returns the command that moves files into a new directory, or None.

    If the directory exists, `mkdir` fails and nothing is moved. So an earlier copy is never lost.
    """
    making = command_line("mkdir", names=(str(folder),))
    moving = command_line("mv", names=(*map(str, paths), f"{folder}/"))
    return None if making is None or moving is None else f"{making} && {moving}"


def moving_database_aside(path: Path) -> str:
    """Returns the advice to move a database aside, with the files that belong to it.

    The log has the newest changes. Beside another database, it would damage that database.
    """
    paths = [path.with_name(f"{path.name}{end}") for end in ("", "-wal", "-shm")]
    names = [shown_name(each.name) for each in paths]
    advice = (
        f"stop the orchestrator, and move {names[0]}, {names[1]} and {names[2]} aside together"
    )
    command = _moving(paths, path.with_name(f"{path.name}.aside"))
    return advice if command is None else f"{advice}: {command}"


def restoring_database(path: Path) -> str:
    """Returns the advice to restore a copy of a database.

    SQLite would apply a log that stays (`-wal`) to the copy, and so damage the copy.
    """
    return (
        f"{moving_database_aside(path)}. Only then restore a copy of the database, because a "
        "-wal that stays damages the copy"
    )


def finding_names(path: Path) -> str:
    """Returns the advice to find the other names (hard links) of a file."""
    command = command_line("find", "/", "-xdev", options=(("-samefile", str(path)),))
    if command is None:
        return "Find its other names (find / -xdev -samefile)"
    return f"Find its other names: {command}"
