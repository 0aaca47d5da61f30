"""The last lines of an agent's file, and what comes after them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.agent_output import files
from registry.agent_output.files import AgentFile, Batch, facts_of
from registry.agent_output.lines import (
    FINDINGS,
    PROGRESS,
    STREAM_LOG,
    LogKind,
    LogLine,
    ProgressReport,
)
from registry.errors import NotARegularFileError, RegistryError
from registry.storage.files import backward

AGENT = "fixer-215911-8c90c7"


def line(number: int, message: str = "") -> bytes:
    return json.dumps({"progress": number, "message": message}).encode() + b"\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the agent's progress file lies."""
    (tmp_path / "progress").mkdir()
    return tmp_path / "progress" / f"{AGENT}_progress.jsonl"


@pytest.fixture
def file(tmp_path: Path) -> AgentFile[ProgressReport]:
    return AgentFile(tmp_path, AGENT, PROGRESS)


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as opened:
        opened.write(data)


def numbers(batch: Batch[ProgressReport]) -> list[float | None]:
    return [each.progress for each in batch.records]


def test_the_last_lines_come_in_the_order_of_the_file(
    path: Path, file: AgentFile[ProgressReport]
) -> None:
    path.write_bytes(b"".join(map(line, range(10))))
    batch = file.last(3)
    assert numbers(batch) == [7, 8, 9]
    assert batch.earlier and not batch.torn
    assert batch.size == path.stat().st_size
    assert not file.last(10).earlier
    assert numbers(file.last(0)) == []


def test_what_is_written_later_comes_once(path: Path, file: AgentFile[ProgressReport]) -> None:
    path.write_bytes(line(1))
    assert numbers(file.last(5)) == [1]
    assert numbers(file.more()) == []
    append(path, line(2) + line(3))
    assert numbers(file.more()) == [2, 3]
    assert numbers(file.more()) == []


def test_a_file_that_is_not_there_is_empty_and_found_once_it_comes(
    path: Path, file: AgentFile[ProgressReport]
) -> None:
    assert file.last(5) == Batch()
    assert file.more() == Batch()
    path.write_bytes(line(1))
    batch = file.more()
    assert numbers(batch) == [1] and not batch.restarted


def test_a_torn_last_line_is_waited_for(path: Path, file: AgentFile[ProgressReport]) -> None:
    whole = line(2)
    path.write_bytes(line(1) + whole[:9])
    batch = file.last(5)
    assert (numbers(batch), batch.torn, batch.malformed) == ([1], True, 0)
    append(path, whole[9:12])
    assert file.more().torn
    append(path, whole[12:])
    batch = file.more()
    assert (numbers(batch), batch.torn) == ([2], False)


def test_a_last_line_that_only_lacks_its_end_is_whole(
    path: Path, file: AgentFile[ProgressReport]
) -> None:
    path.write_bytes(line(1) + line(2).rstrip())
    batch = file.last(5)
    assert (numbers(batch), batch.torn) == ([1, 2], False)
    append(path, b"\n" + line(3).rstrip())
    assert numbers(file.more()) == [3]
    append(path, b"\n")
    assert numbers(file.more()) == []


def test_malformed_lines_are_counted_and_do_not_use_the_count_up(
    path: Path, file: AgentFile[ProgressReport]
) -> None:
    path.write_bytes(line(1) + b"oops\n[]\n\n" + line(2) + b"\xff\xfe\n")
    batch = file.last(2)
    assert (numbers(batch), batch.malformed) == ([1, 2], 3)
    append(path, b"no\n" + line(3))
    batch = file.more()
    assert (numbers(batch), batch.malformed) == ([3], 1)


def test_in_a_log_a_line_that_is_no_json_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "logs" / f"{AGENT}_stream.jsonl"
    path.parent.mkdir()
    path.write_bytes(b'{"type": "assistant", "message": {"content": "hi"}}\nTraceback\n')
    batch = AgentFile(tmp_path, AGENT, STREAM_LOG).last(5)
    assert [(each.kind, each.text) for each in batch.records] == [
        (LogKind.ASSISTANT, "hi"),
        (LogKind.RAW, "Traceback"),
    ]
    assert batch.malformed == 1


