"""A script that acts like tmux of another version, whichever version is installed.

The script runs the real tmux, and changes its arguments and its output. Some versions keep "." and
":" in the names of sessions. To act like them, the script passes look-alikes of these characters,
which every version keeps, and turns the look-alikes back in the output.
"""

from __future__ import annotations

import os
import shutil
from enum import StrEnum
from pathlib import Path

import pytest

from tests.support.real_tmux import fake_binary


class Dialect(StrEnum):
    """How versions of tmux treat the name of a session."""

    KEEPS = "3.7c"
    REPLACES = "3.5a"

    def named(self, name: str) -> str:
        """Returns the name that a session has after it was created with a name."""
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
    """Puts a script first on PATH that names sessions as the given version does."""
    if dialect is Dialect.KEEPS:
        change, run = _CHANGED_NAME.format(by=_TO_LOOK_ALIKES), _BACK.format(by=_FROM_LOOK_ALIKES)
    else:
        change, run = _CHANGED_NAME.format(by="'s/[.:]/_/g'"), 'exec "$real" "$@"'
    _put_first(directory, change, run, monkeypatch)


def claim_version(version: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a script first on PATH whose server reports this version."""
    _change_words(f"'s/#{{version}}/{version}/'", directory, monkeypatch)


def forget_duration(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a script first on PATH that has no duration of messages, like tmux before 3.2."""
    _change_words("'s/display-message -d/display-message -Y/'", directory, monkeypatch)


def _change_words(by: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change = f'word=$(printf %s "$word" | LC_ALL=C sed {by})'
    _put_first(directory, change, 'exec "$real" "$@"', monkeypatch)


def _put_first(directory: Path, change: str, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script = _EACH.format(real=shutil.which("tmux"), change=change) + run
    binary = fake_binary(directory / "dialect", script)
    monkeypatch.setenv("PATH", f"{binary}{os.pathsep}{os.environ['PATH']}")
