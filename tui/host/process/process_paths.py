"""Finds the directories in which a process may work.

The directories come from the open files, the command line and the environment of the process.
Linux only, like `tui.host.process.process_tree`.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from registry.schema import WORKSPACE_NAME, default_paths
from tui.host.process import descriptors, procfs

# Matches the name of a workspace, or the end of the directory that contains a task's directory.
_NAMED = re.compile(rf"/{re.escape(WORKSPACE_NAME)}(?![^\s/'\"`;:,)\\])|(?=/TASK-)")

# Matches a place where a path may start in a shell command.
_BOUNDARY = re.compile(r"(?<![^\s'\"`=:;,()<>|&])[^\s'\"`=:;,()<>|&]")
_LONGEST = 4096
_LONGEST_NAME = 255

_AT_MOST = 50_000
"""The number of possible paths of one process that are examined."""

# Directories that contain no workspaces. /dev/shm is in memory, and may contain a workspace.
_NO_FILE = re.compile(r"/(dev/(?!shm/)|proc/|sys/)")


class Touched(NamedTuple):
    """The directories in which a process may work.

    Attributes:
        directories: The directories. Some of them may not exist.
        is_whole: Whether `directories` is complete. False if muster is not allowed to read some
            data of the process, or if the process has too much data.
        named: Those of the directories that the command line or the environment names, and that
            are workspaces by their names or by their tasks' names.
    """

    directories: frozenset[Path]
    is_whole: bool
    named: frozenset[Path] = frozenset()


def is_elsewhere(pid: int) -> bool:
    """Returns whether the same path means different files for a process and for muster.

    This is so if the process has another root directory or another mount namespace, for example in
    a container. Then muster must not use the paths of the process. The result is False if the
    process has ended, or if muster is not allowed to read this data.
    """
    with suppress(OSError):
        return not procfs.has_our_mounts(pid)
    return False


def directories_of(pid: int) -> frozenset[Path] | None:
    """Returns the working directory of a process and the value of its ``PWD``.

    Returns:
        The directories; empty if the process has ended. None if muster is not allowed to read this
        data, or must not use the paths of the process (see `is_elsewhere`).
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


def directories_touched(pid: int) -> Touched:
    """Returns the directories in which a process may work.

    These are the working directory, the directories of open files, and the paths in the command
    line and the environment that may be workspaces. If muster must not use the paths of the
    process (see `is_elsewhere`), the result has no directories, and is not whole.
    """
    if is_elsewhere(pid):
        return Touched(frozenset(), is_whole=False)
    paths: set[Path] = set()
    named: set[Path] = set()
    is_whole = True
    for source, found in ((_working, paths), (_opened, paths), (_named_in_words, named)):
        try:
            found.update(source(pid))
        except (OSError, ValueError) as error:
            is_whole = is_whole and (_is_gone(error) or _has_ended(pid))
    return Touched(frozenset(paths | named), is_whole, frozenset(named))


def _is_gone(error: Exception) -> bool:
    return isinstance(error, (FileNotFoundError, ProcessLookupError))


def _has_ended(pid: int) -> bool:
    """Returns whether a process has ended, even if its parent has not reaped it."""
    stat = procfs.stat_of(pid)
    return stat is None or stat.is_ended


def _working(pid: int) -> Iterator[Path]:
    yield Path(procfs.working_directory(pid))


def _opened(pid: int) -> Iterator[Path]:
    for _, target in descriptors.open_files(pid):
        if target.startswith("/") and not _NO_FILE.match(target):
            yield Path(target).parent


def _named_in_words(pid: int) -> Iterator[Path]:
    here = None
    with suppress(OSError):
        here = Path(procfs.working_directory(pid))
    yield from workspaces_in(_words_of(pid), here)


def _words_of(pid: int) -> Iterator[str]:
    is_whole = True
    for name in ("cmdline", "environ"):
        given = procfs.words(pid, name)
        is_whole = is_whole and given.is_whole
        yield from given.words
    if not is_whole:
        raise ValueError(f"process {pid} has words of more than {procfs.LARGEST} bytes")


def default_paths_of(pid: int) -> frozenset[Path]:
    """Returns the default workspaces of an orchestrator that has the environment of a process.

    The paths are not examined. The result is empty if muster is not allowed to read the
    environment, or if muster must not use the paths of the process (see `is_elsewhere`).
    """
    return frozenset(default_paths(_environment_of(pid)))


def homes_of(pid: int) -> frozenset[str]:
    """Returns the home directory in the environment of a process; see `default_paths_of`."""
    home = os.path.normpath(_environment_of(pid).get("HOME", ""))
    return frozenset({home} if os.path.isabs(home) else ())


def _environment_of(pid: int) -> Mapping[str, str]:
    if is_elsewhere(pid):
        return {}
    with suppress(OSError):
        entries = (word.partition("=") for word in procfs.words(pid, "environ").words)
        return {name: value for name, _, value in entries}
    return {}


def workspaces_in(words: Iterable[str], here: Path | None) -> Iterator[Path]:
    """Yields the paths in a command line or environment that may be workspaces.

    Args:
        words: The words. A word may be a whole shell command.
        here: The working directory of the process; None if it is not known.

    Raises:
        ValueError: The words contain more possible paths than `_AT_MOST`.
    """
    examined = 0
    for word in words:
        for path in _examine(word, here):
            examined += 1
            if examined > _AT_MOST:
                raise ValueError(f"more than {_AT_MOST} possible paths")
            if path is not None:
                yield path


def _examine(word: str, here: Path | None) -> Iterator[Path | None]:
    """Yields the possible workspaces in a word, and None for each other possible path."""
    for text in dict.fromkeys((word, re.sub(r"\\(.)", r"\1", word), unquote(word))):
        begins: list[int] = []
        # The places where a path with a blank may begin.
        longer: list[int] = []
        last = 0
        for match in _NAMED.finditer(text):
            begins = begins or [start.start() for start in _BOUNDARY.finditer(text)]
            end = bisect_right(begins, match.start())
            for index in range(last, end - 1):
                yield None
                if _may_be_longer(text, begins[index], begins[index + 1]):
                    longer.append(begins[index])
            last = max(last, end - 1)
            if end:
                written = text[begins[end - 1] : match.start()] + match.group()
                yield _absolute(written, here)
            for begin in longer[bisect_left(longer, match.start() - _LONGEST) :]:
                written = text[begin : match.start()] + match.group()
                # A blank may be part of a path; then the path must exist.
                yield _absolute(written, None) if os.path.isdir(written) else None


def _may_be_longer(text: str, begin: int, end: int) -> bool:
    """Returns whether a path may begin at `begin` and go on after `end`."""
    return text[begin] == "/" and os.path.isdir(os.path.dirname(text[begin:end].rstrip()))


def _absolute(written: str, here: Path | None) -> Path | None:
    path = Path(written) if here is None else here / written
    is_short = all(len(part) <= _LONGEST_NAME for part in path.parts)
    return path if is_short and path.is_absolute() else None
