"""Functions with which an orchestrator, agents and muster change registries."""

from typing import TYPE_CHECKING

from registry.exports import exports

if TYPE_CHECKING:
    from registry.operations.atomic import atomic_add_agent as atomic_add_agent
    from registry.operations.atomic import (
        atomic_decrement_active_count as atomic_decrement_active_count,
    )
    from registry.operations.atomic import atomic_increment_counts as atomic_increment_counts
    from registry.operations.atomic import (
        atomic_mark_agents_completed as atomic_mark_agents_completed,
    )
    from registry.operations.atomic import atomic_update_agent_status as atomic_update_agent_status
    from registry.operations.clean_up import CleanUp as CleanUp
    from registry.operations.clean_up import clean_up_task as clean_up_task
    from registry.operations.clean_up import clean_up_workspace as clean_up_workspace
    from registry.operations.create import Created as Created
    from registry.operations.create import create_global_registry as create_global_registry
    from registry.operations.create import create_task_registry as create_task_registry
    from registry.operations.database_finish import DatabaseTask as DatabaseTask
    from registry.operations.database_finish import finish_in_database as finish_in_database
    from registry.operations.database_finish import newest_time as newest_time
    from registry.operations.database_report import report_in_database as report_in_database
    from registry.operations.database_undo import preview_in_database as preview_in_database
    from registry.operations.database_undo import take_back_in_database as take_back_in_database
    from registry.operations.finish import FinishReport as FinishReport
    from registry.operations.finish import Judged as Judged
    from registry.operations.finish import SessionEnd as SessionEnd
    from registry.operations.finish import finish_agents as finish_agents
    from registry.operations.finish import terminate_agents as terminate_agents
    from registry.operations.health import GONE as GONE
    from registry.operations.health import HealthReport as HealthReport
    from registry.operations.health import Repair as Repair
    from registry.operations.health import registry_health_check as registry_health_check
    from registry.operations.health import (
        validate_and_repair_registry as validate_and_repair_registry,
    )
    from registry.operations.register import Registration as Registration
    from registry.operations.register import Withdrawal as Withdrawal
    from registry.operations.register import register_agent as register_agent
    from registry.operations.register import registering as registering
    from registry.operations.register import withdraw_agent as withdraw_agent
    from registry.operations.report import Reported as Reported
    from registry.operations.report import report_progress as report_progress
else:
    __getattr__, __dir__ = exports(
        __name__,
        {
            "atomic": (
                "atomic_add_agent",
                "atomic_decrement_active_count",
                "atomic_increment_counts",
                "atomic_mark_agents_completed",
                "atomic_update_agent_status",
            ),
            "clean_up": (
                "CleanUp",
                "clean_up_task",
                "clean_up_workspace",
            ),
            "create": (
                "Created",
                "create_global_registry",
                "create_task_registry",
            ),
            "database_finish": (
                "DatabaseTask",
                "finish_in_database",
                "newest_time",
            ),
            "database_report": ("report_in_database",),
            "database_undo": (
                "preview_in_database",
                "take_back_in_database",
            ),
            "finish": (
                "FinishReport",
                "Judged",
                "SessionEnd",
                "finish_agents",
                "terminate_agents",
            ),
            "health": (
                "GONE",
                "HealthReport",
                "Repair",
                "registry_health_check",
                "validate_and_repair_registry",
            ),
            "register": (
                "Registration",
                "Withdrawal",
                "register_agent",
                "registering",
                "withdraw_agent",
            ),
            "report": (
                "Reported",
                "report_progress",
            ),
        },
    )
