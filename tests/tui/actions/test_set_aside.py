"""The operator says that a tmux server which cannot be queried has none of the agents."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from registry.audit.log import log_in, read_log
from tests.support.real_tmux import RealTmux
from tests.support.waiting import until
from tests.support.workspaces import Files, entry, row_of, take
from tui.actions.execute import carry_out
from tui.actions.outcome import Result
from tui.actions.plan_complete import checked_complete
from tui.cli import main
from tui.config.settings import Settings, settings_from
from tui.demo import run as demo
from tui.errors import UsageError
from tui.host import tmux_servers
from tui.host.process import procfs
from tui.host.server_token import is_token, token_of
from tui.host.tmux import Tmux
from tui.host.tmux_servers import look_elsewhere
from tui.host.tmux_types import SetAside
from tui.live.collector import LiveRoll
from tui.model.policy import Policy
from tui.model.roll import Verdict

EAGER = Policy(death_confirmation=0.005)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path, {"TASK-1": [entry("a"), entry("b")]})


@pytest.fixture
def stopped(server: RealTmux) -> str:
    """The token of a server that is stopped."""
    server.start("other")
    pid = server.server_pid()
    os.kill(pid, signal.SIGSTOP)
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, "the stop")
    token = token_of(pid)
    assert token is not None and is_token(token)
    return token


def tmux(tmp_path: Path, *tokens: str) -> Tmux:
    """A server that does not run, and what the operator says of others."""
    return Tmux(tmp_path / "none", set_aside=SetAside(frozenset(tokens)))


def test_it_no_longer_hides_a_death_and_that_is_on_record(
    files: Files, stopped: str, tmp_path: Path
) -> None:
    row = row_of(take(files, tmux(tmp_path), EAGER), "a")
    assert row.verdict is Verdict.UNKNOWN and f"--without-agents {stopped}" in row.note
    asked = tmux(tmp_path, stopped)
    roll = take(files, asked, EAGER)
    assert [each.verdict for each in roll.agents()] == [Verdict.ZOMBIE, Verdict.ZOMBIE]
    plan = checked_complete(roll, roll.agents(), by_verdict=True)
    outcome = carry_out(plan, asked, "after the crash")
    assert [step.result for step in outcome.steps] == [Result.DONE, Result.DONE]
    (log,) = {entry.reason for entry in read_log(log_in(files.path)).entries}
    said = f"the operator says that tmux server {stopped} has none of the agents"
    assert log == f"after the crash ({said})"
    assert "the operator" not in str(files.agent("a"))


def test_it_is_bound_to_that_very_process(files: Files, stopped: str, tmp_path: Path) -> None:
    pid, _, rest = stopped.partition("@")
    started, _, boot = rest.partition("-")
    others = (f"{pid}@{int(started) + 1}-{boot}", f"{pid}@{started}-{int(boot, 16) ^ 1:08x}")
    roll = take(files, tmux(tmp_path, *others), EAGER)
    assert row_of(roll, "a").verdict is Verdict.UNKNOWN
    assert roll.evidence.set_aside == SetAside()


def test_what_such_a_server_answers_counts_nevertheless(
    files: Files, server: RealTmux, tmp_path: Path
) -> None:
    server.start("agent_a")
    token = token_of(server.server_pid())
    assert token is not None
    roll = take(files, tmux(tmp_path, token), EAGER)
    assert row_of(roll, "a").verdict is Verdict.UNKNOWN
    assert row_of(roll, "b").verdict is Verdict.ZOMBIE


def test_an_action_without_it_is_not_annotated(files: Files, tmp_path: Path) -> None:
    asked = tmux(tmp_path, "1@1-00000000")
    roll = take(files, asked, EAGER)
    carry_out(checked_complete(roll, roll.agents(), by_verdict=True), asked, "")
    assert {entry.reason for entry in read_log(log_in(files.path)).entries} == {""}


def test_it_is_an_option_and_a_setting(
    files: Files, stopped: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = ["-S", str(tmp_path / "none"), str(files.path)]
    assert main.main(["--without-agents", stopped, "list", "--json", *nowhere]) == 0
    assert '"zombie"' in capsys.readouterr().out
    config = tmp_path / "config.toml"
    config.write_text(f'without_agents = ["{stopped}"]\n', encoding="utf-8")
    assert main.main(["list", "--json", "--config", str(config), *nowhere]) == 0
    assert '"zombie"' in capsys.readouterr().out


@pytest.mark.parametrize("value", ["1234", "1@2-xyz", "1@2-0a1b2c3d\n", "-1@2-0a1b2c3d", ""])
def test_another_text_is_refused(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings, problems = settings_from({"without_agents": [value]})
    assert settings == Settings() and "without_agents: must name servers" in problems[0]
    assert main.main(["list", f"--without-agents={value}"]) == 2
    assert "must name a server as muster's messages do" in capsys.readouterr().err


def test_the_demo_searches_no_other_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[SetAside] = []
    stage = SimpleNamespace(workspace=None, socket=tmp_path / "s", policy=Policy(), stage=None)

    @contextmanager
    def running(*, sqlite: bool) -> Iterator[SimpleNamespace]:
        assert not sqlite
        yield stage

    monkeypatch.setattr(demo, "running", running)

    def run_monitor(*_: object, set_aside: SetAside) -> int:
        given.append(set_aside)
        return 0

    monkeypatch.setattr("tui.app.run.run_monitor", run_monitor)
    for name in ("TMUX", "TMUX_PANE"):
        monkeypatch.setenv(name, "")
    assert demo.run_demo(Settings()) == 0
    monkeypatch.setattr(tmux_servers, "servers_of", lambda _: pytest.fail("a search"))
    monkeypatch.setattr(procfs, "sees_the_host", lambda: False)
    (set_aside,) = given
    answer = Tmux(tmp_path / "s").ask()
    assert look_elsewhere(["agent_a"], answer, None, set_aside).whys == {}


def test_the_monitor_does_not_consider_it(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[SetAside] = []

    def live_roll(_: object, tmux: Tmux, *__: object, **___: object) -> None:
        given.append(tmux.set_aside)
        raise UsageError("seen")

    monkeypatch.setattr("tui.app.run.LiveRoll", live_roll)
    monkeypatch.setattr("tui.cli.commands.monitor.need_screen", lambda *_: None)
    token = "1234@56789-0a1b2c3d"
    config = tmp_path / "config.toml"
    config.write_text('without_agents = ["1@2-0a1b2c3d"]\n', encoding="utf-8")
    main.main(["--without-agents", token, "--config", str(config), str(files.path)])
    assert given == [SetAside(frozenset({token, "1@2-0a1b2c3d"}))]


def test_the_monitors_roll_does_not_consider_it(
    files: Files, stopped: str, tmp_path: Path
) -> None:
    live = LiveRoll(files.workspaces(), tmux(tmp_path, stopped), EAGER)
    live.start()
    try:
        until(
            lambda: (
                live.latest is not None
                and [row.verdict for row in live.latest.agents()] == [Verdict.ZOMBIE] * 2
            ),
            "the zombies",
        )
    finally:
        live.stop()
