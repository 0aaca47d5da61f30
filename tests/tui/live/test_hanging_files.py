"""A file system that does not answer: it delays its own workspace, and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from registry.schema import places, workspaces_around
from registry.schema.layout import Workspace
from registry.sources import JsonTask, JsonWorkspace, SqliteWorkspace
from tests.support.fuse import needs_fuse, passed_through
from tests.support.known_workspaces import know
from tests.support.real_tmux import RealTmux
from tests.support.rolls import answered
from tests.support.scripted_tmux import ScriptedTmux, made_now
from tests.support.waiting import until
from tests.support.workspaces import QUICK, Files, entry, stamp, verdicts
from tui.cli.main import main
from tui.config import load
from tui.host import asker, tmux_servers
from tui.host.asker import Asker, NoAnswerError
from tui.live import builder, nearby_workspaces, separate_registries, surroundings
from tui.live.collector import LiveRoll
from tui.live.nearby_workspaces import NearbyWorkspaces
from tui.live.once import take_roll
from tui.live.other_servers import OtherServers
from tui.live.separate_registries import NO_ANSWER
from tui.model.roll import RollCall, Verdict, WorkspaceRoll

BOTH = answered(made_now("agent_a", number=1), made_now("agent_b", number=2))
YOUNG = replace(QUICK, orphan_grace=0.0)
ONE_DIED = answered(made_now("agent_a", number=1))


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(separate_registries, "PATIENCE", 0.3)
    monkeypatch.setattr(builder, "_PATIENCE", 0.3)
    monkeypatch.setattr(asker, "PATIENCE", 0.3)


class Hang:
    """Makes functions hang, for some arguments, until they are let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self._released = threading.Event()
        self.hanging = threading.Event()
        self.calls = 0

    def of(self, owner: Any, name: str, concerns: Callable[..., bool]) -> None:
        real = getattr(owner, name)

        def slow(*arguments: Any, **named: Any) -> Any:
            if concerns(*arguments) and not self._released.is_set():
                self.calls += 1
                self.hanging.set()
                assert self._released.wait(60)
            return real(*arguments, **named)

        self._patch.setattr(owner, name, slow)

    def release(self) -> None:
        self._released.set()


@pytest.fixture
def hang(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hang]:
    made = Hang(monkeypatch)
    yield made
    made.release()


@pytest.fixture
def dead(tmp_path: Path) -> Files:
    return Files(tmp_path / "dead", {"TASK-A": [entry("a", started_at=stamp(3600))]})


@pytest.fixture
def good(tmp_path: Path) -> Files:
    return Files(tmp_path / "good", {"TASK-B": [entry("b", started_at=stamp(3600))]})


def both(dead: Files, good: Files) -> tuple[Workspace, ...]:
    return (*dead.workspaces(), *good.workspaces())


def of(roll: RollCall, files: Files) -> WorkspaceRoll:
    (found,) = (each for each in roll.workspaces if each.path == files.path.resolve())
    return found


PLACES: dict[str, tuple[Any, str]] = {
    "its directory": (JsonWorkspace, "tasks"),
    "its global registry": (JsonWorkspace, "listed"),
    "its database": (SqliteWorkspace, "unread_database"),
}
every_place = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)


@every_place
def test_a_list_shows_the_others_and_says_which_does_not_answer(
    dead: Files, good: Files, hang: Hang, place: tuple[Any, str]
) -> None:
    hang.of(*place, lambda source, *_: source.directory == dead.path.resolve())
    roll = take_roll(both(dead, good), ScriptedTmux(BOTH), QUICK)
    assert of(roll, dead).error == NO_ANSWER and of(roll, dead).tasks == ()
    assert of(roll, good).error is None
    assert verdicts(roll) == {"b": Verdict.LIVE}
    # It may list any session.
    assert not roll.orphans_known and roll.orphans == ()


