"""What is asked apart before a plan is carried out: who agrees to it has not answered it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from registry.schema import SESSION_PREFIX, tmux_name
from registry.text import shown_name, whole_name
from tui.actions.plan import Plan, Step, Verb, usual_session
from tui.actions.preview import Question
from tui.host.claims import ROOT
from tui.host.tmux_types import TmuxSnapshot
from tui.model.roll import RollCall
from tui.model.warnings import massacre
from tui.text.sanitize import some

_MASS_DEATH = "--mass-death"

_SEVERAL = 2
"""From so many agents on, an action is one in bulk."""

_NAMED_AT_MOST = 10
"""Sessions or registries that are named in one question; the plan names all."""


def with_questions(plan: Plan, roll: RollCall) -> Plan:
    """A plan that knows what is asked of its steps.

    What was asked of many deaths is asked also where only some are still in the plan.

    Args:
        plan: Any.
        roll: What it was made of.
    """
    before = tuple(each for each in plan.questions if each.option == _MASS_DEATH)
    questions = _of_deaths(roll, plan.steps) or before
    if plan.verb is Verb.KILL:
        questions += (*_of_names(plan.steps), *_of_owners(roll.answer, plan.steps))
    return replace(plan, questions=questions)


def _of_deaths(roll: RollCall, steps: Iterable[Step]) -> tuple[Question, ...]:
    """What is asked apart when several of those that went at once are acted on."""
    death = roll.mass_death
    if death is None:
        return ()
    among = sum(step.row is not None and step.row.key in death.agents for step in steps)
    if among < _SEVERAL:
        return ()
    asks = f"{massacre(death, roll.answer.socket)} Is it the right socket, and are they dead?"
    return (Question(asks, _MASS_DEATH),)


def _of_owners(answer: TmuxSnapshot, steps: Iterable[Step]) -> tuple[Question, ...]:
    """What is asked apart when sessions are ended on the word of other users' registries.

    An id is no secret: whoever can have muster read a registry could list in it the
    session of an agent of anybody's, by its usual name.
    """
    trusted = {ROOT, *(() if answer.server_user is None else (answer.server_user,))}
    whose = {
        step.row.key.registry: step.owner
        for step in steps
        if step.session is not None and step.row is not None and step.owner is not None
    }
    foreign = [f"{whole_name(str(p))} (user {o})" for p, o in whose.items() if o not in trusted]
    if not foreign:
        return ()
    named = _named_first(foreign)
    it_is = "A registry belongs" if len(foreign) == 1 else f"{len(foreign)} registries belong"
    asks = (
        f"{it_is} neither to the tmux server's user nor to root: {named}. "
        f"Who wrote {'it' if len(foreign) == 1 else 'them'} can name any session. "
        "End the sessions all the same?"
    )
    return (Question(asks, "--foreign-registry"),)


def _named_first(said: Sequence[str]) -> str:
    more = len(said) - _NAMED_AT_MOST
    return ", ".join(said[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def _of_names(steps: Iterable[Step]) -> tuple[Question, ...]:
    """What is asked apart when sessions are ended that are not called as an agent's is.

    Whatever writes a registry could name anybody's session there.
    """
    unusual = [said for step in steps if (said := _unusual(step)) is not None]
    if not unusual:
        return ()
    named = _named_first(unusual)
    count = some(len(unusual), "session is", "sessions are")
    asks = (
        f"{count} not called as the orchestrator calls an agent's, {SESSION_PREFIX} and its "
        f"id: {named}. End {'it' if len(unusual) == 1 else 'them'} all the same?"
    )
    return (Question(asks, "--unusual-names"),)


def _unusual(step: Step) -> str | None:
    """The session whose processes a step ends, and whose it is, where its name is unusual."""
    name = step.session.name if step.session else step.earlier.name if step.earlier else None
    if name is None:
        return None
    if step.row is None:
        return None if name.startswith(SESSION_PREFIX) else whole_name(name)
    if tmux_name(name) == usual_session(step.row):
        return None
    return f"{whole_name(name)} (of {shown_name(step.label)})"
