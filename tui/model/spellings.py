"""Finds sessions that have another name in tmux than in the registry. Pure.

tmux before 3.7 replaces "." and ":" in the name of a new session. The result is the replaced
spelling of the name. The session with exactly the name in the registry is the agent's session. If
no such session exists, a session with the replaced spelling may be the agent's. This is certain
only if no other known agent has a session name with the same replaced spelling.
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
        own: Maps a name in a registry to its replaced spelling, if no other name has this
            spelling.
        shared: Maps a name in a registry to its replaced spelling, if other names also have this
            spelling.
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
        """Returns an answer of tmux that also lists sessions under their names in registries."""
        sessions = answer.sessions
        resolved = {
            name: sessions[spelling]
            for name, spelling in self.own.items()
            if name not in sessions and spelling in sessions
        }
        return replace(answer, sessions={**sessions, **resolved}) if resolved else answer

    def doubts(self, missing: Iterable[str], answer: TmuxSnapshot) -> Mapping[str, str]:
        """Maps each missing session that may exist under a shared spelling to the reason.

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
    """Returns the message that a session with a replaced spelling may be of several agents."""
    return (
        f"session {shown_name(spelling)} may belong to this agent or to another one, because "
        'tmux before 3.7 replaces "." and ":" in names'
    )
