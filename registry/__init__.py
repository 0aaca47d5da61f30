"""Registries of AI agents: the only way to read and to change them safely.

An orchestrator writes down its agents in one ``AGENT_REGISTRY.json`` a task and
one ``GLOBAL_REGISTRY.json`` a workspace, and many processes write these files at
once. Everything here takes the same lock as they do and writes in place.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry.audit import Audit
    from registry.changes import StatusChange
    from registry.cleaning import CleanUp, clean_up_task, clean_up_workspace
    from registry.creating import Created, create_global_registry, create_task_registry
    from registry.durability import durable_commits
    from registry.errors import (
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
        RegistryError,
        RegistryNotFoundError,
        UnfinishableCommitError,
        UntrustedFileError,
        UntrustedJournalError,
        WorkspaceNotFoundError,
        WrongShapeError,
    )
    from registry.finishing import FinishReport, SessionEnd, finish_agents, terminate_agents
    from registry.health import (
        CounterDrift,
        HealthReport,
        Repair,
        registry_health_check,
        validate_and_repair_registry,
    )
    from registry.identity import (
        find_existing_agent,
        generate_unique_agent_id,
        verify_agent_id_unique,
    )
    from registry.locked_file import LockedRegistryFile
    from registry.metrics_file import publish_metrics
    from registry.operations import (
        atomic_add_agent,
        atomic_decrement_active_count,
        atomic_increment_counts,
        atomic_mark_agents_completed,
        atomic_update_agent_status,
    )
    from registry.reading import read_registry
    from registry.recorded import OnRecord
    from registry.records import (
        ACTIVE_STATUSES,
        TERMINAL_STATUSES,
        Deployment,
        agent_entries,
    )
    from registry.recovery import recover_registry
    from registry.registration import (
        Registration,
        Withdrawal,
        register_agent,
        registering,
        withdraw_agent,
    )
    from registry.reporting import Reported, report_progress

__all__ = [
    "ACTIVE_STATUSES",
    "TERMINAL_STATUSES",
    "AgentNotFoundError",
    "Audit",
    "AuditError",
    "BusyRegistryError",
    "CleanUp",
    "CorruptRegistryError",
    "CounterDrift",
    "Created",
    "Deployment",
    "DuplicateAgentError",
    "FinishReport",
    "HalfWrittenError",
    "HealthReport",
    "InaccessibleRegistryError",
    "LimitReachedError",
    "LinkedRegistryError",
    "LockTimeoutError",
    "LockedRegistryFile",
    "LostLockError",
    "NotARegularFileError",
    "OnRecord",
    "Registration",
    "RegistryError",
    "RegistryNotFoundError",
    "Repair",
    "Reported",
    "SessionEnd",
    "StatusChange",
    "UnfinishableCommitError",
    "UntrustedFileError",
    "UntrustedJournalError",
    "Withdrawal",
    "WorkspaceNotFoundError",
    "WrongShapeError",
    "agent_entries",
    "atomic_add_agent",
    "atomic_decrement_active_count",
    "atomic_increment_counts",
    "atomic_mark_agents_completed",
    "atomic_update_agent_status",
    "clean_up_task",
    "clean_up_workspace",
    "create_global_registry",
    "create_task_registry",
    "durable_commits",
    "find_existing_agent",
    "finish_agents",
    "generate_unique_agent_id",
    "publish_metrics",
    "read_registry",
    "recover_registry",
    "register_agent",
    "registering",
    "registry_health_check",
    "report_progress",
    "terminate_agents",
    "validate_and_repair_registry",
    "verify_agent_id_unique",
    "withdraw_agent",
]


_HOME = {
    name: module
    for module, names in {
        "audit": ("Audit",),
        "changes": ("StatusChange",),
        "cleaning": ("CleanUp", "clean_up_task", "clean_up_workspace"),
        "creating": ("Created", "create_global_registry", "create_task_registry"),
        "durability": ("durable_commits",),
        "errors": (
            "AgentNotFoundError",
            "AuditError",
            "BusyRegistryError",
            "CorruptRegistryError",
            "DuplicateAgentError",
            "HalfWrittenError",
            "InaccessibleRegistryError",
            "LimitReachedError",
            "LinkedRegistryError",
            "LockTimeoutError",
            "LostLockError",
            "NotARegularFileError",
            "RegistryError",
            "RegistryNotFoundError",
            "UnfinishableCommitError",
            "UntrustedFileError",
            "UntrustedJournalError",
            "WorkspaceNotFoundError",
            "WrongShapeError",
        ),
        "finishing": ("FinishReport", "SessionEnd", "finish_agents", "terminate_agents"),
        "health": (
            "CounterDrift",
            "HealthReport",
            "Repair",
            "registry_health_check",
            "validate_and_repair_registry",
        ),
        "identity": ("find_existing_agent", "generate_unique_agent_id", "verify_agent_id_unique"),
        "locked_file": ("LockedRegistryFile",),
        "metrics_file": ("publish_metrics",),
        "operations": (
            "atomic_add_agent",
            "atomic_decrement_active_count",
            "atomic_increment_counts",
            "atomic_mark_agents_completed",
            "atomic_update_agent_status",
        ),
        "reading": ("read_registry",),
        "recorded": ("OnRecord",),
        "records": ("ACTIVE_STATUSES", "TERMINAL_STATUSES", "Deployment", "agent_entries"),
        "recovery": ("recover_registry",),
        "registration": (
            "Registration",
            "Withdrawal",
            "register_agent",
            "registering",
            "withdraw_agent",
        ),
        "reporting": ("Reported", "report_progress"),
    }.items()
    for name in names
}


if not TYPE_CHECKING:  # A type checker is to refuse names that are not there.

    def __getattr__(name: str) -> object:
        """Imports a name's module when it is first asked for: few programs need all of them."""
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
