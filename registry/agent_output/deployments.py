"""Finds the files in which an orchestrator records that it deployed an agent to its database."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from itertools import islice
from pathlib import Path

from registry.agent_output.lines import STREAM_LOG
from registry.errors import RegistryError
from registry.schema.layout import DATABASE, Workspace
from registry.storage.files.backward import read_piece
from registry.storage.files.descriptor import close_read, open_owned
from registry.storage.files.interruption import tolerating
from registry.storage.files.safe_open import is_safe_name, open_beneath, open_folder

_PREFIX, _SUFFIX = "deploy_", ".json"
_FILES_AT_MOST = 100
_TASKS_AT_MOST = 10_000
_TASK = "TASK-"
_LARGEST = 64 * 1024


def find_database_deployment(directory: Path) -> Path | None:
    """Returns a file that records the deployment of an agent to a database; None without one.

    Follows no symlinks. A file that cannot be read is left out.

    Args:
        directory: The directory of the task.
    """
    folder = STREAM_LOG.folder
    names: list[str] = []
    with tolerating(RegistryError, OSError):
        searched = open_folder(directory, (folder,))
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY
            opened = open_owned(".", flags, dir_fd=searched.fileno())
            try:
                names = os.listdir(opened.fileno())
            finally:
                close_read(opened)
        finally:
            close_read(searched)
    records = [name for name in names if name.startswith(_PREFIX) and name.endswith(_SUFFIX)]
    for name in sorted(filter(is_safe_name, records))[:_FILES_AT_MOST]:
        if _names_database(directory, (folder, name)):
            return directory / folder / name
    return None


def _names_database(directory: Path, parts: tuple[str, str]) -> bool:
    with tolerating(RegistryError, ValueError, RecursionError):
        opened = open_beneath(directory, parts)
        try:
            text = read_piece(opened.fileno(), directory.joinpath(*parts), _LARGEST, 0)
        finally:
            close_read(opened)
        record = json.loads(text)
        return isinstance(record, dict) and record.get("storage") == "sqlite"
    return False


def find_deployed(workspace: Path, agent_ids: Collection[str]) -> dict[str, Path]:
    """Finds agents of which only their files tell that they were deployed to a database.

    The orchestrator writes an agent's prompt before it starts the agent's session, and the record
    of the deployment before it writes the agent to the database. It removes no agent from there.

    Args:
        workspace: The directory of the workspace.
        agent_ids: The ids of agents; untrusted.

    Returns:
        Maps ids to a file that proves the deployment.
    """
    database = Workspace(workspace).global_registry.with_name(DATABASE)
    has_database = os.path.lexists(database)
    folders: list[str] = []
    with tolerating(OSError), os.scandir(workspace) as entries:
        folders = [entry.name for entry in islice(entries, _TASKS_AT_MOST)]
    found: dict[str, Path] = {}
    for folder in sorted(name for name in folders if name.startswith(_TASK)):
        for agent_id in agent_ids:
            prompt, record = f"agent_prompt_{agent_id}.txt", f"{_PREFIX}{agent_id}{_SUFFIX}"
            if not is_safe_name(prompt) or agent_id in found:
                continue
            if os.path.lexists(workspace / folder / prompt) and (
                has_database or find_database_deployment(workspace / folder) is not None
            ):
                found[agent_id] = workspace / folder / prompt
            elif os.path.lexists(workspace / folder / STREAM_LOG.folder / record):
                directory, parts = workspace / folder, (STREAM_LOG.folder, record)
                if _names_database(directory, parts):
                    found[agent_id] = directory.joinpath(*parts)
    return found
