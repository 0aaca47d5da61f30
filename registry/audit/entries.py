"""What stands in an audit log: one JSON object a line, an intent and then its outcome. Pure."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from registry.audit.diff import MISSING, FieldChange
from registry.schema.records import Deployment, parse_time
from registry.storage.interruption import hand_on

VERSION = 1
"""Of the records; grows when a field changes its meaning or goes."""


Place = tuple[str, str, int]
"""A log's path, and the key of an entry in it."""


class State(StrEnum):
    """How what was intended ended."""

    INTENDED = "intended"
    """No outcome is on record: whoever began it died, or is still at it."""
    DONE = "done"
    FAILED = "failed"
    VOID = "void"
    """Nothing was done: the registry had changed before it could be."""


@dataclass(frozen=True, slots=True)
class Who:
    """Who acts.

    Attributes:
        user: The account of the process.
        login: The account that sudo was called from, or None.
        tty: The terminal, or None.
    """

    user: str
    login: str | None
    host: str
    pid: int
    tty: str | None


@dataclass(frozen=True, slots=True)
class EndedSession:
    """A tmux session that was to be ended: what cannot be undone.

    Attributes:
        agent: Whose it was, or None for an orphan.
        created: Seconds since the epoch.
        server_pid: The tmux server's process, or None if that is not on record.
        server_started: When that server started; seconds since the epoch.
        panes: Its panes' ids; processes that are left of it can be told by them.
        told_by: The users on whose word this is known, by their numbers: whoever owns a log
            that it was read from. None where no log was read.
        ended_at: When its end began, as the log has it; seconds since the epoch.
    """

    name: str
    id: str
    created: int
    socket: str
    agent: str | None
    server_pid: int | None = None
    server_started: int = 0
    panes: tuple[str, ...] = ()
    told_by: frozenset[int] | None = field(default=None, compare=False, repr=False)
    ended_at: float | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """One step of what an operator did.

    Attributes:
        action_id: Of the whole action; what `muster undo` takes.
        part: Number of the step within the action, from 1.
        at: When it was intended: ISO 8601, UTC.
        action: "kill", "complete", "undo" or another word of the caller's.
        reason: In the operator's words; may be empty.
        changes: The fields that change; of counters, as they were expected.
        session: The session that ends, or None.
        final: Why the changes cannot be taken back, or None.
        undoes: What it takes back, as `key` of another entry; or None.
        detail: What was said of the outcome.
        log: The path of the log that it stands in; empty before it is read from one.
        writers: The users whose files it was read from, by their numbers: what stands in
            an entry is their word.
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
        """What tells it from every other of its log."""
        return self.action_id, self.part

    @property
    def place(self) -> Place:
        """What tells it from every other, also of other logs."""
        return self.log, self.action_id, self.part


@dataclass(frozen=True, slots=True)
class Log:
    """What was read from a log.

    Attributes:
        entries: Oldest first.
        records: The same as raw objects, intents and outcomes, oldest first.
        damaged: Lines that are no records: cut off by a crash, or somebody else's.
        left_out: Bytes of older records that were not read, because there are too many.
    """

    entries: tuple[Entry, ...]
    records: tuple[Mapping[str, Any], ...]
    damaged: int = 0
    left_out: int = 0

    @property
    def unfinished_ends(self) -> tuple[EndedSession, ...]:
        """Sessions that were to be ended, and of which it is not on record that all of it was.

        Only those whose panes are on record: nothing could be told of the others.
        """
        found: dict[tuple[str, str, int, int | None], EndedSession] = {}
        for each in self.entries:
            session = each.session
            if session is not None and session.panes:
                key = (session.socket, session.id, session.created, session.server_pid)
                if each.state is State.DONE:
                    found.pop(key, None)
                elif each.state is not State.VOID:
                    found[key] = session
        return tuple(found.values())

    @property
    def taken_back(self) -> frozenset[Place]:
        """Places of the entries that were taken back, at least in part, and still are."""
        found: set[Place] = set()
        # The youngest first: what an undo took back is there again once it is undone itself.
        for each in reversed(self.entries):
            if each.undoes is not None and each.state is State.DONE and each.place not in found:
                # One log says nothing of what stands in another.
                found.add((each.log, *each.undoes))
        return frozenset(found)

    @property
    def undone(self) -> frozenset[tuple[str, int]]:
        """Keys of the entries that were taken back, at least in part, and still are."""
        return frozenset((action_id, part) for _, action_id, part in self.taken_back)


def line(record: Mapping[str, Any]) -> bytes:
    """One record as one line of ASCII without control characters."""
    # All but the printable ASCII characters is escaped; DEL as well.
    return json.dumps(record).encode("ascii") + b"\n"


def intent(entry: Entry) -> dict[str, Any]:
    """The record that is written before anything is done."""
    return {
        "v": VERSION,
        "id": entry.action_id,
        "part": entry.part,
        "phase": "intent",
        "at": entry.at,
        "action": entry.action,
        "reason": entry.reason,
        "who": asdict(entry.who),
        "changes": [_change(each) for each in entry.changes],
        "session": _session(entry.session) if entry.session is not None else None,
        "final": entry.final,
        "undoes": list(entry.undoes) if entry.undoes else None,
    }


def outcome(
    entry: Entry, at: str, state: State, detail: str, changes: Sequence[FieldChange]
) -> dict[str, Any]:
    """The record that is written after it was done, or could not be.

    Args:
        entry: What was intended.
        at: When: ISO 8601, UTC.
        state: How it ended.
        detail: In words.
        changes: What did change, with the counters as they were.
    """
    return {
        "v": VERSION,
        "id": entry.action_id,
        "part": entry.part,
        "phase": state.value,
        "at": at,
        "detail": detail,
        "changes": [_change(each) for each in changes],
    }


def _session(session: EndedSession) -> dict[str, Any]:
    made = asdict(session)
    told_by, ended_at = made.pop("told_by"), made.pop("ended_at")
    if told_by is not None:
        # Else the word of whoever owns the first log would become that of who writes this.
        made |= {"told_by": sorted(told_by), "ended_at": ended_at}
    return made


def _change(change: FieldChange) -> dict[str, Any]:
    made: dict[str, Any] = {"file": change.file, "agent": change.agent}
    if change.nth:
        made["nth"] = change.nth
    made["field"] = change.field
    if change.whole:
        made["whole"] = True
    if change.before is not MISSING:
        made["before"] = change.before
    if change.after is not MISSING:
        made["after"] = change.after
    if change.deployed is not None:
        made["deployed"] = asdict(change.deployed)
    return made


@dataclass(slots=True)
class _Merging:
    log: str
    entries: dict[tuple[str, int], Entry] = field(default_factory=dict)
    records: list[Mapping[str, Any]] = field(default_factory=list)
    damaged: int = 0


def merge(
    lines: Iterable[bytes], log: str, writers: Iterable[int | None] = itertools.repeat(None)
) -> Log:
    """Puts intents and outcomes together; what is no record is counted, never an error.

    Args:
        lines: The log's lines, oldest first.
        log: Its path.
        writers: Of each line the user whose file it is from, by its number, if that counts.
    """
    merging = _Merging(log)
    for each, writer in zip(lines, writers, strict=False):
        if not each.strip():
            continue
        try:
            record = json.loads(each)
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
        merging.entries[key] = replace(entry, log=merging.log)
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
