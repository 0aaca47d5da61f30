"""Formats the audit log as text, for the commands and for the monitor. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from registry.audit import MISSING, Entry, FieldChange, Log, State
from registry.text import shown_name
from tui.text.sanitize import harmless, size, some

_SHOWN = 60


def value(raw: object) -> str:
    """Returns the value of a field as short text that is safe to print."""
    if raw is MISSING:
        return "(none)"
    return harmless(raw if isinstance(raw, str) else repr(raw), _SHOWN)


def change_words(changes: Sequence[FieldChange]) -> str:
    """Returns a text with the name, the old value and the new value of each changed field."""
    return ", ".join(map(_words, changes))


def _words(change: FieldChange) -> str:
    if change.whole:
        return "removed from the registry" if change.after is MISSING else "added to the registry"
    if change.replaces_file:
        aside = change.before.get("aside") if isinstance(change.before, dict) else None
        if aside is None:
            return "broken text put back in place of the kept state"
        return f"kept state put in place of the broken text, now in {harmless(str(aside), 200)}"
    return f"{harmless(change.field, _SHOWN)} {value(change.before)} → {value(change.after)}"


def by_holder(
    changes: Iterable[FieldChange],
) -> Mapping[tuple[str, str | None], list[FieldChange]]:
    """Groups changes by registry and agent; None is the agent for fields of a registry itself."""
    groups: dict[tuple[str, str | None], list[FieldChange]] = {}
    for change in changes:
        groups.setdefault((change.file, change.agent), []).append(change)
    return groups


def local_time(at: str) -> str:
    """Returns a time from the log as text in the local time zone."""
    try:
        return f"{datetime.fromisoformat(at).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return harmless(at, 30)


_STATES = {
    State.INTENDED: "started; the log has no result",
    State.DONE: "done",
    State.FAILED: "failed",
    State.VOID: "not done",
}


class LogBlock(NamedTuple):
    """Consecutive entries of one action with one result, as text.

    Attributes:
        title: The time, the action and the result, as one line.
        state: The result.
        lines: The user, the reason, and the changes of all entries.
    """

    title: str
    state: State
    lines: tuple[str, ...]


def log_blocks(log: Log, entries: Iterable[Entry]) -> Iterator[LogBlock]:
    """Yields log entries as text; consecutive entries of one action are one block.

    Args:
        log: The log that contains the entries.
        entries: The entries to show.
    """
    undone = log.taken_back

    def block_of(entry: Entry) -> tuple[object, ...]:
        is_undone = entry.place in undone
        return entry.action_id, entry.action, entry.reason, entry.who, entry.state, is_undone

    for key, group in itertools.groupby(entries, block_of):
        block = tuple(group)
        lines = (*_actor_lines(block[0]), *itertools.chain(*map(_change_lines, block)))
        yield LogBlock(_title(block[0], bool(key[-1])), block[0].state, lines)


def _title(entry: Entry, undone: bool) -> str:
    state = "done, undone later" if undone else _STATES[entry.state]
    return (
        f"{local_time(entry.at)}  {shown_name(entry.action_id, 80)}  "
        f"{harmless(entry.action, 20)}: {state}"
    )


def entry_details(entry: Entry) -> Iterator[str]:
    """Yields the user, the reason and the changes of a log entry, line by line."""
    yield from _actor_lines(entry)
    yield from _change_lines(entry)


def _actor_lines(entry: Entry) -> Iterator[str]:
    who = entry.who
    login = f" (sudo of {harmless(who.login, 40)})" if who.login else ""
    tty = f", {harmless(who.tty, 40)}" if who.tty else ""
    yield f"by {harmless(who.user, 40)}{login} on {harmless(who.host, 64)}, pid {who.pid}{tty}"
    if entry.reason:
        yield f"why: {harmless(entry.reason, 400)}"


def _change_lines(entry: Entry) -> Iterator[str]:
    if entry.session is not None:
        kind = "session" if entry.session.agent else "orphaned session"
        holder = f" of {shown_name(entry.session.agent)}" if entry.session.agent else ""
        session = shown_name(entry.session.name)
        if entry.session.pid is not None:
            yield f"process {entry.session.pid}{holder}"
        else:
            yield f"{kind} {session}{holder} on {shown_name(entry.session.socket)}"
    if entry.undoes is not None:
        yield f"takes back {shown_name(entry.undoes[0], 80)}"
    files_by_text: dict[tuple[str | None, str], list[str]] = {}
    for (file, agent), changes in by_holder(entry.changes).items():
        files_by_text.setdefault((agent, change_words(changes)), []).append(file)
    for (agent, words), files in files_by_text.items():
        # An agent's changes are mostly the same in both registries of its task.
        where = " and ".join(map(shown_name, files))
        yield f"{shown_name(agent)}: {words} ({where})" if agent else f"{where}: {words}"
    if entry.detail:
        yield f"{entry.state.value}: {harmless(entry.detail, 400)}"


def log_lines(log: Log, entries: Iterable[Entry]) -> Iterator[str]:
    """Yields log entries as lines of text.

    Args:
        log: The log that contains the entries.
        entries: The entries to show.
    """
    for block in log_blocks(log, entries):
        yield block.title
        for line in block.lines:
            yield f"    {line}"


def of_last_actions(entries: Sequence[Entry], count: int) -> tuple[list[Entry], int]:
    """Returns the entries of the last actions.

    Args:
        entries: The entries, oldest first.
        count: The number of actions.

    Returns:
        The entries, oldest first, and the number of all actions in `entries`.
    """
    newest_first = list(dict.fromkeys(entry.action_id for entry in reversed(entries)))
    kept = frozenset(newest_first[:count])
    return [entry for entry in entries if entry.action_id in kept], len(newest_first)


def unread(log: Log) -> Iterator[str]:
    """Yields messages about the parts of a log that were not read."""
    yield from map(harmless, log.unread)
    if log.damaged:
        yield f"{some(log.damaged, 'line')} of the log cannot be read"
    if log.left_out:
        yield f"the log is too large: {size(log.left_out)} of older records were not read"
