"""Forked processes that say what they do, until they are killed."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable


class Member:
    """A forked process that says what it does, a line for each thing."""

    def __init__(self, name: str, role: Callable[[Voice], None]) -> None:
        self.name = name
        self.hear, say = os.pipe()
        self._rest = b""
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                role(Voice(name, say))
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(say)

    def lines(self) -> list[list[str]]:
        """What it said since; waits for something, and is empty when it is gone."""
        last_activity = os.read(self.hear, 1 << 16)
        *whole, self._rest = (self._rest + last_activity).split(b"\n")
        return [line.decode("ascii").split(" ", 1) for line in whole]

    def end(self) -> list[list[str]]:
        """Waits for its end; its last words."""
        last = []
        while said := self.lines():
            last += said
        os.close(self.hear)
        os.waitpid(self.pid, 0)
        return last


class Voice:
    """What a member says it with."""

    def __init__(self, name: str, pipe: int) -> None:
        self.name = name
        self._pipe = pipe

    def say(self, word: str, what: str = "") -> None:
        """Says what it does, and to what."""
        os.write(self._pipe, f"{word} {what}\n".encode("ascii"))


class Telling(logging.Handler):
    """Says "recovered" when a commit of somebody who died was."""

    def __init__(self, voice: Voice) -> None:
        super().__init__(logging.WARNING)
        self._voice = voice

    def emit(self, record: logging.LogRecord) -> None:
        if str(record.msg).startswith("Recovery"):
            self._voice.say("recovered")
