"""Finds the database that a workspace may have instead of, or beside, its JSON registries."""

from __future__ import annotations

import os
from pathlib import Path

from registry import database
from registry.dataclass import dataclass
from registry.errors import InaccessibleRegistryError, LinkedRegistryError, RegistryError
from registry.storage.files.interruption import hand_on
from registry.storage.files.safe_open import look
from registry.storage.partner import GLOBAL_FOLDER, GLOBAL_REGISTRY, workspace_of
from registry.text import shown_name

DATABASE = "state.sqlite3"
"""The name of the database that some orchestrators use instead of JSON files.

The database is in the `registry` folder of the workspace.
"""


@dataclass(frozen=True, slots=True)
class UnreadDatabase:
    """A workspace's database that may have newer data than the JSON registries.

    Attributes:
        path: The database.
        problem: Why the database cannot be read, or why its existence cannot be checked; None if
            the database exists and was not opened.
    """

    path: Path
    problem: str | None = None

    @property
    def cause(self) -> str:
        """The name of the database, and the problem if there is one; without the directory."""
        return self.path.name + (f": {self.problem}" if self.problem is not None else "")

    def __str__(self) -> str:
        if self.problem is None:
            message = "agents are in a database, which this version of muster does not write"
            return f"{message}: {shown_name(self.path)}"
        message = "agents may be in a database that muster cannot read"
        return f"{message}: {shown_name(self.path)}: {self.problem}"


def database_problem(path: Path, error: RegistryError) -> str:
    """Returns why a database cannot be read; names the file beside it that is the cause.

    Args:
        path: The database.
        error: The error of the reading.
    """
    why = error.reason or str(error)
    cause = getattr(error, "path", path)
    is_beside = isinstance(cause, Path) and cause != path and cause.name.startswith(path.name)
    return f"{shown_name(cause.name)} beside it {why}" if is_beside else why


def find_database(workspace: Path) -> UnreadDatabase | None:
    """Returns the database of a workspace; None if the database certainly does not exist.

    The database is never opened. Any file with the database's name counts as the database, also a
    symlink, a directory or a device.
    """
    path = workspace / GLOBAL_FOLDER / DATABASE
    try:
        try:
            look(path)
        except LinkedRegistryError as error:
            hand_on(error)
            # The folder is a symlink. Its target is not used, but may contain the agents.
            os.lstat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        hand_on(error)
        return None
    except InaccessibleRegistryError as error:
        hand_on(error)
        return UnreadDatabase(path, os.strerror(error.errno or 0))
    except OSError as error:
        hand_on(error)
        return UnreadDatabase(path, error.strerror)
    return UnreadDatabase(path)


def database_beside(registry: Path) -> UnreadDatabase | None:
    """Returns a database that may have newer data of a registry's agents, or None.

    The database of a workspace has newer data of the tasks that it lists, and of the global
    registry. A database that cannot be read may have newer data of each task.

    Args:
        registry: A task's registry or the global registry.
    """
    found = find_database(workspace_of(registry))
    if found is None or found.problem is not None or registry.name == GLOBAL_REGISTRY:
        return found
    try:
        folder = registry.parent
        nameless = folder.name in ("", "..")
        name = os.path.basename(os.path.realpath(folder)) if nameless else folder.name
        return found if database.lists_task(found.path, name) else None
    except RegistryError as error:
        hand_on(error)
        return UnreadDatabase(found.path, database_problem(found.path, error))