def test_the_monitor_keeps_its_last_state_with_its_age_and_follows_the_others(
    dead: Files, good: Files, hang: Hang
) -> None:
    tmux = ScriptedTmux(BOTH)
    live = LiveRoll(both(dead, good), tmux, QUICK)
    live.start()

    def now() -> RollCall:
        assert live.latest is not None
        return live.latest

    try:
        until(lambda: live.latest is not None and len(verdicts(now())) == 2, "both agents")
        began = time.time()
        registry = dead.registry("TASK-A").resolve()
        hang.of(JsonTask, "look", lambda task: task.path == registry)
        live.refresh()
        until(lambda: of(now(), dead).error == NO_ANSWER, "the error")
        (task,) = of(now(), dead).tasks
        assert task.state.error == NO_ANSWER
        assert [row.key.id for row in task.agents] == ["a"]
        assert task.state.read_at < began + 1

        # What happens elsewhere is seen: a change, and a death.
        good.write_task("TASK-B", entry("b", started_at=stamp(3600)), entry("later", "completed"))
        until(lambda: "later" in verdicts(now()), "the change of another workspace")
        tmux._answers = (ONE_DIED,)
        tmux.asked = 0
        live.refresh()
        until(lambda: verdicts(now())["b"] is Verdict.ZOMBIE, "the death in another workspace")

        # It is not read again meanwhile.
        threads = threading.active_count()
        for _ in range(3):
            live.refresh()
        assert threading.active_count() <= threads + 1
        assert hang.calls == 1

        hang.release()
        until(lambda: of(now(), dead).error is None, "its answer")
        assert of(now(), dead).tasks[0].state.error is None
    finally:
        hang.release()
        live.stop()


def test_a_single_workspace_that_hangs_from_the_start_says_so(dead: Files, hang: Hang) -> None:
    hang.of(JsonWorkspace, "tasks", lambda source, *_: True)
    live = LiveRoll(dead.workspaces(), ScriptedTmux(BOTH), QUICK)
    live.start()
    try:
        until(lambda: live.latest and of(live.latest, dead).error == NO_ANSWER, "the error")
        hang.release()
        until(lambda: live.latest and verdicts(live.latest) == {"a": Verdict.LIVE}, "the agent")
    finally:
        hang.release()
        live.stop()


def test_a_large_workspace_that_is_read_step_by_step_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Files(tmp_path, {f"TASK-{n}": [entry(f"x{n}", "completed")] for n in range(8)})
    reads = JsonTask.read

    def slow(task: JsonTask, *bounds: int) -> Any:
        time.sleep(0.1)
        return reads(task, *bounds)

    monkeypatch.setattr(JsonTask, "read", slow)
    roll = take_roll(files.workspaces(), ScriptedTmux(BOTH), QUICK)
    assert len(verdicts(roll)) == 8 and of(roll, files).error is None


