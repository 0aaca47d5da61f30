"""A workspace whose agents are in a database: they are read there, and judged as any agents."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from registry.schema import END_DELAY
from registry.schema.layout import Workspace
from tests.support.commands import lines_until, running
from tests.support.databases import Database, agent_row
from tests.support.real_tmux import RealTmux
from tests.support.waiting import until
from tests.support.workspaces import QUICK, Files, entry, row_of, stamp, verdicts
from tui.actions.execute import carry_out
from tui.actions.plan_complete import plan_complete
from tui.actions.plan_kill import plan_kill
from tui.cli.main import main
from tui.doctor.examine import examine
from tui.doctor.fix import carry_out_fix
from tui.live.collector import LiveRoll
from tui.live.once import take_roll
from tui.model.roll import RollCall, Verdict
from tui.model.warnings import notices, storage_note

YOUNG = replace(QUICK, orphan_grace=-1.0)
"""Nobody wants to wait until orphans are old enough."""


def times() -> dict[str, str]:
    """Returns the times of an agent whose session a test starts now."""
    return {"started_at": stamp(20), "last_update": stamp(10)}


Run = Callable[..., int]


@pytest.fixture
def built(tmp_path: Path, server: RealTmux) -> Database:
    """A database with agents in every state, and the sessions of some of them."""
    database = Database(tmp_path / "project" / ".agent-workspace")
    database.task(description="do it", current_phase_index=1)
    for number, name in enumerate(("plan", "build", "ship")):
        status = "ACTIVE" if number == 1 else "PENDING"
        database.row("phases", task_id="TASK-1", phase_index=number, name=name, status=status)
    database.agent("worker", phase_index=1, **times())
    database.agent("critic", status="reviewing", phase_index=-1, **times())
    database.agent("odd", status="in_progress", **times())
    database.agent("gone", **times())
    database.agent("ended", status="phase_completed", **times())
    database.agent("killed", status="killed", **times())
    for name in ("worker", "critic", "odd", "ended"):
        server.start(f"agent_{name}")
    return database


@pytest.fixture
def run(server: RealTmux, monkeypatch: pytest.MonkeyPatch, built: Database) -> Run:
    """Runs a command on the workspace."""
    for module in ("kill", "complete", "list", "doctor", "show"):
        monkeypatch.setattr(f"tui.cli.commands.{module}.policy_of", lambda _: YOUNG)

    def ran(command: str, *words: str) -> int:
        monkeypatch.setenv("MUSTER_WORKSPACES", str(built.workspace))
        return main([command, *words])

    return ran


def taken(built: Database, server: RealTmux, *more: Path) -> RollCall:
    places = [built.workspace, *more]
    return take_roll([Workspace(path.resolve()) for path in places], server.client(), YOUNG)


def list_in_json(built: Database, session: str) -> None:
    """Writes an older JSON registry in which the database's agent "worker" has another session."""
    older = entry("worker", "completed", last_update=stamp(900))
    files = Files(built.workspace.parent / "other", {"TASK-1": [older]})
    content = (files.path / "TASK-1" / "AGENT_REGISTRY.json").read_text()
    registry = built.workspace / "TASK-1" / "AGENT_REGISTRY.json"
    registry.write_text(content.replace("agent_worker", session))
    shutil.rmtree(files.path)


def everything(built: Database) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in built.workspace.rglob("*") if path.is_file()}


def test_each_agent_has_its_verdict_and_orphans_are_exact(
    built: Database, server: RealTmux
) -> None:
    server.start("agent_stranger")
    roll = taken(built, server)
    assert verdicts(roll) == {
        "worker": Verdict.LIVE,
        "critic": Verdict.LIVE,
        "odd": Verdict.LIVE,
        "gone": Verdict.ZOMBIE,
        "ended": Verdict.LEAKED,
        "killed": Verdict.FINISHED,
    }
    assert [session.name for session in roll.orphans] == ["agent_stranger"]
    assert roll.orphans_known and notices(roll) == ()


