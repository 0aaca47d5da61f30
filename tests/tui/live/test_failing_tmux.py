"""tmux fails in every way while the agents live: nobody is called dead, nothing is written."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.real_tmux import SLEEP, RealTmux, fake_binary, runs
from tests.support.selection import in_torture
from tests.support.tmux_dialects import claim_version
from tests.support.waiting import until
from tests.support.workspaces import Files, entry, take, verdicts
from tui.cli import main
from tui.host.tmux import Tmux
from tui.host.tmux_types import TmuxSnapshot, TmuxState, socket_path
from tui.model.policy import Policy
from tui.model.roll import RollCall, Verdict

PROBES = 40
"""How often the torture asks tmux. Others ask once for each answer, and at least three times."""

AGENTS = ("a", "b", "c", "d", "e")
EAGER = Policy(death_confirmation=0.005, session_late_limit=3600)
"""Calls a zombie as soon as it may."""

NOBODY = 65534


@pytest.fixture
def files() -> Iterator[Files]:
    """A workspace that everybody may write to: only muster itself keeps from it."""
    directory = Path(tempfile.mkdtemp(prefix="mst"))
    made = Files(directory, {"TASK-1": [entry(each) for each in AGENTS]})
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o777)
    yield made
    shutil.rmtree(directory)


@pytest.fixture
def crew(server: RealTmux) -> RealTmux:
    start(server)
    return server


def start(server: RealTmux) -> None:
    first, *others = AGENTS
    server.start(f"agent_{first}")
    commands = (("new-session", "-d", "-s", f"agent_{each}", SLEEP, ";") for each in others)
    server.run(*itertools.chain(*commands))


@pytest.fixture
def complete(files: Files, monkeypatch: pytest.MonkeyPatch) -> Callable[[Tmux], int]:
    """`muster complete --zombies --yes`, at the tmux that is given."""

    def run(tmux: Tmux) -> int:
        monkeypatch.setattr("tui.cli.commands.complete.tmux_of", lambda _: tmux)
        monkeypatch.setattr("tui.cli.commands.complete.policy_of", lambda _: EAGER)
        return main.main(["complete", "--zombies", "--yes", "-w", str(files.path)])

    return run


Probe = Callable[..., None]


@pytest.fixture(params=[3, *in_torture(PROBES)], ids="at least {} times".format)
def probe(request: pytest.FixtureRequest, files: Files, complete: Callable[[Tmux], int]) -> Probe:
    """Calls the roll and completes all zombies, again and again."""

    def run(
        tmux: Tmux,
        *,
        before_each: Callable[[int], object] = lambda number: None,
        look: Callable[[RollCall], None] = nobody_can_tell,
        answers: int = 1,
    ) -> None:
        before = written(files)
        for number in range(max(request.param, answers)):
            before_each(number)
            roll = take(files, tmux, EAGER)
            assert roll.counts[Verdict.ZOMBIE] == 0
            look(roll)
            complete(tmux)
            assert written(files) == before

    return run


def written(files: Files) -> dict[Path, object]:
    """Every file of the workspace, and whether it was touched."""
    return {
        path: (path.read_bytes(), os.stat(path).st_ino, os.stat(path).st_mtime_ns)
        for path in files.path.rglob("*")
        if path.is_file()
    }


def nobody_can_tell(roll: RollCall) -> None:
    assert set(verdicts(roll).values()) == {Verdict.UNKNOWN}
    assert all(row.note for row in roll.agents())


def socket_is_named(roll: RollCall) -> None:
    nobody_can_tell(roll)
    assert roll.answer.state is not TmuxState.UNKNOWN
    assert all("-S" in row.note for row in roll.agents())


@contextmanager
def fake_tmux(directory: Path, script: str) -> Iterator[None]:
    """In this block, `tmux` is a shell script."""
    path = fake_binary(directory / "bin", script)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{path}:{os.environ['PATH']}")
        yield


def test_a_socket_that_one_may_not_use(crew: RealTmux, probe: Probe) -> None:
    crew.directory.chmod(0o755)
    crew.socket.chmod(0)

    def look(roll: RollCall) -> None:
        nobody_can_tell(roll)
        assert "Permission denied" in roll.answer.detail
        assert "sudo -u" in roll.answer.advice or "-L" in roll.answer.advice

    as_nobody(lambda: probe(crew.client(), look=look))


def as_nobody(do: Callable[[], None]) -> None:
    """Does something in a process that root's powers do not help."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            do()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_server_that_hangs(crew: RealTmux, probe: Probe) -> None:
    os.kill(crew.server_pid(), signal.SIGSTOP)
    probe(crew.client(timeout=0.02))


