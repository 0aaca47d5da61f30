"""Asking tmux: three answers told apart, and one session ended exactly."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket as sockets
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from registry.schema.session_names import all_spellings, is_tmux_name_certain, spellings
from tests.support.real_tmux import SLEEP, RealTmux, fake_binary, runs
from tests.support.tmux_dialects import claim_version
from tests.support.waiting import until
from tui.host.tmux import Tmux
from tui.host.tmux_advice import install_advice
from tui.host.tmux_types import TmuxSnapshot, TmuxState, socket_path

# --- answered -----------------------------------------------------------------


def test_every_session_is_listed_with_its_panes(server: RealTmux) -> None:
    first = server.start("agent_a")
    server.start("agent_b")
    server.run("split-window", "-d", "-t", f"{first}:", SLEEP)
    server.run("new-window", "-d", "-t", f"{first}:", SLEEP)
    answer = server.client().ask()
    assert answer.state is TmuxState.ANSWERED
    assert answer.server_pid == server.server_pid()
    assert set(answer.sessions) == {"agent_a", "agent_b"}
    session = answer.sessions["agent_a"]
    assert session.id == first
    assert len(session.panes) == len(session.pids) == 3
    assert set(session.pids) < server.pane_pids()
    assert all(runs(pid) for pid in session.pids)
    assert abs(session.created - time.time()) < 60
    assert session.activity >= session.created
    assert session.attached == 0


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_names_with_blanks_and_of_any_script_come_whole(
    server: RealTmux, monkeypatch: pytest.MonkeyPatch, locale: str
) -> None:
    names = {"agent_a b  c", "agent_日本語", "agent_é-ü", " agent_lead", "agent_trail "}
    for name in names:
        server.start(name)
    monkeypatch.setenv("LC_ALL", locale)
    assert set(server.client().ask().sessions) == names


def test_every_name_that_counts_as_certain_is_kept_as_foretold(server: RealTmux) -> None:
    printable = [chr(code) for code in range(0x20, 0x180)] + list("日한😀\u0301.:_")
    certain = [each for each in printable if is_tmux_name_certain(each)]
    assert len(certain) > 250
    names = [f"agent_{n}{''.join(certain[n : n + 20])}x" for n in range(0, len(certain), 20)]
    for name in names:
        server.start(name)
    listed = set(server.client().ask().sessions)
    assert len(listed) == len(names)
    assert listed <= (all_spellings(names) or set())


@pytest.mark.parametrize("name", ["agent_#{pid}", "agent_a\\b", "agent_a\x1bb"])
def test_names_that_tmux_rewrites_do_not_count_as_certain(server: RealTmux, name: str) -> None:
    server.start("keeper")
    assert server.takes(name) or "\x1b" in name
    assert spellings(name).isdisjoint(server.client().ask().sessions)
    assert not is_tmux_name_certain(name)


def test_a_name_that_tmux_before_3_7_rewrites_does_not_count_as_certain() -> None:
    assert not is_tmux_name_certain("agent_$HOME")


def test_a_server_without_sessions_has_answered(server: RealTmux) -> None:
    server.kill(server.start("agent_a"))
    answer = server.client().ask()
    assert (answer.state, dict(answer.sessions)) == (TmuxState.ANSWERED, {})


# --- no server ----------------------------------------------------------------


def assert_no_server(answer: TmuxSnapshot) -> None:
    assert answer.state is TmuxState.NO_SERVER
    assert not answer.sessions
    assert str(answer.socket) in answer.detail


def test_an_absent_socket_means_no_server(tmp_path: Path) -> None:
    assert_no_server(Tmux(tmp_path / "absent").ask())


def test_a_stale_socket_means_no_server(server: RealTmux) -> None:
    listener = sockets.socket(sockets.AF_UNIX)
    listener.bind(str(server.socket))
    listener.close()
    assert_no_server(server.client().ask())


def test_a_killed_server_means_no_server(server: RealTmux) -> None:
    server.start("agent_a")
    os.kill(server.server_pid(), signal.SIGKILL)
    until(lambda: server.client().ask().state is not TmuxState.ANSWERED, "the end")
    assert_no_server(server.client().ask())


def test_a_server_that_comes_back_answers_again(server: RealTmux) -> None:
    client = server.client()
    server.start("agent_a")
    first = client.ask()
    server.kill_server()
    assert_no_server(client.ask())
    server.start("agent_b")
    again = client.ask()
    assert set(again.sessions) == {"agent_b"}
    assert again.server_pid != first.server_pid


# --- nobody can tell ----------------------------------------------------------

NEVER_MIND = "exit 0"
LISTED = "\\$1 1760000000 1760000000 0 %1 1 0 agent_a"

# Finds the word between which muster expects the answers.
MARKED = 'for word; do case $word in *"#{pane_id}"*) mark=${word%%#*} ;; esac; done; '


def test_a_file_that_is_not_a_socket_leads_to_unknown(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("not a socket")
    answer = Tmux(path).ask()
    assert answer.state is TmuxState.UNKNOWN
    assert "not a socket" in answer.detail


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ('echo "error connecting to /x/s (Permission denied)" >&2; exit 1', "Permission denied"),
        ('echo "error connecting to /x/s (Too many open files)" >&2; exit 1', "Too many"),
        ('echo "server exited unexpectedly" >&2; exit 1', "unexpectedly"),
        ('echo "lost server" >&2; exit 1', "lost server"),
        ('echo "protocol version mismatch (client 8, server 7)" >&2; exit 1', "mismatch"),
        ("exit 1", "exit code 1"),
        ("exit 0", "not a list"),
        ("echo garbage", "not a list"),
        ("printf '\\377\\376\\000\\n'", "not a list"),
        (f'echo "{LISTED}"; echo "end 1 2 3.4"', "not a list"),
        (f'{MARKED}echo "$mark{LISTED}$mark"', "not a list"),
        (f'{MARKED}echo "$mark{LISTED}$mark"; echo "${{mark}}end 1 2 3.4"', "not a list"),
        (f'{MARKED}echo "$mark{LISTED}$mark"; echo "${{mark}}end 12$mark"', "not a list"),
        (f'{MARKED}echo "$mark\\$1 17600$mark"; echo "${{mark}}end 1 2 3.4$mark"', "not a list"),
        (f'{MARKED}echo "${{mark}}end one two$mark"', "not a list"),
        ("kill -9 $$", "exit code -9"),
    ],
)
def test_any_other_answer_of_tmux_leads_to_unknown(
    tmp_path: Path, listened: Path, monkeypatch: pytest.MonkeyPatch, script: str, says: str
) -> None:
    path = fake_binary(tmp_path / "bin", script)
    monkeypatch.setenv("PATH", f"{path}:{os.environ['PATH']}")
    answer = Tmux(listened).ask()
    assert answer.state is TmuxState.UNKNOWN
    assert not answer.sessions
    assert says in answer.detail


def test_the_fake_answer_would_be_believed_if_it_were_whole(
    tmp_path: Path, listened: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f'{MARKED}echo "$mark{LISTED}$mark"; echo "${{mark}}end 1 2 3.4$mark"'
    path = fake_binary(tmp_path / "bin", script)
    monkeypatch.setenv("PATH", f"{path}:{os.environ['PATH']}")
    assert set(Tmux(listened).ask().sessions) == {"agent_a"}


@pytest.mark.parametrize("code", [0, 1])
def test_what_a_client_says_of_versions_comes_with_a_remedy(
    tmp_path: Path, listened: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    # A client that is too new exits with 0.
    script = f'for _ in 1 2; do echo "server version is too old for client" >&2; done; exit {code}'
    monkeypatch.setenv("PATH", f"{fake_binary(tmp_path / 'bin', script)}:{os.environ['PATH']}")
    answer = Tmux(listened).ask()
    assert (answer.state, answer.detail) == (
        TmuxState.UNKNOWN,
        "server version is too old for client",
    )
    assert "3.2 or newer" in answer.advice and "tmux -V" in answer.advice


def test_a_server_that_ends_every_connection_may_have_another_version(
    tmp_path: Path, listened: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = 'echo "server exited unexpectedly" >&2; exit 1'
    monkeypatch.setenv("PATH", f"{fake_binary(tmp_path / 'bin', script)}:{os.environ['PATH']}")
    answer = Tmux(listened, timeout=0.1).ask()
    assert answer.state is TmuxState.UNKNOWN
    assert "try again" in answer.advice and "tmux -V" in answer.advice


@pytest.mark.parametrize("version", ["3.2", "3.2a", "next-3.8", "3.10", "4.0", "master"])
def test_a_server_of_a_supported_version_is_believed(
    server: RealTmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    server.start("agent_a")
    claim_version(version, tmp_path, monkeypatch)
    assert set(server.client().ask().sessions) == {"agent_a"}


@pytest.mark.parametrize("version", ["2.9", "3.0a", "3.1c", "next-3.1"])
def test_a_server_below_the_oldest_version_is_not_believed(
    server: RealTmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    server.start("agent_a")
    claim_version(version, tmp_path, monkeypatch)
    answer = server.client().ask()
    assert (answer.state, dict(answer.sessions)) == (TmuxState.UNKNOWN, {})
    assert f"version {version}" in answer.detail and "3.2 or newer" in answer.advice


@pytest.mark.parametrize("said", ["server exited unexpectedly", "server exited", "lost server"])
def test_a_server_that_is_just_ending_is_queried_until_it_has_ended(
    tmp_path: Path, listened: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    ended = tmp_path / "ended"
    script = (
        f'if [ -e "{ended}.3" ]; then echo "no server running on /x/s" >&2; exit 1; fi; '
        f'for n in 1 2 3; do [ -e "{ended}.$n" ] || break; done; : > "{ended}.$n"; '
        f'echo "{said}" >&2; exit 1'
    )
    monkeypatch.setenv("PATH", f"{fake_binary(tmp_path / 'bin', script)}:{os.environ['PATH']}")
    assert_no_server(Tmux(listened, timeout=60).ask())
    assert (tmp_path / "ended.3").exists()


def test_the_end_of_the_last_session_is_known_though_its_server_ends_with_it(
    server: RealTmux,
) -> None:
    """Often the server is asked while it is about to exit."""
    for _ in range(30):
        server.start("agent_a")
        client = server.client()
        answer = client.ask()
        client.kill_session(answer.sessions["agent_a"], answer)
        assert client.ask().state is not TmuxState.UNKNOWN


def test_a_refusal_says_what_to_try(
    tmp_path: Path, listened: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = 'echo "error connecting to /x/s (Permission denied)" >&2; exit 1'
    monkeypatch.setenv("PATH", str(fake_binary(tmp_path / "bin", denied)))
    advice = Tmux(listened).ask().advice
    assert "-L" in advice and "-S" in advice


def test_the_owner_of_a_socket_is_named(server: RealTmux, monkeypatch: pytest.MonkeyPatch) -> None:
    server.start("agent_a")
    denied = 'echo "error connecting to /x/s (Permission denied)" >&2; exit 1'
    path = fake_binary(server.directory / "bin", denied)
    owner = pwd.getpwuid(os.getuid()).pw_name
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(path))
        patch.setattr(os, "geteuid", lambda: 65534)
        assert (
            f"the socket belongs to {owner}; use sudo -u {owner}" in server.client().ask().advice
        )


@pytest.mark.parametrize(
    "said",
    [
        "protocol version mismatch (client 8, server 7)",
        "server version is too old for client",
        "list-panes: unknown option -- F",
        "command list-panes: unknown flag -a",
        "usage: list-panes [-as] [-F format] [-t target]",
    ],
)
def test_trouble_with_versions_is_named_as_such(
    tmp_path: Path, listened: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    path = fake_binary(tmp_path / "bin", f'echo "{said}" >&2; exit 1')
    monkeypatch.setenv("PATH", str(path))
    answer = Tmux(listened).ask()
    assert answer.state is TmuxState.UNKNOWN
    assert said in answer.detail and "tmux -V" in answer.advice


@pytest.mark.parametrize(
    "configured",
    [
        ("set-option", "-s", "command-alias[100]", "list-sessions=show-environment"),
        ("set-option", "-s", "command-alias[100]", "list-panes=show-environment"),
        ("set-option", "-s", "command-alias[100]", "display-message=list-keys nothing"),
        ("set-option", "-s", "command-alias[100]", "list-sessions=display-message -p hello"),
        ("set-option", "-s", "command-alias[100]", "list-panes=no-such-command"),
    ],
)
def test_an_alias_or_a_hook_is_named_and_its_server_is_not_to_be_ended(
    server: RealTmux, configured: tuple[str, ...]
) -> None:
    server.start("agent_a")
    server.run(*configured)
    answer = server.client().ask()
    assert answer.state is TmuxState.UNKNOWN
    assert "command-alias" in answer.advice and "hook" in answer.advice
    assert "end that server" not in answer.advice


def test_a_kill_that_an_alias_changed_names_the_alias(server: RealTmux) -> None:
    server.start("agent_a")
    answer = server.client().ask()
    server.run("set-option", "-s", "command-alias[100]", "if-shell=show-environment")
    why = server.client().kill_session(answer.sessions["agent_a"], answer)
    assert why is not None and "command-alias" in why
    assert server.names() == {"agent_a"}


def test_without_tmux_the_error_names_the_install_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    answer = Tmux(tmp_path / "s").ask()
    assert (answer.state, answer.detail) == (TmuxState.UNKNOWN, install_advice())
    assert "apt install tmux" in install_advice()


@pytest.mark.parametrize(("manager", "command"), [("apk", "apk add"), ("pacman", "pacman -S")])
def test_the_advice_is_for_the_package_manager_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manager: str, command: str
) -> None:
    program = tmp_path / manager
    program.touch()
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install_advice() == f"tmux is not installed; install it with: {command} tmux"


def test_a_tmux_that_cannot_be_run_leads_to_unknown(
    tmp_path: Path, listened: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fake_binary(tmp_path / "bin", NEVER_MIND)
    (path / "tmux").write_bytes(b"\x7fELF not really")
    monkeypatch.setenv("PATH", str(path))
    assert Tmux(listened).ask().state is TmuxState.UNKNOWN


def own_tmux_processes() -> list[int]:
    children = psutil.Process().children(recursive=True)
    return [child.pid for child in children if "tmux" in child.name()]


def test_a_hanging_server_proves_nothing_and_leaves_nothing_behind(server: RealTmux) -> None:
    server.start("agent_a")
    pid = server.server_pid()
    before = own_tmux_processes()
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    answer = server.client(timeout=0.5).ask()
    assert 0.5 <= time.monotonic() - started < 5.0
    assert answer.state is TmuxState.UNKNOWN
    assert "0.5 s" in answer.detail
    until(lambda: own_tmux_processes() == before, "the asking process to go")
    assert not [each for each in threading.enumerate() if each.name == "muster-tmux"]
    os.kill(pid, signal.SIGCONT)
    assert set(server.client().ask().sessions) == {"agent_a"}


def test_one_question_starts_one_process(calls: Path, server: RealTmux) -> None:
    for name in "abcdef":
        server.start(f"agent_{name}")
    calls.unlink()
    assert len(server.client().ask().sessions) == 6
    assert calls.read_text() == "x\n"


@pytest.mark.parametrize("name", ["plain", "a b", " c ", "new\nline", "\n", "#{pid}", "\u00fc%s"])
def test_where_a_session_was_started_comes_with_the_answer(
    server: RealTmux, tmp_path: Path, name: str
) -> None:
    place = tmp_path / name
    place.mkdir()
    server.start("agent_first")
    server.run("new-session", "-d", "-s", "agent_x", "-c", str(place).replace("#", "##"), SLEEP)
    server.start("agent_last")
    assert server.client().ask().sessions["agent_x"].started_in == str(place)


# --- ending a session ---------------------------------------------------------


def test_exactly_the_session_of_the_answer_is_ended(server: RealTmux) -> None:
    for name in ("agent_x-1", "agent_x-10", "agent_x-1b", "agent_x"):
        server.start(name)
    answer = server.client().ask()
    assert server.client().kill_session(answer.sessions["agent_x-1"], answer) is None
    assert server.names() == {"agent_x-10", "agent_x-1b", "agent_x"}


def test_a_session_that_is_gone_costs_no_other_its_life(server: RealTmux) -> None:
    for name in ("agent_x-1", "agent_x-10", "agent_x-1b"):
        server.start(name)
    answer = server.client().ask()
    session = answer.sessions["agent_x-1"]
    server.kill(session.id)
    server.client().kill_session(session, answer)
    assert server.names() == {"agent_x-10", "agent_x-1b"}


def test_the_age_of_a_session_is_read_only_where_there_is_one(
    server: RealTmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tmux 3.2 and 3.2a crash otherwise, and end all sessions."""
    server.start("agent_x")
    server.start("agent_y")
    answer = server.client().ask()
    words = tmp_path / "words"
    script = f'printf "%s\\n" "$@" >> "{words}"; exec {shutil.which("tmux")} "$@"'
    monkeypatch.setenv("PATH", f"{fake_binary(tmp_path / 'bin', script)}:{os.environ['PATH']}")
    session = answer.sessions["agent_x"]
    with server.client().attach_command(session, answer, read_only=True) as (attaching, _):
        words.write_text("\n".join(attaching) + "\n")
    assert server.client().kill_session(session, answer) is None
    checks = [word for word in words.read_text().splitlines() if "==:#{session_created}" in word]
    assert len(checks) == 2
    for check in checks:
        exists, age = f"#{{?#{{==:#{{session_id}},{session.id}}},", "#{?#{==:#{session_created},"
        assert check.count("session_created") == check.count(exists + age) == 1
    assert server.names() == {"agent_y"}


