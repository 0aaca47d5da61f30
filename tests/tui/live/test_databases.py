"""A workspace whose agents are in a database that muster does not read: nobody is an orphan."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry.checks.issue import IssueKind
from registry.schema import Workspace
from tests.support.commands import lines_until, running
from tests.support.databases import make_database, make_unreadable
from tests.support.openmetrics import samples
from tests.support.real_tmux import RealTmux
from tests.support.scripted_tmux import ScriptedTmux
from tests.support.waiting import until
from tests.support.workspaces import QUICK, Files, entry, read, row_of, take, verdicts, write
from tui.actions.execute import carry_out
from tui.actions.outcome import Result
from tui.actions.plan_complete import plan_complete
from tui.actions.plan_kill import plan_kill
from tui.cli.main import main
from tui.doctor.examine import examine
from tui.doctor.fix import carry_out_fix
from tui.host.process.process_paths import directories_touched
from tui.live.registry_cache import Bounds, Registries
from tui.model.roll import RollCall, Verdict
from tui.model.warnings import notices
from tui.view.diff import RegistryChange, differences
from tui.view.filter import Filter

YOUNG = replace(QUICK, orphan_grace=-1.0)
"""Nobody wants to wait until orphans are old enough."""

CREW = ("one-1", "two-2", "three-3")
SESSIONS = {f"agent_{each}" for each in CREW}

Begin = Callable[..., None]
Run = Callable[..., int]


@pytest.fixture
def today(tmp_path: Path) -> Files:
    """A project of today's orchestrator: JSON is left from the creation of its task."""
    files = Files(tmp_path / "project", {"TASK-1": []})
    # Which writes these counters when a task is made, and never again.
    whole = read(files.global_registry)
    write(files.global_registry, whole | {"total_agents_spawned": 7, "active_agents": 3})
    make_unreadable(files.path)
    return files


@pytest.fixture
def mixed(tmp_path: Path) -> Files:
    """A workspace with agents in JSON, and with a database."""
    agents = [entry("at-work"), entry("through", "completed"), entry("gone"), entry("gone-2")]
    files = Files(tmp_path / "project", {"TASK-1": agents})
    make_unreadable(files.path)
    return files


