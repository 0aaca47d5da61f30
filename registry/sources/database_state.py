"""The content of one workspace's database, which the sources of the workspace share."""

from __future__ import annotations

import time
from pathlib import Path

from registry import database
from registry.dataclass import dataclass
from registry.errors import BusyRegistryError, RegistryError, UnreadableDatabaseError
from registry.schema.database_records import WorkspaceRecord, workspace_record
from registry.schema.layout import UnreadDatabase
from registry.snapshots import Signature
from registry.storage.codec import Json
from registry.storage.files.interruption import hand_on
from registry.storage.files.presence import may_exist

_SLOW = 1.0
"""After this many seconds, a reading has failed because of the content, not of the permissions."""


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """The whole content of a database at one moment.

    Attributes:
        record: The content.
        signature: The state of the files before the content was read.
    """

    record: WorkspaceRecord
    signature: Signature


class DatabaseCache:
    """The last content of a database; reads the database again only if its files changed.

    Args:
        path: The database, which may be missing.

    Attributes:
        limits: The limits of the next readings.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.limits = database.USUAL
        self._failed: tuple[Signature, UnreadableDatabaseError] | None = None
        self._state: DatabaseState | None = None

    def is_there(self) -> bool:
        """Returns whether the database exists; True also if this cannot be known."""
        return may_exist(self.path)

    def stamp(self) -> Signature | None:
        """Returns the signature of the present state; None if it could miss a change."""
        stamp = database.stamp_of(self.path)
        return None if stamp is None else _signature(stamp)

    def read(self) -> DatabaseState:
        """Returns the present content.

        Raises:
            RegistryError: The database cannot be read.
        """
        state, stamp = self._state, self.stamp()
        if state is not None and state.signature == stamp:
            return state
        if self._failed is not None and stamp is not None and self._failed[0] == stamp:
            # This reading took long. So the same content is not read again.
            raise self._failed[1].with_traceback(None)
        self._failed, began = None, time.monotonic()
        try:
            rows = database.read_rows(self.path, self.limits)
        except UnreadableDatabaseError as error:
            hand_on(error)
            is_slow = time.monotonic() - began > _SLOW
            if is_slow and stamp is not None and self.limits == database.USUAL:
                self._failed = stamp, error
            raise
        self._state = state = DatabaseState(workspace_record(rows), _signature(rows.stamp))
        return state

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
            return UnreadDatabase(self.path, error.reason or str(error))
        return None


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
