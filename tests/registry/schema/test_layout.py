"""Finding workspaces, and the registries in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from registry import RegistryError, WorkspaceNotFoundError
from registry.schema.layout import TaskPlace, Workspace, task_places
from registry.schema.records import GlobalTask, global_record
from registry.schema.trust import why_foreign
from registry.schema.workspaces import find_workspaces
from registry.snapshots import read_global
from tests.support.other_users import User
from tests.support.registries import global_registry, task_registry, write

# The name of a directory here, never the value of a variable.
UNEXPANDED = "${workspaceFolder}"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a workspace of two tasks."""
    return make_project(tmp_path / "project")


def make_project(project: Path, *tasks: str) -> Path:
    workspace = project / ".agent-workspace"
    for task in tasks or ("TASK-1", "TASK-2"):
        write(workspace / task / "AGENT_REGISTRY.json", task_registry(task_id=task))
    write(workspace / "registry" / "GLOBAL_REGISTRY.json", global_registry())
    return project


def found(
    *arguments: object, here: Path = Path("/"), environment: Mapping[str, str] | None = None
) -> tuple[Workspace, ...]:
    return find_workspaces(map(str, arguments), environment or {}, here)


def names(places: tuple[TaskPlace, ...]) -> list[str]:
    return [place.directory.name for place in places]


def listed(**fields: str) -> dict[str, GlobalTask]:
    """What a global registry says of one task."""
    tasks = {"TASK-9": {"description": "elsewhere", **fields}}
    return dict(global_record({"tasks": tasks}).tasks)


# --- finding


def test_a_workspace_may_be_named_itself_or_by_the_directory_that_holds_it(project: Path) -> None:
    workspace = Workspace(project / ".agent-workspace")
    assert found(project) == (workspace,)
    assert found(workspace.path) == (workspace,)
    assert found(f"{workspace.path}/") == (workspace,)
    assert workspace.global_registry == workspace.path / "registry" / "GLOBAL_REGISTRY.json"


def test_a_named_path_is_taken_from_here(project: Path) -> None:
    assert found("project", here=project.parent) == found(project)
    assert found("..", here=project / ".agent-workspace" / "TASK-1") == found(project)


def test_a_global_registry_stands_for_its_workspace(project: Path) -> None:
    path = project / ".agent-workspace" / "registry" / "GLOBAL_REGISTRY.json"
    assert found(path) == found(project)


def test_a_registry_file_or_a_tasks_directory_stands_for_one_task(project: Path) -> None:
    directory = project / ".agent-workspace" / "TASK-2"
    only = Workspace(project / ".agent-workspace", only=directory / "AGENT_REGISTRY.json")
    assert found(directory / "AGENT_REGISTRY.json") == (only,)
    assert found(directory) == (only,)
    assert names(task_places(only, {})) == ["TASK-2"]


def test_a_registry_file_may_have_any_name(tmp_path: Path) -> None:
    path = write(tmp_path / "copy.json", task_registry())
    (workspace,) = found(path)
    assert [place.registry for place in task_places(workspace, {})] == [path]


def test_a_workspace_may_have_another_name_if_it_holds_what_one_holds(tmp_path: Path) -> None:
    kept = make_project(tmp_path / "project") / ".agent-workspace"
    kept.rename(tmp_path / "kept")
    assert found(tmp_path / "kept") == (Workspace(tmp_path / "kept"),)
    (tmp_path / "kept" / "registry" / "GLOBAL_REGISTRY.json").unlink()
    assert found(tmp_path / "kept") == (Workspace(tmp_path / "kept"),)


def test_an_empty_workspace_is_one(tmp_path: Path) -> None:
    (tmp_path / ".agent-workspace").mkdir()
    (workspace,) = found(tmp_path)
    assert task_places(workspace, {}) == ()


