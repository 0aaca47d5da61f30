"""The words that can complete a typed command line, with their meanings.

The words come from the parsers, the registries, and for `kill` and `attach` from tmux. The shell
inserts a word without quoting, so only names without a special meaning for a shell are offered.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import RegistryError
from registry.schema import (
    ENVIRONMENT_VARIABLE,
    SESSION_PREFIX,
    WORKSPACE_NAME,
    Workspace,
    find_workspaces,
    is_active,
    kept_places,
    spellings,
)
from registry.storage import is_safe_name
from tui.cli.main import COMMANDS, parser_of
from tui.cli.parser import ALIASES
from tui.text.sanitize import harmless

if TYPE_CHECKING:
    from registry.schema import AgentRecord, TaskRecord

FILES = ":files"
"""The line that asks the shell to offer the names of files."""

Offer = tuple[str, str]
"""A word, and its meaning, which may be empty."""

_SAFE_PATH = re.compile(r"(?!-)~?[A-Za-z0-9_./+@-]{1,4096}")

_PATIENCE = 1.0
"""After this many seconds without an answer of tmux, its sessions are not offered."""

# Meanings are cut to this many characters.
_MEANING_AT_MOST = 72

_AGENTS = frozenset({"agent", "agents", "names", "parent"})
_WORKSPACES = frozenset({"workspaces", "named"})
_PATHS = _WORKSPACES | {"socket_path", "config", "check"}


def offered(words: Sequence[str], environment: Mapping[str, str], here: Path) -> list[Offer]:
    """Returns the words that can complete the last word, sorted; none if a file is unreadable.

    Args:
        words: The words of the typed line up to the cursor, without the program's name.
        environment: The environment variables.
        here: The directory to which relative paths refer.
    """
    line = _Line(words, environment, here)
    matching: dict[str, str] = {}
    try:
        for word, meaning in line.offered():
            if (line.prefix + word).startswith(line.current):
                matching.setdefault(line.prefix + word, meaning)
    except (RegistryError, OSError):
        return []
    return sorted(matching.items())


def takes_files(words: Sequence[str]) -> bool:
    """Returns whether the last word of a typed line can be the name of a file."""
    return _Line(words, {}, Path()).takes_files()


def _is_plain(name: str) -> bool:
    """Whether a name has no special meaning for a shell and is not an option."""
    return is_safe_name(name) and not name.startswith("-")


def _meaning(text: str) -> str:
    return harmless(text.split(";")[0], _MEANING_AT_MOST)


class _Line:
    """A command line that is being typed.

    Attributes:
        current: The last word, which is completed.
        prefix: The beginning of the last word that all offered words lack, such as ``--sort=``.
    """

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], here: Path) -> None:
        # bash passes an equals sign as a separate word.
        *before, current = [word for word in words[:-1] if word != "="] + list(words[-1:] or [""])
        # The shell keeps a quote that is still open.
        self.current = "" if current == "=" else current.lstrip("'\"")
        self.prefix = ""
        self._before = before
        self._environment, self._here = environment, here
        self._command = ""
        self._options: dict[str, argparse.Action] = {}
        self._typed: list[str] = []
        self._take_options()
        self._values = list(self._read())
        self._take_equals_sign()

    def _take_options(self) -> None:
        actions = parser_of(self._command)._actions
        self._positional = [action for action in actions if not action.option_strings]
        self._options = {name: action for action in actions for name in action.option_strings}

    def _read(self) -> Iterator[tuple[argparse.Action, str]]:
        """Yields each option of the typed line with its value.

        Sets `_command` and `_typed`, the words that are not options or values. Sets `_waiting` to
        the last option if its value is still missing.
        """
        self._waiting: argparse.Action | None = None
        for word in self._before:
            if self._waiting is not None:
                yield self._waiting, word
                self._waiting = None
            elif word.startswith("-"):
                name, equals, value = word.partition("=")
                action = self._options.get(name)
                if action is not None and action.nargs is None and not equals:
                    self._waiting = action
                elif action is not None:
                    yield action, value
            elif not self._command and ALIASES.get(word, word) in COMMANDS:
                self._command = ALIASES.get(word, word)
                self._take_options()
            else:
                self._typed.append(word)

    def _take_equals_sign(self) -> None:
        name, equals, _ = self.current.partition("=")
        action = self._options.get(name)
        if self._waiting is None and equals and action is not None and action.nargs is None:
            self._waiting, self.prefix = action, name + equals

    def _actions(self) -> list[argparse.Action]:
        """Returns the arguments that can be at the cursor, besides options."""
        if self._waiting is not None:
            return [self._waiting]
        if self.current.startswith("-"):
            return []
        skipped = len(self._typed)
        for number, action in enumerate(self._positional):
            if action.nargs in ("*", "+"):
                return self._positional[number : number + 1]
            if skipped == 0:
                return [action]
            skipped -= 1
        return []

    def takes_files(self) -> bool:
        """Returns whether the word at the cursor can be the name of a file."""
        if self._command == "config" and not self.current.startswith("-"):
            return True
        return any(action.dest in _PATHS for action in self._actions())

    def offered(self) -> Iterator[Offer]:
        """Yields all words that are allowed at the cursor, whatever letters the user typed."""
        if self._waiting is None and self.current.startswith("-"):
            for name, action in self._options.items():
                if action.help is not None and action.help is not argparse.SUPPRESS:
                    yield name, _meaning(action.help)
            return
        if self._waiting is None and not self._command and not self._typed:
            yield from ((name, command.line) for name, command in COMMANDS.items())
        for action in self._actions():
            yield from self._of(action)

    def _of(self, action: argparse.Action) -> Iterable[Offer]:
        if action.choices is not None:
            return ((str(choice), "") for choice in action.choices)
        flags = {option.dest for option, _ in self._values}
        if action.dest == "task" or (action.dest == "names" and "task" in flags):
            return self._tasks()
        if action.dest in _AGENTS:
            return self._agents(action.dest)
        if action.dest in _WORKSPACES:
            return ((path, "") for path in self._workspaces())
        if action.dest == "where":
            return self._filters()
        if action.dest == "columns":
            return self._columns()
        if action.dest == "topic":
            return ((name, command.line) for name, command in COMMANDS.items())
        return ()

    def _where(self) -> tuple[Workspace, ...]:
        from tui.host.asker import ask_each

        named = [value for option, value in self._values if option.dest in _WORKSPACES and value]
        if self._command and any(action.dest in _WORKSPACES for action in self._positional):
            named += self._typed
        return find_workspaces(named, self._environment, self._here, ask=ask_each)

    def _tasks(self) -> Iterator[Offer]:
        from tui.cli.lookup import tasks_in

        for task in tasks_in(self._where(), timeout=0):
            if _is_plain(task.directory.name):
                yield task.directory.name, ""

    def _records(self) -> Iterator[TaskRecord]:
        from tui.cli.lookup import tasks_in

        for task in tasks_in(self._where(), timeout=0):
            try:
                record = task.read().record
            except RegistryError:
                continue
            yield record

    def _agent_records(self) -> Iterator[AgentRecord]:
        for record in self._records():
            yield from record.agents

    def _agents(self, dest: str) -> Iterator[Offer]:
        """Yields the agents that make sense for the command, and that were not yet typed."""
        agents: Iterable[AgentRecord] = self._agent_records()
        if self._command in ("kill", "attach") and dest != "parent":
            agents, orphans = self._with_sessions(has_session=self._command == "attach")
            for name in orphans:
                if _is_plain(name) and name not in self._typed:
                    yield name, "orphaned session"
        elif self._command in ("complete", "report"):
            agents = (agent for agent in agents if is_active(agent.meaning))
        for agent in agents:
            if _is_plain(agent.id) and agent.id not in self._typed:
                yield agent.id, _meaning(" ".join(filter(None, (agent.type, agent.status))))

    def _with_sessions(self, *, has_session: bool) -> tuple[list[AgentRecord], list[str]]:
        """Returns the agents that may run, and the orphaned sessions.

        Args:
            has_session: Whether an agent must have a session. Otherwise active agents, and agents
                with a pid, are returned too.
        """
        sessions = self._sessions()
        orphans, agents = set(sessions), []
        for record in self._records():
            for agent in record.agents:
                names = spellings(agent.tmux_session) if agent.tmux_session else frozenset()
                runs = not names.isdisjoint(sessions)
                if runs or (not has_session and (agent.pid or is_active(agent.meaning))):
                    agents.append(agent)
            orphans -= record.sessions | record.respelled_sessions
        return agents, sorted(orphans)

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

    def _filters(self) -> Iterator[Offer]:
        """Yields the keys and values that can complete the last term of a filter."""
        from tui.model.verdicts import VERDICTS
        from tui.view.filter import KEYS

        text = self.current.removeprefix(self.prefix)
        term = text[text.rfind(" ") + 1 :]
        sign = "-" if term.startswith("-") else ""
        key, colon, values = term.removeprefix("-").partition(":")
        self.prefix += text.removesuffix(term) + sign
        if not colon:
            yield from ((f"{name}:", f"the {name}") for name in KEYS)
            return
        self.prefix += f"{key}:{values[: values.rfind(',') + 1]}"
        if key == "verdict":
            yield from ((verdict.value, entry.meaning) for verdict, entry in VERDICTS.items())
        elif key == "task":
            yield from self._tasks()
        elif key == "workspace":
            yield from ((path, "") for path in self._workspaces())
        elif key in ("id", "type", "status", "parent", "session"):
            for agent in self._agent_records():
                value = agent.tmux_session if key == "session" else getattr(agent, key)
                if value and _is_plain(value):
                    yield value, ""

    def _columns(self) -> Iterator[Offer]:
        from tui.cli.format_columns import COLUMNS

        text = self.current.removeprefix(self.prefix)
        self.prefix += text[: text.rfind(",") + 1]
        yield from ((name, "") for name in COLUMNS)

    def _workspaces(self) -> Iterator[str]:
        """Yields the workspaces that muster finds by itself, and those in the typed directory."""
        from tui.host.asker import ask_each

        places, _ = kept_places(self._environment, ask_each)
        known = self._environment.get(ENVIRONMENT_VARIABLE, "").split(":")
        known += [str(place.path) for place in places if place.workspace is not None]
        folder = os.path.dirname(self.current.removeprefix(self.prefix))
        directory = os.path.join(self._here, os.path.expanduser(folder))
        present = [
            os.path.join(folder, name)
            for name in os.listdir(directory)
            if os.path.isdir(os.path.join(directory, name, WORKSPACE_NAME))
            or name == WORKSPACE_NAME
        ]
        return (path for path in (*known, *present) if _SAFE_PATH.fullmatch(path))