def test_whose_progress_file_does_not_answer_is_not_called_stalled(
    tmp_path: Path, hang: Hang, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Files(tmp_path, {"TASK-A": [entry("a", started_at=stamp(3600))]})
    impatient = replace(QUICK, stall_timeout=0.001)
    roll = take_roll(files.workspaces(), ScriptedTmux(BOTH), impatient)
    assert verdicts(roll) == {"a": Verdict.STALLED}
    monkeypatch.setattr(Asker, "ask", _impatient(Asker.ask))
    hang.of(JsonTask, "last_reports", lambda *_: True)
    roll = take_roll(files.workspaces(), ScriptedTmux(BOTH), impatient)
    assert verdicts(roll) == {"a": Verdict.UNKNOWN}
    assert (roll.counts[Verdict.STALLED], roll.counts[Verdict.UNKNOWN]) == (0, 1)


def test_a_session_around_which_nothing_answers_is_no_orphan(good: Files, hang: Hang) -> None:
    there = answered(made_now("agent_b", number=1), made_now("agent_lost", number=2))
    assert len(take_roll(good.workspaces(), ScriptedTmux(there), QUICK).orphans) == 1
    hang.of(NearbyWorkspaces, "judge", lambda _, sessions, *__: bool(sessions))
    roll = take_roll(good.workspaces(), ScriptedTmux(there), QUICK)
    assert roll.orphans == () and not roll.orphans_known
    assert verdicts(roll) == {"b": Verdict.LIVE}


def test_without_an_answer_any_user_may_have_the_agents(
    monkeypatch: pytest.MonkeyPatch, hang: Hang
) -> None:
    monkeypatch.setattr(tmux_servers, "owners_of", lambda *_: frozenset({4321}))
    assert OtherServers(())._owners(()) == {4321}
    hang.of(tmux_servers, "owners_of", lambda *_: True)
    monkeypatch.setattr(Asker, "ask", _impatient(Asker.ask))
    assert OtherServers(())._owners(()) is None


def _impatient(ask: Callable[..., Any]) -> Callable[..., Any]:
    return lambda asker, function, *_: ask(asker, function, 0.2)


# Asking


def test_an_error_of_a_call_is_raised_to_who_asked() -> None:
    def fail() -> None:
        raise FileNotFoundError("gone")

    with pytest.raises(FileNotFoundError, match="gone"):
        Asker[None]().ask(fail)


def test_while_a_call_hangs_none_is_started_and_its_end_is_told() -> None:
    release, told = threading.Event(), threading.Event()
    asker: Asker[bool] = Asker(told.set)
    with pytest.raises(NoAnswerError):
        asker.ask(lambda: release.wait(60), 0.05)
    with pytest.raises(NoAnswerError):
        asker.ask(lambda: pytest.fail("it was called"))
    assert asker.is_hanging and not told.is_set()
    release.set()
    assert told.wait(10)
    until(lambda: not asker.is_hanging, "its end")
    assert asker.ask(lambda: True) is True


def test_calls_that_follow_each_other_share_a_thread_until_the_end() -> None:
    asker = Asker[int](idle=60.0)
    first, second = (asker.ask(threading.get_ident) for _ in range(2))
    assert first == second
    asker.stop()
    assert first not in {thread.ident for thread in threading.enumerate()}
    assert asker.ask(lambda: 1) == 1
    asker.stop()


@pytest.fixture
def nobody(tmp_path: Path) -> str:
    return str(tmp_path / "none")


def test_a_command_skips_a_path_that_does_not_answer(
    dead: Files, good: Files, hang: Hang, nobody: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hang.of(places, "_named", lambda path: path == dead.path)
    assert main(["list", "-S", nobody, str(dead.path), str(good.path)]) == 0
    said = capsys.readouterr()
    assert "TASK-B" in said.out
    assert f"skipped {dead.path}: the file system does not answer" in said.err


@pytest.mark.parametrize(
    "command", [["list"], ["complete", "--zombies", "--yes"], ["doctor"], ["metrics"]]
)
def test_a_command_ends_if_its_only_path_does_not_answer(
    dead: Files,
    hang: Hang,
    nobody: str,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
) -> None:
    hang.of(places, "_named", lambda path: path == dead.path)
    place = ["-w"] if command[0] == "complete" else []
    assert main([*command, "-S", nobody, *place, str(dead.path)]) == 2
    assert "the file system does not answer" in capsys.readouterr().err


# A default workspace, which the user did not name

DEFAULT: dict[str, tuple[Any, str]] = {
    "the look at it": (workspaces_around, "_may_keep_tasks"),
    "whose it is": (nearby_workspaces, "_is_foreign"),
    "its directory": (JsonWorkspace, "tasks"),
    "its database": (SqliteWorkspace, "unread_database"),
}


@pytest.fixture
def default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default workspace of the user."""
    path = tmp_path / "home" / ".claude-orchestrator" / "workspaces"
    Files(tmp_path / "home", {"TASK-D": []}).path.rename(tmp_path / "moved")
    path.parent.mkdir(parents=True)
    (tmp_path / "moved").rename(path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    # Only the look at this workspace hangs, and has little patience.
    monkeypatch.setattr(builder, "_PATIENCE", 30.0)
    return path


def _concerns(default: Path, place: object, *_: object) -> bool:
    return (place.directory if isinstance(place, JsonWorkspace) else place) == default


@pytest.mark.parametrize("place", DEFAULT.values(), ids=DEFAULT)
def test_a_default_workspace_that_hangs_holds_no_command(
    server: RealTmux,
    good: Files,
    default: Path,
    hang: Hang,
    place: tuple[Any, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tui.cli.commands.kill.policy_of", lambda _: YOUNG)
    for name in ("agent_b", "agent_stranger"):
        server.start(name)
    good.write_task("TASK-B", entry("b", started_at=stamp(0)))
    words = ["-S", str(server.socket), "-w", str(good.path)]
    assert main(["kill", "--orphans", "--dry-run", *words]) == 0
    assert "agent_stranger" in capsys.readouterr().out
    monkeypatch.setattr(nearby_workspaces, "PATIENCE", 0.3)
    hang.of(*place, partial(_concerns, default))
    # It may list any session.
    assert main(["kill", "--orphans", "--yes", *words]) == 1
    assert "agent_stranger" in server.names()
    assert main(["kill", "b", "--yes", *words]) == 0
    assert server.names() == {"agent_stranger"}
    assert hang.calls > 0


def test_without_an_unlisted_session_no_default_workspace_is_looked_at(
    good: Files, default: Path, hang: Hang
) -> None:
    hang.of(workspaces_around, "_may_keep_tasks", partial(_concerns, default))
    alone = answered(made_now("agent_b", number=1))
    roll = take_roll(good.workspaces(), ScriptedTmux(alone), QUICK)
    assert verdicts(roll) == {"b": Verdict.LIVE} and roll.orphans_known
    assert hang.calls == 0


def test_a_directory_of_a_process_that_hangs_holds_no_command(
    server: RealTmux,
    good: Files,
    hang: Hang,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tui.cli.commands.kill.policy_of", lambda _: YOUNG)
    monkeypatch.setattr(surroundings, "_PATIENCE", 0.3)
    server.start("agent_b")
    good.write_task("TASK-B", entry("b", started_at=stamp(0)))
    hang.of(surroundings, "workspaces_above", lambda *_: True)
    assert main(["kill", "b", "--yes", "-S", str(server.socket), "-w", str(good.path)]) == 0
    assert server.names() == set()
    assert hang.calls > 0


def test_settings_on_a_file_system_that_hangs_hold_no_command(
    good: Files,
    nobody: str,
    hang: Hang,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Asker, "ask", _impatient(Asker.ask))
    hang.of(load, "_read", lambda _: True)
    assert main(["kill", "--orphans", "-S", nobody, "-w", str(good.path)]) == 2
    assert "its file system does not answer; name another file" in capsys.readouterr().err


# A real one


@needs_fuse
def test_a_mounted_file_system_that_stops_answering_freezes_nothing(
    tmp_path: Path, dead: Files, good: Files
) -> None:
    mounted = tmp_path / "mounted" / ".agent-workspace"
    mounted.mkdir(parents=True)
    tmux = ScriptedTmux(BOTH)
    with passed_through(dead.path, mounted) as files:
        live = LiveRoll((Workspace(mounted), *good.workspaces()), tmux, QUICK)
        live.start()

        def shown() -> dict[str, Verdict]:
            return {} if live.latest is None else verdicts(live.latest)

        def error() -> str | None:
            return None if live.latest is None else live.latest.workspaces[0].error

        try:
            until(lambda: shown() == dict.fromkeys("ab", Verdict.LIVE), "both agents")
            # By then the watch is in place.
            good.write_task(
                "TASK-B", entry("b", started_at=stamp(3600)), entry("early", "completed")
            )
            until(lambda: "early" in shown(), "a change that an event tells of")
            files.hang()
            live.refresh()
            files.wait_until_asked()
            until(lambda: error() == NO_ANSWER, "the error")
            tmux._answers = (ONE_DIED,)
            tmux.asked = 0
            live.refresh()
            until(lambda: shown()["b"] is Verdict.ZOMBIE, "the death in another workspace")
            assert shown()["a"] is Verdict.LIVE
            files.answer()
            until(lambda: error() is None, "its answer")
        finally:
            live.stop()


@needs_fuse
def test_a_mounted_home_that_stops_answering_holds_no_command(
    tmp_path: Path,
    good: Files,
    nobody: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real, home = tmp_path / "real", tmp_path / "home"
    default = Files(real, {"TASK-D": [entry("d", "completed")]}).path
    (real / ".claude-orchestrator").mkdir()
    default.rename(real / ".claude-orchestrator" / "workspaces")
    know(real, good.path)
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    words = ["-S", nobody, "--config", "/dev/null"]
    with passed_through(real, home) as files:
        assert main(["list", *words]) == 0
        said = capsys.readouterr()
        assert "TASK-B" in said.out and "TASK-D" in said.out
        files.hang()
        try:
            assert main(["list", *words]) == 2
            said = capsys.readouterr()
            assert "the file system does not answer" in said.err
            # What is named, or stands in a variable, does not need the home.
            assert main(["list", *words, str(good.path)]) == 0
            assert "TASK-B" in capsys.readouterr().out
            monkeypatch.setenv("CLAUDE_ORCHESTRATOR_WORKSPACE", str(good.path))
            assert main(["list", *words]) == 0
            said = capsys.readouterr()
            assert "TASK-B" in said.out
            skipped = home / ".claude-orchestrator" / "workspaces"
            assert f"skipped {skipped}: the file system does not answer" in said.err
            monkeypatch.setattr(Asker, "ask", _impatient(Asker.ask))
            monkeypatch.delenv("XDG_CONFIG_HOME")
            assert main(["list", *words[:2], str(good.path)]) == 2
            assert "its file system does not answer; name another" in capsys.readouterr().err
        finally:
            files.wait_until_asked()
            files.answer()