def test_several_may_be_named_and_each_comes_once_in_its_order(tmp_path: Path) -> None:
    second, first = make_project(tmp_path / "second"), make_project(tmp_path / "first")
    workspaces = found(first, second, first / ".agent-workspace")
    assert [each.path.parent for each in workspaces] == [first, second]


def test_a_symlink_to_a_workspace_that_is_named_is_followed(project: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(project)
    assert found(link) == found(project)


def test_without_a_name_it_is_the_nearest_upward(project: Path) -> None:
    deep = project / "src" / "deep"
    deep.mkdir(parents=True)
    for here in (project, deep, project / ".agent-workspace", project / ".agent-workspace/TASK-1"):
        assert found(here=here) == found(project)
    make_project(project / "src", "TASK-3")
    assert found(here=deep) == found(project / "src")


def test_without_a_name_those_in_the_environment_come_before_the_nearest(
    project: Path, tmp_path: Path
) -> None:
    other = make_project(tmp_path / "other")
    environment = {
        "MUSTER_WORKSPACES": f"{other}::{other / '.agent-workspace'}:{tmp_path}/project"
    }
    assert found(here=project, environment=environment) == found(other, project)
    assert found(project, here=other, environment=environment) == found(project)
    assert found(here=project, environment={"MUSTER_WORKSPACES": ""}) == found(project)


def test_a_home_directory_may_be_written_as_a_tilde(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(project.parent))
    assert found("~/project") == found(project)


def test_nothing_found_says_every_place_that_was_looked_at(tmp_path: Path) -> None:
    here = tmp_path / "a" / "b"
    here.mkdir(parents=True)
    with pytest.raises(WorkspaceNotFoundError) as caught:
        found(here=here)

    said = str(caught.value)
    for directory in (here, *here.parents):
        assert str(directory / ".agent-workspace") in said
    assert "MUSTER_WORKSPACES" in said
    assert "muster demo" in said
    assert isinstance(caught.value, FileNotFoundError)


def _missing(path: Path) -> None:
    assert not path.exists()


def _loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("make", [_missing, Path.mkdir, os.mkfifo, _loop])
@pytest.mark.parametrize("by_environment", [False, True])
def test_a_named_place_without_a_workspace_is_an_error(
    project: Path, make: object, by_environment: bool
) -> None:
    path = project / "nothing"
    assert callable(make)
    make(path)
    with pytest.raises(WorkspaceNotFoundError) as caught:
        if by_environment:
            found(here=project, environment={"MUSTER_WORKSPACES": str(path)})
        else:
            found(path, here=project)
    assert str(path) in str(caught.value)
    assert ("MUSTER_WORKSPACES" in str(caught.value)) == by_environment


def test_the_home_of_nobody_is_an_error_that_names_it(project: Path) -> None:
    with pytest.raises(WorkspaceNotFoundError, match="~no-such-user"):
        found("~no-such-user/project", here=project)


def test_a_directory_named_like_a_variable_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("workspaceFolder", str(make_project(tmp_path / "wrong")))
    project = make_project(tmp_path / UNEXPANDED)
    workspace = Workspace(project / ".agent-workspace")
    assert found(project) == (workspace,)
    assert found(UNEXPANDED, here=tmp_path) == (workspace,)
    assert found(here=project) == (workspace,)
    assert found(environment={"MUSTER_WORKSPACES": str(project)}) == (workspace,)
    assert names(task_places(workspace, {})) == ["TASK-1", "TASK-2"]


# --- whose it is


OTHER = 64104


def make_anothers(path: Path, owner: int = OTHER) -> None:
    os.chown(path, owner, owner, follow_symlinks=False)


def _owned(workspace: Path) -> None:
    make_anothers(workspace)


def _writable(workspace: Path) -> None:
    workspace.chmod(0o1777)


def _linked(workspace: Path) -> None:
    workspace.rename(workspace.with_name("real"))
    workspace.symlink_to("real")
    make_anothers(workspace)


FOREIGN = {
    "another user's": (_owned, f"belongs to user {OTHER}"),
    "writable by all": (_writable, "is writable for every user"),
    "another user's symlink to one of ours": (_linked, f"belongs to user {OTHER}"),
}

each_foreign = pytest.mark.parametrize(("make", "why"), FOREIGN.values(), ids=FOREIGN)
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")


@only_root
@each_foreign
def test_one_that_another_user_could_have_made_is_passed_over_and_said(
    project: Path, make: Callable[[Path], None], why: str
) -> None:
    planted = make_project(project / "src", "TASK-3") / ".agent-workspace"
    make(planted)
    said: list[str] = []
    (taken,) = find_workspaces((), {}, project / "src", said.append)
    assert taken == Workspace(project / ".agent-workspace")
    (told,) = said
    assert told == (
        f"skipped {planted}: this directory {why}; to use this directory anyway, name it: "
        f"MUSTER_WORKSPACES={planted}"
    )
    # Named it is taken, whosever it is.
    by_name = Workspace(planted.resolve())
    assert found(planted, here=project) == (by_name,)
    assert found(here=project, environment={"MUSTER_WORKSPACES": str(planted)}) == (by_name,)


@only_root
@each_foreign
def test_where_it_is_the_only_one_the_error_says_why_it_was_not_taken(
    project: Path, make: Callable[[Path], None], why: str
) -> None:
    planted = project / ".agent-workspace"
    make(planted)
    with pytest.raises(WorkspaceNotFoundError) as caught:
        found(here=project)
    assert f"skipped {planted}: this directory {why}" in str(caught.value)
    assert f"MUSTER_WORKSPACES={planted}" in str(caught.value)


@only_root
def test_a_directory_that_everybody_may_write_is_not_a_workspace(
    tmp_path: Path,
) -> None:
    public, here = tmp_path / "public", tmp_path / "public" / "mine"
    here.mkdir(parents=True)
    write(public / "registry" / "GLOBAL_REGISTRY.json", global_registry())
    public.chmod(0o1777)
    with pytest.raises(WorkspaceNotFoundError, match="is writable for every user"):
        found(here=here)


@only_root
def test_root_and_the_user_are_relied_on_and_a_group_may_write(project: Path) -> None:
    workspace = project / ".agent-workspace"
    workspace.chmod(0o775)
    assert found(here=project) == found(workspace)
    made = User(OTHER).do(lambda: why_foreign(workspace))
    # It belongs to root, whom everybody relies on, if that user may look there at all.
    assert made.value in (None, "cannot be examined: Permission denied")
    make_anothers(workspace)
    assert why_foreign(workspace) is not None
    assert why_foreign(workspace, trusted=(OTHER,)) is None


@only_root
def test_another_users_task_is_followed_only_in_its_own_workspace(
    workspace: Workspace, tmp_path: Path
) -> None:
    other = make_project(tmp_path / "other", "TASK-9") / ".agent-workspace"
    make_anothers(other)
    *_, place = task_places(workspace, listed(workspace=str(other)))
    assert place.problem is not None
    assert f"belongs to user {OTHER}" in place.problem
    assert f"name its registry: muster {other / 'TASK-9' / 'AGENT_REGISTRY.json'}" in place.problem
    make_anothers(workspace.path)
    *_, place = task_places(workspace, listed(workspace=str(other)))
    assert place.problem is None


@only_root
def test_another_users_global_registry_leads_to_no_task_of_this_user(
    workspace: Workspace, tmp_path: Path
) -> None:
    private = make_project(tmp_path / "private", "TASK-9") / ".agent-workspace"
    private.chmod(0o700)
    make_anothers(workspace.path)
    *_, place = task_places(workspace, listed(workspace=str(private)))
    assert place.problem is not None
    assert f"is listed by {workspace.path}, which user {OTHER} may write" in place.problem
    assert (
        f"name its registry: muster {private / 'TASK-9' / 'AGENT_REGISTRY.json'}" in place.problem
    )


@only_root
@pytest.mark.parametrize("name", [".", "registry", "registry/GLOBAL_REGISTRY.json"])
@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_nor_does_one_that_others_may_write_or_replace(
    workspace: Workspace, tmp_path: Path, name: str, mode: int
) -> None:
    private = make_project(tmp_path / "private", "TASK-9") / ".agent-workspace"
    shared = workspace.path / name
    os.chown(shared, 0, 64200)
    shared.chmod(mode)
    *_, place = task_places(workspace, listed(workspace=str(private)))
    assert place.problem is not None
    who = "group 64200" if mode == 0o775 else "every user"
    assert f"which {who} may write" in place.problem
    # Whoever may write the task itself gains nothing by listing it.
    registry = private / "TASK-9" / "AGENT_REGISTRY.json"
    os.chown(registry, 0, 64200)
    registry.chmod(mode)
    *_, place = task_places(workspace, listed(workspace=str(private)))
    assert place.problem is None


# --- the tasks in one


@pytest.fixture
def workspace(project: Path) -> Workspace:
    return Workspace(project / ".agent-workspace")


def test_tasks_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", "TASK-2", "TASK-10", "TASK-1")
    places = task_places(Workspace(project / ".agent-workspace"), {})
    assert names(places) == ["TASK-1", "TASK-10", "TASK-2"]
    assert all(place.problem is None for place in places)


def test_what_is_no_tasks_directory_is_left_out(workspace: Workspace) -> None:
    (workspace.path / "notes").mkdir()
    (workspace.path / "TASK-3").write_text("a file")
    (workspace.path / "TASK-4").symlink_to("TASK-4")
    (workspace.path / "TASK-5").symlink_to("nowhere")
    write(workspace.path / "registry" / "AGENT_REGISTRY.json", task_registry())
    assert names(task_places(workspace, {})) == ["TASK-1", "TASK-2"]


def test_a_listed_task_without_its_file_is_kept_to_show_the_error(workspace: Workspace) -> None:
    (workspace.path / "TASK-9").mkdir()
    assert names(task_places(workspace, listed())) == ["TASK-1", "TASK-2", "TASK-9"]


def test_each_task_knows_its_global_registry(workspace: Workspace) -> None:
    for place in task_places(workspace, {}):
        assert place.global_registry == workspace.global_registry
    workspace.global_registry.unlink()
    for place in task_places(workspace, {}):
        assert place.global_registry is None


@pytest.mark.parametrize("linked", ["the directory", "the file"])
def test_a_symlink_out_of_the_workspace_is_a_problem_that_names_its_target(
    workspace: Workspace, tmp_path: Path, linked: str
) -> None:
    outside = write(tmp_path / "outside" / "AGENT_REGISTRY.json", task_registry())
    if linked == "the directory":
        (workspace.path / "TASK-3").symlink_to(outside.parent)
    else:
        (workspace.path / "TASK-3").mkdir()
        (workspace.path / "TASK-3" / "AGENT_REGISTRY.json").symlink_to(outside)
    *_, stray = task_places(workspace, {})
    assert names((stray,)) == ["TASK-3"]
    assert stray.problem is not None
    assert str(outside) in stray.problem


def test_a_symlink_within_the_workspace_is_not_followed_either(workspace: Workspace) -> None:
    (workspace.path / "TASK-3").symlink_to("TASK-1")
    *others, stray = task_places(workspace, {})
    assert [place.problem for place in others] == [None] * 2
    assert stray.problem is not None
    assert str(workspace.path / "TASK-1") in stray.problem


@pytest.mark.parametrize("pointer", ["project", ".agent-workspace", "task"])
def test_a_task_that_lies_in_another_workspace_is_followed(
    workspace: Workspace, tmp_path: Path, pointer: str
) -> None:
    other = make_project(tmp_path / "other", "TASK-9") / ".agent-workspace"
    target = {"project": other.parent, ".agent-workspace": other, "task": other / "TASK-9"}
    *_, place = task_places(workspace, listed(workspace=str(target[pointer])))
    assert place.registry == other / "TASK-9" / "AGENT_REGISTRY.json"
    assert place.problem is None
    assert place.listed_by == workspace.global_registry
    assert place.global_registry == other / "registry" / "GLOBAL_REGISTRY.json"
    place.home_global.unlink()
    assert place.global_registry == workspace.global_registry


@pytest.mark.parametrize(
    "pointer",
    [
        "/another/machine",
        "relative",
        "",
        UNEXPANDED,
        f"/{UNEXPANDED}",
        "/\ud800",
        "/\0",
        "/" * 5000,
    ],
)
def test_a_pointer_that_leads_nowhere_is_not_followed(workspace: Workspace, pointer: str) -> None:
    assert names(task_places(workspace, listed(workspace=pointer))) == ["TASK-1", "TASK-2"]


@pytest.mark.parametrize("task_id", ["../TASK-9", ".", "..", "", "a/b", "/"])
def test_a_task_whose_id_leads_elsewhere_is_not_followed(
    workspace: Workspace, tmp_path: Path, task_id: str
) -> None:
    make_project(tmp_path / "other", "TASK-9")
    pointer = {"workspace": str(tmp_path / "other" / ".agent-workspace" / "TASK-9")}
    tasks = global_record({"tasks": {task_id: pointer}}).tasks
    assert names(task_places(workspace, tasks)) == ["TASK-1", "TASK-2"]


@pytest.mark.parametrize("task_id", [".hidden", "a b", "$(reboot)", "x" * 129])
def test_a_task_whose_id_is_no_safe_name_is_not_followed_even_where_it_is(
    workspace: Workspace, tmp_path: Path, task_id: str
) -> None:
    other = make_project(tmp_path / "other", task_id)
    tasks = global_record({"tasks": {task_id: {"workspace": str(other)}}}).tasks
    assert names(task_places(workspace, tasks)) == ["TASK-1", "TASK-2"]


def test_a_pointer_back_into_the_workspace_does_not_show_a_task_twice(
    workspace: Workspace,
) -> None:
    write(
        workspace.global_registry,
        global_registry(tasks={"TASK-1": {"workspace": str(workspace.path / "TASK-1")}}),
    )
    record = read_global(workspace.global_registry).record
    assert names(task_places(workspace, record.tasks)) == ["TASK-1", "TASK-2"]


def test_a_workspace_that_is_gone_is_an_os_error(workspace: Workspace) -> None:
    with pytest.raises(OSError, match="gone") as caught:
        task_places(Workspace(workspace.path / "gone"), {})
    assert not isinstance(caught.value, RegistryError)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to other users")
def test_a_workspace_made_by_another_users_folder_is_passed_over(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "project" / "registry"
    folder.mkdir(parents=True)
    (folder / "GLOBAL_REGISTRY.json").write_text("{}")
    os.chown(folder, OTHER, OTHER)
    with pytest.raises(WorkspaceNotFoundError) as caught:
        find_workspaces([], {}, folder.parent)
    assert f"is a workspace only because of its registry/, which belongs to user {OTHER}" in str(
        caught.value
    )
    os.chown(folder, 0, 0)
    assert find_workspaces([], {}, folder.parent)[0].path == folder.parent


def test_the_workspaces_are_found_beside_a_path_that_is_none(project: Path) -> None:
    wrong: list[str] = []
    named = [str(project), str(project / "typo")]
    (workspace,) = find_workspaces(named, {}, project, missing=wrong.append)
    assert workspace.path == project / ".agent-workspace"
    assert wrong == [
        f"skipped {project / 'typo'}: this path is not a workspace and contains no workspace"
    ]
    with pytest.raises(WorkspaceNotFoundError, match="typo"):
        find_workspaces(named, {}, project)
