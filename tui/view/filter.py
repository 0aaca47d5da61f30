"""The filter language, which selects agents, tasks and orphans. Pure.

A filter consists of parts, separated by spaces. All parts must match. Upper and lower case are
equal.

    builder          the word occurs in an id, type, task, status, verdict or session
    status:blocked   the text occurs in this field; `KEYS` lists the fields
    -verdict:live    ``verdict:live`` does not match; ``-`` can negate each part
    type:fix,test    one of the texts matches
    "two words"      the text with its spaces; also after a key: task:"two words"

An unfinished part (``status:``, ``-``) excludes nothing. A part with an unknown key excludes
nothing either, and is reported as a problem.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from registry.dataclass import dataclass
from tui.host.tmux_types import Session
from tui.model.roll import AgentRow, TaskRoll, Verdict, WorkspaceRoll, place_of

KEYS = ("id", "type", "task", "status", "verdict", "session", "parent", "workspace")
"""The names of fields that may stand before a colon."""

WORD_KEYS = frozenset({"id", "type", "task", "status", "verdict", "session"})
"""The fields that are searched for a word without a key."""

_LOOKED_AT = 1024
"""The number of characters at the start of a text that are searched.

A line on the screen shows fewer characters.
"""

Fields = Mapping[str, tuple[str, ...]]
"""The texts of one agent, task, workspace or orphan that a filter searches.

Maps keys from `KEYS` to texts. If the key of a term is missing, the term matches nothing.
"""

# Quotes keep white space in one term; an unclosed quote extends to the end.
# Expressions are compiled at the first use, because most runs of muster use no filter.
_TERM = r'(?:[^\s"]|"[^"]*(?:"|$))+'
_KEYED = r"([A-Za-z_]+):"
_BETWEEN = r'((?:[^,"]|"[^"]*(?:"|$))*)(?:,|$)'


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a filter.

    Attributes:
        key: One of `KEYS`, or None for a word.
        alternatives: Case-folded texts. The term matches if the field contains one of these texts.
        negated: Whether the result is inverted.
    """

    key: str | None
    alternatives: tuple[str, ...]
    negated: bool = False

    def concerns(self, key: str) -> bool:
        """Returns whether the term searches the texts under this key."""
        return self.key == key or (self.key is None and key in WORD_KEYS)

    def matches(self, fields: Fields) -> bool:
        """Returns whether the term matches these texts of an agent, task, workspace or orphan."""
        # Loops are faster than generators; each typed character may search 10,000 agents.
        for key in WORD_KEYS if self.key is None else (self.key,):
            for text in fields.get(key, ()):
                folded = text[:_LOOKED_AT].casefold()
                for alternative in self.alternatives:
                    if alternative in folded:
                        return not self.negated
        return self.negated


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter. `bool` of a filter is False if the filter has no terms.

    Attributes:
        terms: The terms, all of which must match.
        problems: Messages about parts with an unknown key; these parts are not in `terms`.
        unfinished: Parts without a value, as typed; these parts are not in `terms`.
    """

    terms: tuple[Term, ...] = ()
    problems: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.terms)

    def matches(self, fields: Fields) -> bool:
        """Returns whether all terms match these texts of an agent, task, workspace or orphan."""
        return all(term.matches(fields) for term in self.terms)

    def spans(self, key: str, text: str) -> tuple[tuple[int, int], ...]:
        """Returns the parts of a text that the filter matches, for highlighting.

        Args:
            key: The key of the text; one of `KEYS`.
            text: The text as it is shown.

        Returns:
            The start and end of each part, in order and without overlaps.
        """
        wanted = [
            alternative
            for term in self.terms
            if term.concerns(key) and not term.negated
            for alternative in term.alternatives
        ]
        if not wanted:
            return ()
        folded, origin = _folded(text[:_LOOKED_AT])
        spans = sorted(
            (origin[at], origin[at + len(alternative) - 1] + 1)
            for alternative in wanted
            for at in _occurrences(folded, alternative)
        )
        merged: list[tuple[int, int]] = []
        for start, end in spans:
            if merged and start <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(end, merged[-1][1])
            else:
                merged.append((start, end))
        return tuple(merged)


def _folded(text: str) -> tuple[str, list[int]]:
    """Returns a case-folded text, and for each character the index in the original text."""
    if text.isascii():
        return text.lower(), list(range(len(text)))
    # One character may become several: ß becomes ss.
    parts = [character.casefold() for character in text]
    return "".join(parts), [number for number, part in enumerate(parts) for _ in part]


def _occurrences(text: str, wanted: str) -> Iterable[int]:
    at = text.find(wanted)
    while at >= 0:
        yield at
        at = text.find(wanted, at + 1)


@lru_cache(maxsize=8)
def parse(query: str) -> Filter:
    """Parses a filter; never raises an error.

    Args:
        query: The filter as typed; may be unfinished.
    """
    terms: list[Term] = []
    problems: list[str] = []
    unfinished: list[str] = []
    for written in re.findall(_TERM, query):
        negated = written.startswith("-")
        rest = written[negated:]
        keyed = re.match(_KEYED, rest)
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
    parts = (part.replace('"', "").casefold() for part in re.findall(_BETWEEN, value))
    return tuple(dict.fromkeys(filter(None, parts)))


def _no_such_key(key: str) -> str:
    import difflib  # Imported only here, because it takes longer than the rest of the module.

    similar = difflib.get_close_matches(key, KEYS, 1)
    hint = f"did you mean {similar[0]}:? " if similar else ""
    return f"unknown filter key {key[:40]!r}; {hint}the keys are {', '.join(KEYS)}"


# Fields


def agent_fields(row: AgentRow, task: TaskRoll) -> Fields:
    """Returns the texts that a filter searches for an agent."""
    record = row.record
    session = (row.session.name,) if row.session else ()
    return {
        "id": (record.id,),
        "type": (record.type,),
        "task": task_texts(task),
        "status": (record.status,),
        "verdict": (row.verdict.value,),
        "session": (*session, record.tmux_session or (place_of(row) if record.pid else "")),
        "parent": (record.parent or "",),
        "workspace": (str(task.state.workspace),),
    }


def task_matches(task: TaskRoll, wanted: Filter) -> bool:
    """Returns whether a filter matches a task without agents.

    Returns False for a task with agents: such a task is shown if one of its agents matches.
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
    """Returns the texts that a filter searches for a workspace without tasks."""
    return {"workspace": (str(workspace.path),)}


def orphan_fields(session: Session) -> Fields:
    """Returns the texts that a filter searches for an orphaned session."""
    return {"verdict": (Verdict.ORPHAN.value,), "session": (session.name,)}


def task_texts(task: TaskRoll) -> tuple[str, ...]:
    """Returns a task's id and description."""
    return task.task_id, task.state.description
