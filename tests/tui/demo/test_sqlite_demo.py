"""The demo on a database: the same verdicts, phases and a reviewer, and one task in JSON."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from registry.schema import is_terminal
from registry.sources import Dialect
from tests.support.demos import SPEED, Open, processes_of, until
from tui.demo.cast import REVIEWER, ROLES, TASKS, role_of
from tui.demo.run import Demo, running
from tui.demo.stage import TYPE_IN_ID, member_of
from tui.doctor.examine import examine
from tui.host.tmux import Tmux
from tui.live.collector import LiveRoll
from tui.live.once import take_roll
from tui.model.roll import RollCall, Verdict
from tui.model.warnings import notices, storage_note


class Show:
    """A running demo on a database, with the last roll call."""

    def __init__(self, demo: Demo, live: LiveRoll) -> None:
        self.demo = demo
        self.live = live

    @property
    def roll(self) -> RollCall:
        assert self.live.latest is not None
        return self.live.latest

    def types_with(self, verdict: Verdict) -> set[str | None]:
        if self.live.latest is None:
            return set()
        return {row.record.type for row in self.roll.agents() if row.verdict is verdict}


@pytest.fixture(scope="module")
def show() -> Iterator[Show]:
    with running(SPEED, sqlite=True) as demo:
        live = LiveRoll((demo.workspace,), Tmux(demo.socket), demo.policy)
        live.start()
        try:
            yield Show(demo, live)
        finally:
            live.stop()
    assert not demo.stage.root.exists()
    assert processes_of(demo.stage.root) == []


@pytest.mark.parametrize(
    ("verdict", "agent_type"),
    [
        (Verdict.LIVE, "search_architect"),
        (Verdict.ZOMBIE, "rollback_tester"),
        (Verdict.ZOMBIE, "link_checker"),
        (Verdict.LEAKED, "flamegraph_reader"),
        (Verdict.STALLED, "cache_invalidation_tester"),
        (Verdict.FINISHED, "schema_designer"),
        (Verdict.LIVE, "cutover_rehearser"),
        (Verdict.LIVE, "phase_reviewer"),
    ],
)
def test_its_agents_have_the_verdicts_of_the_story(
    show: Show, verdict: Verdict, agent_type: str
) -> None:
    until(
        lambda: agent_type in show.types_with(verdict),
        f"{agent_type}, {verdict}",
    )


def test_its_orphan_is_the_only_one(show: Show) -> None:
    until(lambda: show.live.latest and len(show.roll.orphans) == 1, "the orphan")
    assert show.roll.orphans_known and notices(show.roll) == ()


def test_most_tasks_are_in_the_database_with_phases_and_one_is_json(show: Show) -> None:
    until(lambda: show.live.latest and len(list(show.roll.tasks())) == 3, "the tasks")
    by_description = {
        task.state.record.description: task for task in show.roll.tasks() if task.state.record
    }
    for key, task in TASKS.items():
        state = by_description[task.description].state
        assert state.record is not None
        assert (state.source.dialect is Dialect.SQLITE) == (key != "release") == bool(task.phases)
        phases = [(phase.name, phase.status) for phase in state.record.phases.values()]
        assert tuple(phases) == task.phases
    assert storage_note(show.roll.workspaces[0]) == " (JSON and SQLite)"
    (reviewer,) = (row for row in show.roll.agents() if row.record.type == REVIEWER.type)
    assert reviewer.record.status == "reviewing"


def test_what_agents_wrote_is_what_the_orchestrator_writes(show: Show) -> None:
    until(lambda: "changelog_writer" in show.types_with(Verdict.FINISHED), "an end")
    known = {role[:TYPE_IN_ID] for role in (*ROLES, REVIEWER.type)}
    address = f"file:{show.demo.stage.database}?mode=ro"
    with closing(sqlite3.connect(address, uri=True)) as database:
        agents = database.execute(
            "SELECT agents.agent_id, task_id, agents.status, latest.status FROM agents "
            "LEFT JOIN agent_progress_latest AS latest USING (task_id, agent_id)"
        ).fetchall()
    for agent_id, task_id, status, latest in agents:
        assert agent_id.rsplit("-", 2)[0] in known
        assert latest in (status, None)
        progress = show.demo.stage.workspace / task_id / "archive" / f"{agent_id}_progress.jsonl"
        assert is_terminal(status) or not progress.exists()
    roll = take_roll((show.demo.workspace,), Tmux(show.demo.socket), show.demo.policy)
    kinds = {issue.kind.value for issue in examine((show.demo.workspace,), roll).findings}
    assert kinds <= {"zombie", "leaked", "orphan", "stalled"}


def test_the_role_of_a_shortened_id_is_found() -> None:
    for role in (*ROLES.values(), REVIEWER):
        for in_database in (True, False):
            member = member_of(role, "TASK-1", "orchestrator", 0.0, in_database=in_database)
            assert role_of(member.id) is role


def test_the_option_opens_the_monitor_on_a_database(terminal: Open) -> None:
    screen = terminal("muster", "--sqlite")
    screen.opened()

    def shown() -> bool:
        screen.drain()
        return b"JSON and SQL" in screen.output and b"phase 2/3" in screen.output

    until(shown, "a task of the database on the screen")
    screen.process.terminate()
    assert screen.ended() == 143
