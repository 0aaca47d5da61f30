"""Other tmux servers of the user: found, and asked for sessions that are missing."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from registry.storage import writers_of
from tests.support.real_tmux import RealTmux
from tests.support.waiting import until
from tui.host import tmux_servers
from tui.host.process import procfs
from tui.host.tmux import Tmux
from tui.host.tmux_advice import user_name
from tui.host.tmux_servers import Server, look_elsewhere, owners_of, servers_of

OURS = frozenset({os.getuid()})


def look(*names: str, at: Path, owners: frozenset[int] = OURS) -> dict[str, str]:
    return dict(look_elsewhere(names, Tmux(at).ask(), owners).whys)


def test_a_server_is_found_with_its_socket(server: RealTmux) -> None:
    server.start("agent_a")
    # A server of a test before this one may still be on its way out.
    assert Server(server.server_pid(), os.getuid(), server.socket) in servers_of(OURS)
    assert list(servers_of({os.getuid() + 1})) == []


def test_a_socket_of_any_name_is_found(server: RealTmux, nobody_elses_tmux: Path) -> None:
    socket = nobody_elses_tmux / "a b\u00e9"
    run = ["tmux", "-f", "/dev/null", "-S", str(socket)]
    subprocess.run([*run, "new-session", "-d", "-s", "agent_a", "sleep 100"], check=True)
    try:
        # A server that has just started may not be seen whole.
        until(lambda: socket in [each.socket for each in servers_of(OURS)], "the server")
        assert str(socket) in look("agent_a", at=server.socket)["agent_a"]
    finally:
        subprocess.run([*run, "kill-server"], check=True)


def test_what_another_server_has_is_not_gone(server: RealTmux, tmp_path: Path) -> None:
    server.start("agent_a")
    found = look("agent_a", "agent_b", at=tmp_path / "s")
    assert set(found) == {"agent_a"}
    assert f"-S {server.socket}" in found["agent_a"]


def test_the_server_that_answered_is_not_asked_again(server: RealTmux) -> None:
    server.start("agent_a")
    assert look("agent_b", at=server.socket) == {}


def test_a_server_that_hangs_may_have_all_sessions(
    server: RealTmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start("agent_x")
    # It stops only after muster looked at it.
    monkeypatch.setattr(tmux_servers, "doubt_about", lambda *_: None)
    os.kill(server.server_pid(), signal.SIGSTOP)
    monkeypatch.setattr(tmux_servers, "_ASK_TIMEOUT", 0.1)
    found = look("agent_a", at=tmp_path / "s")
    assert "cannot query another" in found["agent_a"] and str(server.socket) in found["agent_a"]
    monkeypatch.setattr(tmux_servers, "_ALL_TIMEOUT", 0.0)
    assert "no time" in look("agent_a", at=tmp_path / "s")["agent_a"]


def test_a_server_without_a_process_has_no_sessions(server: RealTmux, tmp_path: Path) -> None:
    server.kill(server.start("agent_a"))
    pid = server.server_pid()
    until(
        lambda: pid not in [each.pid for each in servers_of(OURS)], "the end of the pane's process"
    )
    os.kill(server.server_pid(), signal.SIGSTOP)
    assert look("agent_a", at=tmp_path / "s") == {}


def test_a_server_that_has_ended_has_no_sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = subprocess.Popen(["sleep", "0"])
    gone = Server(child.pid, os.getuid(), tmp_path / "gone")
    child.wait()
    monkeypatch.setattr(tmux_servers, "servers_of", lambda _: iter((gone,)))
    assert look("agent_a", at=tmp_path / "s") == {}


def test_a_server_of_another_user_that_cannot_be_looked_into_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = os.getuid() + 1
    monkeypatch.setattr(tmux_servers, "servers_of", lambda _: iter((Server(1, other, None),)))
    monkeypatch.setattr(tmux_servers, "_still_runs", lambda _: True)
    assert f"of {user_name(other)} may" in look("agent_a", at=tmp_path / "s")["agent_a"]


def test_one_of_ours_whose_socket_cannot_be_seen_is_not_for_its_user_to_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen(["sleep", "1000"]) as child:
        blind = Server(child.pid, os.getuid(), None)
        monkeypatch.setattr(tmux_servers, "servers_of", lambda _: iter((blind,)))
        monkeypatch.setattr(tmux_servers, "_still_runs", lambda _: True)
        assert f"check what process {child.pid} is" in look("agent_a", at=tmp_path)["agent_a"]
        monkeypatch.setattr("tui.host.process.descriptors.may_see_files", lambda _: False)
        said = look("agent_a", at=tmp_path)["agent_a"]
        assert "not permitted to see the socket" in said and "sudo -u" not in said
        child.kill()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
def test_whoever_may_write_a_registry_counts_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = tmp_path / "AGENT_REGISTRY.json"
    registry.touch(0o644)
    os.chown(registry, 64101, 64110)
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setattr(
        pwd, "getpwuid", lambda user: pwd.struct_passwd(("m", "x", user, user, "", "/", "/"))
    )
    monkeypatch.setattr(os, "getgrouplist", lambda *_: [64110])

    def counting() -> list[int]:
        owners = owners_of([registry, tmp_path / "absent"])
        assert owners is not None
        return [user for user in (0, 4711, 64101, 64102) if user in owners]

    assert counting() == [0, 4711, 64101]
    registry.chmod(0o664)
    assert counting() == [0, 4711, 64101, 64102]
    monkeypatch.setattr(os, "getgrouplist", lambda *_: [64111])
    assert counting() == [0, 4711, 64101]
    # Whose groups cannot be known may be a member.
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    assert counting() == [0, 4711, 64101, 64102]
    registry.chmod(0o606)
    assert 64102 in counting()


def test_whoever_owns_a_workspace_may_have_agents_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    owners = owners_of([], [tmp_path])
    assert owners is not None and owner in owners and 64102 not in owners


def test_for_root_the_servers_of_all_users_count(
    server: RealTmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start("agent_a")
    pid = server.server_pid()
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert owners_of([tmp_path]) is None
    assert pid in [each.pid for each in servers_of(None)]


def test_from_a_container_that_no_server_runs_proves_no_death(
    server: RealTmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start("agent_a")
    monkeypatch.setattr(procfs, "sees_the_host", lambda: False)
    found = look("agent_a", "agent_b", at=tmp_path / "s")
    assert "-S" in found["agent_a"] and found["agent_a"] != tmux_servers.IN_CONTAINER
    assert found["agent_b"] == tmux_servers.IN_CONTAINER
    # What a server says that answered counts there as well.
    assert look("agent_b", at=server.socket) == {}


def test_another_pid_namespace_is_distinguished_from_the_hosts(tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-c",
        "from tui.host.process import procfs; print(procfs.sees_the_host())",
    ]
    unshare = ["unshare", "-rpf", "--mount-proc"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode == 0:
        words = [*unshare, *words]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    there = os.stat("/proc/self/ns/pid").st_ino == 0xEFFFFFFC and words[0] != "unshare"
    assert done.stdout == f"{there}\n"


@pytest.mark.parametrize(("mode", "is_unknown"), [(0o600, False), (0o666, True)])
def test_hidden_processes_prove_no_death_where_others_may_run_the_agent(
    server: RealTmux,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: int,
    is_unknown: bool,
) -> None:
    server.start("agent_b")
    registry = tmp_path / "TASK-1" / "AGENT_REGISTRY.json"
    registry.parent.mkdir()
    registry.touch()
    registry.chmod(mode)
    monkeypatch.setattr(procfs, "hides_processes", lambda: True)
    found = look_elsewhere(("agent_a",), server.client().ask(), writers_of([registry]))
    assert ("hidepid" in found.whys.get("agent_a", "")) is is_unknown
    # Named alone, such an agent can be completed.
    assert found.unasked == ({"agent_a"} if is_unknown else set())


def test_hidden_processes_prove_no_death_for_root_either(
    server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start("agent_b")
    monkeypatch.setattr(procfs, "hides_processes", lambda: True)
    monkeypatch.setattr(tmux_servers, "servers_of", lambda _: iter(()))
    found = look_elsewhere(("agent_a",), server.client().ask(), None)
    assert "another user may run this agent" in found.whys["agent_a"]


@pytest.mark.parametrize(("mode", "is_unknown"), [(0o600, False), (0o666, True)])
def test_a_server_of_a_container_proves_no_death_where_others_may_run_the_agent(
    server: RealTmux,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: int,
    is_unknown: bool,
) -> None:
    server.start("agent_b")
    registry = tmp_path / "AGENT_REGISTRY.json"
    registry.touch()
    registry.chmod(mode)
    monkeypatch.setattr(procfs, "sees_the_host", lambda: False)
    found = look_elsewhere(("agent_a",), server.client().ask(), writers_of([registry]))
    assert (found.whys.get("agent_a") == tmux_servers.IN_CONTAINER) is is_unknown


_HIDDEN = """
import os, subprocess, sys
from tui.host.process import procfs
hidepid = "hidepid=" + sys.argv[1]
subprocess.run(["mount", "-t", "proc", "-o", hidepid, "proc", "/proc"], check=True)
print(procfs.hides_processes())
os.setgroups([])
os.setgid(64101)
os.setuid(64101)
print(procfs.hides_processes())
"""


@pytest.mark.parametrize("hidepid", ["1", "2"])
def test_a_proc_that_hides_processes_is_known_as_such(hidepid: str) -> None:
    assert not procfs.hides_processes()
    command = ["unshare", "-m", sys.executable, "-c", _HIDDEN, hidepid]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"only root may mount another /proc: {done.stderr[-200:]}")
    assert done.stdout.split() == ["False", "True"]
