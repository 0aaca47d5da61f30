"""Reads and changes registries of AI agents safely.

An orchestrator lists its agents in one ``AGENT_REGISTRY.json`` per task and in one
``GLOBAL_REGISTRY.json`` per workspace. Many processes write these files at the same time. This
package takes the same lock as these processes, and never replaces a file by a new one.
"""

from typing import TYPE_CHECKING

from registry.exports import exports

if TYPE_CHECKING:
    from registry.audit.log import Audit
    from registry.audit.transaction import AuditContext, OnRecord
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
    from registry.metrics_file import publish_metrics
    from registry.operations.atomic import (
        atomic_add_agent,
        atomic_decrement_active_count,
        atomic_increment_counts,
        atomic_mark_agents_completed,
        atomic_update_agent_status,
    )
    from registry.operations.clean_up import CleanUp, clean_up_task, clean_up_workspace
    from registry.operations.create import Created, create_global_registry, create_task_registry
    from registry.operations.finish import (
        FinishReport,
        SessionEnd,
        finish_agents,
        terminate_agents,
    )
    from registry.operations.health import (
        HealthReport,
        Repair,
        registry_health_check,
        validate_and_repair_registry,
    )
    from registry.operations.register import (
        Registration,
        Withdrawal,
        register_agent,
        registering,
        withdraw_agent,
    )
    from registry.operations.report import Reported, report_progress
    from registry.operations.session_proof import gone_sessions
    from registry.schema.counters import CounterDrift
    from registry.schema.edits import StatusChange
    from registry.schema.ids import (
        find_existing_agent,
        generate_unique_agent_id,
        verify_agent_id_unique,
    )
    from registry.schema.records import Deployment, agent_entries
    from registry.schema.statuses import ACTIVE_STATUSES, TERMINAL_STATUSES
    from registry.snapshots import read_registry
    from registry.storage.commit import durable_commits
    from registry.storage.locked_file import LockedRegistryFile
    from registry.storage.recovery import recover_registry

__all__ = [
    "ACTIVE_STATUSES",
    "TERMINAL_STATUSES",
    "AgentNotFoundError",
    "Audit",
    "AuditContext",
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
    "NotSupportedError",
    "OnRecord",
    "Registration",
    "RegistryError",
    "RegistryNotFoundError",
    "Repair",
    "Reported",
    "SessionEnd",
    "StatusChange",
    "UncertainCommitError",
    "UnfinishableCommitError",
    "UnreadableDatabaseError",
    "UntrustedFileError",
    "UntrustedJournalError",
    "UnwritableDatabaseError",
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
    "gone_sessions",
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


if not TYPE_CHECKING:  # With `__getattr__`, a type checker would accept every name.
    __getattr__, __dir__ = exports(
        __name__,
        {
            "audit.log": ("Audit",),
            "schema.edits": ("StatusChange",),
            "operations.clean_up": ("CleanUp", "clean_up_task", "clean_up_workspace"),
            "operations.create": ("Created", "create_global_registry", "create_task_registry"),
            "storage.commit": ("durable_commits",),
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
                "NotSupportedError",
                "RegistryError",
                "RegistryNotFoundError",
                "UncertainCommitError",
                "UnfinishableCommitError",
                "UnreadableDatabaseError",
                "UntrustedFileError",
                "UntrustedJournalError",
                "UnwritableDatabaseError",
                "WorkspaceNotFoundError",
                "WrongShapeError",
            ),
            "operations.finish": (
                "FinishReport",
                "SessionEnd",
                "finish_agents",
                "terminate_agents",
            ),
            "schema.counters": ("CounterDrift",),
            "operations.health": (
                "HealthReport",
                "Repair",
                "registry_health_check",
                "validate_and_repair_registry",
            ),
            "schema.ids": (
                "find_existing_agent",
                "generate_unique_agent_id",
                "verify_agent_id_unique",
            ),
            "storage.locked_file": ("LockedRegistryFile",),
            "metrics_file": ("publish_metrics",),
            "operations.atomic": (
                "atomic_add_agent",
                "atomic_decrement_active_count",
                "atomic_increment_counts",
                "atomic_mark_agents_completed",
                "atomic_update_agent_status",
            ),
            "snapshots": ("read_registry",),
            "audit.transaction": ("AuditContext", "OnRecord"),
            "schema.records": (
                "Deployment",
                "agent_entries",
            ),
            "schema.statuses": (
                "ACTIVE_STATUSES",
                "TERMINAL_STATUSES",
            ),
            "storage.recovery": ("recover_registry",),
            "operations.register": (
                "Registration",
                "Withdrawal",
                "register_agent",
                "registering",
                "withdraw_agent",
            ),
            "operations.report": ("Reported", "report_progress"),
            "operations.session_proof": ("gone_sessions",),
        },
    )
