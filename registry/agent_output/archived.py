"""Reads an agent's output file together with the part of it in the task's archive.

An orchestrator moves the files of an agent that has ended to the archive. A late line of the agent
then starts a new file in the old place. The archived lines come first.
"""

from __future__ import annotations

from pathlib import Path

from registry.agent_output.files import AgentFile, Batch, FileFacts, facts_of
from registry.agent_output.identities import ARCHIVE
from registry.agent_output.lines import Line, Source
from registry.dataclass import replace


class ArchivedAgentFile(AgentFile[Line]):
    """A reader of one output file of an agent, in the archive and in its place; see `AgentFile`.

    Args:
        directory: The task's directory; trusted.
        agent_id: The agent's id in the registry; untrusted.
        source: The kind of file.
    """

    def __init__(self, directory: Path, agent_id: str, source: Source[Line]) -> None:
        super().__init__(directory, agent_id, source)
        self._archive = AgentFile(directory, agent_id, replace(source, folder=ARCHIVE))
        self._has_begun = False

    def close(self) -> None:
        """See `AgentFile.close`."""
        super().close()
        self._archive.close()
        self._has_begun = False

    def last(self, count: int) -> Batch[Line]:
        """See `AgentFile.last`."""
        own = super().last(count)
        archived = self._archive.last(count - len(own.records))
        self._archive.close()
        self._has_begun = True
        return _joined(archived, own)

    def more(self) -> Batch[Line]:
        """See `AgentFile.more`."""
        if self._has_begun:
            return super().more()
        archived = self._archive.more()
        if archived.behind:
            return archived
        self._archive.close()
        self._has_begun = True
        return _joined(archived, super().more())


def _joined(archived: Batch[Line], own: Batch[Line]) -> Batch[Line]:
    if archived.size is None:
        return own
    earlier = own.earlier or archived.earlier
    if own.size is None:
        return replace(archived, torn=False)
    return replace(
        own,
        records=(*archived.records, *own.records),
        malformed=archived.malformed + own.malformed,
        earlier=earlier,
        size=archived.size + own.size,
    )


def archived_facts_of(directory: Path, agent_id: str) -> tuple[FileFacts, ...]:
    """Returns the metadata of each output file; of the archived file if there is no other.

    Args:
        directory: The task's directory; trusted.
        agent_id: The agent's id in the registry; untrusted.
    """
    return tuple(
        archived if own.size is None and own.error is None and archived.size is not None else own
        for own, archived in zip(
            facts_of(directory, agent_id), facts_of(directory, agent_id, ARCHIVE), strict=True
        )
    )
