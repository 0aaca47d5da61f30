"""The lock metrics of many processes, in one file a workspace.

Each process counts for itself (`registry.metrics`); whoever wants its numbers
seen by others adds them to `registry/muster_metrics.json`, now and then and at
its end. The file is changed under its own lock, as any registry is.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from registry import metrics
from registry.files import is_safe_name
from registry.locked_file import editing
from registry.metrics import LockMetrics
from registry.reading import read_registry
from registry.workspace import GLOBAL_FOLDER, GLOBAL_REGISTRY, TASK_REGISTRY

METRICS_FILE = "muster_metrics.json"

_published: dict[Path, LockMetrics] = {}
_guard = threading.RLock()


# A forked child counts from 0, so nothing of its numbers is published yet.
def _begin_anew_in_child() -> None:
    _published.clear()
    _guard.release()


os.register_at_fork(
    before=_guard.acquire,
    after_in_parent=_guard.release,
    after_in_child=_begin_anew_in_child,
)


def path_in(workspace: Path) -> Path:
    """Where a workspace's metrics lie."""
    return workspace / GLOBAL_FOLDER / METRICS_FILE


def _name(registry: Path, workspace: Path) -> str | None:
    """What the file calls a registry, or None if it is none of this workspace."""
    folder, name = registry.parent, registry.name
    if folder.parent != workspace or not is_safe_name(folder.name):
        return None
    if name == TASK_REGISTRY or (folder.name, name) == (GLOBAL_FOLDER, GLOBAL_REGISTRY):
        return f"{folder.name}/{name}"
    return None


def publish_metrics(workspace: str | os.PathLike[str]) -> bool:
    """Adds what this process counted since the last time to its workspace's file.

    Args:
        workspace: The `.agent-workspace`, as its registries are named by this process.

    Returns:
        Whether there was anything to add.

    Raises:
        RegistryError: The file cannot be had; the numbers are kept for the next time.
        OSError: It cannot be made.
    """
    home = Path(workspace)
    with _guard:
        now = _counted(home)
        fresh = {name: _unpublished(home / name, numbers) for name, numbers in now.items()}
        news = {name: numbers for name, numbers in fresh.items() if numbers.anything()}
        if not news:
            return False
        place = path_in(home)
        _create(place)
        with editing(place, timeout=1.0) as edit:
            held = edit.registry.get("registries")
            registries = held if isinstance(held, dict) else {}
            for name, numbers in news.items():
                together = LockMetrics.from_json(registries.get(name))
                together.add(numbers)
                registries[name] = together.as_json()
            edit.registry["registries"] = registries
            edit.changed = True
        _published.update((home / name, numbers) for name, numbers in now.items())
    return True


def _counted(workspace: Path) -> Mapping[str, LockMetrics]:
    """What this process counted of a workspace's registries, by what the file calls them."""
    named = ((_name(path, workspace), each) for path, each in metrics.snapshot().items())
    return {name: numbers for name, numbers in named if name is not None}


def _unpublished(registry: Path, numbers: LockMetrics) -> LockMetrics:
    return numbers.since(_published.get(registry, LockMetrics()))


def _create(place: Path) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with suppress(FileExistsError):
        fd = os.open(place, flags, 0o644)
        try:
            os.write(fd, b'{"schema": 1}')
        finally:
            os.close(fd)


def read_metrics(workspaces: Iterable[Path]) -> Mapping[str, LockMetrics]:
    """What is on file, and what this process has not added yet, by registry.

    Raises:
        RegistryError: A file is there and cannot be read.
    """
    found: dict[str, LockMetrics] = {}
    for workspace in workspaces:
        with suppress(FileNotFoundError):
            held = read_registry(path_in(workspace)).get("registries")
            for name, numbers in (held if isinstance(held, dict) else {}).items():
                found[str(workspace / name)] = LockMetrics.from_json(numbers)
        with _guard:
            for name, numbers in _counted(workspace).items():
                path = workspace / name
                found.setdefault(str(path), LockMetrics()).add(_unpublished(path, numbers))
    return found
