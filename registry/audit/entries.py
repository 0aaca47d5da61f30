"""The records of an audit log, one JSON object per line: intents and their outcomes. Pure."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import Any

from registry.audit.diff import MISSING, FieldChange
from registry.dataclass import dataclass, field, replace
from registry.schema.records import Deployment
from registry.schema.timestamps import parse_time
from registry.storage.files.interruption import hand_on

VERSION = 1
"""The version of the records; increased when a field is removed or changes its meaning."""


Place = tuple[str, str, int]
"""The path of a log, and the key of an entry in that log."""


class State(StrEnum):
    """The outcome of an intent."""

    INTENDED = "intended"
    """The log has no outcome: the process died, or the change is not finished."""
    DONE = "done"
    """The change was made."""
    FAILED = "failed"
    """The change failed."""
    VOID = "void"
    """The change was not made, because another process changed the registry first."""


@dataclass(frozen=True, slots=True)
class Who:
    """The user and the process that perform an action.

    Attributes:
        user: The name of the user that runs the process, or the user's id as text.
        login: The name of the user that called sudo; None without sudo.
        host: The name of the host.
        pid: The id of the process.
        tty: The path of the process's terminal, or None.
    """

    user: str
    login: str | None
    host: str
    pid: int
    tty: str | None


@dataclass(frozen=True, slots=True)
class EndedSession:
    """A tmux session that was killed, or should be killed. A kill cannot be undone.

    Attributes:
        name: The name of the session.
        id: The id of the session in tmux.
        created: When the session was created, in seconds since the epoch.
        socket: The socket of the session's tmux server.
        agent: The id of the session's agent; None for an orphan.
        server_pid: The process id of the tmux server; None if the log does not contain this id.
        server_started: When the server started, in seconds since the epoch.
        panes: The ids of the session's panes. They identify processes of the session that still
            run after the kill.
        pid: The pid of the process that was killed, if the agent had no session; otherwise None.
        told_by: The ids of the users that own the logs with this record. None if the record was
            not read from a log.
        ended_at: The time of the kill's intent in the log, in seconds since the epoch, or None.
        log: The path of the log with this record; empty if the record was not read from a log.
    """

    name: str
    id: str
    created: int
    socket: str
    agent: str | None
    server_pid: int | None = None
    server_started: int = 0
    panes: tuple[str, ...] = ()
    pid: int | None = None
    told_by: frozenset[int] | None = field(default=None, compare=False, repr=False)
    ended_at: float | None = field(default=None, compare=False, repr=False)
    log: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """One step of an operator's action.

    Attributes:
        action_id: The id of the whole action, for `muster undo`.
        part: The number of the step within the action, from 1.
        at: The time of the intent: ISO 8601, UTC.
        action: The word for the action: "kill", "complete", "undo" or another word.
        reason: The reason in the operator's words; may be empty.
        who: The user and the process that perform the action.
        changes: The changed fields. If the outcome is not logged, these are the expected changes.
        session: The session that is killed, or None.
        final: Why the changes cannot be taken back; None if they can be taken back.
        undoes: The `key` of the entry that this step takes back, or None.
        state: The outcome.
        detail: A message about the outcome.
        log: The path of the log; empty if the entry was not read from a log.
        writers: The ids of the users that own the log's files. These users may have forged the
            entry.
    """

    action_id: str
    part: int
    at: str
    action: str
    reason: str
    who: Who
    changes: tuple[FieldChange, ...] = ()
    session: EndedSession | None = None
    final: str | None = None
    undoes: tuple[str, int] | None = None
    state: State = State.INTENDED
    detail: str = ""
    log: str = ""
    writers: frozenset[int] = field(default=frozenset(), compare=False, repr=False)

    @property
    def key(self) -> tuple[str, int]:
        """The key that identifies the entry in its log."""
        return self.action_id, self.part

    @property
    def place(self) -> Place:
        """The key that identifies the entry among the entries of all logs."""
        return self.log, self.action_id, self.part


@dataclass(frozen=True, slots=True)
class Log:
    """The content of a log.

    Attributes:
        entries: The entries, oldest first.
        records: The intents and outcomes as JSON objects, oldest first.
        damaged: The number of lines that are not records, for example after a crash.
        left_out: The number of bytes of older records that were not read because of the limits.
        unread: One error message for each log that could not be read.
    """

    entries: tuple[Entry, ...]
    records: tuple[Mapping[str, Any], ...]
    damaged: int = 0
    left_out: int = 0
    unread: tuple[str, ...] = ()

    @property
    def unfinished_ends(self) -> tuple[EndedSession, ...]:
        """The sessions whose kill was begun but not completed, according to the log.

        A session without logged panes is left out, because its processes could not be identified.
        A record in one log never completes a kill in another log, because the logs may belong to
        different users.
        """
        unfinished: dict[tuple[str, str, str, int, int | None], EndedSession] = {}
        for entry in self.entries:
            session = entry.session
            if session is not None and session.panes:
                key = entry.log, session.socket, session.id, session.created, session.server_pid
                if entry.state is State.DONE:
                    unfinished.pop(key, None)
                elif entry.state is not State.VOID:
                    unfinished[key] = session
        return tuple(unfinished.values())

    @property
    def taken_back(self) -> frozenset[Place]:
        """The places (`Entry.place`) of entries that were taken back, at least in part."""
        undone: set[Place] = set()
        # Newest first: an undo that was undone itself has no effect.
        for entry in reversed(self.entries):
            is_done = entry.undoes is not None and entry.state is State.DONE
            if entry.undoes is not None and is_done and entry.place not in undone:
                # An undo can only take back entries of its own log.
                undone.add((entry.log, *entry.undoes))
        return frozenset(undone)

    @property
    def undone(self) -> frozenset[tuple[str, int]]:
        """The keys (`Entry.key`) of entries that were taken back, at least in part."""
        return frozenset((action_id, part) for _, action_id, part in self.taken_back)


def line(record: Mapping[str, Any]) -> bytes:
    """Encodes one record as one line of printable ASCII."""
    # json.dumps escapes control characters and non-ASCII characters. It does not escape DEL.
    return json.dumps(record).encode("ascii") + b"\n"


def intent(entry: Entry) -> dict[str, Any]:
    """Returns the record of an intent, which is written before the change is made."""
    return {
        "v": VERSION,
        "id": entry.action_id,
        "part": entry.part,
        "phase": "intent",
        "at": entry.at,
        "action": entry.action,
        "reason": entry.reason,
        "who": asdict(entry.who),
        "changes": [_change(change) for change in entry.changes],
        "session": _session(entry.session) if entry.session is not None else None,
        "final": entry.final,
        "undoes": list(entry.undoes) if entry.undoes else None,
    }


def outcome(
    entry: Entry, at: str, state: State, detail: str, changes: Sequence[FieldChange]
) -> dict[str, Any]:
    """Returns the record of an outcome, which is written after the change was made or failed.

    Args:
        entry: The intent.
        at: The time of the outcome: ISO 8601, UTC.
        state: The outcome.
        detail: A message about the outcome.
        changes: The changes that were made, with the real values of the counters.
    """
    return {
        "v": VERSION,
        "id": entry.action_id,
        "part": entry.part,
        "phase": state.value,
        "at": at,
        "detail": detail,
        "changes": [_change(change) for change in changes],
    }


def _session(session: EndedSession) -> dict[str, Any]:
    record = asdict(session)
    told_by, ended_at = record.pop("told_by"), record.pop("ended_at")
    del record["log"]
    if session.pid is None:
        del record["pid"]
    if told_by is not None:
        # The record repeats facts from another log. It names the owners of that log, so that
        # the facts do not seem to come from the user that writes this record.
        record |= {"told_by": sorted(told_by), "ended_at": ended_at}
    return record


def _change(change: FieldChange) -> dict[str, Any]:
    record: dict[str, Any] = {"file": change.file, "agent": change.agent}
    if change.nth:
        record["nth"] = change.nth
    record["field"] = change.field
    if change.whole:
        record["whole"] = True
    if change.before is not MISSING:
        record["before"] = change.before
    if change.after is not MISSING:
        record["after"] = change.after
    if change.deployed is not None:
        record["deployed"] = asdict(change.deployed)
    return record


@dataclass(slots=True)
class _Merging:
    log: str
    entries: dict[tuple[str, int], Entry] = field(default_factory=dict)
    records: list[Mapping[str, Any]] = field(default_factory=list)
    damaged: int = 0


def merge(
    lines: Iterable[bytes], log: str, writers: Iterable[int | None] = itertools.repeat(None)
) -> Log:
    """Merges the intents and outcomes of a log. Raises no error; damaged lines are counted.

    Args:
        lines: The lines of the log, oldest first.
        log: The path of the log.
        writers: For each line, the id of the user that owns the line's file, or None.
    """
    merging = _Merging(log)
    for text, writer in zip(lines, writers, strict=False):
        if not text.strip():
            continue
        try:
            record = json.loads(text)
            _take(merging, record, frozenset() if writer is None else frozenset({writer}))
        except (ValueError, LookupError, TypeError, RecursionError, OverflowError) as error:
            hand_on(error)
            merging.damaged += 1
        else:
            merging.records.append(record)
    return Log(tuple(merging.entries.values()), tuple(merging.records), merging.damaged)


def _take(merging: _Merging, record: Mapping[str, Any], writers: frozenset[int]) -> None:
    key = (_text(record["id"]), _whole(record["part"]))
    changes = tuple(map(_read_change, record["changes"]))
    if record["phase"] == "intent":
        entry = _read_intent(key, record, changes, writers)
        session = entry.session and replace(entry.session, log=merging.log)
        merging.entries[key] = replace(entry, session=session, log=merging.log)
        return
    known = merging.entries.get(key)
    state = State(record["phase"])
    if known is not None:
        merging.entries[key] = replace(
            known,
            state=state,
            detail=_text(record["detail"]),
            changes=changes or known.changes,
            writers=known.writers | writers,
        )


def _read_intent(
    key: tuple[str, int],
    record: Mapping[str, Any],
    changes: tuple[FieldChange, ...],
    writers: frozenset[int],
) -> Entry:
    who, session, undoes = record["who"], record["session"], record["undoes"]
    at = _text(record["at"])
    return Entry(
        action_id=key[0],
        part=key[1],
        at=at,
        action=_text(record["action"]),
        reason=_text(record["reason"]),
        who=Who(
            _text(who["user"]),
            _optional(who["login"]),
            _text(who["host"]),
            _whole(who["pid"]),
            _optional(who["tty"]),
        ),
        changes=changes,
        session=None if session is None else _read_session(session, writers, parse_time(at)),
        final=_optional(record["final"]),
        undoes=None if undoes is None else (_text(undoes[0]), _whole(undoes[1])),
        writers=writers,
    )


def _read_session(
    raw: Mapping[str, Any], writers: frozenset[int], at: float | None
) -> EndedSession:
    return EndedSession(
        _text(raw["name"]),
        _text(raw["id"]),
        _whole(raw["created"]),
        _text(raw["socket"]),
        _optional(raw["agent"]),
        None if raw.get("server_pid") is None else _whole(raw["server_pid"]),
        _whole(raw.get("server_started", 0)),
        tuple(map(_text, raw.get("panes", ()))),
        None if raw.get("pid") is None else _whole(raw["pid"]),
        writers.union(map(_whole, raw.get("told_by", ()))),
        _seconds(raw["ended_at"]) if raw.get("ended_at") is not None else at,
    )


def _read_change(raw: Mapping[str, Any]) -> FieldChange:
    return FieldChange(
        file=_text(raw["file"]),
        agent=_optional(raw["agent"]),
        nth=_whole(raw.get("nth", 0)),
        field=_text(raw["field"]),
        before=raw.get("before", MISSING),
        after=raw.get("after", MISSING),
        whole=raw.get("whole") is True,
        deployed=None
        if raw.get("deployed") is None
        else Deployment(
            _optional(raw["deployed"]["tmux_session"]), _optional(raw["deployed"]["started_at"])
        ),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("must be a string")
    return value


def _optional(value: object) -> str | None:
    return None if value is None else _text(value)


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("must be a whole number")
    return value


def _seconds(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError("must be a number")
    return float(value)
