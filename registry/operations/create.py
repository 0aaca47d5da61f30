"""New registries, made whole: nobody ever sees half of one, or one replaced."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.errors import (
    InaccessibleRegistryError,
    RegistryError,
    RegistryNotFoundError,
    WrongShapeError,
    naming,
)
from registry.schema import edits
from registry.schema.arguments import RegistryPath, timestamp
from registry.schema.layout import GLOBAL_FOLDER, GLOBAL_REGISTRY, TASK_REGISTRY
from registry.storage.anchor import make_anchor
from registry.storage.codec import Json, encode, plain
from registry.storage.descriptor import close_read, open_owned
from registry.storage.durability import is_durable
from registry.storage.interruption import hand_on, tolerating
from registry.storage.locked_file import DEFAULT_TIMEOUT, editing
from registry.storage.new_file import Prepare, give_away, make_folder, make_nameless
from registry.storage.safe_open import (
    folder_of,
    is_safe_name,
    look,
    open_file,
    sync_folder,
    write_all,
)
from registry.text import quoted_name

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Created:
    """A registry that is there now.

    Attributes:
        path: The registry.
        new: Whether this call made it; somebody else may have been quicker.
    """

    path: Path
    new: bool


def create_global_registry(workspace: RegistryPath, *, max_concurrent_agents: int = 20) -> Created:
    """Makes a workspace and its global registry, unless they are there.

    Any number of processes may do so at once: one makes it, and all of them find
    it whole. Nothing that is there is touched.

    Args:
        workspace: The directory, called `.agent-workspace` as a rule.
        max_concurrent_agents: Written down for the orchestrator; not checked here.

    Raises:
        WrongShapeError: The path is empty, or the limit no whole number.
        InaccessibleRegistryError: It cannot be made.
        NotARegularFileError: Something else is in its place.
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
    timeout: float = DEFAULT_TIMEOUT,
) -> Created:
    """Makes a task's directory and registry, and lists it in the global registry.

    Any number of processes may do so at once, for one task or for many; a task is
    counted once. After a crash in between a second call lists what is there already.

    Args:
        workspace: The `.agent-workspace`; made with its global registry if need be.
        task_id: Names the directory, for example ``TASK-20251018-213115-d9cfa244``.
        description: What is to be done.
        priority: As the orchestrator has it.
        client_cwd: Where the client works.
        max_agents: How many agents may be registered in all.
        max_depth: How deep agents may start agents.
        max_concurrent: How many may be active at once.
        fields: Further fields of the task's registry.
        timeout: Seconds to wait for the global registry's lock.

    Raises:
        WrongShapeError: The id cannot name a directory, or a limit is no whole number.
        LinkedRegistryError: Its directory is a symlink.
        NotARegularFileError: Something else is in the registry's place.
        TypeError, ValueError: JSON has no word for something in `fields`, or they
            hold what is set here.
        InaccessibleRegistryError: It cannot be made.
        TimeoutError, json.JSONDecodeError: As `LockedRegistryFile`, of the global registry.
    """
    if not isinstance(task_id, str) or not is_safe_name(task_id) or task_id == GLOBAL_FOLDER:
        raise WrongShapeError("task_id", f"{quoted_name(task_id, 80)} cannot name a directory")
    limits = {"max_agents": max_agents, "max_depth": max_depth, "max_concurrent": max_concurrent}
    for name, limit in limits.items():
        _check_limit(name, limit)
    root = Path(os.path.abspath(_root(workspace)))
    now = timestamp()
    directory = root / task_id
    with tolerating(FileNotFoundError):
        # Raises before anything is made, where the directory is a symlink.
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
    extra = plain(fields or {})
    if not extra.keys().isdisjoint(text):
        raise ValueError(f"fields may not hold {', '.join(sorted(extra.keys() & text.keys()))}")
    text |= extra
    global_ = create_global_registry(root).path
    created = _create(directory / TASK_REGISTRY, text)
    with naming(global_), editing(global_, timeout) as edit:
        listed = {"description": description, "created_at": now, "status": "INITIALIZED"}
        edit.changed = edits.list_task(edit.registry, task_id, listed)
    return created


def _root(workspace: RegistryPath) -> Path:
    if not os.fspath(workspace):
        raise WrongShapeError("workspace", "is an empty path")
    return Path(workspace)


def _check_limit(name: str, limit: object) -> None:
    if not edits.is_count(limit) or limit < 0:
        raise WrongShapeError(name, f"is {limit!r:.80}, no whole number from 0 upward")


def _create(path: Path, registry: Json) -> Created:
    """Puts a whole file in its place, if nothing is there; through no symlink.

    A link, and not a rename: that would replace what somebody else has made and
    perhaps locked by now.
    """
    try:
        # Raises if that is no registry.
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
        raise InaccessibleRegistryError(path, error, "make") from error
    _log.info("Created registry %s", path)
    return Created(path, new=True)


def _make_folder(path: Path, workspace: int) -> None:
    with tolerating(FileExistsError):
        make_folder(path.parent.name, workspace)


def _link_whole(text: bytes, name: str, folder: int) -> None:
    """Makes a file appear with its text, if nothing of its name is there.

    Raises:
        FileExistsError: Something is there.
        OSError: It cannot be made.
    """

    def prepare(fd: int) -> None:
        give_away(fd, folder)
        write_all(fd, text, 0)
        if is_durable():
            os.fsync(fd)

    file = make_nameless(name, folder, 0o644, prepare)
    if file is None:
        _link_named(name, folder, prepare)
    else:
        close_read(file)


def _link_named(name: str, folder: int, prepare: Prepare) -> None:
    """As `_link_whole`, by a file that has a second name for a moment.

    A process that is killed in between leaves that name, which ends in ``.new``.
    """
    beside = f".{name}.{secrets.token_hex(6)}.new"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with open_owned(beside, flags, 0o644, dir_fd=folder) as file:
            prepare(file.fileno())
            os.link(beside, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    finally:
        with tolerating(FileNotFoundError):
            os.unlink(beside, dir_fd=folder)
