"""No tmux client is started before it is known that its server is this user's or root's."""

from __future__ import annotations

import os
import shutil
import socket as sockets
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.fuse import needs_fuse, passed_through
from tests.support.other_user import OTHER, fake_server, needs_another_user
from tests.support.other_users import User, only_root
from tests.support.real_tmux import RealTmux, fake_binary
from tests.support.rolls import answered, session
from tests.support.user_namespaces import in_a_namespace, skip_without
from tui.host.tmux import Tmux
from tui.host.tmux_socket import NoServerError, UntrustedSocketError, checked
from tui.host.tmux_types import TmuxState, socket_path

A = session("agent_a")


@pytest.fixture
def shared(nobody_elses_tmux: Path) -> Path:
    """A directory like /tmp."""
    made = nobody_elses_tmux / "shared"
    made.mkdir()
    made.chmod(0o1777)
    nobody_elses_tmux.chmod(0o755)
    return made


def everything_that_starts_tmux(tmux: Tmux) -> Iterator[Callable[[], object]]:
    answer = answered(A)
    yield tmux.ask
    yield lambda: tmux.kill_session(A, answer)
    yield lambda: tmux.capture(A, answer, A.panes[0])
    yield lambda: tmux.switch_client("/dev/x", A, answer)
    yield lambda: tmux.own_client(A, A.panes[0], "/dev/x")
    yield lambda: tmux.start_sessions({"agent_x": ["sleep", "1000"]})
    yield lambda: tmux.start_sessions({"agent_x": ["sleep", "1000"]}, new_server=True)
    yield lambda: ExitStack().enter_context(tmux.attach_command(A, answer, read_only=False))


@needs_another_user
def test_another_users_directory_in_our_name_is_not_connected_to(
    shared: Path, calls: Path
) -> None:
    socket = socket_path(None, None, {"TMUX_TMPDIR": str(shared)})
    socket.parent.mkdir()
    os.chown(socket.parent, OTHER, OTHER)
    with fake_server(socket) as server:
        tmux = Tmux(socket)
        answer = tmux.ask()
        assert answer.state is TmuxState.UNKNOWN
        assert f"{socket.parent} belongs to {OTHER}" in answer.detail
        assert f"sudo -u '#{OTHER}' muster" in answer.advice
        for start in everything_that_starts_tmux(tmux):
            try:
                said = start()
            except (OSError, UntrustedSocketError) as error:
                said = error
            assert said is not None and str(OTHER) in str(said)
        assert server.asked() == (0, 0)
    assert not calls.exists()


@needs_another_user
def test_another_user_at_a_socket_of_ours_is_sent_nothing(shared: Path, calls: Path) -> None:
    socket = shared / "s"
    with fake_server(socket, bound_by=0) as server:
        answer = Tmux(socket).ask()
        assert answer.state is TmuxState.UNKNOWN
        assert f"the process at {socket} runs as {OTHER}" in answer.detail
        assert server.asked() == (1, 0)
    assert not calls.exists()


@needs_another_user
@pytest.mark.parametrize("what", ["socket", "link", "directory"])
def test_no_part_of_the_path_may_belong_to_another_user(
    server: RealTmux, shared: Path, what: str
) -> None:
    server.start("agent_a")
    link = shared / "link"
    link.symlink_to(server.directory)
    assert set(Tmux(link / "s").ask().sessions) == {"agent_a"}
    whose = {"socket": server.socket, "link": link, "directory": server.directory}[what]
    os.chown(whose, OTHER, OTHER, follow_symlinks=False)
    answer = Tmux(link / "s").ask()
    assert answer.state is TmuxState.UNKNOWN
    assert f"{whose} belongs to {OTHER}" in answer.detail


