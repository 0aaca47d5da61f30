"""Finds the questions that the operator must confirm in addition to a plan. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from registry.dataclass import replace
from registry.schema import SESSION_PREFIX, spellings
from registry.text import shown_name, whole_name
from tui.actions.phase_notes import phase_notes
from tui.actions.plan import Plan, Step, Verb, usual_session
from tui.actions.preview import Question
from tui.host.process.claims import ROOT
from tui.host.tmux_types import TmuxSnapshot
from tui.model.roll import RollCall
from tui.model.warnings import mass_death_warning
from tui.text.sanitize import some

_MASS_DEATH = "--mass-death"

_SEVERAL = 2
"""The smallest number of dead agents in a plan that causes a question."""

_NAMED_AT_MOST = 10
"""The largest number of sessions or registries that one question names; the plan names all."""


def with_questions(
    plan: Plan, roll: RollCall, outsiders: Mapping[Path, str] | None = None
) -> Plan:
    """Returns a plan with the questions and the remarks about its steps.

    A question about a mass death that the plan already has stays, even if only one of the dead
    agents is left in the plan.

    Args:
        plan: A plan of any kind.
        roll: The roll call of the plan.
        outsiders: Maps the path of a registry to a user or group that may write the registry, and
            is not in `trusted_users`.
    """
    before = tuple(question for question in plan.questions if question.option == _MASS_DEATH)
    questions = _of_deaths(roll, plan.steps) or before
    if plan.verb is Verb.KILL:
        questions += (
            *_of_names(plan.steps),
            *_of_writers(roll.answer, plan.steps, outsiders or {}),
        )
    ended = {step.row.key for step in plan.steps if step.row is not None and step.writes}
    return replace(plan, questions=questions, notes=phase_notes(roll.tasks(), ended))


def _of_deaths(roll: RollCall, steps: Iterable[Step]) -> tuple[Question, ...]:
    """Returns the question about a mass death, if several of the dead agents are in the plan."""
    death = roll.mass_death
    if death is None:
        return ()
    among = sum(step.row is not None and step.row.key in death.agents for step in steps)
    if among < _SEVERAL:
        return ()
    warning = mass_death_warning(death, roll.answer.socket)
    return (
        Question(f"{warning} Is this the right socket, and are these agents dead?", _MASS_DEATH),
    )


def _of_writers(
    answer: TmuxSnapshot, steps: Iterable[Step], outsiders: Mapping[Path, str]
) -> tuple[Question, ...]:
    """Returns the question about sessions and processes in registries of several writers.

    Such a user could list any session there, because the ids of agents are not secret.
    """
    steps = tuple(steps)
    owners = {
        step.row.key.registry: step.owner
        for step in steps
        if step.session is not None and step.row is not None
    }
    trusted = trusted_users(answer)
    foreign = {
        path: f"user {owner}"
        for path, owner in owners.items()
        if owner is not None and owner not in trusted
    }
    owners |= {
        step.row.key.registry: step.owner
        for step in steps
        if step.process is not None and step.row is not None
    }
    foreign |= {path: outsiders[path] for path in owners.keys() & outsiders.keys() - foreign}
    if not foreign:
        return ()
    named = [f"{whole_name(str(path))} ({foreign[path]})" for path in owners if path in foreign]
    subject = "a registry" if len(named) == 1 else f"{len(named)} registries"
    asks = (
        f"Other users than the tmux server's user and root may write {subject}: "
        f"{_named_first(named)}. These users can list any session there. End the sessions anyway?"
    )
    return (Question(asks, "--foreign-registry"),)


def trusted_users(answer: TmuxSnapshot) -> frozenset[int]:
    """Returns the ids of root and of the user of a tmux server.

    These users may end any session of the server even without muster.
    """
    return frozenset({ROOT} if answer.server_user is None else {ROOT, answer.server_user})


def _named_first(names: Sequence[str]) -> str:
    more = len(names) - _NAMED_AT_MOST
    return ", ".join(names[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def _of_names(steps: Iterable[Step]) -> tuple[Question, ...]:
    """Returns the question about sessions without the usual name of an agent's session."""
    unusual = [name for step in steps if (name := _unusual(step)) is not None]
    if not unusual:
        return ()
    named = _named_first(unusual)
    count = some(len(unusual), "session does", "sessions do")
    asks = (
        f"{count} not have the usual name of an agent's session, {SESSION_PREFIX} and the agent's "
        f"id: {named}. End {'this session' if len(unusual) == 1 else 'these sessions'} anyway?"
    )
    return (Question(asks, "--unusual-names"),)


def _unusual(step: Step) -> str | None:
    """Returns the name and the agent of a step's session; None if the name is the usual one."""
    name = step.session.name if step.session else step.earlier.name if step.earlier else None
    if name is None:
        return None
    if step.row is None:
        return None if name.startswith(SESSION_PREFIX) else whole_name(name)
    if name in spellings(usual_session(step.row)):
        return None
    return f"{whole_name(name)} (of {shown_name(step.label)})"
