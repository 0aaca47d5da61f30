"""Ways to change one JSON document that many processes share.

Each way reads the whole document, sets one agent's status, and writes the whole document. All ways
except the seed's use this library's codec, so only the waiting and the storing differ.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import filelock

from registry import atomic_increment_counts, atomic_update_agent_status
from registry.storage import codec, metrics
from registry.storage.commit import durable_commits
from tests.support.peers import PATIENCE, POLL

Json = dict[str, Any]


class Done(NamedTuple):
    """The previous status, and the seconds of the wait for the lock."""

    previous: object
    waited: float


Update = Callable[[str, str], Done]
"""Sets an agent's status; raises TimeoutError after `PATIENCE` seconds without the lock."""


@dataclass(frozen=True)
class Scheme:
    """One way to change the document.

    Attributes:
        name: The name in the tables.
        prepare: Writes the first text of the document.
        connect: Returns the update function; called once in each process.
        read: Returns the document at the end.
    """

    name: str
    prepare: Callable[[Path, bytes], object]
    connect: Callable[[Path], Update]
    read: Callable[[Path], Json]


def _set_status(registry: Json, agent_id: str, status: str) -> object:
    for entry in registry["agents"]:
        if entry["id"] == agent_id:
            previous: object = entry["status"]
            entry["status"] = status
            entry["last_update"] = "2025-10-17T21:35:12.210818"
            return previous
    raise LookupError(agent_id)


def _read_file(path: Path) -> Json:
    return codec.decode(path.read_bytes(), path)


def _ours(durable: bool) -> Callable[[Path], Update]:
    def connect(path: Path) -> Update:
        numbers = metrics.of(path)

        def update(agent_id: str, status: str) -> Done:
            before = numbers.waited
            with durable_commits() if durable else nullcontext():
                changed = atomic_update_agent_status(path, agent_id, status)
            return Done(changed["previous_status"], numbers.waited - before)

        return update

    return connect


def _prepare_ours(path: Path, text: bytes) -> None:
    path.write_bytes(text)
    # Late imports are not part of a wait.
    atomic_increment_counts(path)


def _seed(path: Path) -> Update:
    def update(agent_id: str, status: str) -> Done:
        began = time.monotonic()
        with open(path, "r+", encoding="utf-8") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() - began >= PATIENCE:
                        raise TimeoutError from None
                    time.sleep(POLL)
            waited = time.monotonic() - began
            try:
                registry = json.load(file)
                previous = _set_status(registry, agent_id, status)
                file.seek(0)
                file.write(json.dumps(registry, indent=2))
                file.truncate()
            finally:
                # Buffered text would be written after the unlock.
                file.flush()
                fcntl.flock(file, fcntl.LOCK_UN)
        return Done(previous, waited)

    return update


def _filelock(path: Path) -> Update:
    lock = filelock.FileLock(f"{path}.lock", timeout=PATIENCE)

    def update(agent_id: str, status: str) -> Done:
        began = time.monotonic()
        with lock:
            waited = time.monotonic() - began
            registry = codec.decode(path.read_bytes(), path)
            previous = _set_status(registry, agent_id, status)
            fd, temporary = tempfile.mkstemp(dir=path.parent)
            with open(fd, "wb") as file:
                file.write(codec.encode(registry, path))
            os.replace(temporary, path)
        return Done(previous, waited)

    return update


def _open_database(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path}.db", timeout=PATIENCE, isolation_level=None)


def _make_database(path: Path, text: bytes) -> None:
    database = _open_database(path)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("CREATE TABLE documents (name TEXT PRIMARY KEY, text BLOB)")
    database.execute("INSERT INTO documents VALUES ('registry', ?)", (text,))
    database.close()


def _read_database(path: Path) -> Json:
    database = _open_database(path)
    try:
        (text,) = database.execute("SELECT text FROM documents").fetchone()
    finally:
        database.close()
    return codec.decode(text, path)


def _sqlite(synchronous: str) -> Callable[[Path], Update]:
    def connect(path: Path) -> Update:
        database = _open_database(path)
        database.execute(f"PRAGMA synchronous={synchronous}")

        def update(agent_id: str, status: str) -> Done:
            began = time.monotonic()
            try:
                database.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                raise TimeoutError from error
            waited = time.monotonic() - began
            (text,) = database.execute("SELECT text FROM documents").fetchone()
            registry = codec.decode(text, path)
            previous = _set_status(registry, agent_id, status)
            database.execute("UPDATE documents SET text = ?", (codec.encode(registry, path),))
            database.execute("COMMIT")
            return Done(previous, waited)

        return update

    return connect


SEED = Scheme("seed's protocol", Path.write_bytes, _seed, _read_file)
OURS = Scheme("ours", _prepare_ours, _ours(durable=False), _read_file)
OURS_DURABLE = Scheme("ours, durable", _prepare_ours, _ours(durable=True), _read_file)

SCHEMES = (
    SEED,
    OURS,
    OURS_DURABLE,
    Scheme("filelock + replace", Path.write_bytes, _filelock, _read_file),
    Scheme("SQLite, NORMAL", _make_database, _sqlite("NORMAL"), _read_database),
    Scheme("SQLite, FULL", _make_database, _sqlite("FULL"), _read_database),
)
