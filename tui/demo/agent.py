"""The program of a demo agent, which runs in the agent's session.

The program is started as ``python -m tui.demo.agent``. The program ends as soon as the demo
process ends, even if the demo process was killed.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from registry.errors import AgentNotFoundError, RegistryError
from tui.demo.cast import ROLES, role_of
from tui.demo.reports import books_of, report_now, status_after
from tui.demo.stage import IN_DATABASE, ROOT_PREFIX, Member, Stage, member_of
from tui.demo.story import SPAWN_DELAY, Ending, Step

_CURTAIN_PAUSE = 0.05


class _DemoGoneError(Exception):
    """The demo has ended, so this agent must end too."""


class Lifeline:
    """Detects the end of the demo process, which holds the other end of a FIFO open."""

    def __init__(self, path: Path) -> None:
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            raise _DemoGoneError from None
        try:
            # If the demo ended before this open, poll() reports no hang-up, but a read
            # returns no data.
            os.read(self._fd, 1)
        except BlockingIOError:
            pass
        else:
            raise _DemoGoneError
        self._poll = select.poll()
        self._poll.register(self._fd, 0)

    def wait(self, seconds: float | None) -> None:
        """Sleeps for a number of seconds; forever if `seconds` is None.

        Raises:
            _DemoGoneError: The demo process has ended.
        """
        if self._poll.poll(None if seconds is None else seconds * 1000):
            raise _DemoGoneError


def main(arguments: Sequence[str]) -> int:
    """Runs one agent until the agent's role or the demo ends.

    Args:
        arguments: Optionally ``--helper`` and ``--sqlite``; then the demo's directory, the demo's
            speed, the id of the task, and the id of the agent.
    """
    *options, root, speed, task_id, agent_id = arguments
    stage = Stage(Path(root), float(speed))
    if not stage.root.name.startswith(ROOT_PREFIX):
        # The directory is removed at the end, so it must belong to a demo.
        raise SystemExit(f"{root} is not a demo's directory")
    member = Member(agent_id, role_of(agent_id), task_id, in_database=IN_DATABASE in options)
    try:
        if "--helper" in options:
            # Like a server that was started with nohup.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        lifeline = Lifeline(stage.lifeline)
        if "--helper" in options:
            lifeline.wait(None)
        os.chdir(stage.project)
        while not stage.curtain.exists():
            lifeline.wait(_CURTAIN_PAUSE)
        _play(stage, member, lifeline)
    except (_DemoGoneError, FileNotFoundError):
        # The last agent removes the directory. Several agents may try at the same time.
        if not _is_held(stage):
            shutil.rmtree(stage.root, ignore_errors=True)
    return 0


def _is_held(stage: Stage) -> bool:
    try:
        Lifeline(stage.lifeline)
    except _DemoGoneError:
        return False
    return True


def _play(stage: Stage, member: Member, lifeline: Lifeline) -> None:
    role = member.role
    if role.helper:
        subprocess.Popen(  # noqa: S603 - our own interpreter and module
            stage.command(member, helper=True), start_new_session=True
        )
    index = role.past
    pause = role.pace / 2
    while index < len(role.steps):
        lifeline.wait(pause / stage.speed)
        if not _perform(stage, member, index, lifeline):
            break
        pause = role.pace
        index += 1
        if index == len(role.steps) and role.ending is Ending.CYCLES:
            index = role.again
    if index < len(role.steps) or role.ending in (Ending.LEAKS, Ending.STALLS):
        lifeline.wait(None)
    elif role.ending is Ending.DIES:
        lifeline.wait(role.pace / stage.speed)


def _perform(stage: Stage, member: Member, index: int, lifeline: Lifeline) -> bool:
    """Reports one step; returns whether the agent continues with the next step."""
    step = member.role.steps[index]
    try:
        if books_of(member).is_over(stage, member):
            return False
        print(f"{time.strftime('%H:%M:%S')} {step.message}", flush=True)  # noqa: T201 - the pane
        report_now(stage, member, step, status_after(member.role, index))
    except AgentNotFoundError:
        # The agent is not registered yet, or its entry was removed.
        return True
    except FileNotFoundError:
        raise
    except RegistryError as error:
        print(f"not reported: {error}", flush=True)  # noqa: T201
        return True
    _spawn(stage, member, step, lifeline)
    return True


def _spawn(stage: Stage, parent: Member, step: Step, lifeline: Lifeline) -> None:
    """Starts children as an orchestrator does: first the session, later the registry entry."""
    if not step.spawns:
        return
    # Imported only here, because most agents start no children.
    from tui.host.tmux import Tmux

    now = time.time()
    children = [
        member_of(
            ROLES[child_type], parent.task_id, parent.id, now, in_database=parent.in_database
        )
        for child_type in step.spawns
    ]
    problem = Tmux(stage.socket).start_sessions(
        {child.session: stage.command(child) for child in children}
    )
    if problem:
        print(f"no children: {problem}", flush=True)  # noqa: T201
        return
    lifeline.wait(SPAWN_DELAY / stage.speed)
    for child in children:
        books_of(child).enlist_child(stage, child)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