@needs_another_user
def test_a_server_of_root_may_be_queried_by_any_user(server: RealTmux) -> None:
    server.start("agent_a")
    server.directory.chmod(0o755)
    server.socket.chmod(0o666)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(OTHER)
            os.setuid(OTHER)
            with checked(server.socket) as door:
                code = 0 if door.listener is not None and door.listener.uid == 0 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    ("mode", "counts"),
    [(0o700, True), (0o755, True), (0o1777, True), (0o777, False), (0o770, False)],
)
def test_a_socket_that_others_can_replace_is_not_trusted(
    server: RealTmux, mode: int, counts: bool
) -> None:
    server.start("agent_a")
    server.directory.chmod(mode)
    answer = server.client().ask()
    assert (answer.state is TmuxState.ANSWERED) is counts
    assert counts or f"chmod go-w {server.directory}" in answer.advice
    server.kill_server()
    server.socket.unlink(missing_ok=True)
    assert (server.client().ask().state is TmuxState.NO_SERVER) is counts


@pytest.mark.parametrize("mode", [0o701, 0o704, 0o1777, 0o750])
def test_the_directory_that_tmux_makes_is_as_tmux_wants_it(
    nobody_elses_tmux: Path, mode: int
) -> None:
    socket = socket_path(None, None, os.environ)
    assert socket.is_relative_to(nobody_elses_tmux)
    socket.parent.mkdir()
    socket.parent.chmod(mode)
    answer = Tmux(socket).ask()
    if mode & stat.S_IRWXO:
        assert answer.state is TmuxState.UNKNOWN
        assert "unsafe permissions" in answer.detail and "chmod 700" in answer.advice
    else:
        assert answer.state is TmuxState.NO_SERVER


def test_a_missing_socket_is_no_server_and_no_client_is_started(shared: Path, calls: Path) -> None:
    """Another user could make it before the client connects."""
    for socket in (shared / "s", shared / "tmux-0" / "default"):
        assert Tmux(socket).ask().state is TmuxState.NO_SERVER
        with pytest.raises(NoServerError), checked(socket):
            pass
    assert not calls.exists()


def test_no_client_is_started_at_a_dead_socket(server: RealTmux, calls: Path) -> None:
    """Another process could begin to listen before the client connects."""
    with sockets.socket(sockets.AF_UNIX) as stale:
        stale.bind(str(server.socket))
    assert server.client().ask().state is TmuxState.NO_SERVER
    server.socket.unlink()
    assert server.client().ask().state is TmuxState.NO_SERVER
    with pytest.raises(NoServerError), checked(server.socket):
        pass
    assert not calls.exists()


@needs_fuse
def test_a_directory_on_another_users_file_system_is_that_users(
    nobody_elses_tmux: Path, calls: Path
) -> None:
    """The directory seems to be root's, and may show each process other files."""
    source, place = nobody_elses_tmux / "source", nobody_elses_tmux / "place"
    source.mkdir(mode=0o700)
    place.mkdir()
    tmux = Tmux(place / "s")
    with passed_through(source, place, OTHER):
        assert os.stat(place).st_uid == 0
        started = tmux.start_sessions({"agent_x": ["sleep", "1000"]}, new_server=True)
        answer = tmux.ask()
    assert f"{place} belongs to {OTHER}" in (started or "")
    assert answer.state is TmuxState.UNKNOWN
    assert f"{place} belongs to {OTHER}" in answer.detail
    assert not calls.exists()


def test_a_server_is_started_in_the_place_of_a_dead_socket(server: RealTmux) -> None:
    with sockets.socket(sockets.AF_UNIX) as stale:
        stale.bind(str(server.socket))
    start = {"agent_a": ["sleep", "1000"]}
    assert server.client().start_sessions(start) is not None
    assert server.client().start_sessions(start, new_server=True) is None
    assert set(server.client().ask().sessions) == {"agent_a"}


