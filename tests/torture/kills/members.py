"""Forked processes that report what they do, until they are killed."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable


class Member:
    """A forked process that reports each step on one line."""

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
        """Waits for new lines of the process; returns no lines if the process has ended."""
        last_activity = os.read(self.hear, 1 << 16)
        *whole, self._rest = (self._rest + last_activity).split(b"\n")
        return [line.decode("ascii").split(" ", 1) for line in whole]

    def end(self) -> list[list[str]]:
        """Waits for the end of the process; returns its last lines."""
        last = []
        while said := self.lines():
            last += said
        os.close(self.hear)
        os.waitpid(self.pid, 0)
        return last


class Voice:
    """The reporting end of a member."""

    def __init__(self, name: str, pipe: int) -> None:
        self.name = name
        self._pipe = pipe

    def say(self, word: str, what: str = "") -> None:
        """Reports a step and its object."""
        os.write(self._pipe, f"{word} {what}\n".encode("ascii"))


class Telling(logging.Handler):
    """Reports "recovered" when the library recovers the commit of a killed process."""

    def __init__(self, voice: Voice) -> None:
        super().__init__(logging.WARNING)
        self._voice = voice

    def emit(self, record: logging.LogRecord) -> None:
        if str(record.msg).startswith("Recovery"):
            self._voice.say("recovered")
