"""The files of agents in a task's directory, and what these files prove."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.agent_output.history import History, Trace, traces_in
from registry.agent_output.listing import list_files

ID = "code_fixer-215911-8c90c7"
PROMPT = """You are a headless agent.

AGENT IDENTITY:
- Agent ID: {}
- Agent Type: code_fixer
- Parent Agent: {}
- Depth Level: 2
"""


def line(status: str | None, minute: int, progress: object = 40, agent_id: str = ID) -> str:
    fields = {"status": status} if status is not None else {}
    stamp = f"2026-02-01T10:{minute:02}:00"
    report = {"timestamp": stamp, "agent_id": agent_id, "progress": progress, **fields}
    return json.dumps(report) + "\n"


def put(task: Path, name: str, text: str | bytes) -> Path:
    path = task / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def progress(task: Path, *lines: str, folder: str = "progress", agent_id: str = ID) -> Path:
    return put(task, f"{folder}/{agent_id}_progress.jsonl", "".join(lines))


def one(task: Path) -> Trace:
    (found,), problems = traces_in(put(task, "AGENT_REGISTRY.json", "{}"), lambda _: True)
    assert problems == ()
    return found


def history(task: Path) -> History:
    found = one(task).history
    assert found is not None
    return found


def test_findings_alone_prove_that_the_agent_worked(tmp_path: Path) -> None:
    for agent_id, found in ((ID, History()), ("another", None)):
        finding = {"agent_id": agent_id, "finding_type": "issue", "message": "odd"}
        put(tmp_path, f"findings/{ID}_findings.jsonl", json.dumps(finding) + "\n")
        assert one(tmp_path).history == found


def test_all_files_of_an_agent_are_found_also_in_the_archive(tmp_path: Path) -> None:
    names = [
        f"agent_prompt_{ID}.txt",
        f"progress/{ID}_progress.jsonl",
        f"findings/{ID}_findings.jsonl",
        f"logs/{ID}_stream.jsonl",
    ]
    names += [f"archive/{name.rpartition('/')[2]}" for name in names]
    for name in (*names, "AGENT_REGISTRY.json", "progress/notes.txt", f"logs/{ID}_progress.jsonl"):
        put(tmp_path, name, "")
    listing = list_files(tmp_path)
    assert ["/".join(found.parts) for found in listing.files[ID]] == names
    assert list(listing.files) == [ID]
    assert listing.problems == ()
    assert one(tmp_path).history is None


def test_links_special_files_and_unsafe_names_are_no_files_of_agents(tmp_path: Path) -> None:
    outside = put(tmp_path, "outside", line("working", 0))
    task = tmp_path / "TASK-1"
    (task / "progress").mkdir(parents=True)
    (task / "progress" / f"{ID}_progress.jsonl").symlink_to(outside)
    os.mkfifo(task / "progress" / "fifo_progress.jsonl")
    (task / "progress" / "folder_progress.jsonl").mkdir()
    for name in (".hidden", "a\nb", "ü", "x" * 128):
        put(task, f"progress/{name}_progress.jsonl", "")
    assert list_files(task).files == {}


def test_each_folder_that_cannot_be_read_is_named_and_others_are_read(tmp_path: Path) -> None:
    progress(tmp_path, line("working", 0))
    (tmp_path / "logs").symlink_to("/")
    (tmp_path / "findings").write_text("not a folder")
    registry = put(tmp_path, "AGENT_REGISTRY.json", "{}")
    found, problems = traces_in(registry, lambda _: True)
    assert [trace.agent for trace in found] == [ID]
    assert [path for path, _ in problems] == [tmp_path / "logs"]
    assert "symlink" in problems[0][1]


def test_a_folder_with_too_many_entries_is_named(tmp_path: Path) -> None:
    for number in range(5):
        progress(tmp_path, line("working", 0), agent_id=f"a{number}")
    listing = list_files(tmp_path, 3)
    assert len(listing.files) == 3
    ((path, why),) = listing.problems
    assert path == tmp_path / "progress" and "more than 3 entries" in why


def test_lines_prove_start_end_status_and_progress(tmp_path: Path) -> None:
    progress(
        tmp_path, line("working", 1, 5), line("working", 2, 40), line("completed", 3, 100), "{torn"
    )
    first, last = "2026-02-01T10:01:00", "2026-02-01T10:03:00"
    assert history(tmp_path) == History("completed", 100, first, last)


def test_a_late_line_beside_the_archive_counts(tmp_path: Path) -> None:
    progress(tmp_path, line("working", 1), line("completed", 2, 100), folder="archive")
    progress(tmp_path, line("blocked", 3, 90))
    assert history(tmp_path).status == "blocked"
    assert history(tmp_path).started_at == "2026-02-01T10:01:00"


def test_lines_that_name_another_agent_prove_nothing(tmp_path: Path) -> None:
    progress(
        tmp_path, line("completed", 1, agent_id="other"), '"x"\n', "[]\n", '{"status": "x"}\n'
    )
    assert one(tmp_path).history is None


@pytest.mark.parametrize(
    "entry",
    [
        {"agent_id": ID},
        {
            "type": "assistant",
            "message": {"content": [{"type": "tool_use", "input": {"agent_id": ID}}]},
        },
    ],
)
def test_a_log_that_names_the_agent_proves_that_it_ran(tmp_path: Path, entry: Any) -> None:
    put(tmp_path, f"logs/{ID}_stream.jsonl", json.dumps(entry) + "\n")
    assert history(tmp_path) == History()
    put(tmp_path, f"logs/{ID}_stream.jsonl", json.dumps(entry).replace(ID, "other") + "\n")
    assert one(tmp_path).history is None


def test_a_long_file_is_read_at_its_start_and_its_end(tmp_path: Path) -> None:
    filler = ("x" * 999 + "\n") * 3000
    progress(tmp_path, line("working", 1), filler, line("failed", 9))
    found = history(tmp_path)
    assert (found.status, found.started_at) == ("failed", "2026-02-01T10:01:00")


def test_a_prompt_proves_parent_and_start(tmp_path: Path) -> None:
    progress(tmp_path, line("working", 1))
    prompt = put(tmp_path, f"agent_prompt_{ID}.txt", PROMPT.format(ID, "boss-1"))
    early = datetime.fromisoformat("2026-02-01T10:00:00").timestamp()
    os.utime(prompt, (early, early))
    assert history(tmp_path).parent == "boss-1"
    assert history(tmp_path).started_at == "2026-02-01T10:00:00"
    # A copy of the prompt is younger than the agent.
    os.utime(prompt)
    assert history(tmp_path).started_at == "2026-02-01T10:01:00"


@pytest.mark.parametrize(("own", "parent"), [("other", "boss-1"), (ID, "../boss"), (ID, "a b")])
def test_a_prompt_for_another_agent_or_with_no_id_proves_no_parent(
    tmp_path: Path, own: str, parent: str
) -> None:
    progress(tmp_path, line("working", 1))
    put(tmp_path, f"agent_prompt_{ID}.txt", PROMPT.format(own, parent))
    assert history(tmp_path).parent is None


def test_a_prompt_alone_proves_nothing(tmp_path: Path) -> None:
    put(tmp_path, f"agent_prompt_{ID}.txt", PROMPT.format(ID, "boss-1"))
    assert one(tmp_path).history is None


def test_files_of_a_stranger_prove_nothing(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    stranger = progress(tmp_path, line("completed", 1))
    for path in (tmp_path, stranger.parent, put(tmp_path, "AGENT_REGISTRY.json", "{}")):
        os.chown(path, 64101, 64101)
    for owner, mode in ((64102, 0o644), (64101, 0o666)):
        os.chown(stranger, owner, owner)
        stranger.chmod(mode)
        assert one(tmp_path).history is None and one(tmp_path).strangers
    stranger.chmod(0o644)
    for owner in (0, 64101):
        os.chown(stranger, owner, owner)
        assert one(tmp_path).history is not None and not one(tmp_path).strangers


@given(
    st.lists(
        st.one_of(
            st.binary(),
            st.dictionaries(
                st.sampled_from(["agent_id", "timestamp", "status", "progress", "parent"]),
                st.one_of(
                    st.just(ID),
                    st.none(),
                    st.integers(),
                    st.floats(),
                    st.text(),
                    st.just("2026-02-01T10:00:00"),
                    st.lists(st.integers()),
                ),
            ).map(lambda entry: json.dumps(entry).encode()),
        )
    )
)
def test_whatever_is_in_the_files_is_read(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    task = tmp_path_factory.mktemp("task")
    put(task, f"progress/{ID}_progress.jsonl", b"\n".join(lines))
    put(task, f"logs/{ID}_stream.jsonl", b"\n".join(lines))
    put(task, f"agent_prompt_{ID}.txt", b"\n".join(lines))
    found = one(task).history
    named = [line for line in lines if f'"agent_id": "{ID}"'.encode() in line]
    assert (found is not None) == bool(named)
    if found is not None and found.progress is not None:
        assert 0 <= found.progress <= 100


def test_reading_ends_and_says_so_if_it_takes_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for agent_id in ("a-1", "b-1", "c-1"):
        progress(tmp_path, line("working", 1, agent_id=agent_id), agent_id=agent_id)
    monkeypatch.setattr("registry.agent_output.history.READ_AT_MOST", -1.0)
    found, problems = traces_in(put(tmp_path, "AGENT_REGISTRY.json", "{}"), lambda _: True)
    assert found == ()
    ((directory, why),) = problems
    assert directory == tmp_path and "no agent was searched" in why