def test_a_server_that_was_killed_while_the_agents_live_on_another(
    crew: RealTmux, probe: Probe
) -> None:
    with RealTmux() as other:
        other.start("agent_z")
        pid = other.server_pid()
        os.kill(pid, signal.SIGKILL)
        until(lambda: not runs(pid), "its end")
        probe(other.client(), look=socket_is_named)


def test_a_wrong_directory_for_sockets(crew: RealTmux, probe: Probe, tmp_path: Path) -> None:
    socket = socket_path(None, None, {"TMUX_TMPDIR": str(tmp_path)})
    assert socket.is_relative_to(tmp_path)
    probe(Tmux(socket), look=socket_is_named)


def test_another_server_that_answers_without_the_agents(crew: RealTmux, probe: Probe) -> None:
    with RealTmux() as other:
        other.start("somebody-elses")
        probe(other.client(), look=socket_is_named)


def test_a_socket_that_was_deleted_under_a_server(crew: RealTmux, probe: Probe) -> None:
    aside = crew.socket.rename(crew.directory / "aside")

    def look(roll: RollCall) -> None:
        nobody_can_tell(roll)
        assert all("kill -USR1" in row.note for row in roll.agents())

    probe(crew.client(), look=look)
    aside.rename(crew.socket)


# Finds the word between which muster expects the answers.
MARKED = 'for word; do case $word in *"#{pane_id}"*) mark=${word%%#*} ;; esac; done; '

GARBAGE = (
    "exit 0",
    "echo garbage",
    "head -c 4096 /dev/urandom",
    "printf '\\377\\376\\000\\n'",
    'echo "\\$1 1760000000 1760000000 0 %1 1 0 agent_z"; echo "end 1 2 3.4"',
    f'{MARKED}echo "$mark\\$1 1760000000 1760000000 0 %1 1 0 agent_z$mark"',
    f'{MARKED}echo "$mark\\$1 1760000000$mark"; echo "${{mark}}end 1 2 3.4$mark"',
    f'{MARKED}echo "${{mark}}end one two$mark"',
    f'{MARKED}echo "${{mark}}end 1 2 3.4 5$mark"',
    f'{MARKED}echo "${{mark}}end 1 2 3.4"',
    "yes | head -n 10000",
    'echo "<html>"; exit 0',
)


def test_garbage_for_an_answer(crew: RealTmux, probe: Probe, tmp_path: Path) -> None:
    fake = f'. "{tmp_path}/said"'

    def say(number: int) -> None:
        (tmp_path / "said").write_text(GARBAGE[number % len(GARBAGE)])

    with fake_tmux(tmp_path, fake):
        probe(crew.client(), before_each=say, answers=len(GARBAGE))


