"""However large a log is, reading it takes little, and begins with what is youngest."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from registry.audit import files
from registry.audit import log as audit
from registry.audit.entries import Entry, Log, State, line, outcome
from tests.support.records import numbered_record

GIBIBYTE = 1024**3


@pytest.fixture
def log(tmp_path: Path) -> Path:
    folder = tmp_path / ".agent-workspace" / "registry"
    folder.mkdir(parents=True)
    return folder / audit.AUDIT_LOG


def files_of(log: Path) -> list[Path]:
    return [log, *(audit.aside(log, number) for number in range(1, audit.KEPT + 1))]


def entry_of(number: int) -> Entry:
    return Entry("one", number, "", "complete", "", audit.who())


def parts(read: Log) -> list[int]:
    return [each.part for each in read.entries]


@contextmanager
def little_memory(at_most: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < at_most
    finally:
        tracemalloc.stop()


def test_six_sparse_logs_take_little_and_what_was_not_read_is_counted(log: Path) -> None:
    for path in files_of(log):
        path.touch(mode=0o600)
        os.truncate(path, 100 * GIBIBYTE)
    audit.append(log, numbered_record("one", 7))
    with little_memory(64 * 1024 * 1024):
        read = audit.read_log(log)
    assert parts(read) == [7]
    assert read.damaged == audit.KEPT
    assert read.left_out >= audit.KEPT * 99 * GIBIBYTE
    assert audit.read_logs([log]).left_out == read.left_out


def test_a_line_that_is_too_long_is_passed_over_and_counted(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LONGEST_RECORD", 3000)
    for number in range(1, 5):
        audit.append(log, numbered_record("one", number))
    read = audit.read_log(log)
    # The third is the long one.
    assert parts(read) == [1, 2, 4]
    assert (read.damaged, read.left_out) == (1, 0)


@pytest.mark.parametrize(
    ("limit", "value"), [("MOST_LINES", 15), ("DECODED_AT_MOST", 20_000), ("LONGEST_FILE", 1000)]
)
def test_where_there_is_no_room_for_all_the_oldest_are_left_out(
    log: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(audit, "ROTATE_AT", 1500)
    for number in range(21, 36):
        audit.append(log, numbered_record("one", number + (number >= 23) + (number >= 32)))
    written = parts(audit.read_log(log))
    assert len(written) == 15 and len([each for each in files_of(log) if each.exists()]) > 2
    monkeypatch.setattr(files, limit, value)
    read = audit.read_log(log)
    assert read.left_out and not read.damaged
    if limit == "LONGEST_FILE":
        assert set(parts(read)) < set(written) and written[-1] in parts(read)
    else:
        assert 0 < len(parts(read)) < 15 and parts(read) == written[-len(parts(read)) :]


def test_small_values_count_for_what_they_take_once_they_are_decoded(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "DECODED_AT_MOST", 16 * 1024 * 1024)
    log.write_bytes(b'{"id":[' + b"[]," * 400_000 + b"[]]}\n" + numbered_record("one", 7))
    with little_memory(16 * 1024 * 1024):
        read = audit.read_log(log)
    assert parts(read) == [7]
    assert read.left_out > 1_200_000


@pytest.mark.parametrize("length", [0, 5000])
def test_records_take_no_more_than_is_counted_for_them(log: Path, length: int) -> None:
    begins = b'"reason": "'
    record = numbered_record("one", 7).replace(begins, begins + b"x" * length)
    log.write_bytes(record * 1000)
    log.chmod(0o600)
    tracemalloc.start()
    try:
        read = audit.read_log(log)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(read.records) == 1000
    assert most < 1.2 * 1000 * files._cost(record)


def test_there_is_room_for_as_much_as_muster_lets_a_log_become() -> None:
    small = [numbered_record("one", 7), line(outcome(entry_of(7), "", State.DONE, "", ()))]
    largest = (audit.KEPT + 1) * audit.ROTATE_AT
    assert files.LONGEST_FILE >= audit.ROTATE_AT + files.LONGEST_RECORD
    pairs = largest / sum(map(len, small))
    assert pairs * 2 < files.MOST_LINES
    assert pairs * sum(map(files._cost, small)) < files.DECODED_AT_MOST


def test_many_logs_share_the_room_of_one_and_all_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What follows the last line end counts as one.
    monkeypatch.setattr(files, "MOST_LINES", 15)
    logs = [tmp_path / f"{name}.jsonl" for name in ("large", "larger", "small")]
    for log, count in zip(logs, (20, 30, 2), strict=True):
        for number in range(1, count + 1):
            audit.append(log, numbered_record(log.stem, number))
    read = audit.read_logs(logs)
    kept = [[e.part for e in read.entries if e.action_id == log.stem] for log in logs]
    assert kept == [[16, 17, 18, 19, 20], [26, 27, 28, 29, 30], [1, 2]]
    assert read.left_out > 0
    # One alone has all of it.
    assert len(audit.read_logs(logs[:1]).entries) == 14
