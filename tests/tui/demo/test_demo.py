"""Tests of the demo: it shows all verdicts, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from registry import finish_agents, registry_health_check
from tests.support.demos import (
    SPEED,
    Bystander,
    Open,
    is_gone,
    processes_of,
    until,
)
from tests.support.tmux_dialects import Dialect, claim_version, speak
from tui.config.settings import Settings
from tui.demo import run as demo_module
from tui.demo.cast import ORPHAN, ROLES, TASKS
from tui.demo.run import Demo, run_demo, running
from tui.demo.stage import ROOT_PREFIX
from tui.host.tmux import Tmux
from tui.host.tmux_advice import install_advice
from tui.live.collector import LiveRoll
from tui.live.once import take_roll
from tui.model.roll import AgentRow, RollCall, Verdict


class Show:
    """A running demo, and every roll call of it."""

    def __init__(self, demo: Demo, before: float) -> None:
        self.demo = demo
        self.before = before
        self.rolls: list[RollCall] = []

    def rows(self, agent_type: str) -> list[AgentRow]:
        """Returns the different rows of an agent, in order."""
        rows = [
            row for roll in self.rolls for row in roll.agents() if row.record.type == agent_type
        ]
        return list(dict.fromkeys(rows))

    def verdicts(self, agent_type: str) -> set[Verdict]:
        return {row.verdict for row in self.rows(agent_type)}

    def statuses(self, agent_type: str) -> set[str]:
        return {row.record.status for row in self.rows(agent_type)}


@pytest.fixture(scope="module")
def show() -> Iterator[Show]:
    before = time.time()
    with running(SPEED) as demo:
        seen = Show(demo, before)
        live = LiveRoll((demo.workspace,), Tmux(demo.socket), demo.policy)
        live.listen(lambda roll: seen.rolls.append(roll))
        live.start()
        try:
            yield seen
        finally:
            live.stop()


def test_the_first_roll_is_well_populated(show: Show) -> None:
    until(lambda: show.rolls and show.rolls[-1].counts[Verdict.LIVE] >= 5, "five live agents")
    roll = next(roll for roll in show.rolls if roll.counts[Verdict.LIVE] >= 5)
    assert len(list(roll.tasks())) == len(TASKS) == 3
    assert all(task.agents for task in roll.tasks())
    assert sum(1 for _ in roll.agents()) >= 12
    assert {row.level for row in roll.agents()} == {0, 1, 2}
    assert {row.level + 1 for row in roll.agents()} == {row.record.depth for row in roll.agents()}
    assert roll.counts[Verdict.FINISHED] == 2


def test_one_dies_and_becomes_a_zombie(show: Show) -> None:
    until(lambda: Verdict.ZOMBIE in show.verdicts("rollback_tester"), "a zombie")
    assert show.statuses("rollback_tester") == {"working"}


def test_one_ends_and_leaves_its_session(show: Show) -> None:
    until(
        lambda: (
            show.rows("flamegraph_reader")
            and show.rows("flamegraph_reader")[-1].verdict is Verdict.LEAKED
        ),
        "a leaked session",
    )


def test_one_session_is_an_orphan(show: Show) -> None:
    def is_it() -> bool:
        # One that is just being deployed may look like one for a moment.
        names = [each.name for each in show.rolls[-1].orphans] if show.rolls else []
        return len(names) == 1 and names[0].startswith(f"agent_{ORPHAN.type}-")

    until(is_it, "the orphan, and no other")


def test_one_goes_silent_and_is_called_stalled(show: Show) -> None:
    until(lambda: Verdict.STALLED in show.verdicts("cache_invalidation_tester"), "a stalled one")


def test_one_is_blocked_and_goes_on(show: Show) -> None:
    until(lambda: "blocked" in show.statuses("query_porter"), "a blocked agent")
    until(lambda: show.rows("query_porter")[-1].record.status == "working", "it going on")


@pytest.mark.parametrize("agent_type", [r.type for r in ROLES.values() if r.later])
def test_children_come_later(show: Show, agent_type: str) -> None:
    until(lambda: Verdict.LIVE in show.verdicts(agent_type), f"{agent_type} coming")
    row = next(row for row in show.rows(agent_type) if row.session is not None)
    assert row.session is not None
    assert row.record.started is not None
    assert row.record.started > row.session.created >= int(show.before)
    assert row.level == 1 + show.rows(str(ROLES[agent_type].parent))[-1].level


def test_some_complete_and_one_fails(show: Show) -> None:
    until(lambda: Verdict.FINISHED in show.verdicts("changelog_writer"), "one completing")
    assert show.rows("changelog_writer")[-1].record.status == "completed"
    until(lambda: "failed" in show.statuses("package_builder"), "one failing")


def test_the_long_running_roles_start_again(show: Show) -> None:
    def fell() -> bool:
        progress = [row.record.progress or 0 for row in show.rows("load_tester")]
        return any(later < earlier for earlier, later in pairwise(progress))

    until(fell, "a second round")


def test_registries_and_files_are_what_an_orchestrator_writes(show: Show) -> None:
    stage = show.demo.stage
    registries = [task.state.registry for task in show.rolls[-1].tasks()]
    for registry in (*registries, stage.global_registry):
        assert registry_health_check(registry, None).drifts == ()
    for registry in registries:
        ids = {each["id"] for each in json.loads(registry.read_text())["agents"]}
        for folder, name, fields in (
            ("progress", "progress", "timestamp agent_id status message progress"),
            ("findings", "findings", "timestamp agent_id finding_type severity message data"),
            ("logs", "stream", None),
        ):
            files = list((registry.parent / folder).iterdir())
            assert files
            for file in files:
                agent_id = file.name.removesuffix(f"_{name}.jsonl")
                assert agent_id in ids
                for line in file.read_text().splitlines():
                    entry = json.loads(line)
                    assert fields is None or list(entry) == fields.split()
                    assert fields is None or entry["agent_id"] == agent_id


def test_an_agent_that_an_operator_completed_stays_completed(show: Show) -> None:
    until(lambda: show.rows("load_tester"), "the load tester")
    row = show.rows("load_tester")[-1]
    finish_agents(
        row.key.registry, show.demo.stage.global_registry, [row.key.id], status="completed"
    )
    # Somebody who is slower reports three times meanwhile.
    before = len(show.rows("release_manager"))
    until(lambda: len(show.rows("release_manager")) >= before + 3, "three more reports")
    assert show.rows("load_tester")[-1].record.status == "completed"
    assert show.rows("load_tester")[-1].verdict is Verdict.LEAKED


STUBBORN = """
import os, signal, subprocess, sys, time
for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
if sys.argv[1] == "parent":
    subprocess.Popen([sys.executable, "-c", sys.argv[2], "child", ""], start_new_session=True)
    sys.exit()
