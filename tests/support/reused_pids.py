"""Kills an agent with a dead pane whose pid now belongs to another agent's pane.

Run this as the first process of a new PID namespace, because a process can choose the next pid
there: ``unshare --pid --fork --mount-proc python -m tests.support.reused_pids DIRECTORY``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.real_tmux import RealTmux, runs
from tests.support.waiting import until
from tests.support.workspaces import Files, entry, row_of, take
from tui.actions.execute import carry_out
from tui.actions.footprint import weighed_kill

LAST_PID = Path("/proc/sys/kernel/ns_last_pid")

NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
"""A command that runs a program as the first process of a new PID namespace."""


def can_choose_pids() -> bool:
    """Whether a new PID namespace is possible, and the next pid in it can be chosen."""
    choose = ("sh", "-c", f"echo 300 > {LAST_PID}")
    try:
        return (
            subprocess.run([*NAMESPACE, *choose], capture_output=True, check=False).returncode == 0
        )
    except FileNotFoundError:
        return False


def stale_pid(server: RealTmux) -> int:
    """Starts an agent whose pane stays after its end; returns the pid that tmux keeps."""
    server.start("keeper")
    server.run("set-option", "-g", "remain-on-exit", "on")
    server.start("agent_dead", "true")
    listed = ("list-panes", "-t", "=agent_dead:", "-F", "#{pane_dead} #{pane_pid}")
    until(lambda: server.run(*listed).startswith("1"), "its end")
    pid = server.run(*listed).split()[1]

    def waited_for() -> bool:
        # tmux may have missed the signal.
        os.kill(server.server_pid(), signal.SIGCHLD)
        return not Path(f"/proc/{pid}").exists()

    until(waited_for, "its process to be waited for")
    return int(pid)


def start_at(server: RealTmux, name: str, pid: int) -> None:
    """Starts a session whose pane's process has the given pid, which must be free."""
    for before in range(2, 40):
        LAST_PID.write_text(str(pid - before))
        session_id = server.start(name)
        if server.run("list-panes", "-t", f"={name}:", "-F", "#{pane_pid}") == str(pid):
            return
        server.kill(session_id)
        until(lambda: name not in server.names(), "it to go")
    raise SystemExit(f"no session could be given the pid {pid}")


def main(directory: Path) -> None:
    """Kills the dead agent, and checks that the other agent is alive."""
    files = Files(directory, {"TASK-1": [entry("dead"), entry("live")]})
    with RealTmux() as server:
        pid = stale_pid(server)
        # The processes that tmux itself starts must not get this pid.
        LAST_PID.write_text(str(pid + 1000))
        start_at(server, "agent_live", pid)
        assert runs(pid)
        roll = take(files, server.client())
        plan = weighed_kill(roll, [row_of(roll, "dead")])
        assert plan.footprint is not None and plan.footprint.processes == 0, plan.footprint
        outcome = carry_out(plan, server.client(), "")
        assert outcome.complete, outcome
        assert server.names() == {"keeper", "agent_live"}
        assert runs(pid), "the agent that lives was ended with the dead one"
        assert files.agent("dead")["status"] == "terminated"
        assert files.agent("live")["status"] == "running"
        sys.stdout.write("the other one lives\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
