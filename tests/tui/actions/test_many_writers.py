"""Sessions that a registry lists which several users may write."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry.storage import outsider_of
from registry.storage.files import access_list
from tests.support.commands import muster
from tests.support.other_user import OTHER, needs_another_user
from tests.support.real_tmux import RealTmux, runs
from tests.support.waiting import until
from tests.support.workspaces import Files, entry
from tui.host.process import process_tree
from tui.host.process.process_paths import directories_touched, is_elsewhere

NAME = "agent_prod-1"
GROUP = 64200

pytestmark = needs_another_user

UNSHARE = shlex.join(["unshare", "--mount", "--propagation", "private", "sleep", "1000"])


@pytest.fixture
def sandboxed() -> str:
    """A command that runs a program in its own mount namespace, as a sandbox does."""
    if subprocess.run([*shlex.split(UNSHARE)[:-2], "true"], check=False).returncode:
        pytest.skip("no mount namespace may be made here (unshare --mount)")
    return f"{UNSHARE}; :"


def share(path: Path) -> None:
    """Gives a file or folder to a group that may write it."""
    mode = path.stat().st_mode & 0o7777
    os.chown(path, -1, GROUP)
    path.chmod(mode | 0o020)


def give(files: Files) -> None:
    for path in (files.path, *files.path.rglob("*")):
        os.chown(path, OTHER, OTHER)


def start(server: RealTmux, directory: Path, command: str = "exec sleep 1000") -> None:
    directory.mkdir(exist_ok=True)
    server.start("keep")
    server.run("new-session", "-d", "-s", NAME, "-c", str(directory), command)


def family(server: RealTmux) -> frozenset[int]:
    pids = {session.name: session.pids for session in server.client().ask().sessions.values()}
    return frozenset(process_tree.families({None: pids[NAME]})[None])


def wait_for(server: RealTmux, is_so: Callable[[int], bool]) -> None:
    until(lambda: any(map(is_so, family(server))), "the session's program")


def kill(files: Files, server: RealTmux, *words: str) -> Any:
    return muster(files, "kill", "prod-1", *words, "--yes", "-w", files.path, "-S", server.socket)


def test_a_sandbox_in_a_session_hides_no_registry_near_it(
    tmp_path: Path, server: RealTmux, sandboxed: str
) -> None:
    project = tmp_path / "project"
    Files(project, {"TASK-1": [entry("prod-1")]})
    theirs = Files(tmp_path / "theirs", {"TASK-1": [entry("prod-1")]})
    give(theirs)
    start(server, project, sandboxed)
    wait_for(server, is_elsewhere)
    done = kill(theirs, server, "--foreign-registry")
    assert done.returncode == 1
    assert "without a terminal status has the same session" in done.stdout + done.stderr
    assert NAME in server.names()


def test_many_workspaces_that_a_process_touches_displace_no_registry(
    tmp_path: Path, server: RealTmux
) -> None:
    project = tmp_path / "project"
    Files(project, {"TASK-1": [entry("prod-1")]})
    theirs = Files(tmp_path / "a-theirs", {"TASK-1": [entry("prod-1")]})
    many = [tmp_path / f"a-{number:02}" for number in range(20)]
    for each in many:
        (each / ".agent-workspace").mkdir(parents=True)
        os.chown(each / ".agent-workspace", OTHER, OTHER)
        (each / "file").touch()
    give(theirs)
    opened = ", ".join(f"open({str(each / 'file')!r})" for each in many)
    program = f"import time; opened = [{opened}]; time.sleep(1000)"
    start(server, project, f"exec {shlex.join([sys.executable, '-c', program])}")
    wait_for(server, lambda pid: many[-1] in directories_touched(pid).directories)
    done = kill(theirs, server, "--foreign-registry")
    assert done.returncode == 1
    assert "without a terminal status has the same session" in done.stdout + done.stderr
    assert NAME in server.names()


@pytest.mark.parametrize("shared", ["TASK-1/AGENT_REGISTRY.json", "TASK-1", "."])
def test_what_cannot_be_known_protects_a_session_that_others_may_have_listed(
    tmp_path: Path, server: RealTmux, sandboxed: str, shared: str
) -> None:
    files = Files(tmp_path / "files", {"TASK-1": [entry("prod-1")]})
    start(server, tmp_path / "bare", sandboxed)
    wait_for(server, is_elsewhere)
    mode = (files.path / shared).stat().st_mode & 0o7777
    share(files.path / shared)
    done = kill(files, server, "--foreign-registry")
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "unknown whether another agent has the same session" in said
    assert f"group {GROUP} may write" in said and "end the session in tmux" in said
    assert NAME in server.names()
    # The registry of root alone is believed.
    (files.path / shared).chmod(mode)
    pids = family(server)
    assert kill(files, server).returncode == 0
    assert NAME not in server.names() and not any(map(runs, pids))


@pytest.mark.parametrize("shared", ["TASK-1/AGENT_REGISTRY.json", "TASK-1", "."])
@pytest.mark.parametrize("status", ["running", "completed"])
def test_yes_alone_ends_nothing_that_a_group_may_have_listed(
    tmp_path: Path, server: RealTmux, shared: str, status: str
) -> None:
    files = Files(tmp_path / "files", {"TASK-1": [entry("prod-1", status)]})
    start(server, tmp_path / "bare")
    share(files.path / shared)
    before = files.bytes()
    done = kill(files, server)
    assert done.returncode == 1
    assert f"AGENT_REGISTRY.json (group {GROUP})" in done.stderr
    assert "give --foreign-registry as well" in done.stderr and "Nothing was done" in done.stderr
    assert NAME in server.names()
    assert files.bytes() == before
    assert kill(files, server, "--foreign-registry").returncode == 0
    assert NAME not in server.names()


def test_a_user_that_an_access_control_list_names_is_asked_about(
    tmp_path: Path, server: RealTmux
) -> None:
    files = Files(tmp_path / "files", {"TASK-1": [entry("prod-1")]})
    start(server, tmp_path / "bare")
    allow(files.registry(), OTHER, 6)
    assert f"(user {OTHER})" in kill(files, server).stderr
    assert NAME in server.names()
    allow(files.registry(), OTHER, 4)
    assert kill(files, server).returncode == 0


def allow(path: Path, user: int, bits: int) -> None:
    """Gives a user permissions by an access control list."""
    none = access_list.UNNAMED
    entries = {
        (access_list.OWNER, none): 6,
        (access_list.USER, user): bits,
        (access_list.OWNING_GROUP, none): 4,
        (access_list.MASK, none): 6,
        (access_list.OTHERS, none): 4,
    }
    fd = os.open(path, os.O_RDWR)
    try:
        access_list.write(fd, entries)
    except OSError as error:
        pytest.skip(f"the file system has no access control lists: {error}")
    finally:
        os.close(fd)


def test_the_group_of_one_user_alone_is_not_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the umask is 002 because each user has its own group."""
    files = Files(tmp_path / "files", {"TASK-1": [entry("prod-1")]})
    for path in (files.path, *files.path.rglob("*")):
        os.chown(path, OTHER, GROUP)
        path.chmod(path.stat().st_mode | 0o020)
    account = pwd.struct_passwd(("alice", "x", OTHER, GROUP, "", "/", "/bin/sh"))
    group = grp.struct_group(("alice", "x", GROUP, []))
    monkeypatch.setattr(pwd, "getpwuid", lambda _: account)
    monkeypatch.setattr(pwd, "getpwall", lambda: [account])
    monkeypatch.setattr(grp, "getgrgid", lambda _: group)
    assert outsider_of(files.registry(), {OTHER}) is None
    assert outsider_of(files.registry(), ()) == f"user {OTHER} (alice)"
    with_another = grp.struct_group(("alice", "x", GROUP, ["bob"]))
    monkeypatch.setattr(grp, "getgrgid", lambda _: with_another)
    assert outsider_of(files.registry(), {OTHER}) == f"group {GROUP}"