def test_a_mixed_workspace_has_the_tasks_of_both(built: Database, server: RealTmux) -> None:
    files = Files(built.workspace.parent / "other", {"TASK-0": [entry("old"), entry("lost")]})
    (files.path / "TASK-0").rename(built.workspace / "TASK-0")
    server.start("agent_old")
    roll = taken(built, server)
    assert [task.task_id for task in roll.tasks()] == ["TASK-0", "TASK-1"]
    assert {name: verdicts(roll)[name] for name in ("old", "lost", "worker")} == {
        "old": Verdict.LIVE,
        "lost": Verdict.ZOMBIE,
        "worker": Verdict.LIVE,
    }
    assert roll.orphans == () and roll.orphans_known
    assert storage_note(roll.workspaces[0]) == " (JSON and SQLite)"
    # JSON is the truth of its own tasks, so they can be changed as ever.
    assert [step.label for step in plan_complete(roll, [row_of(roll, "lost")]).steps] == ["lost"]
    before = built.path.read_bytes()
    carry_out(plan_kill(roll, [row_of(roll, "old")]), server.client(), "")
    assert "agent_old" not in server.names()
    assert built.path.read_bytes() == before


def test_a_session_that_the_json_registry_of_the_task_lists_is_no_orphan(
    built: Database, server: RealTmux, run: Run
) -> None:
    list_in_json(built, "agent_json")
    server.start("agent_json")
    server.start("agent_stranger")
    roll = taken(built, server)
    assert [session.name for session in roll.orphans] == ["agent_stranger"]
    assert run("kill", "--orphans", "--yes", "-S", str(server.socket)) == 0
    assert "agent_json" in server.names() and "agent_stranger" not in server.names()


def test_a_session_near_a_workspace_is_no_orphan_if_only_its_json_registry_lists_it(
    built: Database, server: RealTmux, tmp_path: Path
) -> None:
    ours = Files(tmp_path / "ours", {"TASK-9": []})
    list_in_json(built, "agent_json")
    place = str(built.workspace.parent)
    for name in ("agent_json", "agent_nobodys"):
        server.run("new-session", "-d", "-s", name, "-c", place, "sleep 1000")
    roll = take_roll([Workspace(ours.path.resolve())], server.client(), YOUNG)
    names = {session.name for session in roll.orphans}
    assert "agent_nobodys" in names and "agent_json" not in names


def test_a_task_elsewhere_is_read_although_the_database_lists_its_id(
    built: Database, server: RealTmux
) -> None:
    away = Files(built.workspace.parent / "away", {"TASK-1": [entry("away")]})
    server.start("agent_away")
    assert "agent_away" in {session.name for session in taken(built, server).orphans}
    listed = {"tasks": {"TASK-1": {"workspace": str(away.path)}}, "agents": {}}
    (built.workspace / "registry" / "GLOBAL_REGISTRY.json").write_text(json.dumps(listed))
    roll = taken(built, server)
    assert roll.orphans == () and roll.orphans_known


@pytest.mark.parametrize("left", ["broken", "array", "fifo"])
def test_a_damaged_json_registry_hides_no_agent_of_the_database(
    built: Database, server: RealTmux, run: Run, left: str
) -> None:
    registry = built.workspace / "TASK-1" / "AGENT_REGISTRY.json"
    registry.unlink()
    if left == "fifo":
        os.mkfifo(registry)
    else:
        registry.write_text("[]" if left == "array" else '{"task_id": "TASK-1", "agents": [')
        os.utime(registry, (1_700_000_000, 1_700_000_000))
    server.start("agent_stranger")
    roll = taken(built, server)
    seen = verdicts(roll)
    assert (seen["worker"], seen["gone"]) == (Verdict.LIVE, Verdict.ZOMBIE)
    (task,) = roll.tasks()
    assert task.state.error is None and task.state.record is not None
    assert "AGENT_REGISTRY.json is not read" in task.state.record.warnings[0]
    # The registry may list the session.
    assert not roll.orphans_known and not roll.orphans
    assert run("kill", "--orphans", "--yes", "-S", str(server.socket)) == 1
    assert "agent_stranger" in server.names()
    assert run("kill", "worker", "--yes", "-S", str(server.socket)) == 0
    assert run("complete", "gone", "--yes", "-S", str(server.socket)) == 0
    assert agent_row(built, "agents", "worker")["status"] == "terminated"
    assert agent_row(built, "agents", "gone")["status"] == "completed"


