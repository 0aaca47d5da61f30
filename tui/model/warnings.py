"""What has to be said of a roll as a whole, before anybody acts on it. Pure."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from registry.text import shown_name
from tui.host.tmux_types import TmuxState
from tui.model.evidence import Evidence
from tui.model.roll import MassDeath, RollCall
from tui.text.sanitize import some


def notices(roll: RollCall) -> tuple[str, ...]:
    """Sentences for people; none when nothing is out of the ordinary."""
    answer = roll.answer
    said: list[str] = []
    # Before the first answer nothing is wrong yet.
    if answer.state is TmuxState.UNKNOWN and answer.asked_at:
        said.append(f"tmux cannot be asked at {shown_name(answer.socket)}: {answer.why}")
    if roll.mass_death is not None:
        said.append(f"{massacre(roll.mass_death, answer.socket)} Try -L NAME or -S PATH.")
    said += map(str, roll.databases)
    said += (
        f"sessions are called no orphans, since {each}"
        for each in roll.nearby_databases
        if each not in roll.databases
    )
    said += (
        f"{some(count, 'agent')} may live: {why}" for why, count in _doubts(roll.evidence).items()
    )
    return tuple(said)


def massacre(death: MassDeath, socket: Path) -> str:
    """How many went at once, and what is the likelier reason."""
    return (
        f"{death.gone} of {death.of} active agents went at once, or before muster looked, "
        f"by what tmux says at {shown_name(socket)}: the wrong socket is likelier than a massacre."
    )


def _doubts(evidence: Evidence) -> Counter[str]:
    return Counter(evidence.doubts.values())
