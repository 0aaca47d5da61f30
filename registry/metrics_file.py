"""Keeps the lock metrics of many processes in one file per workspace.

Each process counts its own numbers (`registry.storage.metrics`). From time to time and at its end,
a process adds its numbers to `registry/muster_metrics.json`, so that other processes can show
them. The file is changed under its own lock, like a registry.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from registry.errors import CorruptRegistryError, InaccessibleRegistryError, RegistryError
from registry.schema.layout import GLOBAL_FOLDER, GLOBAL_REGISTRY, TASK_REGISTRY
from registry.snapshots import read_registry
from registry.storage import metrics, recovery
from registry.storage.codec import Json, decode, encode
from registry.storage.commit import Write, commit, stamp_of
from registry.storage.files.interruption import hand_on, tolerating
from registry.storage.files.own_files import (
    check_owner,
    check_same,
    make_empty,
    named_status,
    own_folder,
)
from registry.storage.files.permissions import Access
from registry.storage.files.safe_open import is_safe_name, read_all
from registry.storage.hot_journal import is_hot
from registry.storage.metrics import LockMetrics

METRICS_FILE = "muster_metrics.json"

LARGEST = 4 * 1024 * 1024
"""The largest size, in bytes, of a metrics file that is read; enough for 15,000 tasks."""

_TIMEOUT = 1.0

_published: dict[Path, LockMetrics] = {}
_guard = threading.RLock()


# A forked child counts from 0, so none of its numbers are published yet.
def _reset_in_child() -> None:
    _published.clear()
    _guard.release()


os.register_at_fork(
    before=_guard.acquire,
    after_in_parent=_guard.release,
    after_in_child=_reset_in_child,
)


def path_in(workspace: Path) -> Path:
    """Returns the path of a workspace's metrics file."""
    return workspace / GLOBAL_FOLDER / METRICS_FILE


def _name(registry: Path, workspace: Path) -> str | None:
    """Returns the key of a registry in the metrics file.

    Returns:
        None if the registry is not in the workspace.
    """
    folder, name = registry.parent, registry.name
    if folder.parent != workspace or not is_safe_name(folder.name):
        return None
    if name == TASK_REGISTRY or (folder.name, name) == (GLOBAL_FOLDER, GLOBAL_REGISTRY):
        return f"{folder.name}/{name}"
    return None


def publish_metrics(workspace: str | os.PathLike[str]) -> bool:
    """Adds this process's new numbers to the metrics file of a workspace.

    Only root and the folder's owner create a missing file, because other users trust only
    files of these two users.

    Args:
        workspace: The `.agent-workspace`, spelled as in the paths of its registries.

    Returns:
        Whether numbers were added.

    Raises:
        RegistryError: The file cannot be used; the numbers are kept for the next call.
        OSError: The file cannot be created.
    """
    home = Path(workspace)
    with _guard:
        now = _counted(home)
        fresh = {name: _unpublished(home / name, numbers) for name, numbers in now.items()}
        news = {name: numbers for name, numbers in fresh.items() if numbers.anything()}
        if not news:
            return False
        if _would_be_untrusted(path_in(home)):
            return False
        with _editing(path_in(home)) as held:
            registries = held.setdefault("registries", {})
            for name, numbers in news.items():
                together = LockMetrics.from_json(registries.get(name))
                together.add(numbers)
                registries[name] = together.as_json()
        _published.update((home / name, numbers) for name, numbers in now.items())
    return True


def _counted(workspace: Path) -> Mapping[str, LockMetrics]:
    """Returns the numbers of this process for a workspace, by the registries' keys in the file."""
    named = ((_name(path, workspace), numbers) for path, numbers in metrics.snapshot().items())
    return {name: numbers for name, numbers in named if name is not None}


def _unpublished(registry: Path, numbers: LockMetrics) -> LockMetrics:
    return numbers.since(_published.get(registry, LockMetrics()))


def _would_be_untrusted(place: Path) -> bool:
    """Returns whether the file is missing, and others would not trust a file of this user."""
    with own_folder(place) as folder:
        if os.geteuid() in (0, os.fstat(folder).st_uid):
            return False
        try:
            named_status(place, folder)
        except FileNotFoundError as error:
            hand_on(error)
            return True
    return False


