"""Runs the demo: agents on a private tmux server, in a temporary workspace.

At the end, every process is killed, and every file is removed. If the demo process is killed, the
agents end, and the last agent removes the files.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

from registry.dataclass import dataclass
from registry.schema import ORCHESTRATOR, Workspace
from tui.config.settings import Settings
from tui.demo.cast import ORPHAN, REVIEWER, ROLES, TASKS
from tui.demo.registries import create_tasks
from tui.demo.reports import books_of, tell_past
from tui.demo.stage import ROOT_PREFIX, Member, Stage, member_of, task_id_of
from tui.demo.story import LEAK_GRACE, ORPHAN_GRACE, STALL_AFTER
from tui.host.process import process_kill, process_tree
from tui.host.tmux import Tmux
from tui.host.tmux_advice import install_advice
from tui.host.tmux_types import SetAside, TmuxState
from tui.model.policy import Policy

NOT_STARTED = 2
"""The exit code if the demo could not be started."""

# The size of sun_path in unix(7), in bytes, without the final NUL.
_LONGEST_SOCKET = 107
_SHORT = "/tmp"  # noqa: S108 - mkdtemp makes a private directory in it

_ROUNDS = 3
_START_TIMEOUT = 20.0


_Handler = Callable[[int, FrameType | None], object] | int | None


class DemoError(Exception):
    """The demo cannot be started; the text gives the reason."""


@dataclass(frozen=True, slots=True)
class Demo:
    """A running demo.

    Attributes:
        stage: The directories of the demo, and its speed.
        workspace: The workspace for the monitor.
        socket: The socket of the private tmux server.
        policy: A policy with short times, so that a viewer sees all verdicts soon.
    """

    stage: Stage
    workspace: Workspace
    socket: Path
    policy: Policy


def run_demo(settings: Settings, *, sqlite: bool = False) -> int:
    """Runs the demo and the monitor until the user quits.

    Args:
        settings: The settings of the monitor; the demo replaces the policy.
        sqlite: Whether tasks with phases are in a database; see `running`.

    Returns:
        The exit code of the monitor, or 2 if the demo could not be started.
    """
    # muster may itself run inside tmux; the demo must not use that server.
    for name in ("TMUX", "TMUX_PANE"):
        os.environ.pop(name, None)
    try:
        with (
            _Interruptions() as interruptions,
            running(sqlite=sqlite) as demo,
            interruptions.let_through(),
        ):
            from tui.app.run import run_monitor

            clear_up = partial(_clear_up, demo.stage)
            return run_monitor(
                (demo.workspace,),
                demo.socket,
                demo.policy,
                settings,
                clear_up,
                # All agents of the demo are on the private server, so other tmux servers cannot
                # make an agent unknown.
                set_aside=SetAside(all=True),
            )
    except DemoError as error:
        sys.stderr.write(f"muster: {error}\n")
        return NOT_STARTED


@contextmanager
def running(speed: float = 1.0, *, sqlite: bool = False) -> Iterator[Demo]:
    """Runs a demo until the `with` block ends, then removes the demo.

    Args:
        speed: How many seconds of the story pass in one real second.
        sqlite: Whether the tasks with phases are in a database, as in a workspace of today's
            orchestrator. The other task is in JSON files in any case.

    Raises:
        DemoError: The demo cannot be started.
    """
    if shutil.which("tmux") is None:
        raise DemoError(install_advice())
    with ExitStack() as stack:
        stage = Stage(_private_directory(), speed)
        stack.callback(shutil.rmtree, stage.root, ignore_errors=True)
        # Keep the FIFO open until the cleanup is done; otherwise the agents would clean up too.
        stack.callback(os.close, _hold(stage.lifeline))
        stack.callback(_clear_up, stage)
        _deploy(stage, sqlite)
        policy = Policy(
            stall_timeout=STALL_AFTER / speed,
            orphan_grace=ORPHAN_GRACE / speed,
            leak_grace=LEAK_GRACE / speed,
        )
        yield Demo(stage, Workspace(stage.workspace), stage.socket, policy)


def _private_directory() -> Path:
    for parent in (None, _SHORT):
        root = Path(tempfile.mkdtemp(prefix=ROOT_PREFIX, dir=parent)).resolve()
        if len(os.fsencode(Stage(root).socket)) <= _LONGEST_SOCKET:
            break
        root.rmdir()
    return root


def _hold(lifeline: Path) -> int:
    os.mkfifo(lifeline, 0o600)
    return os.open(lifeline, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def _deploy(stage: Stage, sqlite: bool) -> None:
    """Starts all sessions at once, and registers the agents while the sessions start."""
    now = time.time()
    task_ids = {key: task_id_of(now - task.ago) for key, task in TASKS.items()}
    stored = {key for key, task in TASKS.items() if sqlite and task.phases}
    create_tasks(stage, {task_ids[key]: task for key, task in TASKS.items()}, now)
    if stored:
        from tui.demo import database

        database.create_tasks(stage, {task_ids[key]: TASKS[key] for key in sorted(stored)}, now)
    members: dict[str | None, Member] = {}
    for role in (*ROLES.values(), *((REVIEWER,) if sqlite else ())):
        if not role.later:
            parent = members[role.parent].id if role.parent else ORCHESTRATOR
            members[role.type] = member_of(
                role,
                task_ids[role.task],
                parent,
                now - role.ago,
                in_database=role.task in stored,
            )
    orphan = member_of(ORPHAN, task_ids[ORPHAN.task], ORCHESTRATOR, now - ORPHAN.ago)
    at_work = [member for member in members.values() if not member.role.is_finished]
    problem = Tmux(stage.socket, _START_TIMEOUT).start_sessions(
        {member.session: stage.command(member) for member in (*at_work, orphan)},
        new_server=True,
    )
    if problem is None and (answer := Tmux(stage.socket).ask()).state is TmuxState.UNKNOWN:
        problem = f"tmux cannot be queried: {answer.why}"
    if problem is not None:
        raise DemoError(problem)
    for member in members.values():
        started = now - member.role.ago
        books_of(member).enlist(stage, member, started)
        tell_past(stage, member, started, time.time())
    stage.curtain.touch()


def _clear_up(stage: Stage) -> None:
    """Kills every process of the demo, and removes the demo's files."""
    left = _end_processes(stage.socket)
    shutil.rmtree(stage.root, ignore_errors=True)
    if left:
        names = ", ".join(f"{process.name} ({process.pid})" for process in left)
        sys.stderr.write(f"muster: cannot end all processes of the demo; still running: {names}\n")
    if stage.root.exists():
        sys.stderr.write(f"muster: cannot remove {stage.root}; remove it by hand\n")


