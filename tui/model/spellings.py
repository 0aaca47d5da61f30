"""Finds sessions whose names tmux spells differently than the registries. Pure.

A session with the exact name of the registry is the agent's. A session with the replaced spelling
of this name is the agent's only if no other known agent has a name with the same spelling.
Otherwise it is not known whose it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from registry.dataclass import dataclass, field, replace
from registry.schema import GlobalRecord, TaskRecord, replaced_spellings
from registry.text import shown_name
from tui.host.tmux_types import TmuxSnapshot


@dataclass(frozen=True, slots=True)
class Spellings:
    """The replaced spellings of the names of sessions in all registries.

    Attributes:
        own: The spellings that identify one session, by its name in the registry.
        shared: The spellings that several names have, by the names.
    """

    own: Mapping[str, str] = field(default_factory=dict)
    shared: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[TaskRecord | GlobalRecord]) -> Spellings:
        """Returns the spellings of the names in registries."""
        records = tuple(records)
        if not any(record.respelled_sessions for record in records):
            return cls()
        names = frozenset[str]().union(*(record.sessions for record in records))
        return cls(*replaced_spellings(names))

    def resolve(self, answer: TmuxSnapshot) -> TmuxSnapshot:
        """Returns an answer in which each session also has its name in the registry."""
        sessions = answer.sessions
        found = {
            name: sessions[spelling]
            for name, spelling in self.own.items()
            if name not in sessions and spelling in sessions
        }
        return replace(answer, sessions={**sessions, **found}) if found else answer

    def doubts(self, missing: Iterable[str], answer: TmuxSnapshot) -> Mapping[str, str]:
        """Returns why missing sessions may exist under a spelling that other names have, too.

        Args:
            missing: The names of the missing sessions.
            answer: The answer of tmux.
        """
        return {
            name: why_shared(spelling)
            for name in missing
            if (spelling := self.shared.get(name)) is not None and spelling in answer.sessions
        }


def why_shared(spelling: str) -> str:
    """Returns why a missing session may exist under a replaced spelling of its name."""
    return (
        f"session {shown_name(spelling)} may be its own, because tmux before 3.7 replaces "
        '"." and ":" in names; or is it another agent\'s?'
    )