@pytest.mark.parametrize("task_id", [None, "../outside"])
def test_an_agent_of_a_task_without_a_directory_is_judged_and_never_changed(
    built: Database,
    server: RealTmux,
    run: Run,
    capsys: pytest.CaptureFixture[str],
    task_id: str | None,
) -> None:
    for name in ("lone", "lost"):
        built.agent(name, **times())
    built.run("UPDATE agents SET task_id = ? WHERE agent_id IN ('lone', 'lost')", task_id)
    server.start("agent_lone")
    roll = taken(built, server)
    seen = verdicts(roll)
    assert (seen["lone"], seen["lost"]) == (Verdict.LIVE, Verdict.ZOMBIE)
    assert roll.orphans_known
    (odd,) = [task for task in roll.tasks() if task.state.source.problem is not None]
    assert odd.state.record is not None and odd.state.error is None
    assert "cannot be the name of a directory" in odd.state.record.warnings[0]
    before = agent_row(built, "agents", "lost")
    assert run("kill", "lone", "--yes", "-S", str(server.socket)) == 1
    assert run("complete", "--zombies", "--yes", "--mass-death", "-S", str(server.socket)) == 1
    assert main(["report", "lone", "--progress", "5", "-w", str(built.workspace)]) == 1
    assert main(["tail", "lone", "-w", str(built.workspace)]) == 2
    said = capsys.readouterr()
    assert (said.out + said.err).count("cannot be the name of a directory") == 4
    assert "AGENT_REGISTRY.json" not in said.out + said.err
    assert "agent_lone" in server.names()
    assert agent_row(built, "agents", "lost") == before
    assert agent_row(built, "agents", "gone")["status"] == "completed"