def test_no_tmux_at_all(crew: RealTmux, probe: Probe, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        probe(crew.client())


TOO_OLD = (
    "protocol version mismatch (client 8, server 7)",
    "server version is too old for client",
    "tmux: unknown option -- u",
    "list-panes: unknown option -- F",
    "usage: list-panes [-as] [-F format] [-t target]",
    "command list-panes: unknown flag -a",
    "unknown command: list-panes",
    "tmux: illegal option -- N",
)


def test_a_tmux_that_is_too_old(crew: RealTmux, probe: Probe, tmp_path: Path) -> None:
    fake = f'cat "{tmp_path}/said" >&2; exit 1'

    def say(number: int) -> None:
        (tmp_path / "said").write_text(TOO_OLD[number % len(TOO_OLD)])

    def look(roll: RollCall) -> None:
        nobody_can_tell(roll)
        assert "tmux -V" in roll.answer.advice

    with fake_tmux(tmp_path, fake):
        probe(crew.client(), before_each=say, look=look, answers=len(TOO_OLD))


def test_a_server_that_is_too_old(
    crew: RealTmux, probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim_version("3.1c", tmp_path, monkeypatch)
    probe(crew.client())


def test_a_tmux_that_knows_none_of_the_formats(
    crew: RealTmux, probe: Probe, tmp_path: Path
) -> None:
    # An old one leaves empty what it does not know.
    fake = (
        f'{MARKED}echo "$mark\\$1  1760000000 0 %1 1 0 agent_a$mark"; echo "${{mark}}end  $mark"'
    )
    with fake_tmux(tmp_path, fake):
        probe(crew.client())


def test_time_outs(crew: RealTmux, probe: Probe, tmp_path: Path) -> None:
    fake = "exec sleep 60"
    with fake_tmux(tmp_path, fake):
        probe(crew.client(timeout=0.02))


ERRORS = (
    "error connecting to {} (Connection timed out)",
    "error connecting to {} (Resource temporarily unavailable)",
    "error connecting to {} (Too many open files)",
    "error connecting to {} (No such file or directory)",
    "no server running on {}",
    "no current target",
    "no sessions",
    "lost server",
    "server exited",
    "server exited unexpectedly",
    "failed to connect to server",
    "open terminal failed: not a terminal",
    "couldn't create directory /tmp/tmux-0 (Permission denied)",
    "directory /tmp/tmux-0 has unsafe permissions",
    "access not allowed",
    "create session failed: : No such file or directory",
    "tmux: need UTF-8 locale (LC_CTYPE) but have ANSI_X3.4-1968",
    "tmux: invalid LC_ALL, LC_CTYPE or LANG",
    "error while loading shared libraries: libevent_core-2.1.so.7",
    "",
)


def test_every_error_that_tmux_knows(
    crew: RealTmux, probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The fake server never has ended.
    monkeypatch.setattr("tui.host.tmux._ENDING_FOR", 0.0)
    fake = f'cat "{tmp_path}/said" >&2; exit 1'

    def say(number: int) -> None:
        (tmp_path / "said").write_text(ERRORS[number % len(ERRORS)].format(crew.socket))

    with fake_tmux(tmp_path, fake):
        probe(crew.client(), before_each=say, answers=len(ERRORS))


class Restarting(Tmux):
    """Its server goes before every first question, and is back before every second."""

    def __init__(self, server: RealTmux) -> None:
        super().__init__(server.socket)
        self._restarted = server
        self._asked = 0

    def ask(self) -> TmuxSnapshot:
        self._asked += 1
        if self._asked % 2 == 0:
            return super().ask()
        self._restarted.kill_server()
        answer = super().ask()
        start(self._restarted)
        return answer


def test_a_server_that_restarts_between_two_answers(crew: RealTmux, probe: Probe) -> None:
    def look(roll: RollCall) -> None:
        assert set(verdicts(roll).values()) == {Verdict.LIVE}

    probe(Restarting(crew), look=look)


# --- and that these tests could fail -----------------------------------------


def test_the_same_agents_are_called_dead_when_they_are(
    crew: RealTmux, files: Files, complete: Callable[[Tmux], int]
) -> None:
    crew.kill_server()
    assert take(files, crew.client(), EAGER).counts[Verdict.ZOMBIE] == len(AGENTS)
    # All of them at once: that is asked about once more.
    before = written(files)
    assert complete(crew.client()) == 1
    assert written(files) == before


def test_one_that_died_is_written_down(
    crew: RealTmux, files: Files, complete: Callable[[Tmux], int]
) -> None:
    crew.kill(crew.client().ask().sessions["agent_a"].id)
    assert complete(crew.client()) == 0
    assert files.agent("a")["status"] == "completed"
    assert all(files.agent(each)["status"] == "running" for each in AGENTS[1:])
