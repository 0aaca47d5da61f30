"""Lets only one thread of this process use a database at a time, and waits for readings to end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import RLock, local
from weakref import WeakValueDictionary

from registry.database.files import DatabaseFiles
from registry.errors import UnreadableDatabaseError

# How long, in seconds, a fork waits for the readings of other threads.
_FORK_WAITS = 1.0


class _Turn:
    """A lock that a thread holds while it uses one database.

    A signal handler can interrupt a thread that has the lock. `is_taken` tells its calls apart.
    """

    def __init__(self) -> None:
        self.lock = RLock()
        self.is_taken = False


_turns: WeakValueDictionary[tuple[int, int], _Turn] = WeakValueDictionary()
_choosing = RLock()


class _Held(local):
    """What a thread that forks holds."""

    def __init__(self) -> None:
        self.waits: list[AbstractContextManager[bool]] = []


_held_for_fork = _Held()


@contextmanager
def alone(files: DatabaseFiles) -> Iterator[None]:
    """Lets only one thread of this process use a database; see `HeldDatabase`.

    Raises:
        UnreadableDatabaseError: This thread already uses the database. The caller is a signal
            handler, which would wait for the thread that it interrupted.
    """
    with _choosing:
        turn = _turns.setdefault(files.stamp.main.identity, _Turn())
    with turn.lock:
        if turn.is_taken:
            raise UnreadableDatabaseError(
                files.path,
                "is being used by the thread that this call interrupted",
                "Do not call this library in a signal handler; let the handler set a flag",
            )
        turn.is_taken = True
        try:
            yield
        finally:
            turn.is_taken = False


@contextmanager
def between_readings(seconds: float) -> Iterator[bool]:
    """Waits until this process uses no database, and keeps other threads from it in the block.

    A process that is stopped during a reading would stop the checkpoints of all writers.

    Args:
        seconds: The longest wait.

    Yields:
        Whether no thread uses a database now. This thread may itself be using one.
    """
    give_up_at = time.monotonic() + seconds
    # An `ExitStack` is not used: after an interruption it would keep the locks until the garbage
    # collector runs.
    held: list[RLock] = []
    is_quiet = True
    try:
        for place in (_choosing, *(turn.lock for turn in [*_turns.values()])):
            if place.acquire(timeout=max(0.0, give_up_at - time.monotonic())):
                held.append(place)
            else:
                is_quiet = False
        yield is_quiet and not any(turn.is_taken for turn in [*_turns.values()])
    finally:
        for place in held:
            place.release()


def _hold() -> None:
    """Waits before a fork: a child never gets a mutex of SQLite that another thread holds."""
    wait = between_readings(_FORK_WAITS)
    wait.__enter__()
    _held_for_fork.waits.append(wait)


def _go_on() -> None:
    while _held_for_fork.waits:
        _held_for_fork.waits.pop().__exit__(None, None, None)


def _begin_anew() -> None:
    """Forgets the locks in a child process: other threads of the parent may hold them."""
    global _choosing
    _go_on()
    _choosing = RLock()
    _turns.clear()


os.register_at_fork(before=_hold, after_in_parent=_go_on, after_in_child=_begin_anew)
