"""Lists the files of agents in a task's directory, including agents that no registry lists."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from registry.agent_output.identities import ARCHIVE
from registry.agent_output.lines import FINDINGS, PROGRESS, STREAM_LOG
from registry.dataclass import dataclass
from registry.errors import RegistryError, RegistryNotFoundError
from registry.schema.layout import agent_file
from registry.storage.files.descriptor import close_read, open_owned
from registry.storage.files.interruption import hand_on, tolerating
from registry.storage.files.safe_open import is_safe_name, open_folder

ENTRIES_AT_MOST = 50_000
"""The largest number of entries that are read from one directory."""

PROMPT = "prompt"
"""The `FoundFile.kind` of the file with an agent's instructions."""

_PROMPT_NAME = ("agent_prompt_", ".txt")


@dataclass(frozen=True, slots=True)
class FoundFile:
    """One file of an agent.

    Attributes:
        kind: `PROMPT`, or the name of a kind of output file (`Source.name`).
        parts: The path of the file below the task's directory: folders, and the file's name.
        modified: The time of the last write, in seconds since the epoch.
    """

    kind: str
    parts: tuple[str, ...]
    modified: float

    @property
    def is_archived(self) -> bool:
        """Whether the orchestrator moved the file to the task's archive."""
        return self.parts[0] == ARCHIVE


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of the agents of a task.

    Attributes:
        files: Maps the id of each agent to the agent's files, the archived files last.
        problems: Pairs of a directory that was not read completely, and the reason.
    """

    files: Mapping[str, tuple[FoundFile, ...]]
    problems: tuple[tuple[Path, str], ...]


def list_files(directory: Path, at_most: int = ENTRIES_AT_MOST) -> Listing:
    """Lists the files of agents in a task's directory and in the task's archive.

    Opens no file, and follows no symlinks. A file is left out if the id in its name is not safe
    in a path.

    Args:
        directory: The directory of the task.
        at_most: The largest number of entries that are read from one directory.
    """
    files: dict[str, list[FoundFile]] = {}
    problems: list[tuple[Path, str]] = []
    sources = (PROGRESS, FINDINGS, STREAM_LOG)
    outputs = {source.name: ("", agent_file("", source.suffix)) for source in sources}
    names_in: dict[str, dict[str, tuple[str, str]]] = {"": {PROMPT: _PROMPT_NAME}}
    for source in sources:
        names_in[source.folder] = {source.name: outputs[source.name]}
    names_in[ARCHIVE] = {PROMPT: _PROMPT_NAME, **outputs}
    for folder, names in names_in.items():
        parts = (folder,) if folder else ()
        try:
            for agent_id, file in _files_in(directory, parts, names, at_most):
                files.setdefault(agent_id, []).append(file)
        except RegistryNotFoundError as error:
            hand_on(error)
        except (RegistryError, OSError) as error:
            hand_on(error)
            why = error.reason if isinstance(error, RegistryError) else error.strerror
            problems.append((directory.joinpath(*parts), why or str(error)))
    kinds = [PROMPT, *outputs]
    # The order of a directory's entries may change. The issues of two readings are compared, so
    # the files are sorted.
    for found in files.values():
        found.sort(key=lambda file: (file.is_archived, kinds.index(file.kind)))
    return Listing(
        {agent_id: tuple(found) for agent_id, found in files.items()},
        tuple(problems),
    )


def _files_in(
    directory: Path,
    parts: tuple[str, ...],
    names: Mapping[str, tuple[str, str]],
    at_most: int,
) -> Iterator[tuple[str, FoundFile]]:
    """Yields each file of an agent in one folder, together with the agent's id.

    Raises:
        RegistryError: The folder does not exist, is a symlink, or is not accessible.
        OSError: The folder cannot be read, or has more than `at_most` entries.
    """
    searched = open_folder(directory, parts)
    try:
        opened = open_owned(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=searched.fileno())
    finally:
        close_read(searched)
    try:
        with os.scandir(opened.fileno()) as entries:
            for number, entry in enumerate(entries):
                if number >= at_most:
                    reason = f"more than {at_most} entries; only {at_most} entries were examined"
                    raise OSError(0, reason)
                named = _named(entry.name, names)
                if named is None:
                    continue
                kind, agent_id = named
                # The file may be moved to the archive at this moment.
                with tolerating(FileNotFoundError):
                    status = os.stat(entry.name, dir_fd=opened.fileno(), follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        path = (*parts, entry.name)
                        yield agent_id, FoundFile(kind, path, status.st_mtime)
    finally:
        close_read(opened)


def _named(name: str, names: Mapping[str, tuple[str, str]]) -> tuple[str, str] | None:
    """Returns the kind of a file and the agent's id; None if the file is not an agent's file."""
    for kind, (prefix, suffix) in names.items():
        if name.startswith(prefix) and name.endswith(suffix):
            agent_id = name[len(prefix) : len(name) - len(suffix)]
            if is_safe_name(agent_id) and is_safe_name(name):
                return kind, agent_id
    return None