@only_root
def test_in_a_user_namespace_the_directory_of_an_unknown_user_is_not_the_systems(
    shared: Path,
) -> None:
    socket = shared / "theirs" / "s"
    socket.parent.mkdir()
    with sockets.socket(sockets.AF_UNIX) as stale:
        stale.bind(str(socket))
    for path in (socket.parent, socket):
        os.chown(path, OTHER, OTHER)
    for path in (shared.parent, shared):
        os.chown(path, OTHER + 1, OTHER + 1)

    def look() -> tuple[str, str]:
        answer = Tmux(socket).ask()
        return answer.state.value, answer.detail

    told = User(OTHER + 1).do(in_a_namespace(look))
    skip_without(told.value)
    assert told.error == "" and told.value[0] == TmuxState.UNKNOWN.value
    assert f"{socket.parent} belongs to" in told.value[1]
    os.chown(socket.parent, OTHER + 1, OTHER + 1)
    os.chown(socket, OTHER + 1, OTHER + 1)
    told = User(OTHER + 1).do(in_a_namespace(look))
    assert told.error == "" and told.value[0] == TmuxState.NO_SERVER.value


def test_a_client_reaches_the_socket_that_was_checked_however_it_is_replaced(
    server: RealTmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start("agent_a")
    with RealTmux() as other:
        other.start("agent_b")
        swap = f'mv "{other.socket}" "{server.socket}"; exec {shutil.which("tmux")} "$@"'
        with monkeypatch.context() as patch:
            path = fake_binary(tmp_path / "bin", swap)
            patch.setenv("PATH", f"{path}:{os.environ['PATH']}")
            assert set(server.client().ask().sessions) == {"agent_a"}
        assert set(server.client().ask().sessions) == {"agent_b"}


def test_a_server_that_takes_no_more_clients_is_not_waited_for(
    server: RealTmux, calls: Path
) -> None:
    waiting = []
    with sockets.socket(sockets.AF_UNIX) as listener:
        listener.bind(str(server.socket))
        listener.listen(0)
        try:
            while True:
                client = sockets.socket(sockets.AF_UNIX)
                waiting.append(client)
                client.setblocking(False)
                client.connect(str(server.socket))
        except BlockingIOError:
            answer = server.client(timeout=1000).ask()
        for client in waiting:
            client.close()
    assert answer.state is TmuxState.UNKNOWN
    assert "accepts no clients" in answer.detail and "kill -CONT" in answer.advice
    assert not calls.exists()


@pytest.mark.parametrize("also_here", [True, False])
def test_what_a_link_of_proc_leads_to_is_not_asked(
    nobody_elses_tmux: Path, calls: Path, also_here: bool
) -> None:
    """It lies in another mount namespace, whose directories were not looked at."""
    unshare = ["unshare", "-rm"] if os.getuid() else ["unshare", "-m"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespace may be made here (unshare -m)")
    hidden = nobody_elses_tmux / "hidden"
    hidden.mkdir()
    if also_here:
        with sockets.socket(sockets.AF_UNIX) as stale:
            stale.bind(str(hidden / "s"))
    program = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]);"
        "s.listen(); print(flush=True); sys.stdin.read()"
    )
    inside = f'mount -t tmpfs none "{hidden}" && exec "$@"'
    words = [*unshare, "sh", "-c", inside, "sh", sys.executable, "-S", "-c", program]
    pipe = subprocess.PIPE
    with subprocess.Popen([*words, str(hidden / "s")], stdin=pipe, stdout=pipe) as there:
        assert there.stdin is not None and there.stdout is not None
        assert there.stdout.readline() == b"\n"
        answer = Tmux(Path(f"/proc/{there.pid}/root{hidden}/s")).ask()
        there.stdin.close()
    assert answer.state is TmuxState.UNKNOWN
    assert "leads to a file outside of" in answer.detail
    assert not calls.exists()


def test_a_cycle_of_links_leads_to_unknown(server: RealTmux) -> None:
    loop = server.directory / "loop"
    loop.symlink_to(loop)
    answer = Tmux(loop / "s").ask()
    assert answer.state is TmuxState.UNKNOWN and "symbolic links" in answer.detail