def test_a_large_file_is_read_from_its_end(
    path: Path, file: AgentFile[ProgressReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(b"".join(line(number, "x" * 100) for number in range(100_000)))
    read: list[int] = []
    pread = os.pread

    def counted(fd: int, length: int, offset: int) -> bytes:
        data = pread(fd, length, offset)
        read.append(len(data))
        return data

    monkeypatch.setattr(os, "pread", counted)
    assert numbers(file.last(100)) == list(range(99_900, 100_000))
    assert sum(read) < 200_000 < path.stat().st_size


def test_a_line_that_is_too_long_is_counted_and_passed_over(
    path: Path, file: AgentFile[ProgressReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LONGEST_LINE", 1000)
    monkeypatch.setattr(backward, "_BLOCK", 64)
    huge = line(2, "x" * 5000)
    path.write_bytes(line(1) + huge + line(3))
    batch = file.last(5)
    assert (numbers(batch), batch.malformed) == ([1, 3], 1)
    append(path, huge[:3000])
    batches = [file.more() for _ in range(4)]
    assert sum(each.malformed for each in batches) == 1 and batches[-1].torn
    append(path, huge[3000:] + line(4))
    rest = [file.more() for _ in range(5)]
    assert [number for each in rest for number in numbers(each)] == [4]
    assert not any(each.malformed for each in rest)
    path.write_bytes(line(5) + huge[:-1])
    batch = file.last(5)
    assert (numbers(batch), batch.malformed, batch.torn) == ([5], 1, True)
    append(path, b"\n" + line(6))
    batch = file.more()
    assert (numbers(batch), batch.malformed) == ([6], 0)


def test_the_search_for_the_last_lines_ends_somewhere(
    path: Path, file: AgentFile[ProgressReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LOOK_BACK", 1000)
    path.write_bytes(line(1) + b"no\n" * 1000)
    batch = file.last(5)
    assert numbers(batch) == [] and batch.earlier and 300 < batch.malformed < 400


class _Reads:
    """Counts the bytes that are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes, self._real = 0, os.pread
        monkeypatch.setattr(os, "pread", self._pread)

    def _pread(self, fd: int, length: int, offset: int) -> bytes:
        found = self._real(fd, length, offset)
        self.bytes += len(found)
        return found


HUGE = 100 * 1024**3


@pytest.mark.parametrize("end", [b"", b"\n" + line(1)], ids=["a hole", "a line after it"])
def test_of_a_file_without_lines_no_more_is_searched_than_of_another(
    path: Path, file: AgentFile[ProgressReport], monkeypatch: pytest.MonkeyPatch, end: bytes
) -> None:
    with path.open("wb") as sparse:
        sparse.truncate(HUGE)
        sparse.seek(HUGE)
        sparse.write(end)
    reads = _Reads(monkeypatch)
    batch = file.last(5)
    assert numbers(batch) == ([1] if end else []) and batch.earlier
    assert reads.bytes <= files.LOOK_BACK + 1000
    append(path, b"\n" + line(2) + line(3))
    assert numbers(file.more()) == [2, 3]


def test_a_hole_in_a_file_that_is_followed_is_passed_over(
    path: Path, file: AgentFile[ProgressReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(line(1))
    assert numbers(file.last(1)) == [1]
    os.truncate(path, HUGE)
    append(path, b"\n" + line(2))
    reads = _Reads(monkeypatch)
    batches = [file.more()]
    while batches[-1].behind:
        batches.append(file.more())
    assert [numbers(each) for each in batches][-1] == [2]
    assert sum(each.malformed for each in batches) == 1
    assert reads.bytes < 3 * files.LONGEST_LINE


def test_much_at_once_comes_in_parts(
    path: Path, file: AgentFile[ProgressReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LONGEST_LINE", 500)
    path.touch()
    file.last(0)
    append(path, b"".join(map(line, range(100))))
    got: list[float | None] = []
    while True:
        batch = file.more()
        got += numbers(batch)
        if not batch.behind:
            break
    assert got == list(range(100))


def test_a_file_that_was_cut_is_read_from_its_start(
    path: Path, file: AgentFile[ProgressReport]
) -> None:
    path.write_bytes(line(1) + line(2))
    file.last(5)
    path.write_bytes(line(7))
    batch = file.more()
    assert numbers(batch) == [7] and batch.restarted


def test_a_file_that_was_cut_and_is_as_long_again_is_noticed(
    path: Path, file: AgentFile[ProgressReport]
) -> None:
    path.write_bytes(line(1) + line(2))
    file.last(5)
    path.write_bytes(line(7) + line(8) + line(9))
    assert numbers(file.more()) == [7, 8, 9]


def test_a_file_that_was_replaced_is_read_to_its_end_before_the_new_one(
    path: Path, file: AgentFile[ProgressReport]
) -> None:
    path.write_bytes(line(1))
    file.last(5)
    append(path, line(2))
    path.rename(path.with_suffix(".1"))
    append(path.with_suffix(".1"), line(3))
    assert numbers(file.more()) == [2, 3]
    assert numbers(file.more()) == []
    path.write_bytes(line(4))
    batch = file.more()
    assert numbers(batch) == [4] and batch.restarted


@pytest.mark.parametrize("agent_id", ["", "..", "../x", "a/b", ".x", "a\0b", "a b", "é", "\ud800"])
def test_an_id_that_is_no_name_opens_nothing(tmp_path: Path, agent_id: str) -> None:
    (tmp_path / "progress").mkdir()
    (tmp_path / "x_progress.jsonl").write_bytes(line(1))
    if agent_id:
        with pytest.raises(ValueError, match="part of a file's name"):
            AgentFile(tmp_path, agent_id, PROGRESS).last(5)
    assert all(each.size is None for each in facts_of(tmp_path, agent_id))


@pytest.mark.parametrize("what", ["symlink", "folder-symlink", "fifo", "directory"])
def test_what_is_no_plain_file_is_refused(tmp_path: Path, path: Path, what: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / path.name).write_bytes(line(1))
    if what == "symlink":
        path.symlink_to(elsewhere / path.name)
    elif what == "folder-symlink":
        path.parent.rmdir()
        path.parent.symlink_to(elsewhere)
    elif what == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(RegistryError):
        AgentFile(tmp_path, AGENT, PROGRESS).last(5)
    assert facts_of(tmp_path, AGENT)[0].error


def test_what_takes_the_place_of_a_file_that_is_followed_is_refused(
    path: Path, file: AgentFile[ProgressReport]
) -> None:
    path.write_bytes(line(1))
    file.last(5)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(NotARegularFileError):
        file.more()


def test_the_files_of_an_agent_are_known_without_reading_them(tmp_path: Path, path: Path) -> None:
    path.write_bytes(line(1))
    progress, findings, log = facts_of(tmp_path, AGENT)
    assert (progress.name, progress.path, progress.size) == ("progress", path, len(line(1)))
    assert (findings.name, findings.size, findings.error) == ("findings", None, None)
    assert log.path == tmp_path / "logs" / f"{AGENT}_stream.jsonl"


def test_nothing_is_left_open(path: Path, tmp_path: Path) -> None:
    path.write_bytes(line(1))
    before = len(os.listdir("/proc/self/fd"))
    with AgentFile(tmp_path, AGENT, PROGRESS) as file, AgentFile(tmp_path, AGENT, FINDINGS) as no:
        file.last(1)
        no.last(1)
        path.rename(path.with_suffix(".1"))
        path.write_bytes(line(2))
        file.more()
    facts_of(tmp_path, AGENT)
    assert len(os.listdir("/proc/self/fd")) == before


_LINES = st.lists(
    st.one_of(
        st.integers(0, 9).map(line),
        st.sampled_from([b"\n", b"oops\n", b"7\n", b'{"message": "' + b"y" * 90 + b'"}\n']),
    ),
    max_size=25,
)


def _expected(data: bytes) -> list[LogLine]:
    whole = data[: data.rfind(b"\n") + 1]
    return [
        record
        for each in whole.split(b"\n")
        if each.strip()
        for record in (STREAM_LOG.read(each) or STREAM_LOG.raw(each))
    ]


@given(_LINES, st.lists(st.integers(0, 1200), max_size=6), st.integers(0, 30), st.integers(1, 70))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_however_it_is_cut_into_writes_every_line_comes_once_and_in_order(
    tmp_path: Path, lines: list[bytes], cuts: list[int], count: int, block: int
) -> None:
    path = tmp_path / "logs" / f"{AGENT}_stream.jsonl"
    path.parent.mkdir(exist_ok=True)
    data = b"".join(lines)
    points = sorted({min(each, len(data)) for each in cuts} | {len(data)})
    start = points[0]
    path.write_bytes(data[:start])
    before = backward._BLOCK
    backward._BLOCK = block
    try:
        with AgentFile(tmp_path, AGENT, STREAM_LOG) as file:
            first = file.last(count)
            got = list(first.records)
            for point in points:
                append(path, data[start:point])
                start = point
                got += file.more().records
    finally:
        backward._BLOCK = before
    everything = _expected(data)
    # A first batch of fewer than all leaves out only what is before it.
    left_out = len(everything) - len(got)
    assert got == everything[left_out:]
    assert (left_out > 0) <= first.earlier
    assert not left_out or len(first.records) == count
