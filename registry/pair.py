"""Changes a task's registry and the global registry together, under both locks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from registry.errors import RegistryError, naming
from registry.schema.edits import check_global, check_task
from registry.schema.layout import TASK_REGISTRY
from registry.storage.codec import Json
from registry.storage.files.interruption import hand_on
from registry.storage.files.presence import may_exist
from registry.storage.files.safe_open import is_safe_name
from registry.storage.journal import journal_path
from registry.storage.journal_trust import check_place
from registry.storage.locked_file import (
    DEFAULT_TIMEOUT,
    Edit,
    editing,
    editing_two,
    until_kept,
)
from registry.text import shown_name

Result = TypeVar("Result")

PairChange = Callable[[Edit, Edit | None, list[str]], Result]
"""A function that changes a task's registry and the global registry in place.

The third argument is a list, to which the function can add problems."""


@contextmanager
def editing_both(
    task: Path, global_: Path, timeout: float = DEFAULT_TIMEOUT
) -> Iterator[tuple[Edit, Edit]]:
    """Yields both registries under their locks; commits both at the end of the block.

    Args:
        task: The path of a task's registry.
        global_: The path of the global registry.
        timeout: How long to wait for the locks, in seconds.

    Raises:
        WrongShapeError: One file is not a registry of the expected kind; the error names the file.
        RegistryError: A registry cannot be locked, read or written; nothing was written.
    """
    with editing_two(task, global_, timeout) as (first, second):
        with naming(task):
            check_task(first.registry)
        with naming(global_):
            check_global(second.registry)
        yield first, second


@contextmanager
def editing_pair(
    task: Path, global_: Path | None, timeout: float
) -> Iterator[tuple[Edit, Edit | None, list[str]]]:
    """Yields a task's registry, the global registry or None, and a list of problems.

    The registries are locked; the end of the block commits them. None is yielded in place of the
    global registry in any of these cases:

    - `global_` is None.
    - The global registry cannot be used. The end of an agent must be recorded in the task's
      registry even then.
    - The `task_id` of the task's registry names another task.

    The problems say why the global registry was left out.

    Raises:
        RegistryError: The task's registry cannot be locked or read, or a registry cannot be
            written.
    """
    deadline = time.monotonic() + timeout
    problems: list[str] = []
    try:
        if global_ is None:
            entered = _Entered(editing(task, timeout))
        else:
            check_place(global_)
            entered = _Entered(editing_both(task, global_, timeout))
    except RegistryError as error:
        hand_on(error)
        if global_ is None or getattr(error, "path", None) not in _paths_of(global_):
            raise
        if not isinstance(error, FileNotFoundError):
            problems.append(left_out(error))
        left = max(1.0, deadline - time.monotonic())
        entered = _Entered(editing(task, left))
    with entered as (task_edit, global_edit):
        if global_ is not None and global_edit is not None:
            other = _registry_of_its_id(task, task_edit.registry, global_)
            if other is not None:
                problems.append(
                    "the global registry was not updated: task_id in "
                    f"{shown_name(task)} names the task of {shown_name(other)}; correct task_id"
                )
                global_edit = None
        yield task_edit, global_edit, problems


def _registry_of_its_id(task: Path, registry: Json, global_: Path) -> Path | None:
    """Returns the registry of another task, if the `task_id` of a registry names this other task.

    Without this check, a user who can write one task's registry could change another task's agents
    in the global registry.
    """
    task_id = registry.get("task_id")
    if not isinstance(task_id, str) or not is_safe_name(task_id) or task_id == task.parent.name:
        return None
    for workspace in dict.fromkeys((task.parent.parent, global_.parent.parent)):
        other = workspace / task_id / TASK_REGISTRY
        if may_exist(other):
            return other
    return None


def edited_pair(
    task: Path, global_: Path | None, change: PairChange[Result], timeout: float
) -> Result:
    """Changes both registries as in `editing_pair`, and returns the result of the change.

    Args:
        task: The task's registry.
        global_: The global registry, or None.
        change: Makes the change, with the values that `editing_pair` yields. It is called again if
            another process writes a file during the change.
        timeout: How long to try, in seconds.

    Raises:
        RegistryError: See `editing_pair`; nothing was written.
    """

    def attempt(left: float) -> Result:
        with naming(task), editing_pair(task, global_, left) as (in_task, in_global, problems):
            return change(in_task, in_global, problems)

    return until_kept(attempt, timeout)


class _Entered:
    """One or two registries whose locks are held; the end of a ``with`` block releases the locks.

    An `ExitStack` is not used: after an interruption it would keep the locks until the garbage
    collector runs.
    """

    def __init__(self, editing: AbstractContextManager[Edit | tuple[Edit, Edit]]) -> None:
        self._editing = editing
        self._edits = editing.__enter__()

    def __enter__(self) -> tuple[Edit, Edit | None]:
        return self._edits if isinstance(self._edits, tuple) else (self._edits, None)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return self._editing.__exit__(kind, error, traceback)


def _paths_of(registry: Path) -> tuple[Path, Path]:
    """Returns the paths that errors about a registry can name: the registry and its journal."""
    return registry, journal_path(registry)


def left_out(error: RegistryError) -> str:
    """Returns the message that the global registry was not updated, with the reason."""
    return f"the global registry was not updated: {error}"
