"""The directories of the demo, and its members."""

from __future__ import annotations

import secrets
import sys
from datetime import datetime
from pathlib import Path

from registry.dataclass import dataclass
from registry.schema import (
    DATABASE,
    GLOBAL_FOLDER,
    GLOBAL_REGISTRY,
    ORCHESTRATOR,
    SESSION_PREFIX,
    TASK_REGISTRY,
    WORKSPACE_NAME,
)
from tui.demo.cast import PROJECT, ROLES
from tui.demo.story import Role

ROOT_PREFIX = "muster-demo-"

IN_DATABASE = "--sqlite"
"""The option of an agent's program that says that the agent is in the database."""

OUTPUT = {"progress": "progress", "findings": "findings", "logs": "stream"}
"""Maps the folders of agents' output files to the last word in the names of these files."""

TYPE_IN_ID = 20
"""The number of characters of an agent's type that today's orchestrator puts into an id."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The directories of one demo, and its speed.

    Attributes:
        root: A private directory that only this demo uses.
        speed: How many seconds of the story pass in one real second.
    """

    root: Path
    speed: float = 1.0

    @property
    def socket(self) -> Path:
        """The socket of the private tmux server."""
        return self.root / "tmux"

    @property
    def lifeline(self) -> Path:
        """A FIFO that the demo process holds open. When the demo process ends, all agents end."""
        return self.root / "lifeline"

    @property
    def curtain(self) -> Path:
        """A file that the demo creates after all agents are registered. Agents wait for it."""
        return self.root / "curtain"

    @property
    def project(self) -> Path:
        """The working directory of the agents."""
        return self.root / PROJECT

    @property
    def workspace(self) -> Path:
        """The workspace of the agents."""
        return self.project / WORKSPACE_NAME

    @property
    def database(self) -> Path:
        """The path of the database, which only exists in a demo with a database."""
        return self.workspace / GLOBAL_FOLDER / DATABASE

    @property
    def global_registry(self) -> Path:
        """The global registry of the workspace."""
        return self.workspace / GLOBAL_FOLDER / GLOBAL_REGISTRY

    def task_registry(self, task_id: str) -> Path:
        """Returns the path of a task's registry."""
        return self.workspace / task_id / TASK_REGISTRY

    def command(self, member: Member, *, helper: bool = False) -> tuple[str, ...]:
        """Returns the command that runs in an agent's session, or as an agent's helper process."""
        # -P: the working directory may contain a module with the same name as one of muster's.
        program = (sys.executable, "-P", "-m", "tui.demo.agent")
        options = ["--helper"] if helper else []
        options += [IN_DATABASE] if member.in_database else []
        where = (str(self.root), f"{self.speed:g}", member.task_id, member.id)
        return (*program, *options, *where)


@dataclass(frozen=True, slots=True)
class Member:
    """One agent of the demo.

    Attributes:
        id: The id in the registries.
        role: The role that the agent plays.
        task_id: The id of the agent's task.
        parent: The id of another member, or "orchestrator".
        in_database: Whether the task is in the database instead of JSON files.
    """

    id: str
    role: Role
    task_id: str
    parent: str = ORCHESTRATOR
    in_database: bool = False

    @property
    def session(self) -> str:
        """The name of the agent's tmux session."""
        return SESSION_PREFIX + self.id


def member_of(
    role: Role, task_id: str, parent: str, started: float, *, in_database: bool = False
) -> Member:
    """Returns an agent with a new id in the format that orchestrators use."""
    name = role.type[:TYPE_IN_ID] if in_database else role.type
    agent_id = f"{name}-{datetime.fromtimestamp(started):%H%M%S}-{secrets.token_hex(3)}"
    return Member(agent_id, role, task_id, parent, in_database)


def task_id_of(made: float) -> str:
    """Returns a new id for a task, in the format that orchestrators use."""
    return f"TASK-{datetime.fromtimestamp(made):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


def depth_of(role: Role) -> int:
    """Returns the depth of an agent; 1 if the orchestrator started it."""
    return 1 if role.parent is None else 1 + depth_of(ROLES[role.parent])


def stamp(moment: float) -> str:
    """Returns a time in the format of the registries: local, without a time zone."""
    return datetime.fromtimestamp(moment).isoformat(timespec="microseconds")
