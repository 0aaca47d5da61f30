"""What two states of a registry differ in, field by field, and how to go back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from registry.schema.edits import counter_names, is_count, take_out
from registry.schema.records import Deployment, agent_entries, counts_as_active
from registry.storage.codec import Json


class Missing(Enum):
    """Stands for the value of a field that is not there; JSON has no word for it."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of a registry, or of one of its agents, before and after a change.

    Attributes:
        file: The registry's path, as the log that it stands in has it.
        agent: The agent's id; None for a field of the registry itself.
        nth: Which of the entries with this id, from 0.
        field: The field's name; empty for a whole entry.
        before: Its value, or `MISSING`.
        after: Its value, or `MISSING`.
        whole: Whether the agent itself came or went: its entry is the value.
        deployed: Of an agent's status, which deployment it is that of; or None.
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
        """Whether it is a number that several writers move, and no value that one sets."""
        return self.agent is None and is_count(self.before) and is_count(self.after)

    def means_the_same(self) -> tuple[object, ...]:
        """What two passes of the same change agree in: of counters, only the movement."""
        if self.is_counter:
            return self.file, self.agent, self.nth, self.field, self.after - self.before
        values = _exact(self.before), _exact(self.after)
        where = self.file, self.agent, self.nth, self.field
        return *where, self.whole, self.deployed, *values


def _exact(value: Any) -> str:
    """For comparing: 1, 1.0 and true are the same to Python, but not in JSON."""
    return repr(value)


def snapshot(registry: Json) -> Json:
    """A copy to compare with, for changes that replace fields and change none inside."""
    copied = dict(registry)
    agents = registry.get("agents")
    if isinstance(agents, dict):
        copied["agents"] = {key: _copy(each) for key, each in agents.items()}
    elif isinstance(agents, list):
        copied["agents"] = [_copy(each) for each in agents]
    return copied


def _copy(entry: Any) -> Any:
    return dict(entry) if isinstance(entry, dict) else entry


def differences(file: str, before: Json, after: Json) -> tuple[FieldChange, ...]:
    """Every field that differs, agents first, in the order of the registry.

    Args:
        file: What to call the registry.
        before: Its decoded state.
        after: The same with fields changed, and agents put in or taken out.

    Raises:
        ValueError: Agents changed places, or one came or went whose id another has.
    """
    old = dict(_numbered(agent_entries(before)))
    new = dict(_numbered(agent_entries(after)))
    if [key for key in old if key in new] != [key for key in new if key in old]:
        raise ValueError("agents changed places")
    if any(nth for _, nth in old.keys() ^ new.keys()):
        raise ValueError("agents of the same id came or went")
    found: list[FieldChange] = []
    for (agent, nth), entry in old.items():
        now = new.get((agent, nth))
        if now is None:
            found.append(FieldChange(file, agent, nth, "", entry, MISSING, whole=True))
        else:
            found += _fields(file, agent, nth, entry, now)
    for (agent, nth), entry in new.items():
        if (agent, nth) not in old:
            found.append(FieldChange(file, agent, nth, "", MISSING, dict(entry), whole=True))
    rest = ({k: v for k, v in each.items() if k != "agents"} for each in (before, after))
    found += _fields(file, None, 0, *rest)
    return tuple(found)


def _fields(
    file: str, agent: str | None, nth: int, before: Json, after: Json
) -> Iterable[FieldChange]:
    for field in dict.fromkeys((*before, *after)):
        old, new = before.get(field, MISSING), after.get(field, MISSING)
        if _exact(old) != _exact(new):
            of_agent = agent is not None and field == "status"
            deployed = Deployment.of(after) if of_agent else None
            yield FieldChange(file, agent, nth, field, old, new, deployed=deployed)


@dataclass(frozen=True, slots=True)
class Reverted:
    """What going back did.

    Attributes:
        agents: Whose fields are as they were before, in order.
        fields: Which fields of registries themselves are; counters only where they were
            set, and not moved with agents.
        refused: By agent, or by field: why it stays as it is.
    """

    agents: tuple[str, ...]
    fields: tuple[str, ...]
    refused: Mapping[str, str]


