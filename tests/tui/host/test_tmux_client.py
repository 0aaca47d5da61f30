"""How much is taken of what tmux says, and that a client which says more is ended."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.support.real_tmux import fake_binary
from tests.support.rolls import answered, session
from tui.host import tmux_client
from tui.host.tmux import Tmux
from tui.host.tmux_types import TmuxState

FLOODS = {
    "lists": "exec yes",
    "errors": "exec yes >&2",
    "both": "yes & exec yes >&2",
    "one line without an end": "exec tr '\\000' x < /dev/zero",
}


@pytest.fixture(params=FLOODS.values(), ids=list(FLOODS))
def flood(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tmux that never ends and never stops to say something; the note of its process."""
    note = tmp_path / "pid"
    path = fake_binary(tmp_path / "bin", f'echo $$ > "{note}"; {request.param}')
    monkeypatch.setenv("PATH", f"{path}:{os.environ['PATH']}")
    return note


def test_output_longer_than_a_list_leads_to_unknown(flood: Path, listened: Path) -> None:
    tmux = Tmux(listened, timeout=1000)
    answer = tmux.ask()
    assert answer.state is TmuxState.UNKNOWN
    assert "the output of tmux is longer" in answer.detail and "PATH" in answer.advice
    assert not psutil.pid_exists(int(flood.read_text()))
    a = session("agent_a")
    assert "the output of tmux is longer" in (tmux.kill_session(a, answered(a)) or "")
    with pytest.raises(OSError, match="the output of tmux is longer"):
        tmux.capture(a, answered(a), a.panes[0])


def test_a_long_error_is_shown_only_in_part(
    tmp_path: Path, listened: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said anew of every agent."""
    path = fake_binary(tmp_path / "bin", "printf 'odd %5000d' 1 >&2; exit 1")
    monkeypatch.setenv("PATH", f"{path}:{os.environ['PATH']}")
    answer = Tmux(listened).ask()
    assert answer.state is TmuxState.UNKNOWN
    assert answer.detail.startswith("odd ") and len(answer.detail) < 600


def test_ten_thousand_sessions_are_not_too_many(
    tmp_path: Path, listened: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, place = "agent_" + "n" * 200, "/project/" + "p" * 1000
    lines = (f"${n} 1760000000 1760000000 0 %{n} {n} 0 {name}{n}" for n in range(10_000))
    (tmp_path / "panes").write_text("".join(f"{line}\n" for line in lines))
    (tmp_path / "places").write_text("".join(f"${n} {place}\n" for n in range(10_000)))
    script = f"""
    for word; do case "$word" in *"#{{pane_id}}"*) mark="${{word%%#*}}" ;; esac; done
    sed "s/.*/$mark&$mark/" "{tmp_path}/panes"; echo "${{mark}}end 1 2 3.4$mark"
    sed "s/.*/$mark&$mark/" "{tmp_path}/places" """
    path = fake_binary(tmp_path / "bin", script)
    monkeypatch.setenv("PATH", f"{path}:{os.environ['PATH']}")
    answer = Tmux(listened, timeout=60).ask()
    assert answer.state is TmuxState.ANSWERED
    assert len(answer.sessions) == 10_000
    assert answer.sessions[f"{name}7"].started_in == place


def test_what_keeps_the_output_of_its_client_open_is_not_waited_for(
    tmp_path: Path, listened: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a stopped server does, whose client is gone."""
    note = tmp_path / "pid"
    path = fake_binary(tmp_path / "bin", f'sleep 1000 & echo $! > "{note}"; exit 0')
    monkeypatch.setenv("PATH", f"{path}:{os.environ['PATH']}")
    try:
        answer = Tmux(listened, timeout=0.5).ask()
        assert "did not answer within 0.5 s" in answer.detail
    finally:
        os.kill(int(note.read_text()), signal.SIGKILL)


def test_the_limits_are_some_megabytes_and_some_kilobytes() -> None:
    assert tmux_client.OUTPUT_AT_MOST <= 64 << 20
    assert tmux_client.ERRORS_AT_MOST <= 64 << 10
