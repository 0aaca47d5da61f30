"""A tmux client that returns given answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from tests.support.rolls import SOCKET, session
from tui.host.tmux import Tmux
from tui.host.tmux_socket import CheckedSocket
from tui.host.tmux_types import Session, TmuxSnapshot


def made_now(name: str, number: int = 1) -> Session:
    """Returns a session that may belong to an agent from `workspaces.entry`."""
    now = time.time()
    return session(name, number=number, created=now - 15, activity=now)


class ScriptedTmux(Tmux):
    """Returns the given answers in order; repeats the last answer.

    Attributes:
        asked: The number of queries.
        killed: The sessions that `kill_session` was called with; none of them ends.
    """

    def __init__(self, *answers: TmuxSnapshot) -> None:
        super().__init__(SOCKET)
        self._answers: Sequence[TmuxSnapshot] = answers
        self.asked = 0
        self.killed: list[Session] = []

    def ask(self) -> TmuxSnapshot:
        answer = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        return replace(answer, asked_at=time.monotonic())

    def _checked(self) -> AbstractContextManager[CheckedSocket]:
        # There is no server whose socket could be checked.
        return nullcontext(CheckedSocket(str(self.socket)))

    def kill_session(self, session: Session, answer: TmuxSnapshot) -> str | None:
        self.killed.append(session)
        return None
