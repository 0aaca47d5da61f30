"""The library in an event loop: nothing waits, and a cancelled call leaves nothing behind."""

from __future__ import annotations

import asyncio
import fcntl
import inspect
import threading
from pathlib import Path

import pytest

import registry
from registry import awaitable
from tests.support.registries import entry_of, load

_NOT_BLOCKING = {
    "agent_entries",
    "durable_commits",
    "find_existing_agent",
    "generate_unique_agent_id",
    "verify_agent_id_unique",
}
"""What reads no file, or is a context of one thread."""


def ids(path: Path) -> list[str]:
    return [entry["id"] for entry in load(path)["agents"]]


def test_every_function_that_blocks_can_be_awaited() -> None:
    names = {
        name
        for name in registry.__all__
        if inspect.isroutine(getattr(registry, name)) and name not in _NOT_BLOCKING
    }
    assert {name for name in names if hasattr(awaitable, name)} == names
    for name in names - {"registering"}:
        ours, theirs = getattr(awaitable, name), getattr(registry, name)
        assert inspect.iscoroutinefunction(ours)
        assert inspect.signature(ours) == inspect.signature(theirs)


def test_the_loop_goes_on_while_a_call_waits_for_a_lock(task: Path) -> None:
    async def main() -> None:
        with task.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            waits = asyncio.create_task(awaitable.report_progress(task, None, "busy", progress=7))
            for _ in range(20):
                await asyncio.sleep(0.001)
            assert not waits.done()
        await waits

    asyncio.run(main())
    assert entry_of(load(task), "busy")["progress"] == 7


def test_a_cancelled_call_has_ended_when_its_caller_goes_on(task: Path) -> None:
    started, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        started.set()
        go_on.wait(10)
        registry.report_progress(task, None, "busy", progress=9)

    async def main() -> None:
        call = asyncio.create_task(awaitable._awaitable(slow)())
        await asyncio.to_thread(started.wait, 10)
        call.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert entry_of(load(task), "busy")["progress"] == 9

    asyncio.run(main())


@pytest.mark.parametrize("error", [OSError, asyncio.CancelledError])
def test_an_agent_whose_start_failed_is_withdrawn(
    task: Path, global_: Path, error: type[BaseException]
) -> None:
    before = ids(task)

    async def main() -> None:
        async with awaitable.registering(task, global_, "fixer", prompt="p") as agent:
            assert agent.agent_id in ids(task)
            raise error

    with pytest.raises(error):
        asyncio.run(main())
    assert ids(task) == before


def test_an_agent_that_was_registered_despite_a_cancellation_is_withdrawn(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ids(task)
    began, go_on = threading.Event(), threading.Event()
    real = registry.register_agent

    def slow(*args: object, **options: object) -> object:
        began.set()
        go_on.wait(10)
        return real(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(registry, "register_agent", slow, raising=False)

    async def main() -> None:
        async def start() -> None:
            async with awaitable.registering(task, global_, "fixer"):
                pytest.fail("the block runs although it was cancelled")

        call = asyncio.create_task(start())
        await asyncio.to_thread(began.wait, 10)
        call.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(main())
    assert ids(task) == before