def _end_processes(socket: Path) -> tuple[process_tree.Process, ...]:
    # tmux is not queried, because it may hang, and does not know processes that left a pane.
    left: tuple[process_tree.Process, ...] = ()
    for _ in range(_ROUNDS):
        servers = process_tree.processes_with_argument(f"-S{socket}")
        pids = tuple(server.pid for server in servers)
        origin = process_tree.Origin(pids, None, socket, None)
        known = process_tree.session_processes(origin)
        if not known:
            break
        left = process_kill.end(known, [origin])
    return process_kill.survivors(left)


class _Interruptions:
    """Delays signals that would end the program before its cleanup is done."""

    _SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._open = False
        self._pending: int | None = None
        self._before: dict[int, _Handler] = {}

    def __enter__(self) -> _Interruptions:
        for number in self._SIGNALS:
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN:
                self._before[number] = before
                signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        # A delayed signal ends the program now, unless an exception ends it already.
        if self._pending is not None and kind not in (KeyboardInterrupt, SystemExit):
            _end_by(self._pending)

    @contextmanager
    def let_through(self) -> Iterator[None]:
        """Lets signals end the program until the `with` block ends.

        If a signal was delayed before the block, the block is not run, and the program ends.
        """
        try:
            self._open = True
            if self._pending is not None:
                _end_by(self._pending)
            yield
        finally:
            self._open = False
            # An event loop that handled the signals resets them to the system's default, which
            # would end the process during the cleanup.
            for number in self._before:
                signal.signal(number, self._handle)

    def _handle(self, number: int, _: FrameType | None) -> None:
        self._pending = number
        if self._open:
            _end_by(number)


def _end_by(number: int) -> None:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
