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
from registry.errors import RegistryError
from registry.storage.files.interruption import hand_on


class ArchivedAgentFile(AgentFile[Line]):
    """A reader of one output file of an agent, in the archive and in its place; see `AgentFile`.

    If the orchestrator moves the file to the archive after a call of `last` or `more`, `more`
    returns the later lines of the new file, as if the file had not been moved.

    Args:
        directory: The task's directory; trusted.
        agent_id: The agent's id in the registry; untrusted.
        source: The kind of file.
    """

    def __init__(self, directory: Path, agent_id: str, source: Source[Line]) -> None:
        super().__init__(directory, agent_id, source)
        self._archive = AgentFile(directory, agent_id, replace(source, folder=ARCHIVE))
        self._archived_size: int | None = None
        self._has_begun = False

    def close(self) -> None:
        """See `AgentFile.close`."""
        super().close()
        self._archive.close()
        self._archived_size, self._has_begun = None, False

    def last(self, count: int) -> Batch[Line]:
        """See `AgentFile.last`."""
        own = super().last(count)
        try:
            archived = self._archive.last(count - len(own.records))
        except RegistryError as error:
            if own.size is None:
                raise
            hand_on(error)
            # The lines of an active agent are shown even if the archive cannot be read.
            archived = Batch()
            own = replace(own, earlier=True)
        return self._begun(archived, own)

    def more(self) -> Batch[Line]:
        """See `AgentFile.more`."""
        if not self._has_begun:
            archived = self._archive.more()
            if archived.behind:
                return archived
            return self._begun(archived, super().more())
        before = self.identity
        own = super().more()
        if own.restarted and self.identity != before and self._is_archived(before):
            own = replace(own, restarted=False)
        return _joined(Batch(size=self._archived_size), own)

    def _begun(self, archived: Batch[Line], own: Batch[Line]) -> Batch[Line]:
        both = archived.size is not None and own.size is not None
        if both and self._archive.identity == self.identity:
            # The file was moved between the two readings.
            archived = Batch()
        self._archive.close()
        self._archived_size = archived.size
        # A file may be created, and moved to the archive, before the next call.
        self._has_begun = archived.size is not None or own.size is not None
        return _joined(archived, own)

    def _is_archived(self, identity: tuple[int, int]) -> bool:
        """Returns whether the archive has the file that was read before the present file."""
        try:
            size = self._archive.last(0).size
        except RegistryError as error:
            hand_on(error)
            return False
        is_same = size is not None and self._archive.identity == identity
        self._archive.close()
        if is_same:
            self._archived_size = size
        return is_same


def _joined(archived: Batch[Line], own: Batch[Line]) -> Batch[Line]:
    if archived.size is None:
        return own
    if own.size is None:
        # No process appends to a file in the archive.
        return replace(archived, torn=False)
    return replace(
        own,
        records=(*archived.records, *own.records),
        malformed=archived.malformed + own.malformed,
        earlier=own.earlier or archived.earlier,
        size=archived.size + own.size,
    )


def archived_facts_of(directory: Path, agent_id: str) -> tuple[FileFacts, ...]:
    """Returns the metadata of each output file; of the archived file if there is no other.

    Args:
        directory: The task's directory; trusted.
        agent_id: The agent's id in the registry; untrusted.
    """
    usual = facts_of(directory, agent_id)
    if all(own.size is not None or own.error is not None for own in usual):
        return usual
    return tuple(
        archived if own.size is None and own.error is None and archived.size is not None else own
        for own, archived in zip(usual, facts_of(directory, agent_id, ARCHIVE), strict=True)
    )
