"""The library in an event loop: nothing waits, and a cancelled call leaves nothing behind."""

from __future__ import annotations

import asyncio
import fcntl
import inspect
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


async def cancel(call: asyncio.Task[None], times: int) -> None:
    """Cancels a task several times; after each time, the event loop runs on."""
    for _ in range(times):
        call.cancel()
        for _ in range(3):
            await asyncio.sleep(0)


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
        signatures = inspect.signature(ours), inspect.signature(theirs)
        assert list(signatures[0].parameters) == list(signatures[1].parameters)
        assert signatures[0] == signatures[1] or name == "gone_sessions"


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


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_cancelled_call_has_ended_when_its_caller_goes_on(task: Path, times: int) -> None:
    started, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        started.set()
        go_on.wait(10)
        registry.report_progress(task, None, "busy", progress=9)

    async def main() -> None:
        call = asyncio.create_task(awaitable._awaitable(slow)())
        await asyncio.to_thread(started.wait, 10)
        await cancel(call, times)
        assert not call.done()
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


@pytest.mark.parametrize("times", [1, 2, 3])
def test_an_agent_that_was_registered_despite_a_cancellation_is_withdrawn(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch, times: int
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
        await cancel(call, times)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(main())
    assert ids(task) == before


def test_a_withdrawal_is_finished_though_its_caller_is_cancelled_again(
    task: Path, global_: Path
) -> None:
    before = ids(task)

    async def main() -> None:
        entered = asyncio.Event()

        async def start() -> None:
            async with awaitable.registering(task, global_, "fixer"):
                entered.set()
                await asyncio.Event().wait()

        call = asyncio.create_task(start())
        await entered.wait()
        with task.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            await cancel(call, 3)
            assert not call.done()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(main())
    assert ids(task) == before


def test_calls_that_wait_for_a_lock_leave_other_threads_of_the_loop_free(task: Path) -> None:
    async def main() -> None:
        with task.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            calls = [
                asyncio.create_task(awaitable.report_progress(task, None, "busy", progress=number))
                for number in range(2 * awaitable.THREADS)
            ]
            await asyncio.sleep(0)
            threads = await asyncio.to_thread(threading.enumerate)
            assert not any(call.done() for call in calls)
            ours = [thread for thread in threads if thread.name.startswith("registry")]
            assert len(ours) <= awaitable.THREADS
            # No thread has begun this call, so it is not made.
            calls[-1].cancel()
            with pytest.raises(asyncio.CancelledError):
                await calls[-1]
        await asyncio.gather(*calls[:-1])

    asyncio.run(main())


def test_a_forked_child_has_threads_of_its_own(task: Path) -> None:
    async def read() -> None:
        await awaitable.read_registry(task)

    asyncio.run(read())
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        status = 1
        try:
            asyncio.run(read())
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


_ENDS_EARLY = """
import asyncio, fcntl, sys, threading
from registry import awaitable
task = open(sys.argv[1])
fcntl.flock(task, fcntl.LOCK_EX)
loop = asyncio.new_event_loop()
call = loop.create_task(awaitable.report_progress(sys.argv[1], None, "busy", progress=7))
loop.run_until_complete(asyncio.sleep(0))
while not any(each.name.startswith("registry") for each in threading.enumerate()): pass
threading.Timer(0.1, task.close).start()
"""


def test_a_call_that_a_thread_has_begun_is_finished_before_the_program_ends(task: Path) -> None:
    words = [sys.executable, "-c", _ENDS_EARLY, str(task)]
    subprocess.run(words, check=True, timeout=60, capture_output=True)
    assert entry_of(load(task), "busy")["progress"] == 7


Query = Callable[[], Any]


@pytest.mark.parametrize("kind", ["function", "coroutine function", "function of a coroutine"])
def test_sessions_are_looked_for_by_a_function_or_a_coroutine_function(kind: str) -> None:
    def answers() -> tuple[Query, list[set[str] | None]]:
        left: list[set[str] | None] = [{"agent_a"}, {"agent_b"}]

        def query() -> set[str] | None:
            return left.pop(0)

        async def coroutine() -> set[str] | None:
            asyncio.get_running_loop()
            return query()

        kinds: dict[str, Query] = {
            "function": query,
            "coroutine function": coroutine,
            "function of a coroutine": lambda: coroutine(),
        }
        return kinds[kind], left

    async def gone(left: list[set[str] | None] | None = None) -> frozenset[str]:
        query, given = answers()
        given[:] = given if left is None else left
        return await awaitable.gone_sessions(
            iter(["agent_a", "agent_b", "agent_c"]), query, pause=0
        )

    assert asyncio.run(gone()) == {"agent_c"}
    assert asyncio.run(gone([None])) == frozenset()
    assert asyncio.run(gone([set(), None])) == frozenset()


def test_a_coroutine_function_is_refused_where_nothing_can_await_it() -> None:
    async def query() -> set[str]:
        return set()

    with pytest.raises(TypeError, match=r"awaitable\.gone_sessions"):
        registry.gone_sessions(["agent_a"], query, pause=0)  # type: ignore[arg-type]
