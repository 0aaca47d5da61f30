"""Runs functions as another user. Only root can; the user needs no account."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

only_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can start processes of other users"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a function that ran as another user.

    Attributes:
        value: The returned value.
        error: The type and the message of the raised error; empty without an error.
        signal: The number of the signal that ended the process; 0 without a signal.
    """

    value: Any = None
    error: str = ""
    signal: int = 0


@dataclass(frozen=True, slots=True)
class User:
    """A user whose own group has the same number.

    Attributes:
        number: The user id.
        groups: The ids of the user's further groups.
    """

    number: int
    groups: tuple[int, ...] = ()

    def do(self, act: Callable[[], object], *, umask: int = 0o022) -> Outcome:
        """Calls a function in a forked process of this user.

        The process is not started anew, because only root may be allowed to read the interpreter.
        """
        prepare()
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reading)
            os.write(writing, pickle.dumps(self._become_and_do(act, umask)))
            os._exit(0)
        os.close(writing)
        with open(reading, "rb") as pipe:
            last_activity = pipe.read()
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            return Outcome(signal=os.WTERMSIG(status))
        found: Outcome = pickle.loads(last_activity)
        return found

    def _become_and_do(self, act: Callable[[], object], umask: int) -> Outcome:
        try:
            os.umask(umask)
            os.setgroups(self.groups)
            os.setgid(self.number)
            os.setuid(self.number)
            return Outcome(act())
        except BaseException as error:
            return Outcome(error=f"{type(error).__name__}: {error}")


def prepare() -> None:
    """Imports the modules that are imported late, because another user may not read them."""
    import hashlib  # noqa: F401
    import pwd  # noqa: F401
    import random  # noqa: F401
    import shlex  # noqa: F401

    import portalocker  # noqa: F401

    from registry.operations import register  # noqa: F401
    from registry.storage import codec

    codec.prepare()