def test_a_zombie_without_a_directory_can_be_completed_alone_and_the_doctor_says_so(
    built: Database, server: RealTmux, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(built.workspace / "TASK-1")
    assert run("doctor", "-S", str(server.socket)) == 1
    said = capsys.readouterr().out
    assert "it is not known whether its processes still run: no registry at" in said
    (command,) = re.findall("If the agent has ended, run `muster ([^`]*)`", said)
    assert main([*shlex.split(command), "--yes"]) == 1
    done = capsys.readouterr()
    assert "done: gone (running -> completed)" in done.out
    assert "nothing was changed" not in done.out + done.err
    assert agent_row(built, "agents", "gone")["status"] == "completed"


# Nothing is ended, and nothing is written


@pytest.mark.parametrize("agent", ["worker", "critic", "odd", "gone"])
def test_a_kill_is_refused_before_anything_is_ended(
    built: Database, server: RealTmux, run: Run, capsys: pytest.CaptureFixture[str], agent: str
) -> None:
    built.run("CREATE TRIGGER more AFTER UPDATE ON agents BEGIN DELETE FROM tasks; END")
    before, names = everything(built), server.names()
    assert run("kill", agent, "--yes", "-S", str(server.socket)) == 1
    said = capsys.readouterr()
    assert "its database cannot be written: has a schema that muster" in said.out + said.err
    assert server.names() == names
    assert everything(built) == before


@pytest.mark.parametrize("words", [("complete", "gone"), ("complete", "--zombies"), ("undo",)])
def test_no_command_writes_a_database_with_an_unknown_schema(
    built: Database, server: RealTmux, run: Run, words: tuple[str, ...]
) -> None:
    built.run("CREATE TRIGGER more AFTER UPDATE ON agents BEGIN DELETE FROM tasks; END")
    before, names = everything(built), server.names()
    place = () if words[0] == "undo" else ("-S", str(server.socket))
    assert run(*words, "--yes", *place) != 0
    assert server.names() == names
    assert everything(built) == before


@pytest.mark.parametrize(
    "words",
    [
        ("register", "--task", "TASK-1", "tester"),
    ],
)
def test_registering_says_why_not(
    built: Database, run: Run, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    before = everything(built)
    assert run(*words) != 0
    assert "orchestrator" in capsys.readouterr().err
    assert everything(built) == before


def test_the_doctor_ends_zombies_in_the_database(built: Database, server: RealTmux) -> None:
    roll = taken(built, server)
    found = examine((Workspace(built.workspace.resolve()),), roll, settled=0.0)
    assert {(issue.kind.value, issue.agent) for issue in found.findings} == {
        ("unknown_status", None),
        ("zombie", "gone"),
        ("leaked", "ended"),
    }
    assert {issue.file for issue in found.findings} == {built.path.resolve()}
    assert {issue.field for issue in found.findings} == {"agents.status"}
    carry_out_fix(found, server.client(), "")
    assert agent_row(built, "agents", "gone")["status"] == "terminated"


# What is shown


def test_a_list_names_the_storage_the_phase_and_the_reviewers(
    server: RealTmux, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("list", "-S", str(server.socket)) == 0
    said = capsys.readouterr().out
    assert said.count("(SQLite)") == 1
    assert "phase 2 of 3" in said and "critic [reviewer]" in said
    assert run("list", "--json", "-S", str(server.socket)) == 0
    (workspace,) = json.loads(capsys.readouterr().out)["workspaces"]
    assert (workspace["storage"], workspace["database"]) == (["sqlite"], None)
    (task,) = workspace["tasks"]
    assert task["phase"] == {"index": 1, "count": 3, "name": "build", "status": "ACTIVE"}
    reviewers = {agent["id"]: agent["reviewer"] for agent in task["agents"]}
    assert [name for name, is_reviewer in reviewers.items() if is_reviewer] == ["critic"]
    statuses = {agent["id"]: agent["status"] for agent in task["agents"]}
    assert statuses["odd"] == "in_progress"


def test_show_and_tail_read_the_database_and_the_archive(
    built: Database, server: RealTmux, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = built.workspace / "TASK-1" / "archive" / "ended_progress.jsonl"
    archive.parent.mkdir()
    archive.write_text(json.dumps({"message": "all done", "status": "completed"}) + "\n")
    assert run("show", "ended", "-S", str(server.socket)) == 0
    said = capsys.readouterr().out
    assert "all done" in said and "state.sqlite3" in said
    assert run("tail", "ended", "--only", "progress") == 0
    assert "all done" in capsys.readouterr().out


# Changes


@pytest.fixture
def live(built: Database, server: RealTmux) -> Iterator[LiveRoll]:
    """The monitor's roll of the workspace."""
    roll = LiveRoll([Workspace(built.workspace.resolve())], server.client(), YOUNG)
    roll.start()
    until(lambda: roll.latest is not None and roll.latest.whole, "the first roll")
    yield roll
    roll.stop()


def _now(live: LiveRoll) -> RollCall:
    assert live.latest is not None
    return live.latest


def test_a_change_of_another_process_is_seen(built: Database, live: LiveRoll) -> None:
    built.run("UPDATE agents SET progress = 77 WHERE agent_id = 'worker'")
    until(lambda: row_of(_now(live), "worker").record.progress == 77, "the progress")
    built.agent("new", **times())
    until(lambda: "new" in verdicts(_now(live)), "the new agent")
    built.task("TASK-2")
    until(lambda: len(list(_now(live).tasks())) == 2, "the new task")
    # Nothing is held between looks.
    assert [path.name for path in built.path.parent.glob("state.sqlite3*")] == [built.path.name]


def test_watch_tells_of_a_change(built: Database, server: RealTmux) -> None:
    files = Files.__new__(Files)
    files.path = built.workspace
    with running(files, "watch", "--json", "-S", server.socket) as process:
        lines_until(process, '"event": "roll"')
        built.run("UPDATE agents SET status = 'failed' WHERE agent_id = 'worker'")
        assert lines_until(process, '"worker"')


def test_an_agent_whose_database_cannot_be_read_is_never_dead(
    built: Database, live: LiveRoll, server: RealTmux
) -> None:
    until(lambda: verdicts(_now(live))["worker"] is Verdict.LIVE, "tmux's answer")
    good = built.path.read_bytes()
    built.path.write_bytes(b"no database" * 1000)
    os.utime(built.path, (1_700_000_000, 1_700_000_000))
    until(lambda: _now(live).databases != (), "the error")
    server.run("kill-session", "-t", "=agent_worker")
    until(lambda: "agent_worker" not in _now(live).answer.sessions, "the end of the session")
    assert verdicts(_now(live))["worker"] is not Verdict.ZOMBIE
    assert not _now(live).orphans_known and _now(live).orphans == ()
    assert any("not a valid database" in notice for notice in notices(_now(live)))
    built.path.write_bytes(good)
    until(lambda: _now(live).databases == (), "the database to be read again")
    until(lambda: verdicts(_now(live))["worker"] is Verdict.ZOMBIE, "the proof")


# Other workspaces


def test_a_session_of_a_nearby_database_is_no_orphan(
    built: Database, server: RealTmux, tmp_path: Path
) -> None:
    ours = Files(tmp_path / "ours", {"TASK-9": []})
    place = str(built.workspace.parent)
    server.run("new-session", "-d", "-s", "agent_near", "-c", place, "sleep 1000")
    server.run("new-session", "-d", "-s", "agent_nobodys", "-c", place, "sleep 1000")
    built.agent("near", **times())
    roll = take_roll([Workspace(ours.path.resolve())], server.client(), YOUNG)
    near = {session.name for session in roll.orphans} & {"agent_near", "agent_nobodys"}
    assert near == {"agent_nobodys"}
    assert roll.orphans_known and roll.nearby_databases == ()


def test_a_session_is_leaked_only_a_minute_after_the_end_of_its_agent(
    built: Database, server: RealTmux, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = replace(YOUNG, leak_grace=60.0)
    monkeypatch.setattr("tui.cli.commands.kill.policy_of", lambda _: patient)
    place = [Workspace(built.workspace.resolve())]
    row = row_of(take_roll(place, server.client(), patient), "ended")
    assert row.verdict is Verdict.FINISHED and "just ended" in row.note
    before = server.names()
    run("kill", "--leaked", "--yes", "-S", str(server.socket))
    assert server.names() == before
    built.run("UPDATE agents SET last_update = ? WHERE agent_id = 'ended'", stamp(61))
    row = row_of(take_roll(place, server.client(), patient), "ended")
    assert row.verdict is Verdict.LEAKED


@pytest.mark.parametrize("folder", ["progress", "archive"])
@pytest.mark.parametrize("status", ["completed", "killed", "phase_completed"])
def test_an_agent_that_reported_its_end_is_ending_for_ten_seconds(
    built: Database, server: RealTmux, folder: str, status: str
) -> None:
    path = built.workspace / "TASK-1" / folder / "gone_progress.jsonl"
    path.parent.mkdir()
    line = {"timestamp": stamp(5), "agent_id": "gone", "status": status, "message": "done"}
    path.write_text(json.dumps(line) + "\n")
    for ago, verdict in ((END_DELAY - 5, Verdict.UNKNOWN), (END_DELAY + 1, Verdict.ZOMBIE)):
        os.utime(path, (time.time() - ago,) * 2)
        assert row_of(taken(built, server), "gone").verdict is verdict
