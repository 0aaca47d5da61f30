"""The commits during which the power is cut."""

from __future__ import annotations

import json
from pathlib import Path

from registry.operations.finish import finish_agents
from registry.storage.commit import durable_commits
from registry.storage.recovery import recover_registry
from tests.support.registries import agent, global_registry, task_registry
from tests.torture.power import Do, Step, Story, durably, plainly

TASK = "TASK-1/AGENT_REGISTRY.json"
GLOBAL = "registry/GLOBAL_REGISTRY.json"


def flat(letter: str, length: int) -> bytes:
    """Returns a registry with one long text. Mixed sectors of two of them are valid JSON."""
    frame = '{"text": "%s"}'
    return (frame % (letter * (length - len(frame) + 2))).encode()


def nested(letter: str, length: int) -> bytes:
    """Returns a registry that ends like a shorter `flat` one, and one more brace."""
    frame = '{"a": {"text": "%s"}}'
    return (frame % (letter * (length - len(frame) + 2))).encode()


def patched(text: bytes, letter: str, sectors: tuple[int, ...]) -> bytes:
    """Returns the text with other letters in some sectors."""
    changed = bytearray(text)
    for sector in sectors:
        changed[sector * 512 + 100 : sector * 512 + 400] = letter.encode() * 300
    return bytes(changed)


def real(*agents: dict[str, object], of_task: bool = True) -> bytes:
    """Returns a registry as orchestrators write it."""
    make = task_registry if of_task else global_registry
    return json.dumps(make(*agents), indent=2).encode()


def _finish(root: Path) -> None:
    with durable_commits():
        finish_agents(root / TASK, root / GLOBAL, ["busy"], status="terminated", reason="asked")


def alone(name: str, *texts: bytes) -> Story:
    """Returns a story of durable commits of one registry, one after the other."""
    first, *others = texts
    return Story(name, {TASK: first}, tuple(Step(durably({TASK: text})) for text in others))


def pair(name: str, *texts: tuple[bytes, bytes]) -> Story:
    """Returns a story of durable commits of two registries, one after the other."""
    first, *others = texts
    steps = tuple(Step(durably({TASK: one, GLOBAL: two})) for one, two in others)
    return Story(name, {TASK: first[0], GLOBAL: first[1]}, steps)


def killed(after: int, opened: tuple[str, ...]) -> Story:
    """Returns a story: a commit of two registries is killed, then recovered by the next opener."""
    before = {TASK: flat("o", 700), GLOBAL: flat("p", 1500)}
    new = {TASK: flat("n", 900), GLOBAL: flat("m", 600)}
    return Story(
        f"killed after {after:2} events, opened {len(opened)} {opened[0][:8]}",
        before,
        (Step(durably(new), killed_after=after), Step(recovering(opened))),
        outcomes=(before, new),
        settled=opened,
    )


def recovering(opened: tuple[str, ...]) -> Do:
    """Returns a function that opens registries one after the other, without a reboot."""

    def do(root: Path) -> None:
        for name in opened:
            recover_registry(root / name, timeout=0)

    return do


_LONG = flat("o", 3000)
_AGENTS = [agent(f"a{number}", prompt="p" * 90) for number in range(6)]

