"""Keys one by one: each is handed out only once the one before has been acted on.

Textual gives a key to whatever has the focus when it comes. Over a slow line several
come at once, and the second would still go where the first has just left: ``/k`` would
ask whether to kill, and not look for a "k".
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from textual import events
from textual.message import Message
from textual.message_pump import MessagePump

# Seconds after which a key counts as acted on, whatever became of it.
_AT_MOST = 1.0

_INTERRUPT = "ctrl+c"

# A key's message may lead to another one (a field that is submitted), and that to what moves
# the focus: so often something that comes behind them has to come back.
_ROUNDS = 2


@dataclass
class Followed(Message):
    """Came behind a key, by the same way: by now that was acted on."""

    number: int
    rounds: int


class TypeAhead:
    """Keeps the keys that come while another is being acted on.

    Args:
        act_on: Acts on a key as if none came behind it.
        target: Who gets a key that comes now.
        later: Calls something after so many seconds.
    """

    def __init__(
        self,
        act_on: Callable[[events.Key], Awaitable[None]],
        target: Callable[[], MessagePump],
        later: Callable[[float, Callable[[], Awaitable[None]]], object],
    ) -> None:
        self._act_on = act_on
        self._target = target
        self._later = later
        self._waiting: deque[events.Key] = deque()
        self._number = 0
        self._busy_until = 0.0
        self._behind: MessagePump | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a key is being acted on."""
        return time.monotonic() < self._busy_until

    async def take(self, key: events.Key) -> None:
        """Acts on a key, now or when its turn comes; an interrupt's turn is now.

        An interrupt gives up the keys before it that were not acted on yet, as a terminal does.
        """
        if key.key == _INTERRUPT:
            self._waiting.clear()
            self._busy_until = 0.0
        self._waiting.append(key)
        await self.go_on()
        if self._waiting:
            # Should nothing come back from whoever has the key before.
            self._later(_AT_MOST, self.go_on)

    async def go_on(self) -> None:
        """Acts on the next key, if none is being acted on."""
        while self._waiting and not self.is_busy:
            key = self._waiting.popleft()
            self._number += 1
            self._busy_until = time.monotonic() + _AT_MOST
            target = self._target()
            await self._act_on(key)
            self._follow(target, Followed(self._number, _ROUNDS))

    async def followed(self, message: Followed) -> None:
        """Notes that what came behind a key has come back."""
        if message.number != self._number:
            return
        if message.rounds > 1 and self._behind is not None:
            self._follow(self._behind, Followed(message.number, message.rounds - 1))
        else:
            self._busy_until = 0.0
        await self.go_on()

    def _follow(self, target: MessagePump, message: Followed) -> None:
        self._behind = target
        # What an ancestor has sent does not come back to it.
        message.set_sender(target)
        if not target.post_message(message):
            # It is gone, and its keys with it.
            self._busy_until = 0.0
