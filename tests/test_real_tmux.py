"""Tests that a private tmux server is gone after the test, however the test ends."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.real_tmux import RealTmux
from tests.support.stragglers import stragglers


def test_a_server_that_did_not_say_its_process_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(words: list[str], *, env: dict[str, str], **_: object) -> None:
        subprocess.Popen(words, stdout=subprocess.DEVNULL, env=env).wait()
        (server.directory / "s").rename(server.directory / "out-of-reach")
        raise KeyboardInterrupt

    with RealTmux() as server, pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", interrupted)
        server.start("agent_a")
    assert stragglers({server.directory: "this"}) == []


def test_what_outlives_a_test_is_named_with_it(tmp_path: Path) -> None:
    with RealTmux() as server:
        assert stragglers({server.directory: "a test"}, grace=0) == []
        server.start("agent_a")
        (line,) = stragglers({server.directory: "a test"}, grace=0)
        assert line.startswith(f"a test: process {server.server_pid()}: tmux")
        assert stragglers({tmp_path: "another"}, grace=0) == []
