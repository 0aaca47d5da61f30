"""One instance of every error that the library raises."""

from __future__ import annotations

import errno
import json
from pathlib import Path

from registry import (
    AgentNotFoundError,
    AuditError,
    BusyRegistryError,
    CorruptRegistryError,
    DuplicateAgentError,
    HalfWrittenError,
    InaccessibleRegistryError,
    LimitReachedError,
    LinkedRegistryError,
    LockTimeoutError,
    LostLockError,
    NotARegularFileError,
    NotSupportedError,
    RegistryError,
    RegistryNotFoundError,
    UncertainCommitError,
    UnfinishableCommitError,
    UnreadableDatabaseError,
    UntrustedFileError,
    UntrustedJournalError,
    UnwritableDatabaseError,
    WorkspaceNotFoundError,
    WrongShapeError,
)

PATH = Path("/somewhere/AGENT_REGISTRY.json")


ERRORS: dict[RegistryError, type[Exception]] = {
    LockTimeoutError(PATH, 2.5): TimeoutError,
    BusyRegistryError(PATH): TimeoutError,
    LostLockError(PATH, "it was let go"): RuntimeError,
    RegistryNotFoundError(PATH): FileNotFoundError,
    InaccessibleRegistryError(PATH, OSError(errno.ENOSPC, "full"), "write"): OSError,
    HalfWrittenError(PATH, OSError(errno.EIO, "gone"), "/somewhere/.journal"): OSError,
    UntrustedJournalError(PATH, "is a FIFO"): OSError,
    NotARegularFileError(PATH, "a FIFO"): OSError,
    LinkedRegistryError(PATH, PATH.parent): OSError,
    LinkedRegistryError(PATH, PATH, hard=True): OSError,
    UnfinishableCommitError(PATH, "others could not read the journal"): OSError,
    AuditError(PATH, "is a symlink"): OSError,
    UntrustedFileError(PATH, "is a symlink; move it aside"): OSError,
    UnreadableDatabaseError(PATH, "is not a database", "Move it aside"): OSError,
    UnwritableDatabaseError(PATH, "has a trigger", "Remove the trigger"): OSError,
    UncertainCommitError(PATH, "cannot be written: disk I/O error"): OSError,
    NotSupportedError(PATH, "it is in a database", "Use the orchestrator"): RuntimeError,
    CorruptRegistryError(PATH, "Expecting value", "{\n]", 2): json.JSONDecodeError,
    WrongShapeError("agents", "is a string").named(PATH): ValueError,
    AgentNotFoundError("one").named(PATH): ValueError,
    DuplicateAgentError("one").named(PATH): ValueError,
    LimitReachedError("max_agents", 5, 5, "5 agents are already listed").named(PATH): RuntimeError,
    WorkspaceNotFoundError((PATH.parent,), "Name one."): FileNotFoundError,
}
