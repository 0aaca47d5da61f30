"""Finds the workspaces of processes, from their open files, command lines and environments.

Linux only, like `tui.host.process_tree`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from registry.schema import WORKSPACE_NAME, default_workspaces
from tui.host import procfs

# The name of a workspace, or the directory that contains a task's directory.
_NAMED = re.compile(rf"/{re.escape(WORKSPACE_NAME)}(?![^\s/'\"`;:,)\\])|(?=/TASK-)")

# The places where a path may start in a shell command, and the greatest lengths.
_BOUNDARY = re.compile(r"(?<![^\s'\"`=:;,()<>|&])[^\s'\"`=:;,()<>|&]")
_LONGEST = 4096
_LONGEST_NAME = 255

# The limits for workspaces in one command line, and for possible starts of each path.
_AT_MOST = 32
_BEGINNINGS = 8

# Files here do not lead to a workspace; but a workspace can be in memory, in /dev/shm.
_NO_FILE = re.compile(r"/(dev/(?!shm/)|proc/|sys/)")


def is_elsewhere(pid: int) -> bool:
    """Returns whether a path of a process leads to another file for muster.

    This is so if the process has another mount namespace, such as that of a container or a
    sandbox, or another root directory. Then the paths in its data mean nothing for muster.

    Returns:
        The answer. False for a process that has ended, and if muster has no permission to know.
    """
    with suppress(OSError):
        return not procfs.has_our_mounts(pid)
    return False


def directories_of(pid: int) -> frozenset[Path] | None:
    """Returns the working directory of a process and the value of its ``PWD``.

    Returns:
        The directories; an empty set for a process that has ended. None if muster has no
        permission to read them, or if the process is elsewhere (see `is_elsewhere`).
    """
    try:
        if not procfs.has_our_mounts(pid):
            return None
        paths = {procfs.working_directory(pid), procfs.environment(pid).get("PWD", "")}
    except (FileNotFoundError, ProcessLookupError):
        return frozenset()
    except OSError:
        return None
    return frozenset(Path(path) for path in paths if path.startswith("/"))


def directories_touched(pid: int) -> frozenset[Path]:
    """Returns the working directory, the directories of open files, and possible workspaces.

    The possible workspaces come from the command line and the environment; they may be missing.
    Data that muster has no permission to read is left out. For a process that is elsewhere, the
    result is empty.
    """
    if is_elsewhere(pid):
        return frozenset()
    paths: set[Path] = set()
    here = None
    with suppress(OSError):
        here = Path(procfs.working_directory(pid))
        paths.add(here)
    with suppress(OSError):
        for _, target in procfs.open_files(pid):
            if target.startswith("/") and not _NO_FILE.match(target):
                paths.add(Path(target).parent)
    for word in (*procfs.words(pid, "cmdline"), *procfs.words(pid, "environ")):
        paths.update(workspaces_in(word, here))
    return frozenset(paths)


def default_workspaces_of(pid: int) -> frozenset[Path]:
    """Returns the default workspaces of an orchestrator with the environment of a process.

    For a process that is elsewhere, the result is empty.
    """
    if is_elsewhere(pid):
        return frozenset()
    entries = (word.partition("=") for word in procfs.words(pid, "environ"))
    return default_workspaces({name: value for name, _, value in entries})


def workspaces_in(word: str, here: Path | None) -> Iterator[Path]:
    """Yields the paths in a word that may be workspaces.

    Args:
        word: A word of a command line or an environment, which may be a whole shell command.
        here: The working directory of the process, if known.
    """
    for text in dict.fromkeys((word, re.sub(r"\\(.)", r"\1", word))):
        for number, match in enumerate(_NAMED.finditer(text)):
            if number >= _AT_MOST:
                break
            before = text[max(0, match.start() - _LONGEST) : match.start()]
            begins = [start.start() for start in _BOUNDARY.finditer(before)]
            for begin in begins[-_BEGINNINGS:]:
                nearest = begin == begins[-1]
                written = Path(before[begin:] + match.group())
                if nearest and here is not None:
                    written = here / written
                if any(len(part) > _LONGEST_NAME for part in written.parts):
                    continue
                # A space may be part of a path; then the path must exist.
                if written.is_absolute() and (nearest or os.path.isdir(written)):
                    yield written
