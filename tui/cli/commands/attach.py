"""`muster attach`: shows the session of an agent on this terminal."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tui.cli.context import find, policy_of, settings_of, tmux_of
from tui.cli.help import Page
from tui.cli.output import DONE, NOT_ALL_DONE, complain, need_screen
from tui.cli.parser import add_agent

if TYPE_CHECKING:
    import subprocess

    from tui.host.tmux_types import Session
    from tui.model.roll import AgentRow, RollCall

_ERRORS_AT_MOST = 2000

PAGE = Page(
    """\
Goes into the session of an agent, or into an orphaned session with the given name. In
the tmux server of the session, switches your client. Elsewhere, starts a tmux client
until you detach. The first seconds show the keys that lead back.

With --read-only, or the setting `read_only`, you only watch: no key reaches the
session.""",
    (("muster attach --read-only fixer", "watch the fixer"),),
    "0 you detached, or your client was switched; 1 the session cannot be shown; 2 wrong\n"
    "  usage, no such agent, or no terminal",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_agent(parser)
    parser.add_argument("--read-only", action="store_true", help="only watch the session")


def run(options: argparse.Namespace) -> int:
    """Runs `muster attach`."""
    need_screen("attach", "use `muster tail -f`")
    from tui.actions.attach import (
        SWITCHED,
        NowhereToGoError,
        explained,
        go_there,
        outside_tmux,
        refuse_failure,
    )
    from tui.live.once import take_roll

    tmux, read_only = tmux_of(options), settings_of(options).read_only
    roll = take_roll(find(options), tmux, policy_of(options))
    item = meant_item(roll, options.agent, options.task)
    try:
        target = go_there(tmux, item, roll.evidence, read_only=read_only)
        if target is None:
            print(SWITCHED)
            return DONE
        with (
            explained(),
            tmux.attach_command(*target, read_only=read_only) as (words, descriptors),
        ):
            code, errors = _run(words, outside_tmux(), descriptors)
        refuse_failure(code, errors)
    except NowhereToGoError as error:
        complain(str(error))
        return NOT_ALL_DONE
    return DONE


def meant_item(roll: RollCall, word: str, task_id: str | None) -> AgentRow | Session:
    """Returns the agent or the orphaned session that a user means; see `lookup.find_row`."""
    from tui.cli.lookup import find_row

    if task_id is None:
        for session in roll.orphans:
            if session.name == word:
                return session
    return find_row(roll, word, task_id)


def _run(
    words: Sequence[str], environment: dict[str, str], descriptors: Sequence[int]
) -> tuple[int, str]:
    """Runs a tmux client on the terminal; returns its exit code, and the start of its errors."""
    import subprocess
    import tempfile

    # tmux passes standard error to its server, which may keep a pipe open.
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603 - a command of `Tmux.attach_command`
            words, env=environment, pass_fds=tuple(descriptors), stderr=errors
        )
        # Only the client reacts to keys, and it restores the terminal before it ends.
        before = {
            number: signal.signal(number, lambda *_: None)
            for number in (signal.SIGINT, signal.SIGQUIT)
        }
        for number in (signal.SIGTERM, signal.SIGHUP):
            before[number] = signal.signal(number, lambda *_: process.terminate())
        try:
            code = _wait(process)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        errors.seek(0)
        return code, errors.read(_ERRORS_AT_MOST).decode("utf-8", "replace").strip()


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Waits for the end of a client; when the client is suspended, suspends muster too."""
    while True:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode
        os.kill(os.getpid(), signal.SIGSTOP)
        process.send_signal(signal.SIGCONT)