def revert(registries: Mapping[str, Json], changes: Sequence[FieldChange]) -> Reverted:
    """Takes changes back, in place, where nobody changed those fields since.

    An agent goes back in all registries or in none. Counters are moved back by as
    much as they were moved for the agents that go back, whatever else moved them.
    An agent that was put in is taken out only as it was put in.

    Args:
        registries: By the name that the changes have for them; changed in place.
        changes: What was done.
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
        places = {file: entries.get((file, *key)) for file in {each.file for each in fields}}
        why = next((why for each in fields if (why := _objection(places[each.file], each))), None)
        if why is not None:
            refused[key[0]] = why
            continue
        agents.append(key[0])
        for each in fields:
            if each.whole:
                _put_back(registries[each.file], each, places[each.file])
        for file, entry in places.items():
            if entry is None:
                continue
            before = _counted(registries[file], entry)
            for each in fields:
                if each.file == file and not each.whole:
                    _set(entry, each.field, each.before)
            for counter, count in _counted(registries[file], entry).items():
                place = (file, counter)
                moved[place] = moved.get(place, 0) + count - before.get(counter, 0)
    whole = not refused
    fields_done = []
    with_agents = {change.file for fields in by_agent.values() for change in fields}
    for each in counters:
        for_agents = each.file in with_agents
        moves = _move_back(registries.get(each.file), each, moved, whole, for_agents)
        if moves and not for_agents:
            fields_done.append(each.field)
    for each in alone:
        why = _objection(registries.get(each.file), each)
        if why is None:
            _set(registries[each.file], each.field, each.before)
            fields_done.append(each.field)
        else:
            refused[each.field] = why
    return Reverted(tuple(dict.fromkeys(agents)), tuple(fields_done), refused)


def _numbered(
    entries: Iterable[tuple[str | None, Json]],
) -> Iterable[tuple[tuple[str, int], Json]]:
    """Entries with their ids, and which of those with the same id each is."""
    seen: dict[str, int] = {}
    for id_, entry in entries:
        agent = id_ or ""
        nth = seen.get(agent, 0)
        seen[agent] = nth + 1
        yield (agent, nth), entry


def _objection(holder: Json | None, change: FieldChange) -> str | None:
    """Why a field, or a whole entry, cannot go back, or None."""
    if change.whole:
        now = MISSING if holder is None else holder
        if _exact(now) == _exact(change.after):
            return None
        if change.after is MISSING:
            return f"is in {change.file} again"
        return f"was changed since it was put in {change.file}, or is not there any more"
    if holder is None:
        return f"is not in {change.file} any more"
    now = holder.get(change.field, MISSING)
    if _exact(now) == _exact(change.after):
        if change.deployed is not None and Deployment.of(holder) != change.deployed:
            return f"was deployed anew since, in {change.file}"
        return None
    if _exact(now) == _exact(change.before):
        return f"{change.field} is as it was before already, in {change.file}"
    return f"{change.field} was changed since, in {change.file}: it is {said(now)} now"


def said(value: Any) -> str:
    """A value in a few words."""
    if value is MISSING:
        return "not there"
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


def _set(holder: Json, field: str, value: Any) -> None:
    if value is MISSING:
        holder.pop(field, None)
    else:
        holder[field] = value


def _put_back(registry: Json, change: FieldChange, entry: Json | None) -> None:
    """Takes out an entry that was put in, or puts one in that was taken out."""
    agents = registry.get("agents")
    if entry is not None:
        take_out(registry, (entry,))
    elif isinstance(agents, dict):
        agents[change.agent or ""] = change.before
    elif isinstance(agents, list):
        agents.append(change.before)


def _counted(registry: Json, entry: Json) -> dict[str, int]:
    """What one agent adds to the counters."""
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
    """Moves a counter back; whether there was one to move."""
    now = registry.get(change.field) if registry is not None else None
    if registry is None or not is_count(now):
        return False
    if whole and now == change.after:
        # Also where it had been below 0, which no movement leads back to.
        registry[change.field] = change.before
        return True
    back: int = change.before - change.after
    if for_agents:
        # No further than it had been moved: a counter stops at 0, and not every
        # agent may have gone back. Where the two point apart: not at all.
        nominal = moved.get((change.file, change.field), 0)
        back = sorted((0, back, nominal))[1]
    registry[change.field] = max(0, now + back)
    return True