@contextmanager
def _editing(place: Path) -> Iterator[Json]:
    """Yields the content of the metrics file under its lock; writes the content at the end.

    A missing file is created first.

    Raises:
        RegistryError: The file cannot be locked, read or trusted.
        OSError: The file cannot be created.
    """
    with own_folder(place) as folder:
        with tolerating(OSError):
            shared = Access.at(folder, GLOBAL_REGISTRY)
            # With an access list, the group bits are the mask of the entries in the list.
            bits = 0o664 if shared.listed is None else 0o604
            make_empty(place, folder, shared.mode & bits | 0o600, shared.group)
        make_empty(place, folder, 0o644)
        check_owner(place, named_status(place, folder), folder)
        lock = recovery.acquire(place, _TIMEOUT)
        try:
            check_same(place, lock.fd, folder)
            check_owner(place, os.fstat(lock.fd), folder)
            old = read_all(lock.fd, place, LARGEST)
            held = _decoded(old, place)
            yield held
            if len(old) > LARGEST:
                # muster never writes so much. The journal would have to hold all of it.
                os.ftruncate(lock.fd, 0)
                old = b""
            stamp = stamp_of(os.fstat(lock.fd))
            commit([Write(lock.fd, place, old, encode(held, place), stamp)])
        finally:
            lock.release()


def _decoded(text: bytes, place: Path) -> Json:
    """Returns the content of the metrics file; no numbers if the file is too large or corrupt.

    A crash or a full disk during the creation can leave an empty file. The next write repairs the
    file.
    """
    empty: Json = {"schema": 1}
    if len(text) > LARGEST:
        return empty
    try:
        held = decode(text, place)
    except CorruptRegistryError as error:
        hand_on(error)
        return empty
    if not isinstance(held.get("registries"), dict):
        held.pop("registries", None)
    return held


def read_metrics(workspaces: Iterable[Path]) -> Mapping[str, LockMetrics]:
    """Maps the path of each registry to its numbers.

    The numbers are the sum of the numbers in the metrics files and those that this process has not
    published. A corrupt file counts as empty; the next process that adds numbers repairs the file.
    Numbers of registries that do not exist are ignored, because another user may have written the
    file.

    Raises:
        RegistryError: A file exists and cannot be read.
    """
    by_path: dict[str, LockMetrics] = {}
    for workspace in workspaces:
        for name, numbers in _on_file(path_in(workspace)).items():
            registry = workspace / name
            if _name(registry, workspace) == name and os.path.lexists(registry):
                by_path[str(registry)] = LockMetrics.from_json(numbers)
        with _guard:
            for name, numbers in _counted(workspace).items():
                path = workspace / name
                by_path.setdefault(str(path), LockMetrics()).add(_unpublished(path, numbers))
    return by_path


def read_each(
    workspaces: Iterable[Path],
) -> tuple[Mapping[str, LockMetrics], tuple[RegistryError, ...]]:
    """Reads the metrics of several workspaces, even if some metrics files cannot be read.

    Returns:
        The result of `read_metrics` for the workspaces with readable files, and the errors of the
        other files.
    """
    by_path: dict[str, LockMetrics] = {}
    errors: list[RegistryError] = []
    for workspace in workspaces:
        try:
            by_path |= read_metrics([workspace])
        except RegistryError as error:
            hand_on(error)
            errors.append(error)
    return by_path, tuple(errors)


def _on_file(place: Path) -> Json:
    try:
        with own_folder(place) as folder:
            status = named_status(place, folder)
            check_owner(place, status, folder)
            if status.st_size > LARGEST:
                return {}
            registries: Json = read_registry(place).get("registries", {})
    except FileNotFoundError as error:
        hand_on(error)
        return {}
    except CorruptRegistryError as error:
        hand_on(error)
        if is_hot(place):
            # A commit was interrupted. The next process that adds numbers finishes it.
            raise
        return {}
    except OSError as error:
        hand_on(error)
        if isinstance(error, RegistryError):
            raise
        raise InaccessibleRegistryError(place, error, "read") from error
    return registries if isinstance(registries, dict) else {}
