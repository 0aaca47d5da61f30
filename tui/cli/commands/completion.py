"""`muster completion`: scripts for shells, and the words that the scripts offer.

The scripts only run ``muster completion --words`` with the typed command line, up to the cursor.
The words come from the parsers and the registries; for `muster kill`, also from tmux. The shell
inserts a word without quoting, so only names without a special meaning for a shell are offered.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from registry.errors import RegistryError
from registry.schema import (
    ENVIRONMENT_VARIABLE,
    SESSION_PREFIX,
    WORKSPACE_NAME,
    TaskRecord,
    Workspace,
    find_workspaces,
    is_active,
    kept_places,
    spellings,
    user_environment,
)
from registry.storage import is_safe_name
from tui.cli.help import Page
from tui.cli.main import COMMANDS, parser_of
from tui.cli.output import DONE
from tui.errors import UsageError

_SCRIPTS = {
    "bash": """\
_muster() {
    local word
    COMPREPLY=()
    while IFS= read -r word; do
        COMPREPLY+=("$word")
    done < <(muster completion --words "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _muster muster
""",
    "zsh": """\
#compdef muster
_muster() {
    local -a found
    found=("${(@f)$(muster completion --words "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then
        compadd -- "${found[@]}"
    else
        _files
    fi
}
if [[ "${funcstack[1]}" == _muster ]]; then
    _muster "$@"
else
    compdef _muster muster
fi
""",
    "fish": """\
function __muster_words
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    muster completion --words $before[2..-1] "$current" 2>/dev/null
end
complete -c muster -a '(__muster_words)'
""",
}

_SAFE_PATH = re.compile(r"(?!-)~?[A-Za-z0-9_./+@-]{1,4096}")

_PATIENCE = 1.0
"""After this many seconds without an answer of tmux, its sessions are not offered."""

SHELLS = tuple(_SCRIPTS)

PAGE = Page(
    """\
Prints a script for bash, zsh or fish that completes commands, options, the ids of
agents and tasks, and workspaces. Ids come from the registries. For "kill", tmux is
queried, too: it has the orphans, and the sessions of agents that have ended.""",
    (
        ('eval "$(muster completion bash)"', "in ~/.bashrc"),
        ('eval "$(muster completion zsh)"', "in ~/.zshrc, after compinit"),
        ("muster completion fish > ~/.config/fish/completions/muster.fish", "once"),
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("shell", nargs="?", choices=SHELLS, help="the shell")
    # `main` removes ``--words`` and the words after it before the arguments are parsed.
    parser.set_defaults(words=None, code_without_reader=DONE)


def run(options: argparse.Namespace) -> int:
    """Runs `muster completion`."""
    if options.words is not None:
        with suppress(FileNotFoundError):
            for word in candidates(options.words, user_environment(), Path.cwd()):
                print(word)
    elif options.shell is not None:
        print(_SCRIPTS[options.shell], end="")
    else:
        raise UsageError(f"the shell is missing: name one of {', '.join(_SCRIPTS)}")
    return DONE


def candidates(words: Sequence[str], environment: Mapping[str, str], here: Path) -> list[str]:
    """Returns the words that can complete the last word, sorted; no words if a file is unreadable.

    Args:
        words: The words of the typed line up to the cursor, without the program's name.
        environment: The environment variables.
        here: The directory to which relative paths refer.
    """
    # bash passes an equals sign as a separate word.
    *before, current = [word for word in words[:-1] if word != "="] + list(words[-1:] or [""])
    current = "" if current == "=" else current
    line = _Line(tuple(before), current, environment, here)
    try:
        matching = {word for word in line.offered() if word.startswith(current)}
    except (RegistryError, OSError):
        return []
    return sorted(matching)


def _is_plain(name: str) -> bool:
    """Whether a name has no special meaning for a shell and is not an option."""
    return is_safe_name(name) and not name.startswith("-")


class _Line:
    """A command line that is being typed."""

    def __init__(
        self, before: tuple[str, ...], current: str, environment: Mapping[str, str], here: Path
    ) -> None:
        self._before, self._current = before, current
        self._environment, self._here = environment, here
        self._command = ""
        self._options: dict[str, argparse.Action] = {}
        self._take_options()
        self._values = list(self._read())

    def _take_options(self) -> None:
        parser = parser_of(self._command)
        actions = parser._actions
        self._positional = [action for action in actions if not action.option_strings]
        self._options = {name: action for action in actions for name in action.option_strings}

    def _read(self) -> Iterator[tuple[argparse.Action, str]]:
        """Yields each option of the typed line with its value.

        Sets `_command`. Sets `_waiting` to the last option if its value is still missing.
        """
        self._waiting: argparse.Action | None = None
        for word in self._before:
            if self._waiting is not None:
                yield self._waiting, word
                self._waiting = None
            elif word.startswith("-"):
                action = self._options.get(word)
                if action is not None and action.nargs is None:
                    self._waiting = action
                elif action is not None:
                    yield action, ""
            elif not self._command and word in COMMANDS:
                self._command = word
                self._take_options()

    def offered(self) -> Iterable[str]:
        """Yields all words that are allowed at the cursor, whatever letters the user typed."""
        if self._waiting is not None:
            yield from self._of(self._waiting)
        elif self._current.startswith("-"):
            for name, action in self._options.items():
                if action.help is not argparse.SUPPRESS:
                    yield name
        else:
            if not self._command:
                yield from COMMANDS
            for action in self._positional:
                yield from self._of(action)

    def _of(self, action: argparse.Action) -> Iterable[str]:
        if action.choices is not None:
            return map(str, action.choices)
        flags = {option.dest for option, _ in self._values}
        if action.dest == "task" or (action.dest == "names" and "task" in flags):
            return self._tasks()
        if action.dest in ("agent", "agents", "names", "parent"):
            if self._command == "kill":
                return self._killable()
            return self._agents(at_work=self._command in ("complete", "report"))
        if action.dest in ("workspaces", "named"):
            return self._workspaces()
        return ()

    def _where(self) -> tuple[Workspace, ...]:
        from tui.host.asker import ask_each

        named = [
            value
            for option, value in self._values
            if option.dest in ("workspaces", "named") and value
        ]
        return find_workspaces(named, self._environment, self._here, ask=ask_each)

    def _tasks(self) -> Iterator[str]:
        from tui.cli.lookup import tasks_in

        for task in tasks_in(self._where(), timeout=0):
            if _is_plain(task.directory.name):
                yield task.directory.name

    def _records(self) -> Iterator[TaskRecord]:
        from tui.cli.lookup import tasks_in

        for task in tasks_in(self._where(), timeout=0):
            try:
                record = task.read().record
            except RegistryError:
                continue
            yield record

    def _agents(self, *, at_work: bool) -> Iterator[str]:
        for record in self._records():
            for agent in record.agents:
                if _is_plain(agent.id) and (not at_work or is_active(agent.meaning)):
                    yield agent.id

    def _killable(self) -> Iterator[str]:
        """Yields the active agents, the ended agents with a session or a pid, and the orphans."""
        sessions = self._sessions()
        orphans = set(sessions)
        for record in self._records():
            for agent in record.agents:
                names = spellings(agent.tmux_session) if agent.tmux_session else frozenset()
                may_run = agent.pid is not None or not names.isdisjoint(sessions)
                if _is_plain(agent.id) and (may_run or is_active(agent.meaning)):
                    yield agent.id
            orphans -= record.sessions | record.respelled_sessions
        yield from (name for name in orphans if _is_plain(name))

    def _sessions(self) -> set[str]:
        """Returns the names of the sessions that are named like the session of an agent."""
        from tui.host.tmux import Tmux
        from tui.host.tmux_types import socket_path

        given = {option.dest: value for option, value in self._values}
        name, path = given.get("socket_name"), given.get("socket_path")
        try:
            answer = Tmux(socket_path(name, path, os.environ), _PATIENCE).ask()
        except ValueError:
            return set()
        return {name for name in answer.sessions if name.startswith(SESSION_PREFIX)}

    def _workspaces(self) -> Iterator[str]:
        """Yields the workspaces that muster finds by itself, and those in the typed directory."""
        from tui.host.asker import ask_each

        places, _ = kept_places(self._environment, ask_each)
        known = self._environment.get(ENVIRONMENT_VARIABLE, "").split(":")
        known += [str(place.path) for place in places if place.workspace is not None]
        folder = os.path.dirname(self._current)
        directory = os.path.join(self._here, os.path.expanduser(folder))
        present = [
            os.path.join(folder, name)
            for name in os.listdir(directory)
            if os.path.isdir(os.path.join(directory, name, WORKSPACE_NAME))
            or name == WORKSPACE_NAME
        ]
        return (path for path in (*known, *present) if _SAFE_PATH.fullmatch(path))
