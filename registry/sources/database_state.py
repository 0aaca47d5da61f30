"""The content of one workspace's database, which the sources of the workspace share."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from registry import database
from registry.dataclass import dataclass, replace
from registry.errors import BusyRegistryError, RegistryError, UnreadableDatabaseError
from registry.schema.database_layout import task_directory
from registry.schema.database_records import WorkspaceRecord, workspace_record
from registry.schema.layout import TASK_REGISTRY, UnreadDatabase
from registry.schema.unread_database import database_problem
from registry.snapshots import Signature
from registry.storage.codec import Json
from registry.storage.files.interruption import hand_on
from registry.storage.files.presence import may_exist

_SLOW = 1.0
"""A reading that fails after this many seconds failed because of the content of the database."""

# A write directly after another write may leave the same stamp. So a database whose stamp is not
# settled is read again, but only if the last reading is older than this many seconds.
_JUST_READ = 0.02


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """The whole content of a database at one moment.

    Attributes:
        record: The content.
        signature: The state of the files before the content was read.
        signatures: Maps the id of each task to the task's own signature: the state of the files
            before the first reading that found the task's present content.
        rows: The rows of the content.
    """

    record: WorkspaceRecord
    signature: Signature
    signatures: Mapping[str, Signature]
    rows: database.Rows


@dataclass(slots=True)
class _Look:
    """The readings of one thread that all have the same state.

    Attributes:
        thread: The thread.
        state: The state; None before the first reading.
        error: The error of the first reading, or None.
    """

    thread: int
    state: DatabaseState | None = None
    error: RegistryError | None = None


class DatabaseCache:
    """The last content of a database; reads the database again only if its files changed.

    Args:
        path: The database, which may be missing.

    Attributes:
        limits: The limits of the next readings.
        mixed: The ids of the tasks whose agents are also in a JSON registry. Their content is also
            in progress files, so it is read again after each change of the database.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.limits = database.USUAL
        self._failed: tuple[Signature, UnreadableDatabaseError] | None = None
        self.mixed: set[str] = set()
        self._places: dict[str, tuple[Path, Path]] = {}
        self._state: DatabaseState | None = None
        self._read_at = 0.0
        self._readings = 0
        self._look: _Look | None = None

    def places_of(self, task_id: str) -> tuple[Path, Path]:
        """Returns the directory of a task, and the JSON registry in it."""
        places = self._places.get(task_id)
        if places is None:
            directory = task_directory(self.path, task_id)
            self._places[task_id] = places = (directory, directory / TASK_REGISTRY)
        return places

    def is_there(self) -> bool:
        """Returns whether the database exists; True also if this cannot be known."""
        return may_exist(self.path)

    def stamp(self) -> Signature | None:
        """Returns the signature of the present state; None if it could miss a change."""
        stamp = database.stamp_of(self.path)
        return None if stamp is None else _signature(stamp)

    def stamp_of(self, task_id: str) -> Signature | None:
        """Returns a task's own signature, which changes only if the task's rows change.

        Reads the database again if its files changed.

        Returns:
            None if the database cannot be read now, or has no such task.
        """
        try:
            state = self.read()
            return state.signature if task_id in self.mixed else state.signatures.get(task_id)
        except RegistryError as error:
            hand_on(error)
            return None

    @contextmanager
    def one_look(self) -> Iterator[None]:
        """Lets all readings of this thread in the ``with`` block have the state of the first one.

        Other threads read the present state meanwhile.
        """
        self._look = _Look(threading.get_ident())
        try:
            yield
        finally:
            self._look = None

    def read(self) -> DatabaseState:
        """Returns the present content.

        Raises:
            RegistryError: The database cannot be read.
        """
        look = self._look
        if look is None or look.thread != threading.get_ident():
            return self._read()
        if look.error is not None:
            raise look.error.with_traceback(None)
        if look.state is None:
            try:
                look.state = self._read()
            except RegistryError as error:
                hand_on(error)
                look.error = error
                raise
        return look.state

    def _read(self) -> DatabaseState:
        before, now = self._state, database.stamp_of(self.path, settled=False)
        stamp = _signature(now) if now is not None and now.settled else None
        if before is not None and now is not None and self._is_present(before, now):
            return before
        if self._failed is not None and stamp is not None and self._failed[0] == stamp:
            # This reading took long. So the same content is not read again.
            raise self._failed[1].with_traceback(None)
        self._failed, began = None, time.monotonic()
        try:
            rows = database.read_rows(
                self.path, self.limits, before=before.rows if before is not None else None
            )
        except UnreadableDatabaseError as error:
            hand_on(error)
            is_slow = time.monotonic() - began > _SLOW
            if is_slow and stamp is not None and self.limits == database.USUAL:
                self._failed = stamp, error
            raise
        self._read_at = time.monotonic()
        self._readings += 1
        record = workspace_record(rows, before.record if before is not None else None)
        signature = _signature(rows.stamp)
        # Two states with an unsettled stamp may differ, although the stamps are equal.
        own = signature
        if not signature.settled:
            own = replace(signature, beside=(*signature.beside, self._readings))
        known = before.record.tasks if before is not None and _is_same(before, signature) else {}
        signatures = {
            task_id: before.signatures[task_id]
            if before is not None and known.get(task_id) is task
            else own
            for task_id, task in record.tasks.items()
        }
        self._state = state = DatabaseState(record, signature, signatures, rows)
        return state

    def _is_present(self, state: DatabaseState, stamp: database.DatabaseStamp) -> bool:
        if _signature(stamp) != state.signature:
            return False
        return stamp.settled or time.monotonic() - self._read_at < _JUST_READ

    def stamps(self) -> dict[str, Signature] | None:
        """Maps the id of each task to the task's own signature; see `stamp_of`.

        Returns:
            None if the database cannot be read now.
        """
        try:
            state = self.read()
        except RegistryError as error:
            hand_on(error)
            return None
        return {
            **state.signatures,
            **dict.fromkeys(self.mixed & state.signatures.keys(), state.signature),
        }

    def last_known(self) -> WorkspaceRecord | None:
        """Returns the present content; the last known content if the database cannot be read."""
        try:
            return self.read().record
        except RegistryError as error:
            hand_on(error)
            return self._state.record if self._state is not None else None

    def unread(self) -> UnreadDatabase | None:
        """Returns why the database cannot be read; None if it can be read.

        While writers prevent a reading, a database that was read before counts as read: each
        reading of a task reports the busy writers.
        """
        try:
            self.read()
        except RegistryError as error:
            hand_on(error)
            if isinstance(error, BusyRegistryError) and self._state is not None:
                return None
            return UnreadDatabase(self.path, database_problem(self.path, error))
        return None


def _is_same(state: DatabaseState, signature: Signature) -> bool:
    """Whether the database is the same file, of the same user, as at an earlier reading."""
    old = state.signature
    return (old.identity, old.owner) == (signature.identity, signature.owner)


def _signature(stamp: database.DatabaseStamp) -> Signature:
    return Signature(
        device=stamp.main.device,
        inode=stamp.main.inode,
        size=stamp.main.size,
        mtime_ns=stamp.main.mtime_ns,
        ctime_ns=stamp.changed_ns,
        settled=stamp.settled,
        owner=stamp.owner,
        beside=(stamp.log,),
    )


def agent_fields(path: Path, task_id: str, agent_id: str) -> Json | None:
    """Returns all fields of one agent in a database, as JSON values; None if there is no agent.

    The id is under the key ``id`` as well, as in a JSON registry.

    Raises:
        RegistryError: The database cannot be read.
    """
    row = database.read_agent(path, task_id, agent_id)
    return None if row is None else {"id": agent_id, **{key: _json(row[key]) for key in row}}


def _json(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: _json(inner) for key, inner in value.items()}
    return value
