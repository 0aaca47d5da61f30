"""Texts of hooks, aliases, preloaded libraries and wrappers in the output of tmux."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.real_tmux import RealTmux, fake_binary
from tests.support.workspaces import Files, entry, take, verdicts
from tui.host.tmux import Tmux
from tui.host.tmux_advice import own_message
from tui.host.tmux_types import TmuxState
from tui.model.roll import Verdict

_LOADER = "ERROR: ld.so: object '/x.so' from LD_PRELOAD cannot be preloaded (denied): ignored."

_WRAPPER = """
echo 'hello from a library'
echo "{error}" >&2
{real} "$@"
code=$?
echo 'bye from a library'
echo 'bye from a library' >&2
exit $code
"""


def put_first(script: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{fake_binary(directory / 'bin', script)}:{os.environ['PATH']}")


Noise = Callable[[], None]


@pytest.fixture(params=["hello from a library", _LOADER], ids=["library", "loader"])
def noise(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Noise:
    """From the call on, a library adds texts to the output of each tmux client."""
    script = _WRAPPER.format(real=shutil.which("tmux"), error=request.param)
    return lambda: put_first(script, tmp_path, monkeypatch)


@pytest.fixture
def crew(server: RealTmux) -> RealTmux:
    server.run("new-session", "-d", "-s", "agent_a", "-c", "/", "echo its text; exec sleep 1000")
    server.run("set-option", "-s", "exit-empty", "off")
    server.start("agent_b")
    return server


def assert_complete(crew: RealTmux, files: Files) -> None:
    answer = crew.client().ask()
    assert answer.state is TmuxState.ANSWERED
    assert set(answer.sessions) == {"agent_a", "agent_b"}
    assert answer.sessions["agent_a"].started_in == "/"
    assert set(verdicts(take(files, crew.client())).values()) == {Verdict.LIVE}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path, {"TASK-1": [entry("a"), entry("b")]})


def test_a_list_is_complete_whatever_a_library_adds_to_it(
    crew: RealTmux, files: Files, noise: Noise
) -> None:
    noise()
    assert_complete(crew, files)


@pytest.mark.parametrize(
    "hook", ["after-list-panes", "after-display-message", "after-list-sessions"]
)
@pytest.mark.parametrize("does", ["display-message -p hooked", "has-session -t =nobody"])
def test_a_list_is_complete_whatever_a_hook_adds_to_it(
    crew: RealTmux, files: Files, hook: str, does: str
) -> None:
    crew.run("set-hook", "-g", hook, does)
    assert_complete(crew, files)


@pytest.mark.parametrize(
    "alias",
    [
        "list-panes=list-panes -f 0",
        "list-panes=list-panes -F x",
        "list-sessions=list-sessions -f 0",
    ],
)
def test_an_alias_hides_no_session(crew: RealTmux, files: Files, alias: str) -> None:
    crew.run("set-option", "-s", "command-alias[100]", alias)
    assert_complete(crew, files)


def test_another_command_under_the_name_of_ours_is_explained(crew: RealTmux) -> None:
    for alias in ("list-panes=display-message -p", "display-message=display-message -v"):
        crew.run("set-option", "-s", "command-alias[100]", alias)
        answer = crew.client().ask()
        assert answer.state is TmuxState.UNKNOWN
        assert "tmux show-options -s command-alias" in answer.advice


def test_a_server_without_sessions_has_answered_beside_a_library(
    server: RealTmux, noise: Noise
) -> None:
    server.kill(server.start("agent_a"))
    noise()
    answer = server.client().ask()
    assert (answer.state, dict(answer.sessions)) == (TmuxState.ANSWERED, {})


def test_a_part_of_a_list_does_not_prove_that_there_are_no_sessions(
    crew: RealTmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"{shutil.which('tmux')} \"$@\" | head -n 1; echo 'no current target' >&2; exit 1"
    put_first(script, tmp_path, monkeypatch)
    assert crew.client().ask().state is TmuxState.UNKNOWN


def test_a_pane_and_the_end_of_a_session_are_told_from_a_library(
    crew: RealTmux, noise: Noise
) -> None:
    noise()
    client = crew.client()
    answer = client.ask()
    session = answer.sessions["agent_a"]
    captured = client.capture(session, answer, session.panes[0])
    assert captured.lines[0] == "its text" and captured.width > 0
    assert not any("library" in line for line in captured.lines)
    assert client.kill_session(session, answer) is None
    with pytest.raises(OSError, match=r"its session is gone|can't find pane"):
        client.capture(session, answer, session.panes[0])
    assert client.ask().sessions.keys() == {"agent_b"}


def test_a_tmux_that_cannot_be_loaded_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "tmux: error while loading shared libraries: libevent_core-2.1.so.7: cannot open"
    put_first(f"echo '{said}' >&2; exit 127", tmp_path, monkeypatch)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        answer = Tmux(tmp_path / "s").ask()
    assert (answer.state, answer.detail) == (TmuxState.UNKNOWN, said)
    assert "LD_PRELOAD" in answer.advice


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["no current target"], "no current target"),
        ([_LOADER, "no current target"], "no current target"),
        (["hello", "lost server", "bye"], "lost server"),
        (["lost server", "no current target"], "lost server no current target"),
        (["hello", "can't find pane: %7"], "hello can't find pane: %7"),
        ([_LOADER], _LOADER),
        ([], ""),
    ],
)
def test_the_message_of_tmux_is_found_among_others(lines: list[str], message: str) -> None:
    assert own_message(lines) == message
