"""Doing something as another user, who needs no account here; only root can."""

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
    """What came of it.

    Attributes:
        value: What was returned.
        error: The kind of what was raised and its words, or "".
        signal: What ended the process, or 0.
    """

    value: Any = None
    error: str = ""
    signal: int = 0


@dataclass(frozen=True, slots=True)
class User:
    """A user with a group of its own number, and in others.

    Attributes:
        number: User id.
        groups: Further groups that it is in.
    """

    number: int
    groups: tuple[int, ...] = ()

    def do(self, act: Callable[[], object], *, umask: int = 0o022) -> Outcome:
        """Does something in a process of this user.

        Forked and not started: the interpreter may lie where only root may look.
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
    """Imports what is otherwise imported on first use: that user may not read it."""
    import hashlib  # noqa: F401
    import pwd  # noqa: F401
    import random  # noqa: F401
    import shlex  # noqa: F401

    import portalocker  # noqa: F401

    from registry.operations import register  # noqa: F401
    from registry.storage import codec

    codec.prepare()
