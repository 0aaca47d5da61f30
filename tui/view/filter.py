"""The filter language: which agents, tasks and orphans are meant. Pure.

A filter is words and terms, all of which must match, whatever the case:

    builder          a word, in an id, type, task, status, verdict or session
    status:blocked   in that field alone; the fields are `KEYS`
    -verdict:live    not so; before a word too
    type:fix,test    either of them
    "two words"      as they stand; also behind a key: task:"two words"

What is unfinished while one types (``status:``, ``-``) leaves everything in. A key
that there is not does so too, and is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from tui.host.tmux_types import Session
from tui.model.roll import AgentRow, TaskRoll, Verdict, WorkspaceRoll

KEYS = ("id", "type", "task", "status", "verdict", "session", "parent", "workspace")
"""What can stand before a colon."""

WORD_KEYS = frozenset({"id", "type", "task", "status", "verdict", "session"})
"""Where a word without a key is looked for."""

_LOOKED_AT = 1024
"""Characters of a text that are searched: of more, nobody sees where it matched."""

Fields = Mapping[str, tuple[str, ...]]
"""What a filter is held against: texts by key; a key that is not there matches nothing."""

# Quotes hold white space together; one that is still open reaches to the end.
_TERM = re.compile(r'(?:[^\s"]|"[^"]*(?:"|$))+')
_KEYED = re.compile(r"([A-Za-z_]+):")
_BETWEEN = re.compile(r'((?:[^,"]|"[^"]*(?:"|$))*)(?:,|$)')


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a filter.

    Attributes:
        key: One of `KEYS`, or None for a word.
        alternatives: Case-folded texts, one of which must be contained; none is empty.
        negated: Whether none of them must be.
    """

    key: str | None
    alternatives: tuple[str, ...]
    negated: bool = False

    def concerns(self, key: str) -> bool:
        """Whether this is looked for in the field of that key."""
        return self.key == key or (self.key is None and key in WORD_KEYS)

    def matches(self, fields: Fields) -> bool:
        """Whether it holds."""
        # Loops, not generators: ten thousand agents are looked at while one types.
        for key in WORD_KEYS if self.key is None else (self.key,):
            for text in fields.get(key, ()):
                folded = text[:_LOOKED_AT].casefold()
                for each in self.alternatives:
                    if each in folded:
                        return not self.negated
        return self.negated


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that was read; true if it leaves anything out.

    Attributes:
        terms: All of which must match.
        problems: What cannot be meant, in words; left out of `terms`.
        unfinished: Parts that have no value yet, as they stand; left out of `terms`.
    """

    terms: tuple[Term, ...] = ()
    problems: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.terms)

    def matches(self, fields: Fields) -> bool:
        """Whether every term holds."""
        return all(term.matches(fields) for term in self.terms)

    def spans(self, key: str, text: str) -> tuple[tuple[int, int], ...]:
        """Where a text of a field is what was looked for: to be highlighted.

        Args:
            key: One of `KEYS`.
            text: As it is shown.

        Returns:
            Starts and ends, in order, apart from each other.
        """
        wanted = [
            each
            for term in self.terms
            if term.concerns(key) and not term.negated
            for each in term.alternatives
        ]
        if not wanted:
            return ()
        folded, origin = _folded(text[:_LOOKED_AT])
        found = sorted(
            (origin[at], origin[at + len(each) - 1] + 1)
            for each in wanted
            for at in _occurrences(folded, each)
        )
        merged: list[tuple[int, int]] = []
        for start, end in found:
            if merged and start <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(end, merged[-1][1])
            else:
                merged.append((start, end))
        return tuple(merged)


def _folded(text: str) -> tuple[str, list[int]]:
    """A text without case, and of each of its characters where it comes from."""
    if text.isascii():
        return text.lower(), list(range(len(text)))
    # One character can become several: ß is ss.
    parts = [character.casefold() for character in text]
    return "".join(parts), [number for number, part in enumerate(parts) for _ in part]


def _occurrences(text: str, wanted: str) -> Iterable[int]:
    at = text.find(wanted)
    while at >= 0:
        yield at
        at = text.find(wanted, at + 1)


@lru_cache(maxsize=8)
def parse(query: str) -> Filter:
    """Reads a filter; never fails.

    Args:
        query: As it was typed, finished or not.
    """
    terms: list[Term] = []
    problems: list[str] = []
    unfinished: list[str] = []
    for written in _TERM.findall(query):
        negated = written.startswith("-")
        rest = written[negated:]
        keyed = _KEYED.match(rest)
        key = keyed[1].casefold() if keyed else None
        if key is not None and key not in KEYS:
            problems.append(_no_such_key(key))
            continue
        alternatives = _alternatives(rest[keyed.end() :] if keyed else rest)
        if alternatives:
            terms.append(Term(key, alternatives, negated))
        else:
            unfinished.append(written)
    return Filter(tuple(terms), tuple(problems), tuple(unfinished))


def _alternatives(value: str) -> tuple[str, ...]:
    parts = (part.replace('"', "").casefold() for part in _BETWEEN.findall(value))
    return tuple(dict.fromkeys(filter(None, parts)))


def _no_such_key(key: str) -> str:
    import difflib  # Only for who mistyped: it takes longer than all the rest here.

    near = difflib.get_close_matches(key, KEYS, 1)
    meant = f"; {near[0]}: is meant?" if near else "."
    return f"a filter has no key {key[:40]!r}{meant} The keys are {', '.join(KEYS)}"


# What it is held against


def agent_fields(row: AgentRow, task: TaskRoll) -> Fields:
    """What a filter finds an agent by."""
    record = row.record
    session = (row.session.name,) if row.session else ()
    return {
        "id": (record.id,),
        "type": (record.type,),
        "task": task_texts(task),
        "status": (record.status,),
        "verdict": (row.verdict.value,),
        "session": (*session, record.tmux_session or ""),
        "parent": (record.parent or "",),
        "workspace": (str(task.state.workspace),),
    }


def task_matches(task: TaskRoll, wanted: Filter) -> bool:
    """Whether a filter means a task without any of its agents.

    Only one that has none: of others the agents decide, who are found by their task.
    """
    record = task.state.record
    return not task.agents and wanted.matches(
        {
            "task": task_texts(task),
            "status": (record.status if record else "",),
            "workspace": (str(task.state.workspace),),
        }
    )


def workspace_fields(workspace: WorkspaceRoll) -> Fields:
    """What a filter finds a workspace by that has no tasks."""
    return {"workspace": (str(workspace.path),)}


def orphan_fields(session: Session) -> Fields:
    """What a filter finds an orphaned session by."""
    return {"verdict": (Verdict.ORPHAN.value,), "session": (session.name,)}


def task_texts(task: TaskRoll) -> tuple[str, ...]:
    """A task's id and description."""
    return task.task_id, task.state.description