@pytest.fixture
def begin(server: RealTmux, tmp_path: Path) -> Begin:
    """Starts sessions in a directory, and waits until their processes are there."""

    def started(*names: str, directory: Path, command: str = "", **environment: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        for name in names:
            there = tmp_path / f"{name} is there"
            words = [f"{key}={shlex.quote(value)}" for key, value in environment.items()]
            run = command or " ".join(["exec env", *words, "sleep 1000"])
            server.run("new-session", "-d", "-s", name, "-c", str(directory),
                       f"touch {shlex.quote(str(there))}; {run}")  # fmt: skip
            until(there.exists, f"{name} to start")

    return started


@pytest.fixture
def run(server: RealTmux, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on a workspace."""
    for module in ("kill", "complete", "list", "doctor", "metrics", "show"):
        monkeypatch.setattr(f"tui.cli.commands.{module}.policy_of", lambda _: YOUNG)

    def ran(files: Files, *words: str) -> int:
        command, *others = words
        monkeypatch.setenv("MUSTER_WORKSPACES", str(files.path))
        return main([command, "-S", str(server.socket), *others])

    return ran


def told(roll: RollCall) -> tuple[list[str], bool]:
    return [each.name for each in roll.orphans], roll.orphans_known


def take_young(files: Files, server: RealTmux) -> RollCall:
    return take(files, server.client(), YOUNG)


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def everything(files: Files) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in files.path.rglob("*") if path.is_file()}


# What the orchestrator of today starts


def test_its_agents_are_no_orphans_and_end_by_no_kill(
    today: Files, server: RealTmux, begin: Begin, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(*SESSIONS, directory=today.path.parent)
    database = str(today.path / "registry" / "state.sqlite3")
    assert run(today, "kill", "--orphans", "--yes") == 1
    assert database in capsys.readouterr().err
    assert run(today, "kill", "agent_one-1", "--yes") == 2
    assert database in capsys.readouterr().err
    assert server.names() == SESSIONS


@pytest.mark.parametrize("words", [("one-1",), ("one-1", "--task", "TASK-9")])
@pytest.mark.parametrize("command", ["report", "tail"])
def test_who_looks_for_an_agent_is_told_that_the_database_is_not_read(
    today: Files, run: Run, capsys: pytest.CaptureFixture[str], command: str, words: tuple[str]
) -> None:
    assert run(today, command, *words) == 2
    said = capsys.readouterr().err
    assert "a database that muster cannot read" in said
    assert str(today.path / "registry" / "state.sqlite3") in said


def test_a_list_does_not_say_that_a_task_has_no_agents_while_they_are_unknown(
    today: Files, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(today, "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(": agents unknown")
    assert not [line for line in lines if " 0 agents" in line]
    assert [line for line in lines if "TASK-" in line and "agents unknown" in line]


def test_a_list_says_that_its_agents_are_not_read(
    today: Files, begin: Begin, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(*SESSIONS, directory=today.path.parent)
    assert run(today, "list", "--json") == 0
    roll = printed(capsys)
    assert (roll["orphans"], roll["orphans_known"], roll["counts"]["orphan"]) == ([], False, 0)
    assert roll["agents_known"] is False
    (workspace,) = roll["workspaces"]
    assert not any(task["agents_known"] for task in workspace["tasks"])
    path = str(today.path / "registry" / "state.sqlite3")
    assert workspace["database"]["path"] == path
    assert workspace["database"]["readable"] is False
    assert run(today, "list") == 0
    said = capsys.readouterr().out
    assert "may be in a database that muster cannot read" in said
    assert "orphans: unknown" in said


def test_a_list_of_a_part_keeps_what_is_not_read(
    today: Files, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(today, "list", "--json", "--where", "zombie") == 0
    (workspace,) = printed(capsys)["workspaces"]
    assert workspace["database"]["readable"] is False


def test_the_doctor_says_so_and_finds_nothing_in_what_is_left_over(
    today: Files, server: RealTmux, begin: Begin, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(*SESSIONS, directory=today.path.parent)
    before = today.bytes()
    assert run(today, "doctor", "--json") == 2
    found = printed(capsys)
    (finding,) = found["findings"]
    assert (finding["kind"], finding["fixable"], found["healthy"]) == ("unreadable", False, False)
    assert finding["file"].endswith("state.sqlite3") and "restore a copy" in finding["advice"]
    (said,) = found["could_not_tell"]
    assert "state.sqlite3" in said
    assert run(today, "doctor", "--fix", "--yes") == 2
    assert "state.sqlite3" in capsys.readouterr().out
    assert today.bytes() == before
    assert server.names() == SESSIONS


def test_metrics_count_no_orphans_there(
    today: Files, begin: Begin, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(*SESSIONS, directory=today.path.parent)
    assert run(today, "metrics") == 0
    found = samples(capsys.readouterr().out)
    assert found["muster_unread_databases", (str(today.path),)] == 1
    assert ("muster_orphans", ()) not in found


def test_watch_says_so_at_the_start_and_of_one_that_comes(
    tmp_path: Path, server: RealTmux
) -> None:
    files = Files(tmp_path, {"TASK-1": [entry("a")]})
    server.start("agent_a")
    with running(files, "watch", "--json", "-S", server.socket) as process:
        (first,) = map(json.loads, lines_until(process, '"event": "roll"'))
        assert first["roll"]["workspaces"][0]["database"] is None
        path = make_unreadable(files.path)
        come = json.loads(lines_until(process, "registry-unreadable")[-1])
        assert come["registry"] == str(path)
        assert come["error"].startswith("is not a valid database")
    with running(files, "watch", "--json", "-S", server.socket) as process:
        (first,) = map(json.loads, lines_until(process, '"event": "roll"'))
        assert first["roll"]["workspaces"][0]["database"]["path"] == str(path)
        assert first["roll"]["orphans_known"] is False


def test_the_file_that_cannot_be_read_is_named_and_comes_back(
    tmp_path: Path, server: RealTmux
) -> None:
    files = Files(tmp_path, {"TASK-1": []})
    path = make_database(files.path, ["a"])
    copy = path.read_bytes()
    files.global_registry.unlink()
    make_unreadable(files.path)
    before = take_young(files, server)
    (workspace,) = before.workspaces
    assert (workspace.error or "").startswith("state.sqlite3: is not a valid database")
    path.write_bytes(copy)
    changes = [
        each
        for each in differences(before, take_young(files, server), Filter())
        if isinstance(each, RegistryChange)
    ]
    # The workspace could not be read only because of the database.
    assert {each.path: each.event for each in changes} == {path: "registry-readable"}


# Whose sessions it may list


@pytest.mark.parametrize("beneath", [".", "src/deep", ".agent-workspace/TASK-1"])
def test_in_another_project_with_a_database_a_session_is_no_orphan(
    tmp_path: Path, today: Files, server: RealTmux, begin: Begin, run: Run, beneath: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    ours = Files(tmp_path / "ours", {"TASK-9": []})
    begin("agent_one-1", directory=today.path.parent / beneath)
    begin("agent_nobodys", directory=ours.path.parent)
    roll = take_young(ours, server)
    assert told(roll) == (["agent_nobodys"], False)
    assert [each.path.parent.parent for each in roll.nearby_databases] == [today.path]
    assert any("state.sqlite3" in said for said in notices(roll))
    assert run(ours, "kill", "--orphans", "--yes") == 1
    assert "state.sqlite3" in capsys.readouterr().err
    assert server.names() == {"agent_one-1"}


def test_a_workspace_of_another_name_is_known_by_its_database(
    tmp_path: Path, server: RealTmux, begin: Begin
) -> None:
    ours = Files(tmp_path / "ours", {"TASK-9": []})
    make_unreadable(tmp_path / "any name")
    begin("agent_one-1", directory=tmp_path / "any name" / "TASK-1")
    assert told(take_young(ours, server)) == ([], False)


def default(tmp_path: Path) -> Path:
    return tmp_path / "home" / ".claude-orchestrator" / "workspaces"


@pytest.mark.parametrize("how", ["home", "variable"])
@pytest.mark.parametrize("whose", ["muster", "session"])
def test_any_session_may_be_of_the_default_workspace(
    tmp_path: Path, server: RealTmux, begin: Begin, monkeypatch: pytest.MonkeyPatch,
    how: str, whose: str,
) -> None:  # fmt: skip
    ours = Files(tmp_path / "ours", {"TASK-9": []})
    variables = {
        "home": {"HOME": str(tmp_path / "home")},
        "variable": {"CLAUDE_ORCHESTRATOR_WORKSPACE": str(default(tmp_path))},
    }[how]
    begin("agent_one-1", directory=tmp_path / "else", **(variables if whose == "session" else {}))
    if whose == "muster":
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
    assert told(take_young(ours, server)) == (["agent_one-1"], True)
    make_unreadable(default(tmp_path))
    roll = take_young(ours, server)
    assert told(roll) == ([], False)
    assert [each.path.parent.parent for each in roll.nearby_databases] == [default(tmp_path)]


def test_what_the_default_workspace_has_in_json_is_no_orphan(
    tmp_path: Path, server: RealTmux, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = Files(tmp_path / "ours", {"TASK-9": []})
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    theirs = Files(tmp_path / "theirs", {"TASK-1": [entry("b")]})
    default(tmp_path).parent.mkdir(parents=True)
    theirs.path.rename(default(tmp_path))
    begin("agent_b", "agent_nobodys", directory=tmp_path / "else")
    assert told(take_young(ours, server)) == (["agent_nobodys"], True)


@pytest.mark.parametrize(
    "command",
    ["sleep 1000 >> {log}; exit", "sh -c 'sleep 1000; exit' --log={log}; exit",
     "LOG={log} sleep 1000; exit"],
)  # fmt: skip
def test_what_a_process_was_told_of_a_task_leads_to_its_workspace(
    tmp_path: Path, server: RealTmux, begin: Begin, command: str
) -> None:
    ours = Files(tmp_path / "ours", {"TASK-9": []})
    workspace = tmp_path / "any-name"
    make_unreadable(workspace)
    log = workspace / "TASK-1" / "logs" / "one_stream.jsonl"
    log.parent.mkdir(parents=True)
    begin("agent_one-1", directory=tmp_path / "else", command=command.format(log=log))
    pids = server.client().ask().sessions["agent_one-1"].pids

    def is_told() -> bool:
        from tui.host.process import process_tree

        (family,) = process_tree.families({None: pids}).values()
        return any(
            path.is_relative_to(workspace)
            for pid in family
            for path in directories_touched(pid).directories
        )

    until(is_told, "the process to have its log")
    assert told(take_young(ours, server)) == ([], False)


def test_who_is_listed_is_still_no_orphan_beside_a_default_database(
    tmp_path: Path, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = Files(tmp_path / "ours", {"TASK-9": [entry("a"), entry("b", "completed")]})
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    make_unreadable(default(tmp_path))
    server.start("agent_a")
    server.start("agent_b")
    roll = take_young(ours, server)
    assert told(roll) == ([], True)
    # Nor is it an obstacle where JSON is the truth.
    plan = plan_kill(roll, [row_of(roll, "b")])
    (step,) = carry_out(plan, server.client(), "").steps
    assert step.result is Result.DONE


# JSON and a database in one workspace


def test_who_json_lists_is_judged_as_ever_and_another_is_unknown(
    mixed: Files, server: RealTmux, begin: Begin
) -> None:
    begin("agent_at-work", "agent_through", "agent_new", directory=mixed.path.parent)
    roll = take_young(mixed, server)
    assert verdicts(roll) == {
        "at-work": Verdict.LIVE,
        "through": Verdict.LEAKED,
        "gone": Verdict.ZOMBIE,
        "gone-2": Verdict.ZOMBIE,
    }
    assert told(roll) == ([], False)
    for each in ("through", "gone"):
        assert "may be stale" in row_of(roll, each).note


def test_a_session_of_one_that_may_be_at_work_is_not_ended(
    mixed: Files, server: RealTmux, begin: Begin, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    begin("agent_at-work", "agent_through", directory=mixed.path.parent)
    before = everything(mixed)
    assert run(mixed, "kill", "--leaked", "--yes") == 1
    said = capsys.readouterr()
    assert "it may be active" in said.out and "state.sqlite3" in said.err
    assert run(mixed, "kill", "through", "--yes") == 1
    assert server.names() == {"agent_at-work", "agent_through"}
    assert everything(mixed) == before


def test_the_dead_are_written_down_by_name_only(
    mixed: Files, server: RealTmux, begin: Begin, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    begin("agent_at-work", directory=mixed.path.parent)
    before = everything(mixed)
    assert run(mixed, "complete", "--zombies", "--yes") == 1
    assert run(mixed, "complete", "gone", "gone-2", "--yes") == 1
    assert run(mixed, "kill", "gone", "gone-2", "--yes") == 1
    assert run(mixed, "doctor", "--fix", "--yes") == 2
    assert everything(mixed) == before
    capsys.readouterr()
    assert run(mixed, "complete", "gone", "--dry-run") == 0
    assert "the database of its workspace is not changed" in capsys.readouterr().out
    assert run(mixed, "complete", "gone", "--yes") == 0
    assert mixed.agent("gone")["status"] == "completed"


def test_one_zombie_that_was_not_named_is_left_too(mixed: Files) -> None:
    mixed.write_task("TASK-1", entry("gone"))
    roll = take(mixed, ScriptedTmux(gone_all()))
    (row,) = roll.agents()
    assert row.verdict is Verdict.ZOMBIE
    assert not plan_complete(roll, [row], by_verdict=True).steps
    assert plan_complete(roll, [row]).steps


def gone_all() -> Any:
    from tests.support.rolls import answered

    return answered()


def test_the_doctor_leaves_counters_of_which_nobody_takes_care(
    mixed: Files, server: RealTmux, begin: Begin
) -> None:
    begin("agent_at-work", "agent_through", directory=mixed.path.parent)
    for path in (mixed.registry(), mixed.global_registry):
        write(path, read(path) | {"active_count": 9, "active_agents": 9, "total_tasks": 5})
    listed = read(mixed.global_registry)
    listed["agents"]["at-work"]["status"] = "failed"
    listed["tasks"]["TASK-gone"] = {"status": "INITIALIZED"}
    write(mixed.global_registry, listed)
    before = mixed.bytes()
    roll = take_young(mixed, server)
    found = examine(mixed.workspaces(), roll, settled=0.0)
    kinds = {IssueKind.UNREADABLE, IssueKind.ZOMBIE, IssueKind.LEAKED}
    assert {each.kind for each in found.findings} == kinds
    assert not found.fixable
    for each in found.findings:
        assert "muster kill" not in each.advice
    carry_out_fix(found, server.client(), "")
    assert mixed.bytes() == before


def test_show_says_so_of_an_agent(
    mixed: Files, server: RealTmux, begin: Begin, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    begin("agent_at-work", directory=mixed.path.parent)
    assert run(mixed, "show", "at-work", "--json") == 0
    assert any("state.sqlite3" in each for each in printed(capsys)["problems"])
    assert run(mixed, "show", "new") == 2
    assert "state.sqlite3" in capsys.readouterr().err


# A database that comes after the look


def test_an_orphan_is_left_whose_database_comes_before_it_is_killed(
    tmp_path: Path, server: RealTmux, begin: Begin
) -> None:
    files = Files(tmp_path / "project", {"TASK-1": []})
    begin("agent_one-1", directory=files.path.parent)
    roll = take_young(files, server)
    plan = plan_kill(roll, (), roll.orphans)
    make_unreadable(files.path)
    (step,) = carry_out(plan, server.client(), "").steps
    assert step.result is Result.LEFT and "state.sqlite3" in step.detail
    assert server.names() == {"agent_one-1"}


def test_a_leaked_one_is_left_whose_database_comes_before_it_is_killed(
    tmp_path: Path, server: RealTmux, begin: Begin
) -> None:
    files = Files(tmp_path / "project", {"TASK-1": [entry("done", "completed")]})
    begin("agent_done", directory=files.path.parent)
    roll = take_young(files, server)
    plan = plan_kill(roll, [row_of(roll, "done")])
    make_unreadable(files.path)
    (step,) = carry_out(plan, server.client(), "").steps
    assert step.result is Result.LEFT and "state.sqlite3" in step.detail
    assert server.names() == {"agent_done"}


def test_no_death_is_written_down_where_a_database_comes_before(tmp_path: Path) -> None:
    files = Files(tmp_path / "project", {"TASK-1": [entry("gone"), entry("gone-2")]})
    roll = take(files, ScriptedTmux(gone_all()))
    plan = plan_complete(roll, roll.agents())
    make_unreadable(files.path)
    before = files.bytes()
    outcome = carry_out(plan, ScriptedTmux(gone_all()), "")
    assert {each.result for each in outcome.steps} == {Result.LEFT}
    assert all("state.sqlite3" in each.detail for each in outcome.steps)
    assert files.bytes() == before


def test_nothing_is_set_right_where_a_database_comes_before(tmp_path: Path) -> None:
    files = Files(tmp_path / "project", {"TASK-1": [entry("a", "completed")]})
    for path in (files.registry(), files.global_registry):
        write(path, read(path) | {"completed_count": 9, "total_tasks": 5})
    roll = take(files, ScriptedTmux(gone_all()))
    found = examine(files.workspaces(), roll, settled=0.0)
    assert found.fixable
    make_unreadable(files.path)
    before = files.bytes()
    outcome = carry_out_fix(found, ScriptedTmux(gone_all()), "")
    assert {each.result for each in outcome.steps} == {Result.LEFT}
    assert files.bytes() == before


def test_a_reading_with_limits_reads_no_database_beyond_them(tmp_path: Path) -> None:
    workspace = tmp_path / ".agent-workspace"
    size = make_database(workspace, CREW).stat().st_size
    for left, is_read in ((size - 1, False), (size + 1, True)):
        registries = Registries((Workspace(workspace),))
        registries.rescan(bounds=Bounds(left=left, until=time.monotonic() + 1e9))
        (branch,) = registries.branches()
        assert (branch.database is None) is is_read
        assert bool(branch.states) is is_read