def test_a_session_of_the_same_id_but_another_age_is_left_alone(server: RealTmux) -> None:
    server.start("agent_x")
    answer = server.client().ask()
    session = answer.sessions["agent_x"]
    server.client().kill_session(replace(session, created=session.created - 1), answer)
    assert server.names() == {"agent_x"}


def test_a_restarted_server_loses_no_session(server: RealTmux) -> None:
    server.start("agent_x")
    before = server.client().ask()
    server.kill_server()
    server.start("agent_y")
    now = server.client().ask()
    old = before.sessions["agent_x"]
    new = now.sessions["agent_y"]
    assert old.id == new.id
    server.client().kill_session(replace(new, name=old.name), before)
    assert server.names() == {"agent_y"}


def test_a_kill_that_fails_says_why(
    server: RealTmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start("agent_x")
    answer = server.client().ask()
    session = answer.sessions["agent_x"]
    os.kill(server.server_pid(), signal.SIGSTOP)
    slow = server.client(timeout=0.3).kill_session(session, answer)
    assert slow is not None and "did not answer" in slow
    path = fake_binary(tmp_path / "bin", 'echo "lost server" >&2; exit 1')
    monkeypatch.setenv("PATH", str(path))
    assert server.client().kill_session(session, answer) == "lost server"
    (path / "tmux").unlink()
    assert server.client().kill_session(session, answer) == install_advice()
    monkeypatch.undo()


# --- which socket -------------------------------------------------------------

INSIDE = {"TMUX": "/run/other/sock,123,0", "TMUX_TMPDIR": "/dev/shm"}


def directory(base: str) -> Path:
    return Path(base) / f"tmux-{os.getuid()}"


@pytest.mark.parametrize(
    ("name", "path", "environment", "socket"),
    [
        ("work", "/run/s", INSIDE, Path("/run/s")),
        ("work", None, INSIDE, directory("/dev/shm") / "work"),
        (None, None, INSIDE, Path("/run/other/sock")),
        (None, None, {"TMUX_TMPDIR": "/dev/shm"}, directory("/dev/shm") / "default"),
        (None, None, {}, directory("/tmp") / "default"),
        ("work", None, {}, directory("/tmp") / "work"),
        (None, None, {"TMUX_TMPDIR": "/not/there"}, directory("/tmp") / "default"),
        (None, None, {"TMUX_TMPDIR": "", "TMUX": ""}, directory("/tmp") / "default"),
    ],
    ids=["-S", "-L", "TMUX", "TMUX_TMPDIR", "default", "-L alone", "not there", "empty"],
)
def test_the_socket_is_the_one_that_tmux_would_use(
    name: str | None, path: str | None, environment: dict[str, str], socket: Path
) -> None:
    assert socket_path(name, path, environment) == socket


@pytest.mark.parametrize("arguments", [(), ("-L", "work")], ids=["default", "-L"])
def test_tmux_itself_agrees_on_the_socket(
    nobody_elses_tmux: Path, arguments: tuple[str, ...]
) -> None:
    name = arguments[1] if arguments else None
    run = ["tmux", "-f", "/dev/null", *arguments]
    subprocess.run([*run, "new-session", "-d", "-s", "agent_x", SLEEP], check=True, timeout=20)
    try:
        there = socket_path(name, None, os.environ)
        assert there.is_relative_to(nobody_elses_tmux)
        assert set(Tmux(there).ask().sessions) == {"agent_x"}
    finally:
        subprocess.run([*run, "kill-server"], check=True, timeout=20)


def test_a_relative_path_is_taken_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert socket_path(None, "s", {}) == tmp_path / "s"


@pytest.mark.parametrize("name", ["a/b", "../x", ""])
def test_a_socket_name_is_not_a_path(name: str) -> None:
    with pytest.raises(ValueError, match="-L"):
        socket_path(name, None, {})
