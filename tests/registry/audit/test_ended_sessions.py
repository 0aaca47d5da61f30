"""Which ended sessions are on record as not ended for good."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from registry.audit.entries import EndedSession, State
from registry.audit.log import AUDIT_LOG, Audit, read_log, read_logs

SESSION = EndedSession("agent_a", "$1", 1000, "/tmp/s", "a", 4711, 500, ("%1", "%2"))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / AUDIT_LOG


def note(log: Path, state: State, session: EndedSession = SESSION) -> None:
    audit = Audit("kill", "")
    entry = audit.begin(log, session=session)
    if state is not State.INTENDED:
        audit.end(log, entry, state)


def unfinished(log: Path) -> tuple[EndedSession, ...]:
    return read_log(log).unfinished_ends


@pytest.mark.parametrize("state", [State.INTENDED, State.FAILED])
def test_what_failed_or_was_cut_off_is_unfinished_as_it_was_written(
    log: Path, state: State
) -> None:
    note(log, state)
    assert unfinished(log) == (SESSION,)


@pytest.mark.parametrize("state", [State.DONE, State.VOID])
def test_what_was_done_or_never_begun_is_not(log: Path, state: State) -> None:
    note(log, state)
    assert unfinished(log) == ()


def test_it_is_finished_by_a_later_kill_and_not_by_one_that_did_nothing(log: Path) -> None:
    note(log, State.FAILED)
    note(log, State.VOID)
    assert unfinished(log) == (SESSION,)
    note(log, State.DONE)
    assert unfinished(log) == ()
    note(log, State.FAILED)
    assert unfinished(log) == (SESSION,)


def test_another_session_of_the_same_name_is_another(log: Path) -> None:
    note(log, State.FAILED)
    for other in (
        replace(SESSION, id="$2"),
        replace(SESSION, created=1001),
        replace(SESSION, socket="/tmp/t"),
        replace(SESSION, server_pid=4712),
    ):
        note(log, State.DONE, other)
    assert unfinished(log) == (SESSION,)


def test_a_log_finishes_only_its_own_kills(log: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / AUDIT_LOG
    note(log, State.FAILED)
    note(other, State.DONE)
    (ended,) = read_logs([log, other]).unfinished_ends
    assert ended.log == str(log)


def test_a_record_without_panes_is_read_and_nothing_is_made_of_it(log: Path) -> None:
    note(log, State.FAILED)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for field in ("server_pid", "server_started", "panes"):
        del lines[0]["session"][field]
    log.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    read = read_log(log)
    assert read.damaged == 0
    assert read.entries[0].session == EndedSession("agent_a", "$1", 1000, "/tmp/s", "a")
    assert read.unfinished_ends == ()
