"""What processes leave of the workspaces they work for, besides where they work.

Their open files, and the paths in their command lines and environments, as far as these
may be read.
Linux only, as `tui.host.process_tree` is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from registry.schema import WORKSPACE_NAME, default_workspaces
from tui.host import procfs

# A workspace by its own name, or whatever a task's directory lies in.
_NAMED = re.compile(rf"/{re.escape(WORKSPACE_NAME)}(?![^\s/'\"`;:,)\\])|(?=/TASK-)")

# Where a path may begin in a line for a shell, and what it is at most.
_BOUNDARY = re.compile(r"(?<![^\s'\"`=:;,()<>|&])[^\s'\"`=:;,()<>|&]")
_LONGEST = 4096
_LONGEST_NAME = 255

# More workspaces are not looked for in one command line, nor beginnings of one's path.
_AT_MOST = 32
_BEGINNINGS = 8

# What leads to no workspace.
_NO_FILES = ("/dev/", "/proc/", "/sys/")


def directories_of(pid: int) -> frozenset[Path] | None:
    """Where a process works and where it was started, as far as it says so.

    Returns:
        Nothing for a process that has ended; None if we may not know.
    """
    try:
        found = {procfs.working_directory(pid), procfs.environment(pid).get("PWD", "")}
    except (FileNotFoundError, ProcessLookupError):
        return frozenset()
    except OSError:
        return None
    return frozenset(Path(each) for each in found if each.startswith("/"))


def directories_touched(pid: int) -> frozenset[Path]:
    """Where a process works, where its open files lie, and workspaces that it was told of.

    They need not be there. Nothing of what must not be read.
    """
    found: set[Path] = set()
    here = None
    with suppress(OSError):
        here = Path(procfs.working_directory(pid))
        found.add(here)
    with suppress(OSError):
        for _, target in procfs.open_files(pid):
            if target.startswith("/") and not target.startswith(_NO_FILES):
                found.add(Path(target).parent)
    for word in (*procfs.words(pid, "cmdline"), *procfs.words(pid, "environ")):
        found.update(workspaces_in(word, here))
    return frozenset(found)


def default_workspaces_of(pid: int) -> frozenset[Path]:
    """Where an orchestrator that started a process may keep tasks of whatever project."""
    entries = (word.partition("=") for word in procfs.words(pid, "environ"))
    return default_workspaces({name: value for name, _, value in entries})


def workspaces_in(word: str, here: Path | None) -> Iterator[Path]:
    """What may be workspaces in a word that a process was given.

    Args:
        word: Of its command line, which may be one for a shell, or of its environment.
        here: Where the process works, if that is known.
    """
    for text in dict.fromkeys((word, re.sub(r"\\(.)", r"\1", word))):
        for number, match in enumerate(_NAMED.finditer(text)):
            if number >= _AT_MOST:
                break
            before = text[max(0, match.start() - _LONGEST) : match.start()]
            begins = [each.start() for each in _BOUNDARY.finditer(before)]
            for begin in begins[-_BEGINNINGS:]:
                nearest = begin == begins[-1]
                written = Path(before[begin:] + match.group())
                if nearest and here is not None:
                    written = here / written
                if any(len(part) > _LONGEST_NAME for part in written.parts):
                    continue
                # A blank may be part of a path; what is not there is none.
                if written.is_absolute() and (nearest or os.path.isdir(written)):
                    yield written
