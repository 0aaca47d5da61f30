"""Tests of the panel's sources, with real files and a scripted tmux."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from registry import atomic_update_agent_status
from registry.agent_output.lines import PROGRESS, STREAM_LOG, ProgressReport
from registry.audit.log import log_of
from registry.schema.layout import TASK_REGISTRY
from registry.sources import JsonTask
from tests.support.rolls import SOCKET, answered, no_server, session
from tests.support.scripted_tmux import ScriptedTmux
from tests.support.workspaces import Files, entry, row_of, take
from tui.actions.execute import carry_out
from tui.actions.plan_complete import plan_complete
from tui.details.sources import (
    PANE_EVERY,
    AuditSource,
    Fields,
    FieldsSource,
    FileSource,
    PaneSource,
    Screen,
    Tail,
)
from tui.host.tmux import Tmux
from tui.host.tmux_types import PaneCapture, Session, TmuxSnapshot
from tui.model.roll import AgentKey

AGENT = "fixer-1"


def line(number: int) -> bytes:
    return json.dumps({"progress": number, "message": "m"}).encode() + b"\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "progress").mkdir()
    return tmp_path / "progress" / f"{AGENT}_progress.jsonl"


def numbers(tail: Tail[ProgressReport] | None) -> list[float | None]:
    assert tail is not None
    return [each.progress for each in tail.records]


def test_a_file_is_told_whole_and_then_only_when_it_grew(tmp_path: Path, path: Path) -> None:
    source = FileSource(JsonTask(tmp_path / TASK_REGISTRY), AGENT, PROGRESS, 3)
    assert source.read() == Tail()
    assert source.read() is None
    path.write_bytes(line(1) + line(2) + b'{"prog')
    first = source.read()
    assert numbers(first) == [1, 2] and first is not None and first.torn
    assert source.read() is None
    path.write_bytes(line(1) + line(2) + line(3) + line(4))
    grown = source.read()
    assert numbers(grown) == [2, 3, 4] and grown is not None and grown.earlier and not grown.torn
    source.close()


def test_a_file_that_is_replaced_is_read_anew(tmp_path: Path, path: Path) -> None:
    path.write_bytes(line(1) + line(2))
    source = FileSource(JsonTask(tmp_path / TASK_REGISTRY), AGENT, PROGRESS, 10)
    source.read()
    other = path.with_name("new")
    other.write_bytes(line(7))
    other.rename(path)
    assert numbers(source.read()) == [7]


@pytest.mark.parametrize("kind", ["fifo", "symlink"])
def test_what_is_no_file_is_an_error_and_never_a_hang(
    tmp_path: Path, path: Path, kind: str
) -> None:
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/etc/passwd")
    found = FileSource(JsonTask(tmp_path / TASK_REGISTRY), AGENT, PROGRESS, 10).read()
    assert found is not None and found.error and not found.records


@pytest.mark.parametrize("agent_id", ["../../etc/passwd", "a/b", ".x", "a" * 200])
def test_an_id_that_can_be_no_file_name_opens_nothing(tmp_path: Path, agent_id: str) -> None:
    found = FileSource(JsonTask(tmp_path / TASK_REGISTRY), agent_id, STREAM_LOG, 10).read()
    assert found is not None and found.error


def test_fields_are_told_again_only_when_they_are_others(tmp_path: Path) -> None:
    files = Files(tmp_path, {"TASK-1": [entry("a", extra={"deep": [1]})]})
    source = FieldsSource(JsonTask(files.registry()), AgentKey(files.registry(), "a"))
    found = source.read()
    assert isinstance(found, Fields) and found.entry is not None
    assert found.entry["extra"] == {"deep": [1]}
    assert [each.name for each in found.files] == ["progress", "findings", "log"]
    assert source.read() is None
    atomic_update_agent_status(files.registry(), "a", "blocked")
    again = source.read()
    assert again is not None and again.entry is not None and again.entry["status"] == "blocked"
    files.registry().unlink()
    gone = source.read()
    assert gone is not None and gone.entry is None


def test_the_audit_log_is_read_anew_only_when_it_was_written(tmp_path: Path) -> None:
    files = Files(tmp_path, {"TASK-1": [entry("a"), entry("b")]})
    source = AuditSource(log_of(files.registry()))
    first = source.read()
    assert first is not None and not first.log.entries and source.read() is None
    nobody = ScriptedTmux(no_server())
    roll = take(files, nobody)
    carry_out(plan_complete(roll, [row_of(roll, "a")]), nobody, "gone")
    second = source.read()
    assert second is not None and [each.reason for each in second.log.entries] == ["gone"]
    assert source.read() is None


def test_an_audit_log_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    log = tmp_path / "muster_audit.jsonl"
    log.mkdir()
    found = AuditSource(log).read()
    assert found is not None and found.error


class PaneTmux(Tmux):
    """A tmux that returns given contents of a pane."""

    def __init__(self, *shown: PaneCapture | OSError) -> None:
        super().__init__(SOCKET)
        self._shown = list(shown)
        self.panes: list[str] = []

    def capture(self, session: Session, answer: TmuxSnapshot, pane: str) -> PaneCapture:
        self.panes.append(pane)
        shown = self._shown.pop(0)
        if isinstance(shown, OSError):
            raise shown
        return shown


def source_of(clock: Callable[[], float], *shown: PaneCapture | OSError) -> PaneSource:
    one = replace(session("agent_a"), panes=("%4", "%5"))
    return PaneSource(PaneTmux(*shown), one, answered(one), clock)


def test_a_pane_is_told_only_when_it_shows_something_else() -> None:
    shows = PaneCapture(("hello",), 80, 24, 1000)
    source = source_of(
        lambda: 2000.5, shows, replace(shows, activity=1500), replace(shows, lines=("more",))
    )
    first = source.read()
    assert isinstance(first, Screen) and first.captured == shows and first.more_panes == 1
    assert source.read() is None, "the same text, whenever it was written"
    third = source.read()
    assert third is not None and third.captured is not None
    assert third.captured.lines == ("more",)


def test_a_pane_is_looked_at_again_by_itself_only_while_it_is_written_to() -> None:
    now = [1000.9]
    shows = PaneCapture(("a",), 80, 24, 1000)
    source = source_of(lambda: now[0], shows, shows)
    source.read()
    assert source.every == PANE_EVERY, "what comes later in that second is not told again"
    now[0] = 1002.9
    source.read()
    assert source.every is None, "nobody asks tmux about a quiet pane"


def test_a_quiet_pane_is_left_alone_though_the_clock_was_set_back() -> None:
    shows = PaneCapture(("a",), 80, 24, 1000)
    source = source_of(lambda: 500.0, shows)
    source.read()
    assert source.every is None


def test_a_pane_that_cannot_be_had_says_why() -> None:
    source = source_of(lambda: 0.0, OSError("its session is gone"), OSError("its session is gone"))
    found = source.read()
    assert found == Screen(None, "its session is gone")
    assert source.every is None
    assert source.read() is None
