"""Only rows whose pages have changed are read again, and the result is that of a whole reading."""

from __future__ import annotations

import os
import sqlite3
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.database import Row, Rows, read_rows, rows
from registry.database.connection import Transaction
from registry.database.pages import PageFormat, Pages, pages_in
from tests.support.database_crowd import Crowd
from tests.support.databases import JANUARY, TODAY, Database

LONG_AGO = (1_700_000_000, 1_700_000_000)

# Without a key, two agents can have the same id.
_TABLES = {
    "today": TODAY,
    "without a key": TODAY.replace("agent_id TEXT PRIMARY KEY", "agent_id TEXT"),
    "January": JANUARY,
}
_COLUMNS = ("agent_id", "task_id", "type", "tmux_session", "status", "progress", "last_update")
_TASKS = st.sampled_from(("TASK-1", "TASK-2", "", None, 7))
_VALUES = st.one_of(
    st.none(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.binary(max_size=8),
    # Rows of this size have further pages.
    st.sampled_from(("long " * 90, "longer " * 300, b"\xff" * 700)),
)
_PLACES = st.integers(0, 200)

_CHANGES = st.one_of(
    st.tuples(st.just("insert"), _TASKS, _VALUES, st.integers(1, 80)),
    st.tuples(st.just("update"), _PLACES, st.sampled_from(_COLUMNS[1:]), _VALUES),
    st.tuples(st.just("not UTF-8"), _PLACES, st.sampled_from(_COLUMNS[1:])),
    st.tuples(st.just("move"), _PLACES, st.integers(-(1 << 63), (1 << 63) - 1)),
    st.tuples(st.just("delete"), _PLACES, st.integers(1, 100)),
    st.tuples(st.just("add column"), st.sampled_from(("model", "review_id", "cursor_pid"))),
    st.tuples(st.just("drop column"), st.sampled_from(("type", "parent", "model"))),
    st.tuples(
        st.just("swap columns"),
    ),
    st.tuples(st.just("other tables"), _PLACES),
    st.tuples(
        st.just("create anew"),
    ),
    st.tuples(
        st.just("vacuum"),
    ),
    st.tuples(
        st.just("checkpoint"),
    ),
    st.tuples(
        st.just("roll back"),
    ),
    st.tuples(
        st.just("keep open"),
    ),
    st.tuples(
        st.just("close"),
    ),
)


class _Changed:
    """A database with pages of 512 bytes, so that few rows have many pages."""

    def __init__(self, workspace: Path, tables: str, stack: ExitStack) -> None:
        self.path = workspace / "registry" / "state.sqlite3"
        self.path.parent.mkdir(parents=True)
        self._stack = stack
        self._kept: sqlite3.Connection | None = None
        with self._connected() as database:
            database.execute("PRAGMA page_size = 512")
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(tables)
            database.execute("INSERT INTO tasks (task_id, status) VALUES ('TASK-1', 'ACTIVE')")
        self.change("insert", "TASK-1", "tester", 60)

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as database:
            yield database

    def change(self, kind: str, *values: Any) -> None:
        """Makes one change; a change that SQLite refuses changes nothing."""
        with self._connected() as database:
            try:
                self._change(database, kind, values)
            except (sqlite3.OperationalError, sqlite3.IntegrityError):
                if database.in_transaction:
                    database.execute("ROLLBACK")
        if self._kept is None:
            # A database that was just written is not read at once.
            os.utime(self.path, LONG_AGO)

    def _change(self, database: sqlite3.Connection, kind: str, values: tuple[Any, ...]) -> None:
        at = "(SELECT rowid FROM agents ORDER BY rowid LIMIT 1 OFFSET ?)"
        if kind == "insert":
            task_id, value, count = values
            (known,) = database.execute("SELECT count(*) FROM agents").fetchone()
            database.execute("BEGIN")
            for number in range(count):
                named = value if number % 3 else f"agent-{known + number}"
                row = (named, task_id, value, f"agent_{number}", "running", number, "then")
                database.execute(
                    f"INSERT OR IGNORE INTO agents ({', '.join(_COLUMNS)}) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?)",
                    row,
                )
            database.execute("COMMIT")
        elif kind == "update":
            place, column, value = values
            statement = f"UPDATE agents SET {column} = ? WHERE rowid = {at}"
            database.execute(statement, (value, place))
        elif kind == "not UTF-8":
            place, column = values
            text = "CAST(x'ff41fe' AS TEXT)"
            database.execute(f"UPDATE agents SET {column} = {text} WHERE rowid = {at}", (place,))
        elif kind == "move":
            place, to = values
            database.execute(f"UPDATE agents SET rowid = ? WHERE rowid = {at}", (to, place))
        elif kind == "delete":
            some = "(SELECT rowid FROM agents ORDER BY rowid LIMIT ? OFFSET ?)"
            place, count = values
            database.execute(f"DELETE FROM agents WHERE rowid IN {some}", (count, place))
        elif kind == "add column":
            database.execute(f"ALTER TABLE agents ADD COLUMN {values[0]} TEXT DEFAULT 'usual'")
        elif kind == "drop column":
            database.execute(f"ALTER TABLE agents DROP COLUMN {values[0]}")
        elif kind == "swap columns":
            # No page changes, except for the schema.
            database.execute("BEGIN")
            for old, new in (("type", "odd"), ("status", "type"), ("odd", "status")):
                database.execute(f"ALTER TABLE agents RENAME COLUMN {old} TO {new}")
            database.execute("COMMIT")
        elif kind == "other tables":
            child = f"child-{values[0]}"
            database.execute(
                "INSERT OR REPLACE INTO tasks (task_id, description) VALUES (?, ?)",
                (child, child * 40),
            )
            database.execute(
                "INSERT OR REPLACE INTO agent_hierarchy (task_id, parent_agent_id, "
                "child_agent_id) VALUES ('TASK-1', 'agent-1', ?)",
                (child,),
            )
        elif kind == "create anew":
            (text,) = database.execute(
                "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'agents'"
            ).fetchone()
            database.execute("BEGIN")
            database.execute("CREATE TABLE before AS SELECT * FROM agents ORDER BY rowid DESC")
            database.execute("DROP TABLE agents")
            database.execute(text)
            database.execute("INSERT INTO agents SELECT * FROM before")
            database.execute("DROP TABLE before")
            database.execute("COMMIT")
        elif kind == "roll back":
            database.execute("BEGIN")
            database.execute("UPDATE agents SET status = 'never'")
            database.execute("ROLLBACK")
        elif kind == "keep open" and self._kept is None:
            # The log stays now, and has the newest pages until a checkpoint.
            self._kept = self._stack.enter_context(closing(sqlite3.connect(self.path)))
            self._kept.execute("SELECT count(*) FROM agents").fetchone()
            database.execute("UPDATE agents SET progress = 1 WHERE rowid = 1")
        elif kind == "close" and self._kept is not None:
            self._kept.close()
            self._kept = None
        elif kind == "vacuum":
            database.execute("VACUUM")
        elif kind == "checkpoint":
            database.execute("PRAGMA wal_checkpoint")


def _exact(table: Sequence[Row]) -> list[list[tuple[str, type, Any]]]:
    return [[(name, type(value), value) for name, value in row.items()] for row in table]


def _assert_same(known: Rows, whole: Rows) -> None:
    assert known.absent == whole.absent
    assert known.tables.keys() == whole.tables.keys()
    for table in whole.tables:
        assert _exact(known.of(table)) == _exact(whole.of(table))


def _read_whole(path: Path) -> list[list[tuple[str, type, Any]]]:
    """Reads the agents with SQLite alone."""
    with closing(sqlite3.connect(path)) as database:
        database.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
        columns = [
            name for (name,) in database.execute("SELECT name FROM pragma_table_info('agents')")
        ]
        wanted = [name for name in rows._WANTED["agents"] if name in columns]
        query = f"SELECT {', '.join(wanted)} FROM agents ORDER BY rowid"
        return _exact([dict(zip(wanted, row, strict=True)) for row in database.execute(query)])


@given(tables=st.sampled_from(sorted(_TABLES)), changes=st.lists(_CHANGES, max_size=12))
def test_after_any_changes_the_rows_are_those_of_a_whole_reading(
    tables: str, changes: list[tuple[Any, ...]]
) -> None:
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        changed = _Changed(Path(directory).resolve(), _TABLES[tables], stack)
        known = read_rows(changed.path)
        for change in changes:
            changed.change(*change)
            known = read_rows(changed.path, before=known)
            _assert_same(known, read_rows(changed.path))
            assert _exact(known.agents) == _read_whole(changed.path)
            if changed._kept is None:
                os.utime(changed.path, LONG_AGO)


@pytest.fixture
def crowded(tmp_path: Path) -> Database:
    """A database with 300 agents of three tasks."""
    database = Database(tmp_path / ".agent-workspace")
    for task in range(3):
        database.task(f"TASK-{task}")
    with closing(sqlite3.connect(database.path)) as connection, connection:
        connection.executemany(
            "INSERT INTO agents (agent_id, task_id, type, status, tmux_session, started_at) "
            "VALUES (?, ?, ?, 'running', '', '')",
            [(f"agent-{n:03}", f"TASK-{n // 100}", "tester " * 20) for n in range(300)],
        )
    return database


class _Counted:
    """The rows that SQLite reads of the table `agents`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        select = Transaction.select_many

        def counting(self_: Transaction, query: str, *values: Any) -> list[tuple[Any, ...]]:
            found = select(self_, query, *values)
            self.count += len(found) if " FROM agents " in query else 0
            return found

        monkeypatch.setattr(Transaction, "select_many", counting)

    def read(self, path: Path, before: Rows | None) -> tuple[Rows, int]:
        """Reads a database; returns the rows, and how many of them SQLite read."""
        self.count = 0
        return read_rows(path, before=before), self.count


def test_only_the_rows_of_changed_pages_are_read(
    crowded: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = _Counted(monkeypatch)
    known, count = counted.read(crowded.path, None)
    assert count == 300
    assert counted.read(crowded.path, known)[1] == 0
    crowded.run("UPDATE agents SET status = 'failed' WHERE agent_id = 'agent-150'")
    known, count = counted.read(crowded.path, known)
    assert 0 < count < 30
    assert [row["agent_id"] for row in known.agents if row["status"] == "failed"] == ["agent-150"]
    crowded.run("INSERT INTO tasks (task_id) VALUES ('TASK-9')")
    assert counted.read(crowded.path, known)[1] == 0


def test_pages_in_the_log_are_read_again(
    crowded: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = _Counted(monkeypatch)
    known, _ = counted.read(crowded.path, None)
    with closing(sqlite3.connect(crowded.path, isolation_level=None)) as writer:
        for status in ("failed", "running"):
            writer.execute("UPDATE agents SET status = ? WHERE agent_id = 'agent-007'", (status,))
            known, count = counted.read(crowded.path, known)
            assert 0 < count < 30
            assert known.agents[7]["status"] == status
        # Now the page is as it was, but only the log can tell.
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert counted.read(crowded.path, known)[1] < 30


def test_a_row_with_further_pages_is_read_again(crowded: Database) -> None:
    crowded.run("UPDATE agents SET type = ? WHERE agent_id = 'agent-100'", "a" * 9000 + "b")
    known = read_rows(crowded.path)
    crowded.run("UPDATE agents SET type = ? WHERE agent_id = 'agent-100'", "a" * 9000 + "c")
    assert read_rows(crowded.path, before=known).agents[100]["type"].endswith("ac")


@pytest.mark.parametrize(
    "tables",
    [
        "CREATE TABLE agents (agent_id TEXT PRIMARY KEY, task_id, status, tmux_session, "
        "started_at) WITHOUT ROWID",
        "CREATE TABLE agents (_rowid_, rowid, agent_id, task_id, status, tmux_session, "
        "started_at)",
        "CREATE TABLE agents (oid, agent_id INTEGER PRIMARY KEY, task_id, status, tmux_session, "
        "started_at)",
        'CREATE TABLE agents ("agent_id", task_id, status, tmux_session, started_at, '
        "type AS (status) VIRTUAL)",
    ],
    ids=["without row ids", "columns called like row ids", "the id is the row id", "computed"],
)
def test_tables_of_any_kind_are_read(tmp_path: Path, tables: str) -> None:
    database = Database(tmp_path / ".agent-workspace", tables)
    with closing(sqlite3.connect(database.path)) as connection, connection:
        connection.executemany(
            "INSERT INTO agents (agent_id, task_id, status, tmux_session) VALUES (?, ?, ?, ?)",
            [(number, "TASK-1", "running", "agent " * 9) for number in range(300, 0, -1)],
        )
    if "_rowid_" in tables:
        database.run("UPDATE agents SET _rowid_ = 9 - agent_id % 8, rowid = 7")
    known = read_rows(database.path)
    with closing(sqlite3.connect(database.path)) as connection:
        ids = [id_ for (id_,) in connection.execute("SELECT agent_id FROM agents NOT INDEXED")]
    assert [row["agent_id"] for row in known.agents] == ids
    for status in ("failed", "completed"):
        database.run("UPDATE agents SET status = ? WHERE agent_id = 200", status)
        known = read_rows(database.path, before=known)
        statuses = {str(row["agent_id"]): row["status"] for row in known.agents}
        usual = {str(number): "running" for number in range(1, 301)}
        assert statuses == {**usual, "200": status}


def test_columns_that_swap_their_names_are_read_again(crowded: Database) -> None:
    known = read_rows(crowded.path)
    with closing(sqlite3.connect(crowded.path)) as connection, connection:
        for old, new in (("type", "odd"), ("status", "type"), ("odd", "status")):
            connection.execute(f"ALTER TABLE agents RENAME COLUMN {old} TO {new}")
    known = read_rows(crowded.path, before=known)
    assert {row["type"] for row in known.agents} == {"running"}


def test_beside_writers_the_rows_are_those_of_a_whole_reading(tmp_path: Path) -> None:
    crowd = Crowd(tmp_path / ".agent-workspace", writers=3, seconds=2.0)
    known: list[Rows] = []

    def incremental() -> None:
        def read(transaction: Transaction) -> tuple[Rows, list[tuple[Any, ...]]]:
            before = known.pop() if known else None
            now = rows._all_rows(transaction, rows._WANTED, before)
            columns = ", ".join(now.tables["agents"].columns)
            return now, transaction.select(f"SELECT {columns} FROM agents ORDER BY rowid")

        now, whole = rows.patiently(crowd.database.path, read)
        known.append(now)
        assert [*now.tables["agents"].values] == whole

    seen = crowd.run(incremental)
    assert seen.errors == seen.failed == []
    assert seen.acts and seen.reads["incremental"] and seen.lost == 0


# The pages themselves


def _leaf(*sizes: int) -> bytes:
    """Returns a page of 512 bytes with rows of these sizes."""
    cells = [400 - 4 * number for number in range(len(sizes))]
    page = bytearray(struct.pack(">BHHHB", 0x0D, 0, len(sizes), min(cells, default=512), 0))
    page += struct.pack(f">{len(cells)}H", *cells)
    page += bytes(512 - len(page))
    for cell, size in zip(cells, sizes, strict=True):
        page[cell : cell + 3] = bytes([0x80 | size >> 7, size & 0x7F, 1])
    return bytes(page)


def _inner(children: Sequence[tuple[int, int]], right: int, *, kind: int = 0x05) -> bytes:
    """Returns a page of 512 bytes above these pages, each with its largest row id."""
    cells = [500 - 8 * number for number in range(len(children))]
    page = bytearray(struct.pack(">BHHHBI", kind, 0, len(children), 0, 0, right))
    page += struct.pack(f">{len(cells)}H", *cells)
    page += bytes(512 - len(page))
    for cell, (number, last) in zip(cells, children, strict=True):
        page[cell : cell + 5] = struct.pack(">IB", number, last)
    return bytes(page)


def _pages(*content: bytes, in_log: frozenset[int] = frozenset()) -> Pages:
    header = b"SQLite format 3\0" + struct.pack(">HBBB", 512, 2, 2, 0)
    header += bytes(56 - len(header)) + struct.pack(">I", 1)
    whole = b"".join((header + bytes(512 - len(header)), *content))
    return Pages(lambda size, at: whole[at : at + size], in_log)


def test_the_leaves_of_a_table_are_found() -> None:
    pages = _pages(_inner([(3, 7), (4, 9)], 5), _leaf(5), _leaf(), _leaf(5, 6))
    assert pages.format == PageFormat(512, 512, 1)
    found = pages.leaves(2)
    assert [(leaf.number, leaf.last) for leaf in found] == [(3, 7), (4, 9), (5, None)]
    assert [pages.rows_on(leaf) for leaf in found] == [1, 0, 2]


def test_a_leaf_that_is_in_the_log_is_unknown() -> None:
    content = (_inner([(3, 7), (4, 9)], 5), _leaf(5), _leaf(), _leaf(5, 6))
    found = _pages(*content, in_log=frozenset({4})).leaves(2)
    assert [leaf.page is None for leaf in found] == [False, True, False]
    for unknown in (1, 2):
        assert _pages(*content, in_log=frozenset({unknown})).leaves(2) == []
    assert _pages(*content, in_log=frozenset({3, 4, 5})).leaves(2) == []


@pytest.mark.parametrize(
    "content",
    [
        (_inner([(3, 9), (4, 7)], 5), _leaf(), _leaf(), _leaf()),
        (_inner([(3, 7), (3, 9)], 5), _leaf(), _leaf(), _leaf()),
        (_inner([(2, 7)], 2),),
        (_inner([(3, 7)], 4), _leaf(), _inner([], 5), _leaf()),
        (_inner([(3, 7)], 4), _leaf(), _leaf(), _leaf())[:1],
        (_inner([(0, 7)], 3), _leaf()),
        (_inner([(3, 7)], 4, kind=0x02), _leaf(), _leaf()),
        (b"\x05" + b"\xff" * 511, _leaf()),
        (bytes(512),),
        (),
    ],
    ids=[
        "not in order", "a page twice", "a circle", "leaves at two levels", "missing leaves",
        "page 0", "an index", "garbage", "zeros", "no page",
    ],
)  # fmt: skip
def test_an_odd_tree_has_no_leaves(content: tuple[bytes, ...]) -> None:
    found = _pages(*content).leaves(2)
    assert not any(leaf.page for leaf in found)


def test_a_row_that_is_elsewhere_too_makes_its_leaf_unknown() -> None:
    largest = 512 - 35
    pages = _pages(_leaf(5, largest), _leaf(5, largest + 1), b"\x0d" + b"\xff" * 511)
    found = [pages.leaves(number)[0] for number in (2, 3, 4)]
    assert [pages.rows_on(leaf) for leaf in found] == [2, None, None]


def test_a_header_of_another_format_is_refused() -> None:
    assert PageFormat.of(b"") is None
    assert PageFormat.of(b"SQLite format 4\0" + bytes(100)) is None
    assert PageFormat.of(b"SQLite format 3\0" + bytes(100)) is None
    wide = b"SQLite format 3\0\x00\x01" + bytes(2) + b"\x10" + bytes(100)
    assert PageFormat.of(wide) == PageFormat(65536, 65520, 0)


def test_the_pages_of_a_log_are_found() -> None:
    header = struct.pack(">III20x", 0x377F0682, 3007000, 512)
    frames = b"".join(struct.pack(">I20x512x", number) for number in (7, 3, 7))
    assert pages_in(header + frames) == frozenset({3, 7})
    assert pages_in(header + frames + frames[:100]) == frozenset({3, 7})
    assert pages_in(b"") == pages_in(header) == frozenset()
    assert pages_in(bytes(32) + frames) is None
