"""The audit log in words. Pure; as text for a terminal and for a screen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from registry.audit import MISSING, Entry, FieldChange, Log, State
from registry.text import shown_name
from tui.text.sanitize import harmless, size, some

_SHOWN = 60


def value(raw: object) -> str:
    """One value of a field, short and harmless."""
    if raw is MISSING:
        return "(none)"
    return harmless(raw if isinstance(raw, str) else repr(raw), _SHOWN)


def change_words(changes: Sequence[FieldChange]) -> str:
    """Fields of one holder, each with what it was and what it becomes."""
    return ", ".join(map(_words, changes))


def _words(change: FieldChange) -> str:
    if change.whole:
        return "taken out of the registry" if change.after is MISSING else "put in the registry"
    return f"{harmless(change.field, _SHOWN)} {value(change.before)} → {value(change.after)}"


def by_holder(
    changes: Iterable[FieldChange],
) -> Mapping[tuple[str, str | None], list[FieldChange]]:
    """Changes by registry and agent; under None the fields of the registry itself."""
    found: dict[tuple[str, str | None], list[FieldChange]] = {}
    for each in changes:
        found.setdefault((each.file, each.agent), []).append(each)
    return found


def local_time(at: str) -> str:
    """A time of the log on this host's clock."""
    try:
        return f"{datetime.fromisoformat(at).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return harmless(at, 30)


_STATES = {
    State.INTENDED: "intended; whether it was done is not on record",
    State.DONE: "done",
    State.FAILED: "failed",
    State.VOID: "not done",
}


def entry_title(entry: Entry, undone: bool) -> str:
    """When, what and how it ended, in one line."""
    state = "done, undone later" if undone else _STATES[entry.state]
    return (
        f"{local_time(entry.at)}  {shown_name(entry.action_id, 80)}  "
        f"{harmless(entry.action, 20)}: {state}"
    )


def entry_details(entry: Entry) -> Iterator[str]:
    """Who, why, and what changed, line by line."""
    who = entry.who
    login = f" (sudo of {harmless(who.login, 40)})" if who.login else ""
    tty = f", {harmless(who.tty, 40)}" if who.tty else ""
    yield f"by {harmless(who.user, 40)}{login} on {harmless(who.host, 64)}, pid {who.pid}{tty}"
    if entry.reason:
        yield f"why: {harmless(entry.reason, 400)}"
    if entry.session is not None:
        whose = entry.session.agent or "nobody"
        yield (
            f"session {shown_name(entry.session.name)} of {shown_name(whose)} "
            f"on {shown_name(entry.session.socket)}"
        )
    if entry.undoes is not None:
        yield f"takes back {shown_name(entry.undoes[0], 80)}"
    said: dict[tuple[str | None, str], list[str]] = {}
    for (file, agent), changes in by_holder(entry.changes).items():
        said.setdefault((agent, change_words(changes)), []).append(file)
    for (agent, words), files in said.items():
        # Both registries of a task mostly have the same said of an agent.
        where = " and ".join(map(shown_name, files))
        yield f"{shown_name(agent)}: {words} ({where})" if agent else f"{where}: {words}"
    if entry.detail:
        yield f"{entry.state.value}: {harmless(entry.detail, 400)}"


def log_lines(log: Log, entries: Iterable[Entry]) -> Iterator[str]:
    """Entries as lines of text.

    Args:
        log: Where they stand; tells which were undone.
        entries: Those to show.
    """
    undone = log.taken_back
    for entry in entries:
        yield entry_title(entry, entry.place in undone)
        for detail in entry_details(entry):
            yield f"    {detail}"


def unread(log: Log) -> Iterator[str]:
    """What of a log could not be read, or was not, in words."""
    if log.damaged:
        yield f"{some(log.damaged, 'line')} of the log cannot be read"
    if log.left_out:
        yield f"the log is too large: {size(log.left_out)} of older records were not read"
