"""Two projects on one tmux server: what the one does not list may be the other's."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry.schema import DATABASE, layout
from registry.schema.layout import Workspace
from registry.schema.records import GlobalTask
from registry.schema.workspaces_around import workspaces_above
from tests.support.dialects import DatabaseFiles
from tests.support.known_workspaces import know
from tests.support.other_users import only_root
from tests.support.real_tmux import RealTmux
from tests.support.registries import load, write
from tests.support.rolls import answered
from tests.support.waiting import until
from tests.support.workspaces import QUICK, Files, entry, take
from tui.actions.execute import carry_out
from tui.actions.outcome import Result
from tui.actions.plan_kill import plan_kill
from tui.cli.main import main
from tui.host.process import process_paths, process_tree, procfs
from tui.host.process.process_paths import directories_of, directories_touched
from tui.live import nearby_workspaces, surroundings
from tui.live.nearby_workspaces import NearbyWorkspaces
from tui.live.registry_cache import Bounds, Registries
from tui.model.roll import RollCall

YOUNG = replace(QUICK, orphan_grace=-1.0)
"""Nobody wants to wait until orphans are old enough."""

Begin = Callable[..., None]


@pytest.fixture
def ours(tmp_path: Path) -> Files:
    return Files(tmp_path / "ours", {"TASK-1": [entry("a")]})


@pytest.fixture
def theirs(tmp_path: Path) -> Files:
    return Files(tmp_path / "their project", {"TASK-9": [entry("b")]})


@pytest.fixture
def begin(server: RealTmux) -> Begin:
    """Starts a session whose process works in a directory, where it has arrived."""

    def started(name: str, directory: Path, command: str = "exec sleep 1000") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        there = directory / f"{name} is there"
        server.run("new-session", "-d", "-s", name, "-c", str(directory),
                   f"touch {there.name.replace(' ', chr(92) + ' ')}; {command}")  # fmt: skip
        until(there.exists, f"{name} to start")
        there.unlink()

    return started


def take_young(files: Files, server: RealTmux) -> RollCall:
    return take(files, server.client(), YOUNG)


def orphans(roll: RollCall) -> list[str]:
    return [each.name for each in roll.orphans]


@pytest.mark.parametrize("beneath", [".", "src/deep", ".agent-workspace/TASK-9", "a b\nc"])
def test_another_projects_agent_is_no_orphan(
    ours: Files, theirs: Files, server: RealTmux, begin: Begin, beneath: str
) -> None:
    server.start("agent_a")
    begin("agent_b", theirs.path.parent / beneath)
    begin("agent_nobodys", theirs.path.parent / beneath)
    roll = take_young(ours, server)
    assert orphans(roll) == ["agent_nobodys"]
    assert roll.orphans_known
    assert roll.nearby_workspaces == (theirs.path,)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_another_users_workspace_spares_its_own_and_makes_no_orphan(
    ours: Files, theirs: Files, server: RealTmux, begin: Begin
) -> None:
    os.chown(theirs.path, 64104, 64104)
    begin("agent_b", theirs.path.parent)
    begin("agent_nobodys", theirs.path.parent)
    begin("agent_elsewhere", ours.path.parent)
    roll = take_young(ours, server)
    assert orphans(roll) == ["agent_elsewhere", "agent_nobodys"]
    # What cannot be read there makes unknown what lies there, and nothing else.
    (theirs.path / "TASK-9" / "AGENT_REGISTRY.json").write_text("{")
    (theirs.path / "registry" / "GLOBAL_REGISTRY.json").write_text("{")
    roll = take_young(ours, server)
    assert orphans(roll) == ["agent_elsewhere"]
    assert not roll.orphans_known


@only_root
@pytest.mark.parametrize(
    ("limit", "reached"),
    [
        ({}, False),
        ({"_FOREIGN_TASKS": 1}, True),
        ({"_FOREIGN_LARGEST": 40}, True),
        ({"_FOREIGN_BYTES": 40}, True),
        ({"_FOREIGN_TIME": 0.0}, True),
    ],
)
def test_of_another_users_workspace_only_so_much_is_read_and_the_rest_is_unknown(
    ours: Files,
    theirs: Files,
    server: RealTmux,
    begin: Begin,
    monkeypatch: pytest.MonkeyPatch,
    limit: dict[str, float],
    reached: bool,
) -> None:
    shutil.copytree(theirs.path / "TASK-9", theirs.path / "TASK-91")
    begin("agent_nobodys", theirs.path.parent)
    begin("agent_elsewhere", ours.path.parent)
    for name, value in limit.items():
        monkeypatch.setattr(nearby_workspaces, name, value)
    # One's own is read whole.
    assert orphans(take_young(ours, server)) == ["agent_elsewhere", "agent_nobodys"]
    os.chown(theirs.path, 64104, 64104)
    roll = take_young(ours, server)
    assert ("agent_nobodys" not in orphans(roll)) is reached
    assert "agent_elsewhere" in orphans(roll)
    assert roll.orphans_known is not reached


@only_root
def test_no_path_is_followed_that_another_users_registry_lists(
    ours: Files,
    theirs: Files,
    server: RealTmux,
    begin: Begin,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    listed = load(theirs.path / "registry" / "GLOBAL_REGISTRY.json")
    listed["tasks"]["TASK-FAR"] = {"workspace": str(tmp_path / "far" / "TASK-FAR")}
    write(theirs.path / "registry" / "GLOBAL_REGISTRY.json", listed)
    os.chown(theirs.path, 64104, 64104)
    begin("agent_nobodys", theirs.path.parent)
    begin("agent_elsewhere", ours.path.parent)
    followed: list[str] = []
    real = layout._elsewhere

    def follow(task: GlobalTask, workspace: Workspace) -> Path | None:
        followed.append(task.task_id)
        return real(task, workspace)

    monkeypatch.setattr(layout, "_elsewhere", follow)
    roll = take_young(ours, server)
    assert "TASK-FAR" not in followed
    # That task may list the session.
    assert orphans(roll) == ["agent_elsewhere"]
    assert not roll.orphans_known


@only_root
def test_another_user_that_keeps_its_registries_busy_delays_no_look(
    theirs: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each that has a write lease on it would be waited for."""
    read: list[Path] = []

    class Slow(Registries):
        """To which the clock goes on by a second for each file."""

        def _read_task(self, branch: Any, task: Any, bounds: Bounds) -> None:
            read.append(task.path)
            bounds.until -= 1.0
            super()._read_task(branch, task, bounds)

    for number in range(10):
        shutil.copytree(theirs.path / "TASK-9", theirs.path / f"TASK-9{number}")
    monkeypatch.setattr(nearby_workspaces, "Registries", Slow)
    NearbyWorkspaces((theirs.path,)).read_around((), answered(), frozenset())
    assert len(read) == 11
    read.clear()
    os.chown(theirs.path, 64104, 64104)
    nearby = NearbyWorkspaces((), (theirs.path,))
    nearby.read_around((), answered(), frozenset())
    assert len(read) == 1
    assert not nearby.readings[theirs.path].sees_all


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_workspace_of_another_user_on_the_way_up_is_passed_over_and_said(
    ours: Files,
    server: RealTmux,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    planted = Files(ours.path.parent / "public", {"TASK-9": [entry("b")]})
    os.chown(planted.path, 64104, 64104)
    monkeypatch.chdir(planted.path.parent)
    monkeypatch.delenv("MUSTER_WORKSPACES", raising=False)
    assert main(["list", "-S", str(server.socket)]) == 0
    printed = capsys.readouterr()
    assert f"muster: skipped {planted.path}: this directory belongs to user 64104" in printed.err
    assert f"MUSTER_WORKSPACES={planted.path}" in printed.err
    assert "TASK-1" in printed.out and "TASK-9" not in printed.out


@pytest.mark.parametrize("where", ["beside", "above", "uncertain"])
def test_whoever_any_workspace_lists_that_was_read_is_no_orphan(
    ours: Files, theirs: Files, server: RealTmux, begin: Begin, tmp_path: Path, where: str
) -> None:
    begin("agent_b", tmp_path if where == "above" else tmp_path / "else")
    begin("agent_nobodys", theirs.path.parent / "src")
    begin("agent_nobodys-2", tmp_path / "else")
    if where == "uncertain":
        theirs.write_task("TASK-8", entry("c", tmux_session="agent_#{pid}"), entry("b"))
        theirs.write_task("TASK-9", entry("d"))
        theirs.write_global({})
    roll = take_young(ours, server)
    # Of the other nobody can tell where a name in the registry around it may mean it.
    uncertain = [] if where == "uncertain" else ["agent_nobodys"]
    assert orphans(roll) == [*uncertain, "agent_nobodys-2"]
    assert roll.orphans_known is (where != "uncertain")


def test_an_orphan_that_a_workspace_of_the_plan_lists_by_now_is_left(
    ours: Files, theirs: Files, server: RealTmux, begin: Begin, tmp_path: Path
) -> None:
    begin("agent_late", tmp_path / "else")
    begin("agent_nobodys", theirs.path.parent)
    roll = take_young(ours, server)
    assert orphans(roll) == ["agent_late", "agent_nobodys"]
    plan = plan_kill(roll, (), roll.orphans[:1])
    theirs.write_task("TASK-2", entry("late"))
    (step,) = carry_out(plan, server.client(), "").steps
    assert step.result is Result.LEFT and "lists the session now" in step.detail
    assert "agent_late" in server.names()


def test_a_look_at_many_orphans_starts_one_process(
    ours: Files, theirs: Files, server: RealTmux, begin: Begin, calls: Path
) -> None:
    server.start("agent_a")
    for number in range(5):
        begin(f"agent_nobodys-{number}", theirs.path.parent)
    calls.unlink()
    assert len(orphans(take_young(ours, server))) == 5
    assert calls.read_text() == "x\n"


def test_one_that_went_elsewhere_is_known_by_where_it_was_started(
    ours: Files, theirs: Files, server: RealTmux, begin: Begin
) -> None:
    begin("agent_b", theirs.path.parent, "cd / && exec sleep 1000")
    assert orphans(take_young(ours, server)) == []


def test_one_that_was_started_elsewhere_is_known_by_where_it_works(
    ours: Files, theirs: Files, server: RealTmux, begin: Begin, tmp_path: Path
) -> None:
    begin("agent_b", tmp_path / "else", f"cd '{theirs.path.parent}' && exec sleep 1000")
    pid = server.pane_pids().pop()
    until(
        lambda: theirs.path.parent in (directories_of(pid) or ()),
        "the agent to go there",
    )
    assert orphans(take_young(ours, server)) == []


TRACES = {
    "a child's open file": "sh {script}; exit",
    "a path for the shell": "sleep 1000 | tee -a '{log}'; exit",
    "a word": "sh -c 'sleep 1000; exit' --log={escaped}; exit",
}


@pytest.mark.parametrize("how", TRACES)
def test_one_that_only_writes_into_a_workspace_is_known_by_that(
    ours: Files, theirs: Files, server: RealTmux, begin: Begin, tmp_path: Path, how: str
) -> None:
    log = theirs.path / "TASK-9" / "logs" / "b_stream.jsonl"
    log.parent.mkdir()
    script = tmp_path / "script"
    script.write_text(f"sleep 1000 >> '{log}'; exit")
    escaped = str(log).replace(" ", "\\ ")
    command = TRACES[how].format(script=script, log=log, escaped=escaped)
    begin("agent_b", tmp_path / "else", command)
    begin("agent_nobodys", tmp_path / "else", command)
    sessions = server.client().ask().sessions
    for name in ("agent_b", "agent_nobodys"):
        until(lambda name=name: theirs.path in traces(*sessions[name].pids), "it to write")  # type: ignore[misc]
    roll = take_young(ours, server)
    assert orphans(roll) == ["agent_nobodys"]
    assert roll.nearby_workspaces == (theirs.path,)


def traces(*pids: int) -> set[Path]:
    """The workspaces that processes, with all beneath them, leave traces of."""
    (found,) = process_tree.families({None: pids}).values()
    touched = {each for pid in found for each in directories_touched(pid).directories}
    return {each for path in touched for each in workspaces_above(path)}


@pytest.fixture
def told(theirs: Files, tmp_path: Path) -> str:
    """What runs a shell that is given a path in their workspace, and writes its pid."""
    os.mkfifo(tmp_path / "never")
    inside = f"echo $$ > {tmp_path}/pid; read line < {tmp_path}/never"
    return shlex.join(["sh", "-c", inside, str(theirs.path / "TASK-9" / "log")])


def test_what_left_the_tree_of_a_session_tells_its_workspace_as_well(
    ours: Files, theirs: Files, server: RealTmux, tmp_path: Path, told: str
) -> None:
    """A kill would end it, so it is asked."""
    note = tmp_path / "pid"
    server.start("agent_b", f"(setsid {told} &); exec sleep 1000")
    server.start("agent_nobodys")
    pid = int(until(lambda: note.exists() and note.read_text().strip(), "its pid"))
    until(lambda: (found := procfs.stat_of(pid)) and found.parent == 1, "init to have it")
    roll = take_young(ours, server)
    assert orphans(roll) == ["agent_nobodys"]
    assert roll.nearby_workspaces == (theirs.path,)
    os.kill(pid, signal.SIGKILL)


def test_what_a_dead_pane_left_tells_its_workspace_as_well(
    ours: Files, theirs: Files, server: RealTmux, tmp_path: Path, told: str
) -> None:
    note = tmp_path / "pid"
    server.start("keeper")
    server.run("set-option", "-g", "remain-on-exit", "on")
    left = f"trap '' HUP; {told} > /dev/null 2>&1 &"
    server.start("agent_b", f"{left} while [ ! -s {note} ]; do sleep 0.01; done")
    until(lambda: not server.client().ask().sessions["agent_b"].pids, "the pane's end")
    roll = take_young(ours, server)
    assert orphans(roll) == []
    assert theirs.path in roll.nearby_workspaces
    os.kill(int(note.read_text()), signal.SIGKILL)


def test_where_a_process_names_more_than_is_examined_its_session_is_no_orphan(
    ours: Files, server: RealTmux, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin("agent_b", ours.path.parent, "sleep 1000; : /x/.agent-workspace")
    begin("agent_nobodys", ours.path.parent)
    assert orphans(take_young(ours, server)) == ["agent_b", "agent_nobodys"]
    monkeypatch.setattr(process_paths, "_AT_MOST", 0)
    roll = take_young(ours, server)
    assert "agent_b" not in orphans(roll)
    assert not roll.orphans_known


def test_where_the_paths_of_processes_take_too_long_its_session_is_no_orphan(
    ours: Files, server: RealTmux, begin: Begin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begin("agent_x", tmp_path)
    assert [each.name for each in take_young(ours, server).orphans or ()] == ["agent_x"]
    monkeypatch.setattr(surroundings, "PATHS_TIME", -1.0)
    looked = NearbyWorkspaces((ours.path,)).look(
        server.client().ask().sessions.values(), server.client().ask(), frozenset(), YOUNG, 2e9
    )
    assert [each.name for each in looked.unsure] == ["agent_x"]


def test_kill_all_orphans_leaves_the_agents_of_another_project(
    ours: Files,
    theirs: Files,
    server: RealTmux,
    begin: Begin,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tui.cli.commands.kill.policy_of", lambda _: YOUNG)
    server.start("agent_a")
    begin("agent_b", theirs.path.parent)
    begin("agent_nobodys", theirs.path.parent)
    words = ["-S", str(server.socket), "-w", str(ours.path)]
    assert main(["kill", "--orphans", "--dry-run", *words]) == 0
    said = capsys.readouterr().out
    assert main(["kill", "--orphans", "--yes", *words]) == 0
    assert server.names() == {"agent_a", "agent_b"}
    assert f"not in the registries of {ours.path}, {theirs.path}" in said
    assert main(["kill", "agent_b", "--yes", *words]) == 2
    assert server.names() == {"agent_a", "agent_b"}


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_an_orphan_that_is_listed_before_it_is_killed_is_left(
    ours: Files, theirs: Files, server: RealTmux, begin: Begin, whose: str
) -> None:
    begin("agent_late", theirs.path.parent)
    roll = take_young(ours, server)
    plan = plan_kill(roll, (), roll.orphans)
    {"ours": ours, "theirs": theirs}[whose].write_task("TASK-2", entry("late"))
    (step,) = carry_out(plan, server.client(), "").steps
    assert step.result is Result.LEFT and "lists the session now" in step.detail
    assert "agent_late" in server.names()


@pytest.mark.parametrize("which", ["ours", "theirs"])
@pytest.mark.parametrize("replaced", ["moved aside", "an older copy"])
def test_an_agent_that_was_deployed_to_a_database_is_no_orphan_without_its_entry(
    tmp_path: Path, ours: Files, server: RealTmux, begin: Begin, which: str, replaced: str
) -> None:
    database = DatabaseFiles(tmp_path / "database", {"TASK-2": [entry("old", "completed")]})
    home = database if which == "ours" else ours
    record = database.path / "TASK-2" / "logs" / "deploy_b.json"
    record.parent.mkdir(exist_ok=True)
    record.write_text(json.dumps({"agent_id": "b", "storage": "sqlite"}))
    if replaced == "moved aside":
        (database.path / "registry" / DATABASE).unlink()
    begin("agent_b", database.path.parent)
    begin("agent_nobodys", database.path.parent)
    roll = take_young(home, server)
    assert orphans(roll) == ["agent_nobodys"]
    assert "agent b, whose deployment" in str(roll.nearby_databases)
    plan = plan_kill(roll, [], [roll.answer.sessions["agent_b"]])
    (step,) = carry_out(plan, server.client(), "").steps
    assert step.result is Result.LEFT and "deploy_b.json" in step.detail
    # Not written there by the orchestrator.
    record.write_text("{}")
    assert "agent_b" in orphans(take_young(home, server))


def test_an_agent_that_is_being_written_to_a_database_is_no_orphan(
    tmp_path: Path, server: RealTmux, begin: Begin
) -> None:
    database = DatabaseFiles(tmp_path / "database", {"TASK-2": [entry("old", "completed")]})
    (database.path / "TASK-2" / "agent_prompt_b.txt").write_text("do it")
    begin("agent_b", database.path.parent)
    begin("agent_nobodys", database.path.parent)
    assert orphans(take_young(database, server)) == ["agent_nobodys"]
    # Without the database, the prompt counts if other agents of the task were deployed to one.
    (database.path / "registry" / DATABASE).unlink()
    assert "agent_b" in orphans(take_young(database, server))
    record = database.path / "TASK-2" / "logs" / "deploy_old.json"
    record.parent.mkdir(exist_ok=True)
    record.write_text(json.dumps({"agent_id": "old", "storage": "sqlite"}))
    assert orphans(take_young(database, server)) == ["agent_nobodys"]


def test_an_orphan_of_which_nobody_can_tell_any_more_is_left(
    ours: Files, theirs: Files, server: RealTmux, begin: Begin
) -> None:
    begin("agent_late", theirs.path.parent)
    roll = take_young(ours, server)
    plan = plan_kill(roll, (), roll.orphans)
    theirs.registry("TASK-9").write_text("{")
    (step,) = carry_out(plan, server.client(), "").steps
    assert step.result is Result.LEFT and "unknown whether" in step.detail
    assert "agent_late" in server.names()


@pytest.mark.parametrize("broken", ["task", "global"])
def test_a_registry_around_it_that_cannot_be_read_may_list_it(
    ours: Files, theirs: Files, server: RealTmux, begin: Begin, broken: str
) -> None:
    begin("agent_x", theirs.path.parent)
    path = theirs.registry("TASK-9") if broken == "task" else theirs.global_registry
    path.write_text("{")
    roll = take_young(ours, server)
    assert orphans(roll) == []
    assert not roll.orphans_known


def test_processes_that_must_not_be_looked_into_may_be_anybodys(
    ours: Files, server: RealTmux, begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin("agent_x", tmp_path / "else")
    assert orphans(take_young(ours, server)) == ["agent_x"]
    monkeypatch.setattr(process_paths, "directories_of", lambda _: None)
    roll = take_young(ours, server)
    assert (orphans(roll), roll.orphans_known) == ([], False)
    # Neither there nor to be seen, as its server: of another PID namespace.
    monkeypatch.setattr(process_paths, "directories_of", lambda _: frozenset())
    monkeypatch.setattr("tui.host.tmux.is_process_here", lambda *_: False)
    roll = take_young(ours, server)
    assert (orphans(roll), roll.orphans_known) == ([], False)


@pytest.mark.parametrize("names", [("private",), ("private", "TASK-1"), (".agent-workspace",)])
@pytest.mark.parametrize("by_word", [True, False], ids=["named", "open file"])
def test_an_unreadable_directory_that_may_be_a_workspace_may_list_it(
    ours: Files,
    server: RealTmux,
    begin: Begin,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    names: tuple[str, ...],
    by_word: bool,
) -> None:
    private = tmp_path.joinpath(*names)
    paths = frozenset({private})
    touched = process_paths.Touched(paths, True, paths if by_word else frozenset())
    real = workspaces_above

    def above(path: Path) -> frozenset[Path]:
        if path == private:
            raise PermissionError
        return real(path)

    begin("agent_x", tmp_path / "else")
    monkeypatch.setattr(process_paths, "directories_touched", lambda _: touched)
    monkeypatch.setattr(surroundings, "workspaces_above", above)
    roll = take_young(ours, server)
    is_plain = names == ("private",) and not by_word
    assert (orphans(roll), roll.orphans_known) == (
        (["agent_x"], True) if is_plain else ([], False)
    )


def test_no_more_workspaces_are_read_than_a_few(
    ours: Files, theirs: Files, server: RealTmux, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin("agent_x", theirs.path.parent)
    monkeypatch.setattr("tui.live.nearby_workspaces._AT_MOST", 0)
    roll = take_young(ours, server)
    assert (orphans(roll), roll.orphans_known) == ([], False)


def test_the_same_sessions_are_looked_into_once_for_a_while(
    ours: Files, theirs: Files, server: RealTmux, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin("agent_x", theirs.path.parent)
    answer = server.client().ask()
    nearby = NearbyWorkspaces()
    sessions = tuple(answer.sessions.values())
    first = nearby.judge(sessions, answer, [ours.path], YOUNG, 2e9)
    assert [each.name for each in first.orphans] == ["agent_x"]
    theirs.write_task("TASK-2", entry("x"))
    assert nearby.judge(sessions, answer, [ours.path], YOUNG, 2e9) == first
    monkeypatch.setattr("tui.live.nearby_workspaces._AGAIN", 0.0)
    assert nearby.judge((), answer, [ours.path], YOUNG, 2e9).orphans == ()
    assert nearby.judge(sessions, answer, [ours.path], YOUNG, 2e9).orphans == ()


def test_the_workspaces_above_a_directory_are_all_of_them(tmp_path: Path) -> None:
    outer = Files(tmp_path, {})
    inner = Files(tmp_path / "a" / "b", {})
    plain = tmp_path / "a" / "other-name"
    shutil.copytree(inner.path, plain)
    assert workspaces_above(tmp_path / "a" / "b" / "c") == {outer.path, inner.path}
    assert workspaces_above(inner.path / "TASK-1") == {outer.path, inner.path}
    assert workspaces_above(plain / "TASK-1") == {outer.path, plain}
    assert workspaces_above(tmp_path / "gone") == {outer.path}
    assert workspaces_above(tmp_path / "gone" / ".agent-workspace" / "TASK-1") == {outer.path}


# The workspaces in the orchestrator's list


@pytest.mark.parametrize("kind", [Files, DatabaseFiles])
def test_an_agent_of_a_workspace_that_the_orchestrator_knows_is_no_orphan(
    ours: Files,
    server: RealTmux,
    begin: Begin,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Files],
) -> None:
    known = kind(tmp_path / "known", {"TASK-9": [entry("b")]})
    path = known.path.rename(known.path.with_name("odd-name"))
    begin("agent_b", tmp_path / "elsewhere")
    begin("agent_nobodys", tmp_path / "elsewhere")
    before = take_young(ours, server)
    assert orphans(before) == ["agent_b", "agent_nobodys"]
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    know(tmp_path / "home", path, tmp_path / "gone")
    roll = take_young(ours, server)
    assert (orphans(roll), roll.orphans_known) == (["agent_nobodys"], True)
    # Also a plan that was made before the orchestrator knew the workspace spares the agent.
    carry_out(plan_kill(before, (), before.orphans), server.client(), "")
    assert server.names() == {"agent_b"}


def test_each_workspace_in_the_list_is_read(
    ours: Files,
    server: RealTmux,
    begin: Begin,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nearby_workspaces, "_AT_MOST", 1)
    made = [Files(tmp_path / f"known {n}", {"TASK-9": [entry(f"b{n}")]}) for n in range(3)]
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    know(tmp_path / "home", *(files.path for files in made))
    for name in ("b0", "b1", "b2"):
        begin(f"agent_{name}", tmp_path / "elsewhere")
    roll = take_young(ours, server)
    assert (orphans(roll), roll.orphans_known) == ([], True)


def test_without_the_list_it_is_unknown_what_is_an_orphan(
    ours: Files,
    server: RealTmux,
    begin: Begin,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    know(tmp_path / "home").write_bytes(b"This is no database. " * 100)
    begin("agent_nobodys", tmp_path / "elsewhere")
    roll = take_young(ours, server)
    assert (orphans(roll), roll.orphans_known) == ([], False)