else:
    open(os.environ["TMUX"].split(",")[0] + ".ready", "w").close()
while True:
    time.sleep(60)
"""


def test_nothing_outlives_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A user may stand in a directory with modules of the same names as ours.
    for name in ("tui.py", "registry.py"):
        (tmp_path / name).write_text("raise SystemExit('this is the wrong module')")
    monkeypatch.chdir(tmp_path)
    with running(SPEED) as demo:
        root = demo.stage.root
        stubborn = (sys.executable, "-c", STUBBORN, "parent", STUBBORN)
        assert Tmux(demo.socket).start_sessions({"agent_stubborn": stubborn}) is None
        ready = demo.socket.with_name(demo.socket.name + ".ready")
        until(ready.exists, "a child that left its session and ignores everything")
        until(lambda: any("--helper" in each for each in processes_of(root)), "the helper")
        assert len(processes_of(root)) >= 10
    assert not root.exists()
    assert processes_of(root) == []


def test_a_tmux_server_that_hangs_is_ended_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with running(SPEED) as demo:
        root = demo.stage.root
        # However deep the temporary files lie.
        assert len(os.fsencode(demo.socket)) <= 107
        assert list(deep.iterdir()) == []
        assert take_roll((demo.workspace,), Tmux(demo.socket), demo.policy).counts[Verdict.LIVE]
        server = Tmux(demo.socket).ask().server_pid
        assert server is not None
        os.kill(server, signal.SIGSTOP)
    assert list(deep.iterdir()) == []
    assert not root.exists()
    assert processes_of(root) == []


def test_without_tmux_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run_demo(Settings()) == 2
    assert install_advice() in capsys.readouterr().err


def test_a_tmux_that_fails_is_reported_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(demo_module, "_LONGEST_SOCKET", 1000)
    broken = tmp_path / "tmux"
    broken.write_text("#!/bin/sh\necho out of order >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert run_demo(Settings()) == 2
    assert "out of order" in capsys.readouterr().err
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("version", ["3.0a", "3.1c"])
def test_a_tmux_that_is_too_old_is_reported_and_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    nobody_elses_tmux: Path,
    version: str,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(nobody_elses_tmux))
    claim_version(version, tmp_path, monkeypatch)
    assert run_demo(Settings()) == 2
    said = capsys.readouterr().err
    assert f"version {version}" in said and "3.2 or newer" in said
    assert list(nobody_elses_tmux.glob(f"{ROOT_PREFIX}*")) == []
    assert not processes_of(nobody_elses_tmux / ROOT_PREFIX)


@pytest.mark.parametrize("dialect", list(Dialect))
def test_it_plays_whatever_tmux_does_to_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dialect: Dialect
) -> None:
    speak(dialect, tmp_path, monkeypatch)
    with running() as demo:
        roll = take_roll((demo.workspace,), Tmux(demo.socket), demo.policy)
    assert roll.counts[Verdict.LIVE] and not roll.counts[Verdict.ZOMBIE]


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, 130), (signal.SIGHUP, 129)],
)
def test_a_signal_ends_all_of_it_and_gives_the_terminal_back(
    terminal: Open, bystander: Bystander, number: signal.Signals, code: int
) -> None:
    before = bystander.state()
    screen = terminal("screen")
    said = screen.opened()
    root = Path(str(said["socket"])).parent
    assert len(processes_of(root)) >= 10
    screen.process.send_signal(number)
    assert screen.ended() == code
    assert not root.exists()
    assert processes_of(root) == []
    assert termios.tcgetattr(screen.fd)[3] == screen.before[3]
    assert b"\x1b[?1049l" in screen.output
    assert bystander.state() == before
    assert not bystander.marker.exists()


def test_the_real_monitor_shows_it_and_leaves_nothing(
    terminal: Open, bystander: Bystander
) -> None:
    before = bystander.state()
    screen = terminal("muster")
    root = Path(str(screen.opened()["socket"])).parent

    def shown() -> bool:
        screen.drain()
        return all(word in screen.output for word in (b"search_architect", b"live", b"orphan"))

    until(shown, "agents on the screen")
    os.write(screen.fd, b"q")
    assert screen.ended() == 0
    assert not root.exists()
    assert processes_of(root) == []
    assert termios.tcgetattr(screen.fd)[3] == screen.before[3]
    assert bystander.state() == before


def test_signals_that_keep_coming_leave_nothing(terminal: Open) -> None:
    screen = terminal("muster")
    root = Path(str(screen.opened()["socket"])).parent
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    sent = 0
    while screen.process.poll() is None:
        screen.process.send_signal(numbers[sent % 3])
        sent += 1
        screen.drain()
        time.sleep(0.03)
    until(lambda: is_gone(root), "nothing of it")


@pytest.mark.parametrize(("how", "code"), [("kill", 143), ("type", 130)])
def test_it_can_be_stopped_while_it_is_setting_up(
    terminal: Open, bystander: Bystander, how: str, code: int
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:
        bystander.environment["TMPDIR"] = temporary
        screen = terminal("screen")
        until(lambda: os.listdir(temporary), "the demo's directory")
        if how == "kill":
            screen.process.terminate()
        else:
            os.write(screen.fd, b"\x03")
        assert screen.ended() == code, screen.output
        assert os.listdir(temporary) == []
        assert processes_of(Path(temporary) / ROOT_PREFIX) == []


def test_a_terminal_that_is_closed_ends_all_of_it(terminal: Open) -> None:
    screen = terminal("muster")
    root = Path(str(screen.opened()["socket"])).parent
    screen.hang_up()
    screen.ended()
    assert not root.exists()
    assert processes_of(root) == []


def test_a_killed_demo_is_cleared_up_by_its_agents(terminal: Open) -> None:
    screen = terminal("screen")
    root = Path(str(screen.opened()["socket"])).parent
    assert len(processes_of(root)) >= 10
    screen.process.kill()
    screen.ended()
    until(lambda: is_gone(root), "nothing of it")


def test_a_monitor_that_fails_or_is_quit_leaves_nothing(
    terminal: Open, bystander: Bystander, tmp_path: Path
) -> None:
    before = bystander.state()
    for how, code in (("raise", 1), ("quit", 3)):
        screen = terminal(how)
        said = screen.opened()
        root = Path(str(said["socket"])).parent
        assert screen.ended() == code
        assert said["workspaces"] == [str(root / "lantern" / ".agent-workspace")]
        assert said["tmux"] == [None, None]
        assert not root.exists()
        assert processes_of(root) == []
        (tmp_path / "note.json").unlink()
    assert bystander.state() == before
