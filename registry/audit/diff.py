"""Compares two states of a registry field by field, and takes back changes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Final

from registry.dataclass import dataclass
from registry.schema.counters import counter_names, is_count
from registry.schema.edits import take_out
from registry.schema.records import Deployment, agent_entries, counts_as_active
from registry.storage.codec import Json


class Missing(Enum):
    """The type of `MISSING`, which stands for the value of a missing field."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


WHOLE_FILE = "(whole file)"
"""The value of `FieldChange.field` if the whole text of a registry was replaced."""


STATUS_FIELDS = frozenset({"status", "agents.status"})
"""The names of the field with an agent's status: in a JSON registry, and in a database."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """The change of one field of a registry, or of one field of an agent's entry.

    Attributes:
        file: The name of the registry in the audit log.
        agent: The agent's id; None for a field of the registry itself.
        nth: The position of the agent's entry among the entries with the same id, from 0.
        field: The name of the field; empty if `whole`.
        before: The value before the change, or `MISSING`.
        after: The value after the change, or `MISSING`.
        whole: Whether the agent was added or removed. If so, the values are the agent's whole
            entry and `MISSING`.
        deployed: The agent's deployment if the field is the status of an agent; otherwise None.
    """

    file: str
    agent: str | None
    nth: int
    field: str
    before: Any
    after: Any
    whole: bool = False
    deployed: Deployment | None = None

    @property
    def is_counter(self) -> bool:
        """Whether the field is a counter: an integer field of the registry itself."""
        return self.agent is None and is_count(self.before) and is_count(self.after)

    @property
    def replaces_file(self) -> bool:
        """Whether the whole text of the registry was replaced.

        If so, `before` and `after` identify the old and the new text, but do not contain them.
        """
        return self.agent is None and self.field == WHOLE_FILE

    def means_the_same(self) -> tuple[object, ...]:
        """Returns a key; two changes have the same meaning if their keys are equal.

        The key of a counter's change contains the added number instead of the two values.
        """
        if self.is_counter:
            return self.file, self.agent, self.nth, self.field, self.after - self.before
        values = _exact(self.before), _exact(self.after)
        where = self.file, self.agent, self.nth, self.field
        return *where, self.whole, self.deployed, *values


def _exact(value: Any) -> str:
    """Returns a text of a value, for exact comparisons.

    In Python, the values 1, 1.0 and True are equal, but their texts differ.
    """
    return repr(value)


def snapshot(registry: Json) -> Json:
    """Returns a copy of a registry with copies of the agents' entries.

    The values of the fields are not copied. So the copy stays unchanged only if later changes
    replace values; a change inside a value also changes the copy.
    """
    copied = dict(registry)
    agents = registry.get("agents")
    if isinstance(agents, dict):
        copied["agents"] = {key: _copy(entry) for key, entry in agents.items()}
    elif isinstance(agents, list):
        copied["agents"] = [_copy(entry) for entry in agents]
    return copied


def _copy(entry: Any) -> Any:
    return dict(entry) if isinstance(entry, dict) else entry


def differences(file: str, before: Json, after: Json) -> tuple[FieldChange, ...]:
    """Returns all changed fields: first the fields of agents, then the fields of the registry.

    Args:
        file: The name of the registry (`FieldChange.file`).
        before: The decoded registry before the change.
        after: The decoded registry after the change.

    Raises:
        ValueError: The order of the agents changed, or an agent whose id is not unique was added
            or removed.
    """
    old = dict(_numbered(agent_entries(before)))
    new = dict(_numbered(agent_entries(after)))
    if [key for key in old if key in new] != [key for key in new if key in old]:
        raise ValueError("a change must not change the order of agents")
    if any(nth for _, nth in old.keys() ^ new.keys()):
        raise ValueError("a change must not add or remove an agent whose id is not unique")
    changes: list[FieldChange] = []
    for (agent, nth), entry in old.items():
        now = new.get((agent, nth))
        if now is None:
            changes.append(FieldChange(file, agent, nth, "", entry, MISSING, whole=True))
        else:
            changes += _fields(file, agent, nth, entry, now)
    for (agent, nth), entry in new.items():
        if (agent, nth) not in old:
            changes.append(FieldChange(file, agent, nth, "", MISSING, dict(entry), whole=True))
    rest = ({k: v for k, v in state.items() if k != "agents"} for state in (before, after))
    changes += _fields(file, None, 0, *rest)
    return tuple(changes)


def _fields(
    file: str, agent: str | None, nth: int, before: Json, after: Json
) -> Iterable[FieldChange]:
    for field in dict.fromkeys((*before, *after)):
        old, new = before.get(field, MISSING), after.get(field, MISSING)
        if _exact(old) != _exact(new):
            of_agent = agent is not None and field in STATUS_FIELDS
            deployed = Deployment.of(after) if of_agent else None
            yield FieldChange(file, agent, nth, field, old, new, deployed=deployed)


@dataclass(frozen=True, slots=True)
class Reverted:
    """The result of taking changes back.

    Attributes:
        agents: The ids of the agents whose changes were taken back, in the order of the changes.
        fields: The names of the registries' fields whose changes were taken back. Counters that
            were changed together with agents are left out.
        refused: Maps an agent's id, or a field's name, to the reason why its changes were not
            taken back.
    """

    agents: tuple[str, ...]
    fields: tuple[str, ...]
    refused: Mapping[str, str]


def revert(registries: Mapping[str, Json], changes: Sequence[FieldChange]) -> Reverted:
    """Takes back changes in place, except in fields that were changed again later.

    - The changes of an agent are taken back in all registries or in none.
    - The counters are adapted for each of these agents, even if a counter was changed again later
      for other agents.
    - An agent that was added is removed only if the agent's entry is unchanged.

    Args:
        registries: Maps the names of registries (`FieldChange.file`) to the decoded registries,
            which are changed in place.
        changes: The changes to take back.
    """
    by_agent: dict[tuple[str, int], list[FieldChange]] = {}
    alone: list[FieldChange] = []
    counters: list[FieldChange] = []
    for change in changes:
        if change.agent is not None:
            by_agent.setdefault((change.agent, change.nth), []).append(change)
        elif change.is_counter:
            counters.append(change)
        else:
            alone.append(change)
    entries = {
        (file, *key): entry
        for file, registry in registries.items()
        for key, entry in _numbered(agent_entries(registry))
    }
    refused: dict[str, str] = {}
    moved: dict[tuple[str, str], int] = {}
    agents: list[str] = []
    for key, fields in by_agent.items():
        files = {change.file for change in fields}
        places = {file: entries.get((file, *key)) for file in files}
        objections = (_objection(places[change.file], change) for change in fields)
        why = next((why for why in objections if why), None)
        if why is not None:
            refused[key[0]] = why
            continue
        agents.append(key[0])
        for change in fields:
            if change.whole:
                _put_back(registries[change.file], change, places[change.file])
        for file, entry in places.items():
            if entry is None:
                continue
            before = _counted(registries[file], entry)
            for change in fields:
                if change.file == file and not change.whole:
                    _set(entry, change.field, change.before)
            for counter, count in _counted(registries[file], entry).items():
                place = (file, counter)
                moved[place] = moved.get(place, 0) + count - before.get(counter, 0)
    whole = not refused
    fields_done = []
    with_agents = {change.file for fields in by_agent.values() for change in fields}
    for change in counters:
        for_agents = change.file in with_agents
        moves = _move_back(registries.get(change.file), change, moved, whole, for_agents)
        if moves and not for_agents:
            fields_done.append(change.field)
    for change in alone:
        why = _objection(registries.get(change.file), change)
        if why is None:
            _set(registries[change.file], change.field, change.before)
            fields_done.append(change.field)
        else:
            refused[change.field] = why
    return Reverted(tuple(dict.fromkeys(agents)), tuple(fields_done), refused)


def _numbered(
    entries: Iterable[tuple[str | None, Json]],
) -> Iterable[tuple[tuple[str, int], Json]]:
    """Yields each entry together with its key.

    The key is the agent's id (or an empty text), and the position of the entry among the entries
    with the same id, from 0.
    """
    seen: dict[str, int] = {}
    for id_, entry in entries:
        agent = id_ or ""
        nth = seen.get(agent, 0)
        seen[agent] = nth + 1
        yield (agent, nth), entry


def _objection(holder: Json | None, change: FieldChange) -> str | None:
    """Returns why the change of a field or a whole entry cannot be taken back, or None."""
    if change.whole:
        now = MISSING if holder is None else holder
        if _exact(now) == _exact(change.after):
            return None
        if change.after is MISSING:
            return f"is in {change.file} again"
        return f"was changed or removed after it was added to {change.file}"
    if holder is None:
        return f"was removed from {change.file}"
    now = holder.get(change.field, MISSING)
    if _exact(now) == _exact(change.after):
        if change.deployed is not None and Deployment.of(holder) != change.deployed:
            return f"was deployed again later, in {change.file}"
        return None
    if _exact(now) == _exact(change.before):
        return f"{change.field} already has its old value in {change.file}"
    return f"{change.field} was changed again in {change.file}: the value is now {short_text(now)}"


def short_text(value: Any) -> str:
    """Returns a text of at most 80 characters that shows a value in messages."""
    if value is MISSING:
        return "missing"
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


def _set(holder: Json, field: str, value: Any) -> None:
    if value is MISSING:
        holder.pop(field, None)
    else:
        holder[field] = value


def _put_back(registry: Json, change: FieldChange, entry: Json | None) -> None:
    """Removes an entry that was added, or adds an entry that was removed."""
    agents = registry.get("agents")
    if entry is not None:
        take_out(registry, (entry,))
    elif isinstance(agents, dict):
        agents[change.agent or ""] = change.before
    elif isinstance(agents, list):
        agents.append(change.before)


def _counted(registry: Json, entry: Json) -> dict[str, int]:
    """Returns a mapping from counter names to the number by which one agent raises the counter."""
    names = counter_names(registry)
    counts = {names.active: int(counts_as_active(registry, entry))}
    if names.completed is not None:
        counts[names.completed] = int(entry.get("status") == "completed")
    return counts


def _move_back(
    registry: Json | None,
    change: FieldChange,
    moved: Mapping[tuple[str, str], int],
    whole: bool,
    for_agents: bool,
) -> bool:
    """Takes back the change of a counter.

    Args:
        registry: The decoded registry; changed in place. None if the registry is missing.
        change: The change of the counter.
        moved: Maps the names of a registry and a counter to a number: by how much the counter
            changes because changes of agents were taken back.
        whole: Whether the changes of all agents were taken back.
        for_agents: Whether the counter was changed together with agents.

    Returns:
        Whether the registry has this counter.
    """
    now = registry.get(change.field) if registry is not None else None
    if registry is None or not is_count(now):
        return False
    if whole and now == change.after:
        # This also restores a negative value; an addition would not restore it.
        registry[change.field] = change.before
        return True
    back: int = change.before - change.after
    if for_agents:
        # The smaller of two numbers is used: the logged change, and the change that results from
        # the agents. The numbers differ if the counter stopped at 0, or if agents were refused.
        # If their signs differ, the counter is not changed.
        nominal = moved.get((change.file, change.field), 0)
        back = sorted((0, back, nominal))[1]
    registry[change.field] = max(0, now + back)
    return True
