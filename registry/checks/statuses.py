"""Finds statuses of agents that are not known words, each word once. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from registry.checks.issue import Issue, IssueKind
from registry.dataclass import dataclass
from registry.schema.statuses import is_known
from registry.text import shown_name


@dataclass(frozen=True, slots=True)
class WrittenStatus:
    """The status of one agent, as written.

    Attributes:
        file: The path of the registry or database.
        field: The name of the field.
        agent: The id of the agent.
        status: The status.
    """

    file: Path
    field: str
    agent: str
    status: str


def unknown_status_findings(statuses: Iterable[WrittenStatus]) -> list[Issue]:
    """Returns one issue for each word that is not a known status, in the first file with the word.

    Args:
        statuses: The statuses of all agents.
    """
    by_word: dict[str, list[WrittenStatus]] = {}
    for written in statuses:
        if not is_known(written.status):
            by_word.setdefault(written.status, []).append(written)
    return [_unknown(word, found) for word, found in by_word.items()]


def _unknown(word: str, found: list[WrittenStatus]) -> Issue:
    first, count = found[0], len(found)
    agents = f"{shown_name(first.agent)}" + (f" and {count - 1} more" if count > 1 else "")
    subject = f"{agents} has" if count == 1 else f"one of {agents} has"
    return Issue(
        IssueKind.UNKNOWN_STATUS,
        first.file,
        None,
        first.field,
        word,
        f"is {shown_name(word)} for {agents}: muster does not know this word, so it treats such "
        "an agent as active",
        advice=f"if {subject} ended, complete or kill it: muster complete, muster kill",
    )
