"""What /proc shows of the pids that registries name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from tests.support.waiting import until
from tui.host.process import procfs
from tui.host.process.agent_processes import AgentProcess, look_up

_SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def test_a_process_is_known_by_its_start_and_gone_before_it_is_reaped() -> None:
    began = time.time()
    child = subprocess.Popen(_SLEEP, stdin=subprocess.DEVNULL)
    try:
        seen = look_up([child.pid], {})
        process = seen[child.pid]
        assert process.began is not None and abs(process.began - began) < 5
        assert process.identity == (child.pid, process.started) and process.unseen is None
        assert look_up([child.pid], seen)[child.pid] is process
    finally:
        child.kill()
    until(lambda: look_up([child.pid], seen)[child.pid].started is None, "the end of the child")
    gone = look_up([child.pid], seen)
    assert gone[child.pid] == AgentProcess(child.pid)
    child.wait()
    assert look_up([child.pid], gone)[child.pid] is gone[child.pid]


@pytest.mark.parametrize("apart", [{"start_new_session": True}, {"process_group": 0}])
def test_a_pid_whose_session_or_group_lives_on_is_not_gone(apart: dict[str, Any]) -> None:
    code = f"import subprocess; print(subprocess.Popen({_SLEEP!r}).pid, flush=True)"
    command = [sys.executable, "-c", code]
    wrapper = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **apart)
    assert wrapper.stdout is not None
    with wrapper.stdout as said:
        child = int(said.readline())
    try:
        wrapper.wait()
        assert f"process {child} of" in (look_up([wrapper.pid], {})[wrapper.pid].unseen or "")
    finally:
        os.kill(child, signal.SIGKILL)
    until(lambda: look_up([wrapper.pid], {})[wrapper.pid].unseen is None, "the end of the child")


def test_what_proc_may_hide_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen(_SLEEP)
    child.kill()
    child.wait()
    monkeypatch.setattr(procfs, "hides_processes", lambda: True)
    hidden = look_up([child.pid, os.getpid()], {})
    assert "hidepid" in (hidden[child.pid].unseen or "")
    assert hidden[os.getpid()].began is not None
    monkeypatch.setattr(procfs, "hides_processes", lambda: False)
    monkeypatch.setattr(procfs, "sees_the_host", lambda: False)
    assert "container" in (look_up([child.pid], {})[child.pid].unseen or "")
    monkeypatch.setattr(procfs, "numbers_are_ours", lambda: False)
    assert "container" in (look_up([os.getpid()], {})[os.getpid()].unseen or "")


def test_a_pid_of_a_container_is_not_gone() -> None:
    if os.getuid() != 0:
        pytest.skip("needs root, to make a PID namespace")
    # The only process of its namespace that has a pid which no process outside has.
    free = next(pid for pid in range(300, 4000) if procfs.stat_of(pid) is None)
    code = (
        f"open('/proc/sys/kernel/ns_last_pid', 'w').write('{free - 1}')\n"
        "import os, time\n"
        "if os.fork() == 0:\n time.sleep(600)\n"
        "print('made', flush=True)\n"
        "time.sleep(600)"
    )
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable]
    inside = subprocess.Popen([*command, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert inside.stdout is not None
        if inside.stdout.readline() != "made\n":
            pytest.skip("this kernel makes no PID namespace with a chosen pid")
        assert "container" in (look_up([free], {})[free].unseen or "")
    finally:
        inside.kill()
        inside.wait()


def test_a_process_session_whose_leader_has_ended_is_not_gone() -> None:
    code = "import os, time\nif os.fork() == 0:\n os.read(0, 1)\n"
    leader = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, start_new_session=True
    )
    assert leader.stdin is not None
    leader.wait()
    try:
        unseen = look_up([leader.pid], {})[leader.pid].unseen or ""
        assert f"process {leader.pid} has ended" in unseen and "process session runs" in unseen
    finally:
        leader.stdin.close()
    until(lambda: look_up([leader.pid], {})[leader.pid].unseen is None, "the end of the session")
