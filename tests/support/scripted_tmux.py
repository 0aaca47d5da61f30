"""A tmux that gives the answers it was told to give."""

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
    """A session that may be that of an agent which `workspaces.entry` makes."""
    now = time.time()
    return session(name, number=number, created=now - 15, activity=now)


class ScriptedTmux(Tmux):
    """Gives one answer after another, and the last one ever after.

    Attributes:
        asked: How often it was asked.
        killed: The sessions it was told to end; none of them does.
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
