"""Creates registries without replacing a file; other processes see only complete registries."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from registry.dataclass import dataclass
from registry.errors import (
    InaccessibleRegistryError,
    RegistryError,
    RegistryNotFoundError,
    WrongShapeError,
)
from registry.schema import counters, edits
from registry.schema.arguments import RegistryPath, further_fields, timestamp
from registry.schema.layout import GLOBAL_FOLDER, GLOBAL_REGISTRY, TASK_REGISTRY
from registry.storage.codec import Json, encode
from registry.storage.commit import is_durable
from registry.storage.files.anchor import make_anchor
from registry.storage.files.descriptor import close_read
from registry.storage.files.interruption import hand_on, tolerating
from registry.storage.files.new_file import give_away, make_file, make_folder
from registry.storage.files.safe_open import (
    folder_of,
    is_safe_name,
    look,
    open_file,
    sync_folder,
    write_all,
)
from registry.storage.locked_file import DEFAULT_TIMEOUT, Edit, edited
from registry.text import quoted_name

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Created:
    """The result of a function that creates a registry.

    Attributes:
        path: The path of the registry.
        new: Whether the function created the registry; False if the registry already existed.
    """

    path: Path
    new: bool


def create_global_registry(workspace: RegistryPath, *, max_concurrent_agents: int = 20) -> Created:
    """Creates a workspace and its global registry, unless they exist.

    Several processes may call this function at the same time. An existing registry is not changed.

    Args:
        workspace: The directory, usually called `.agent-workspace`.
        max_concurrent_agents: A limit for the orchestrator; this library does not check it.

    Raises:
        WrongShapeError: The path is empty, or the limit is not an integer of at least 0.
        InaccessibleRegistryError: The registry cannot be created.
        NotARegularFileError: The path of the registry does not lead to a regular file.
    """
    _check_limit("max_concurrent_agents", max_concurrent_agents)
    path = _root(workspace) / GLOBAL_FOLDER / GLOBAL_REGISTRY
    return _create(
        path,
        {
            "created_at": timestamp(),
            "total_tasks": 0,
            "active_tasks": 0,
            "total_agents_spawned": 0,
            "active_agents": 0,
            "max_concurrent_agents": max_concurrent_agents,
            "tasks": {},
            "agents": {},
        },
    )


def create_task_registry(
    workspace: RegistryPath,
    task_id: str,
    description: str,
    *,
    priority: str = "P2",
    client_cwd: str | None = None,
    max_agents: int = 45,
    max_depth: int = 5,
    max_concurrent: int = 20,
    fields: Mapping[str, Any] | None = None,
    global_fields: Mapping[str, Any] | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> Created:
    """Creates a task's directory and registry, and lists the task in the global registry.

    Several processes may call this function at the same time, also for the same task: each task is
    counted once. If a process dies before the task is listed, a second call lists the task.

    Args:
        workspace: The `.agent-workspace` directory. The workspace and its global registry are
            created if they do not exist.
        task_id: The name of the directory, for example ``TASK-20251018-213115-d9cfa244``.
        description: The description of the task.
        priority: The priority that the orchestrator gives to the task.
        client_cwd: The working directory of the client.
        max_agents: The largest number of agents in the registry.
        max_depth: The largest depth of an agent below the orchestrator.
        max_concurrent: The largest number of active agents.
        fields: Further fields of the task's registry.
        global_fields: Further fields of the task's entry in the global registry.
        timeout: How long to wait for the lock of the global registry, in seconds.

    Raises:
        WrongShapeError: The id cannot be a directory name, or a limit is not an integer of at
            least 0.
        LinkedRegistryError: The task's directory is a symlink.
        NotARegularFileError: The path of the registry does not lead to a regular file.
        TypeError, ValueError: `fields` or `global_fields` contains a value that JSON cannot
            represent, or a field that this function sets itself.
        InaccessibleRegistryError: The registry cannot be created.
        TimeoutError, json.JSONDecodeError: The global registry cannot be locked or decoded; see
            `LockedRegistryFile`.
    """
    if not isinstance(task_id, str) or not is_safe_name(task_id) or task_id == GLOBAL_FOLDER:
        raise WrongShapeError(
            "task_id",
            f"is {quoted_name(task_id, 80)}, which cannot name a directory: use 1 to 128 letters, "
            "digits, '_', '-' and '.', without a '.' at the start",
        )
    limits = {"max_agents": max_agents, "max_depth": max_depth, "max_concurrent": max_concurrent}
    for name, limit in limits.items():
        _check_limit(name, limit)
    root = Path(os.path.abspath(_root(workspace)))
    now = timestamp()
    directory = root / task_id
    with tolerating(FileNotFoundError):
        # If the directory is a symlink, this raises an error before anything is created.
        look(directory / TASK_REGISTRY)
    text: Json = {
        "task_id": task_id,
        "task_description": description,
        "created_at": now,
        "workspace": str(directory),
        "workspace_base": str(root),
        "client_cwd": client_cwd,
        "status": "INITIALIZED",
        "priority": priority,
        "agents": [],
        "agent_hierarchy": {},
        **limits,
        "total_spawned": 0,
        "active_count": 0,
        "completed_count": 0,
    }
    listed: Json = {"description": description, "created_at": now, "status": "INITIALIZED"}
    text |= further_fields(fields, text, "create_task_registry")
    listed |= further_fields(global_fields, listed, "create_task_registry", name="global_fields")
    global_ = create_global_registry(root).path
    created = _create(directory / TASK_REGISTRY, text)

    def list_task(edit: Edit) -> None:
        edit.changed = edits.list_task(edit.registry, task_id, listed)

    edited(global_, list_task, timeout)
    return created


def _root(workspace: RegistryPath) -> Path:
    if not os.fspath(workspace):
        raise WrongShapeError("workspace", "is an empty path")
    return Path(workspace)


def _check_limit(name: str, limit: object) -> None:
    if not counters.is_count(limit) or limit < 0:
        raise WrongShapeError(name, f"is {limit!r:.80}, not an integer of at least 0")


def _create(path: Path, registry: Json) -> Created:
    """Creates a registry, unless the file exists. Follows no symlink.

    The registry is not created by a rename: a rename could replace a file that another process
    has just created, and perhaps locked.
    """
    try:
        # Raises an error if the file cannot be a registry.
        close_read(open_file(path, os.O_RDONLY))
        return Created(path, new=False)
    except RegistryNotFoundError as error:
        hand_on(error)
    text = encode(registry, path)
    try:
        workspace = make_anchor(path.parent.parent)
        try:
            _make_folder(path, workspace.fileno())
            with folder_of(path) as folder:
                try:
                    _link_whole(text, path.name, folder)
                except FileExistsError as error:
                    hand_on(error)
                    close_read(open_file(path, os.O_RDONLY))
                    return Created(path, new=False)
                if is_durable():
                    sync_folder(folder)
                    sync_folder(workspace.fileno())
        finally:
            close_read(workspace)
    except RegistryError:
        raise
    except OSError as error:
        hand_on(error)
        raise InaccessibleRegistryError(path, error, "create") from error
    _log.info("Created registry %s", path)
    return Created(path, new=True)


def _make_folder(path: Path, workspace: int) -> None:
    with tolerating(FileExistsError):
        make_folder(path.parent.name, workspace)


def _link_whole(text: bytes, name: str, folder: int) -> None:
    """Creates a file that other processes never see without its complete text.

    Args:
        text: The content of the file.
        name: The name of the file.
        folder: A descriptor of the directory.

    Raises:
        FileExistsError: The directory already has a file with this name.
        OSError: The file cannot be created.
    """

    def prepare(fd: int) -> None:
        give_away(fd, folder)
        write_all(fd, text, 0)
        if is_durable():
            os.fsync(fd)

    close_read(make_file(name, folder, 0o644, prepare))
