"""Sessions whose processes see other files than muster does: no path of theirs is one of ours."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.real_tmux import SLEEP, RealTmux
from tests.support.waiting import until
from tests.support.workspaces import Files, entry, take
from tui.actions.execute import carry_out
from tui.actions.outcome import Result
from tui.actions.plan_kill import plan_kill
from tui.host.process import process_tree, procfs
from tui.host.process.process_paths import (
    Touched,
    default_paths_of,
    directories_of,
    directories_touched,
    is_elsewhere,
)
from tui.model.policy import Policy

YOUNG = Policy(orphan_grace=-60.0, session_late_limit=3600.0)

UNSHARE = (
    *("unshare", "--mount", "--propagation", "private"),
    *(() if os.getuid() == 0 else ("--user", "--map-root-user")),
)


@pytest.fixture
def hidden(tmp_path: Path) -> Path:
    """A directory over which something is mounted in the namespaces that a test makes."""
    if subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespace may be made here (unshare --mount)")
    place = tmp_path / "hidden"
    place.mkdir()
    return place


def inside(hidden: Path, then: str) -> str:
    """What runs a shell command in a mount namespace where that directory has a workspace."""
    project = shlex.quote(str(hidden / "project"))
    made = (
        f"mount -t tmpfs none {shlex.quote(str(hidden))} && "
        f"mkdir -p {project}/.agent-workspace && cd {project} && {then}"
    )
    return shlex.join([*UNSHARE, "sh", "-c", made])


def assert_nobody_can_tell(files: Files, server: RealTmux) -> None:
    """The session is no orphan, and is not ended as one."""
    roll = take(files, server.client(), YOUNG)
    assert roll.orphans == () and not roll.orphans_known
    there = roll.answer.sessions["agent_x"]
    (step,) = carry_out(plan_kill(roll, [], [there]), server.client(), "").steps
    assert step.result is Result.LEFT and "unknown whether" in step.detail
    assert "agent_x" in server.names()


def test_the_agents_of_a_server_in_its_own_mount_namespace_are_no_orphans(
    tmp_path: Path, server: RealTmux, hidden: Path
) -> None:
    files = Files(tmp_path / "ours", {"TASK-1": [entry("a")]})
    start = f"exec tmux -f /dev/null -S {server.socket} new-session -d -s agent_x '{SLEEP}'"
    subprocess.run(inside(hidden, start), shell=True, check=True)
    try:
        (pid,) = server.pane_pids()
        assert not Path(os.readlink(f"/proc/{pid}/cwd")).exists()
        assert is_elsewhere(server.server_pid()) and is_elsewhere(pid)
        assert directories_of(pid) is None
        assert directories_touched(pid) == Touched(frozenset(), is_whole=False)
        assert default_paths_of(pid) == frozenset()
        assert_nobody_can_tell(files, server)
    finally:
        server.run("kill-server")


def test_nor_is_one_whose_program_entered_a_mount_namespace(
    tmp_path: Path, server: RealTmux, hidden: Path
) -> None:
    """As in a sandbox."""
    files = Files(tmp_path / "ours", {"TASK-1": [entry("a")]})
    server.start("agent_x", f"{inside(hidden, 'exec sleep 1000')}; :")
    (pane,) = server.pane_pids()

    def entered() -> bool:
        (family,) = process_tree.families({None: {pane}}).values()
        return any(is_elsewhere(pid) for pid in family)

    until(entered, "the namespace")
    assert not is_elsewhere(pane)
    assert_nobody_can_tell(files, server)


Sleep = Callable[[Path], int]


@pytest.fixture
def rooted() -> Iterator[Sleep]:
    """Starts a process that has another root directory; it needs nothing in there."""
    if os.getuid() != 0:
        pytest.skip("needs root, to change the root directory of a process")
    pids: list[int] = []

    def start(root: Path) -> int:
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            os.chroot(root)
            os.chdir("/")
            os.write(writing, b"x")
            while True:
                signal.pause()
        pids.append(pid)
        assert os.read(reading, 1) == b"x"
        os.close(reading)
        os.close(writing)
        return pid

    yield start
    for pid in pids:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def test_what_has_another_root_directory_tells_no_paths(rooted: Sleep, tmp_path: Path) -> None:
    assert procfs.has_our_mounts(os.getpid())
    pid = rooted(tmp_path)
    assert is_elsewhere(pid)
    assert directories_of(pid) is None
    assert directories_touched(pid) == Touched(frozenset(), is_whole=False)


def test_what_has_ended_is_nowhere() -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    assert not is_elsewhere(ended.pid)
    assert directories_of(ended.pid) == frozenset()
