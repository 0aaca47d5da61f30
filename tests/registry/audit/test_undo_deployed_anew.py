"""Taking back never writes an end over an agent that was deployed again since."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from registry.audit import log as audit
from tests.support.peers import careful_update
from tests.support.records import complete, entries, undo
from tests.support.registries import entry_of


def texts(*paths: Path) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in paths)


ANEW = {"tmux_session": "agent_busy_again", "started_at": "2025-10-17T22:00:00"}


@pytest.mark.parametrize("field", ANEW)
def test_an_undo_that_is_undone_ends_nobody_who_was_deployed_anew_since(
    task: Path, global_: Path, field: str
) -> None:
    complete(task, global_, "busy")
    (done,) = undo(task, global_)
    assert done.agents == ("busy",)
    anew = {field: ANEW[field]}
    careful_update(str(task), lambda registry: entry_of(registry, "busy").update(anew))
    before = texts(task, global_)
    (done,) = undo(task, global_, action=entries(task)[-1].action_id)

    assert done.refused == {"busy": "was deployed again later, in TASK-1/AGENT_REGISTRY.json"}
    assert texts(task, global_) == before


def test_what_older_records_do_not_say_of_a_deployment_is_not_compared(
    task: Path, global_: Path
) -> None:
    before = texts(task, global_)
    complete(task, global_, "busy")
    log = audit.log_of(task)
    lines = [json.loads(each) for each in log.read_text().splitlines()]
    for each in lines:
        for change in each["changes"]:
            change.pop("deployed", None)
    log.write_text("".join(json.dumps(each) + "\n" for each in lines))
    (done,) = undo(task, global_)
    assert done.agents == ("busy",)
    assert texts(task, global_) == before