STORIES = (
    alone("grows within a sector", flat("o", 700), flat("n", 1000)),
    alone("grows by sectors", flat("o", 700), flat("n", 2600)),
    alone("grows from a sector's end", flat("o", 1024), flat("n", 1600)),
    alone("grows to a sector's end", flat("o", 1000), flat("n", 1536)),
    alone("grows over a sector's end by one", flat("o", 511), flat("n", 513)),
    alone("shrinks within a sector", flat("o", 1000), flat("n", 700)),
    alone("shrinks by sectors", flat("o", 2600), flat("n", 700)),
    alone("shrinks to a sector's end", flat("o", 1600), flat("n", 1024)),
    alone("shrinks by one byte, a brace", nested("o", 1001), flat("n", 1000)),
    alone("shrinks, spaces behind the old text", flat("o", 700) + b" " * 900, flat("n", 1000)),
    alone("grows by spaces alone", flat("o", 700), flat("o", 700) + b" " * 500),
    alone("as long as before", flat("o", 1300), flat("n", 1300)),
    alone("as long as before, of whole sectors", flat("o", 1536), flat("n", 1536)),
    alone("one sector of six differs", _LONG, patched(_LONG, "n", (3,))),
    alone("some sectors differ", _LONG, patched(_LONG, "n", (0, 2, 5))),
    alone("grows by many sectors", flat("o", 5000), flat("n", 9000)),
    alone("shrinks by many sectors", flat("o", 9000), flat("n", 4000)),
    alone("as long as before, many sectors", flat("o", 8192), flat("n", 8192)),
    alone("every other sector", flat("o", 9000), patched(flat("o", 9000), "n", (0, 2, 4, 6, 8))),
    alone("smaller than a sector", flat("o", 40), flat("n", 60)),
    alone("an agent is added", real(*_AGENTS[:4]), real(*_AGENTS)),
    alone("to and back", flat("o", 1400), flat("n", 1900), flat("o", 1400)),
    alone("to, back and to", flat("o", 1100), flat("n", 900), flat("o", 1100), flat("n", 900)),
    pair("two grow", (flat("o", 700), flat("p", 1000)), (flat("n", 1200), flat("m", 1100))),
    pair("two shrink", (flat("o", 1200), nested("p", 1001)), (flat("n", 700), flat("m", 1000))),
    pair("one grows, one shrinks", (flat("o", 600), flat("p", 1200)), (flat("n", 1100), b"{}")),
    pair("two of many sectors", (flat("o", 6000), flat("p", 5000)), (flat("n", 7100), b"{}")),
    pair(
        "two to and back",
        (flat("o", 700), flat("p", 800)),
        (flat("n", 900), flat("m", 600)),
        (flat("o", 700), flat("p", 800)),
    ),
    Story(
        "an agent is ended in both files",
        {
            TASK: real(*_AGENTS[:2], agent("busy")),
            GLOBAL: real(agent("busy", None), of_task=False),
        },
        (Step(_finish),),
    ),
    Story(
        "after a peer who did not flush",
        {TASK: flat("o", 1500)},
        (
            Step(plainly({TASK: flat("u", 1700)}, flushed=False), atomic=False, flushed=False),
            Step(durably({TASK: flat("n", 1900)})),
        ),
    ),
    Story(
        "after a peer who did not flush, two files",
        {TASK: flat("o", 1100), GLOBAL: flat("p", 1200)},
        (
            Step(
                plainly({TASK: flat("u", 1000), GLOBAL: flat("v", 1300)}, flushed=False),
                atomic=False,
                flushed=False,
            ),
            Step(durably({TASK: flat("n", 1200), GLOBAL: flat("m", 1100)})),
        ),
    ),
    Story(
        "a peer undoes both by hand",
        {TASK: flat("o", 700), GLOBAL: flat("p", 800)},
        (
            Step(durably({TASK: flat("n", 900), GLOBAL: flat("m", 600)})),
            Step(
                plainly({TASK: flat("o", 700), GLOBAL: flat("p", 800)}, flushed=True),
                atomic=False,
            ),
            Step(durably({TASK: flat("x", 700)})),
        ),
    ),
    Story(
        "a peer undoes half by hand",
        {TASK: _LONG},
        (
            Step(durably({TASK: patched(_LONG, "n", (1, 4))})),
            Step(plainly({TASK: patched(_LONG, "n", (4,))}, flushed=True), atomic=False),
            Step(durably({TASK: flat("x", 700)})),
        ),
    ),
    *(killed(after, opened) for after in range(8, 18) for opened in ((TASK,), (GLOBAL,))),
)
