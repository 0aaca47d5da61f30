"""The times that a verdict needs, each with a help text, a default and a smallest value. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from registry.dataclass import dataclass, field, fields

_SECTION = "policy"
_PREFIX = "MUSTER_"


def _seconds(default: float, help_: str, *, least: float = 0.0, former: str = "") -> Any:
    metadata = {"help": help_, "unit": "seconds", "least": least, "former": former}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Policy:
    """The times that a verdict needs; `POLICY_SETTINGS` explains each field."""

    death_confirmation: float = _seconds(
        0.75,
        "The least time between the two answers of tmux that prove that a session is gone: "
        "the session is missing from both answers.",
        least=0.75,
        former="proof",
    )
    # An orchestrator registers an agent up to two seconds after it created the session.
    start_grace: float = _seconds(
        5.0, "During this time after its start, an agent is never called a zombie.", least=3.0
    )
    orphan_grace: float = _seconds(
        10.0,
        "During this time after its creation, a session is never called an orphan.",
        least=3.0,
    )
    # The orchestrator leaves the session of an agent that has ended until the program in it ends.
    leak_grace: float = _seconds(
        60.0,
        "During this time after its end, an agent in a database is never called leaked: its "
        "session exists until its program ends.",
    )
    stall_timeout: float = _seconds(
        900.0,
        "After more than this time without a report or output, an agent is called stalled.",
        former="stall_after",
    )
    mass_death_window: float = _seconds(
        1.0, "The longest time between deaths that count as one event.", former="at_once"
    )
    session_late_limit: float = _seconds(
        60.0,
        "A session with the name of an agent's session belongs to another agent if it was created "
        "more than this time after the agent's start. Exception: the agent has reported after "
        "the session was created.",
        least=5.0,
        former="made_after",
    )
    session_early_limit: float = _seconds(
        300.0,
        "A session with the name of an agent's session belongs to another agent if it was created "
        "more than this time before the agent's start.",
        least=5.0,
        former="made_before",
    )


@dataclass(frozen=True, slots=True)
class PolicySetting:
    """The setting of one field of `Policy`.

    Attributes:
        name: The field's name.
        former: The name in earlier versions, which still works; empty if the name was the same.
        default: The default value.
        least: The smallest safe value.
        unit: The unit of the values.
        help: The explanation for users.
    """

    name: str
    former: str
    default: float
    least: float
    unit: str
    help: str

    @property
    def key(self) -> str:
        """The setting's key in a settings file."""
        return f"{_SECTION}.{self.name}"

    @property
    def former_key(self) -> str:
        """The setting's former key in a settings file; empty if the name was the same."""
        return f"{_SECTION}.{self.former}" if self.former else ""

    @property
    def variable(self) -> str:
        """The environment variable that sets this setting."""
        return _PREFIX + self.name.upper()

    @property
    def former_variable(self) -> str:
        """The setting's former environment variable; empty if the name was the same."""
        return _PREFIX + self.former.upper() if self.former else ""

    @property
    def range(self) -> str:
        """The allowed values in words, for example "3 or more"."""
        return f"{self.least:g} or more"


POLICY_SETTINGS: tuple[PolicySetting, ...] = tuple(
    PolicySetting(
        name=time_field.name, default=getattr(Policy(), time_field.name), **time_field.metadata
    )
    for time_field in fields(Policy)
)
"""All fields of `Policy`, in their order."""

FORMER_KEYS: Mapping[str, str] = MappingProxyType(
    {setting.former_key: setting.key for setting in POLICY_SETTINGS if setting.former}
)
"""Maps each former key of a settings file to the present key."""
