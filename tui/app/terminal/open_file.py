"""Finds the files of an agent, task or workspace, and the program that shows a file."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import O_NOFOLLOW, O_RDONLY
from pathlib import Path

from registry.dataclass import dataclass
from registry.errors import RegistryError
from registry.schema import Workspace
from registry.sources import Dialect, TaskSource, workspace_source
from registry.storage import close_read, is_safe_name, open_regular, others_may_replace
from tui.model.roll import AgentRow, RollCall, TaskRoll, WorkspaceRoll
from tui.view.outline import Line

_VIEWERS = ("less", "more")

# How programs are told the line to go to: `+7 FILE`, `-g FILE:7`, or `FILE:7`.
_TAKES_PLUS = {
    "emacs", "emacsclient", "joe", "kak", "less", "mg", "micro", "more", "nano", "ne", "nvi",
    "nvim", "pico", "vi", "view", "vim", "vis",
}  # fmt: skip
_TAKES_GOTO = {"code", "code-insiders", "codium", "cursor"}
_TAKES_COLON = {"helix", "hx", "subl", "zed"}

_SEARCHED_AT_MOST = 64 << 20
"""How many bytes of a file are searched for the line of an agent."""


class NoViewerError(Exception):
    """No program that shows files was found; the exception's text names the remedy."""


@dataclass(frozen=True, slots=True)
class Openable:
    """A file that the operator can open.

    Attributes:
        name: The kind of file, such as "prompt".
        path: The path of the file.
        agent: The id of the agent to whose entry in the file the program goes; empty for none.
    """

    name: str
    path: Path
    agent: str = ""


def files_of(line: Line | None, roll: RollCall | None) -> tuple[Openable, ...]:
    """Returns the existing regular files of the agent, task or workspace of a line. Blocks.

    Args:
        line: The line.
        roll: The roll call from which the line was made.
    """
    item = line.item if line is not None else None
    return tuple(file for file in _candidates(item, roll) if _is_regular(file.path))


def _candidates(item: object, roll: RollCall | None) -> Iterator[Openable]:
    if isinstance(item, AgentRow):
        task = roll.task_of(item.key) if roll is not None else None
        if task is not None:
            yield from _of_agent(task.state.source, item.key.id)
    elif isinstance(item, TaskRoll):
        yield from _texts(item.state.source)
    elif isinstance(item, WorkspaceRoll):
        source = workspace_source(Workspace(item.path))
        yield from (Openable(file.name, file.path) for file in source.files)


def _of_agent(task: TaskSource, agent_id: str) -> Iterator[Openable]:
    for file in tuple(_texts(task))[:1]:
        yield Openable(file.name, file.path, agent_id)
    if is_safe_name(agent_id):
        for facts in reversed(task.output_facts(agent_id)):
            if facts.error is None and facts.size is not None:
                yield Openable(facts.name, facts.path)
        yield Openable("prompt", task.directory / f"agent_prompt_{agent_id}.txt")


def _texts(source: TaskSource) -> Iterator[Openable]:
    """Yields the registries of a task; nothing for a database, which no text viewer can show.

    A database must not be opened anyway: closing it would drop the locks of a reading.
    """
    if source.dialect is Dialect.JSON:
        yield from (Openable(file.name, file.path) for file in source.files)


def _is_regular(path: Path) -> bool:
    try:
        close_read(open_regular(path, O_RDONLY | O_NOFOLLOW))
    except RegistryError:
        return False
    return True


@contextmanager
def opened(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Opens a regular file, so that a program shows exactly this file.

    If another user can replace the file, the program gets the open file instead of the path. With
    the path, an editor could follow a link of the other user, and change a file of this user.

    Args:
        path: The path of the file.

    Yields:
        The path for the program, and the descriptors that the program must inherit.

    Raises:
        RegistryError: The path no longer leads to a regular file, or the file cannot be opened.
    """
    file = open_regular(path, O_RDONLY | O_NOFOLLOW)
    try:
        if others_may_replace(path):
            yield f"/proc/self/fd/{file.fileno()}", (file.fileno(),)
        else:
            yield str(path), ()
    finally:
        close_read(file)


def line_of(file: Openable) -> int | None:
    """Returns the number of the line with the id of a file's agent; None if there is none. Blocks.

    Raises:
        RegistryError: The path no longer leads to a regular file, or the file cannot be opened.
    """
    if not file.agent:
        return None
    opened_file = open_regular(file.path, O_RDONLY | O_NOFOLLOW)
    try:
        text = os.pread(opened_file.fileno(), _SEARCHED_AT_MOST, 0)
    finally:
        close_read(opened_file)
    for written in (json.dumps(file.agent), json.dumps(file.agent, ensure_ascii=False)):
        id_ = re.escape(written.encode("utf-8", "surrogatepass"))
        if (match := re.search(rb'"id"\s*:\s*' + id_, text)) is not None:
            return 1 + text.count(b"\n", 0, match.start())
    return None


def command_line(words: Sequence[str], path: str, line: int | None) -> list[str]:
    """Returns the command line that shows a file.

    Args:
        words: The program with its arguments.
        path: The path of the file.
        line: The line to go to; None for the beginning. A program that muster does not know
            begins at the beginning.
    """
    program = os.path.basename(words[0])
    if line is None or line == 1:
        return [*words, path]
    if program in _TAKES_PLUS:
        return [*words, f"+{line}", path]
    if program in _TAKES_GOTO:
        return [*words, "-g", f"{path}:{line}"]
    return [*words, f"{path}:{line}" if program in _TAKES_COLON else path]


def viewer(environment: Mapping[str, str], *, read_only: bool = False) -> list[str]:
    """Returns the program that shows files, with its arguments.

    This is ``$VISUAL`` if the variable is set, or else ``$EDITOR``, ``$PAGER``, ``less`` or
    ``more``.

    Args:
        environment: The environment variables.
        read_only: Whether only a pager may be used, because an editor can change the file.

    Raises:
        NoViewerError: A variable cannot be parsed or names a missing program, or no program was
            found.
    """
    for name in ("PAGER",) if read_only else ("VISUAL", "EDITOR", "PAGER"):
        try:
            words = shlex.split(environment.get(name, ""))
        except ValueError:
            problem = f"cannot parse ${name}: missing closing quote; correct ${name}"
            raise NoViewerError(problem) from None
        if words and shutil.which(words[0], path=environment.get("PATH")) is None:
            raise NoViewerError(f"cannot find {words[0]}; set ${name} to an installed program")
        if words:
            return words
    pager = next((name for name in _VIEWERS if shutil.which(name)), None)
    if pager is None:
        raise NoViewerError("No pager found; set $PAGER or $EDITOR to a program.")
    return [pager]
