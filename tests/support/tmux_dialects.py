"""A tmux that speaks as another version does, whichever version there is.

It runs the real tmux, and changes what goes in and what comes out. One that keeps "." and ":" in
the names of sessions gives tmux look-alikes of them, which every version keeps, and turns them
back in the output.
"""

from __future__ import annotations

import os
import shutil
from enum import StrEnum
from pathlib import Path

import pytest

from tests.support.real_tmux import fake_binary


class Dialect(StrEnum):
    """What versions of tmux do with a session's name."""

    KEEPS = "3.7c"
    REPLACES = "3.5a"

    def named(self, name: str) -> str:
        """The name that a session has after it was made with a name."""
        return name if self is Dialect.KEEPS else name.replace(".", "_").replace(":", "_")


_EACH = """
real={real}
previous=
for word; do
    shift
    {change}
    previous=$word
    set -- "$@" "$word"
done
"""

_CHANGED_NAME = 'if [ "$previous" = -s ]; then word=$(printf %s "$word" | LC_ALL=C sed {by}); fi'

_BACK = """
case "$*" in *attach-session*) exec "$real" "$@" ;; esac
output=$("$real" "$@"; echo "=$?")
printf %s "${{output%=*}}" | LC_ALL=C sed {by}
exit "${{output##*=}}"
"""

_TO_LOOK_ALIKES = "'s/\\./\u2024/g; s/:/\ua789/g'"
_FROM_LOOK_ALIKES = "'s/\u2024/./g; s/\ua789/:/g'"


def speak(dialect: Dialect, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a tmux first on PATH that names sessions as a version does."""
    if dialect is Dialect.KEEPS:
        change, run = _CHANGED_NAME.format(by=_TO_LOOK_ALIKES), _BACK.format(by=_FROM_LOOK_ALIKES)
    else:
        change, run = _CHANGED_NAME.format(by="'s/[.:]/_/g'"), 'exec "$real" "$@"'
    _put_first(directory, change, run, monkeypatch)


def claim_version(version: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a tmux first on PATH whose server says that it has this version."""
    _change_words(f"'s/#{{version}}/{version}/'", directory, monkeypatch)


def forget_duration(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a tmux first on PATH that knows no duration of a message, as before 3.2."""
    _change_words("'s/display-message -d/display-message -Y/'", directory, monkeypatch)


def _change_words(by: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change = f'word=$(printf %s "$word" | LC_ALL=C sed {by})'
    _put_first(directory, change, 'exec "$real" "$@"', monkeypatch)


def _put_first(directory: Path, change: str, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script = _EACH.format(real=shutil.which("tmux"), change=change) + run
    binary = fake_binary(directory / "dialect", script)
    monkeypatch.setenv("PATH", f"{binary}{os.pathsep}{os.environ['PATH']}")
