"""The places of the tasks that are in a workspace's database. Pure."""

from __future__ import annotations

from pathlib import Path

from registry.storage.files.safe_open import is_safe_name


def task_directory(database: Path, task_id: str) -> Path:
    """Returns the directory of a task that is in a database.

    An id that cannot be the name of a directory leads to a place that cannot exist: below a file.

    Args:
        database: The path of the database; trusted.
        task_id: The id of the task; untrusted.
    """
    if is_safe_name(task_id):
        return database.parent.parent / task_id
    return database / task_id.encode("utf-8", "surrogateescape").hex()
