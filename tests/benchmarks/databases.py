"""A workspace with a database, compared with the same agents in JSON registries."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, closing

from registry.schema.layout import DATABASE
from tests.benchmarks.changing import changes, ready
from tests.benchmarks.crews import Crew, agent_id, crew
from tests.benchmarks.figures import Aim, Figure, figure
from tests.benchmarks.idling import idle_of
from tests.benchmarks.programs import muster, on_terminal
from tests.benchmarks.scaling import LOAD, timed
from tests.benchmarks.writers import peer
from tests.support.databases import Database
from tests.support.workspaces import read, write

_JSON = "JSON registries"
_PER_TASK = 100

_LOAD_AIM = Aim(ratio=2)
_CHANGE_AIM = Aim(p50=30)
_IDLE_AIM = Aim(ratio=1.1)

# The programs take this many turns, so that a slow moment of the machine meets both.
_TURNS = 6
_LONG = 60.0
_COLUMNS = (
    "type",
    "tmux_session",
    "parent",
    "depth",
    "status",
    "started_at",
    "progress",
    "last_update",
)


def move_to_database(made: Crew) -> Database:
    """Moves all agents of a crew into a database; the JSON registries stay, without agents."""
    database = Database(made.files.path)
    tasks, agents = [], []
    for number in range(made.tasks):
        path = made.registry(number)
        registry = read(path)
        task_id = registry["task_id"]
        tasks.append((task_id, registry["task_description"], "ACTIVE"))
        for each in registry["agents"]:
            values = [each[column] for column in _COLUMNS]
            agents.append((each["id"], task_id, each["prompt"][:200], *values))
        write(path, registry | {"agents": [], "active_count": 0, "total_spawned": 0})
    whole = read(made.files.global_registry)
    write(made.files.global_registry, whole | {"agents": {}})
    places = ", ".join("?" for _ in agents[0])
    columns = ", ".join(("agent_id", "task_id", "prompt_preview", *_COLUMNS))
    with closing(sqlite3.connect(database.path)) as connection, connection:
        connection.executemany(
            "INSERT INTO tasks (task_id, description, status) VALUES (?, ?, ?)", tasks
        )
        connection.executemany(f"INSERT INTO agents ({columns}) VALUES ({places})", agents)
    return database


def _pairs(size: int, stack: ExitStack) -> tuple[Crew, Crew]:
    """Returns two crews of this size: one in JSON registries, one in a database."""
    json, sqlite = (stack.enter_context(crew(size, size // _PER_TASK, live=50)) for _ in range(2))
    move_to_database(sqlite)
    return json, sqlite


def _loads(json: Crew, sqlite: Crew, size: int, runs: int) -> Figure:
    times = [(timed(LOAD, json), timed(LOAD, sqlite)) for _ in range(runs)]
    ours, theirs = [b for _, b in times], [a for a, _ in times]
    # With few agents, the import of sqlite3 takes most of the time.
    aim = _LOAD_AIM if size == 10_000 else None
    return figure(f"load {size:,} agents", "ms", ours, _JSON, theirs, aim)


def _changes(json: Crew, sqlite: Crew, what: str, count: int) -> Figure:
    """Measures from the commit of another process to the terminal, in turns."""
    places = (json.registry(0), sqlite.files.path / "registry" / DATABASE)
    took: list[list[float]] = [[], []]
    with ExitStack() as stack:
        writer = stack.enter_context(peer())
        programs = [
            stack.enter_context(on_terminal(muster(made.server.socket, made.files.path)))
            for made in (json, sqlite)
        ]
        for program in programs:
            ready(program, agent_id(0, 0).encode())
        for turn in range(_TURNS):
            for into, program, place in zip(took, programs, places, strict=True):
                into += changes(program, place, writer, count // _TURNS or 1, f"{turn}")
    return figure(f"change, {what}", "ms", took[1], _JSON, took[0], _CHANGE_AIM)


def _idle(json: Crew, sqlite: Crew, what: str, seconds: float) -> list[Figure]:
    """Measures two monitors at the same time, while nothing happens."""
    commands = {
        (name, 0): (muster(made.server.socket, made.files.path), agent_id(0, 0).encode())
        for name, made in (("json", json), ("sqlite", sqlite))
    }
    seen = [idle_of(commands, seconds) for _ in range(1 if seconds < _LONG else 3)]

    def one(name: str, unit: str, field: str) -> Figure:
        ours, theirs = (
            [float(getattr(each[key, 0], field)) for each in seen] for key in ("sqlite", "json")
        )
        aim = _IDLE_AIM if field == "cpu" else None
        return figure(f"idle, {what}, {name}", unit, ours, _JSON, theirs, aim)

    return [
        one("CPU", "% of a core", "cpu"),
        one("wake-ups", "/s", "wakes"),
        one("terminal", "bytes/min", "count"),
        one("memory", "MB", "memory"),
    ]


def measure(quick: bool) -> list[Figure]:
    """Measures each size in JSON registries and in one database, in turns or at the same time."""
    found: list[Figure] = []
    for size in (100,) if quick else (100, 1_000, 10_000):
        with ExitStack() as stack:
            json, sqlite = _pairs(size, stack)
            what = f"{size:,} agents"
            found.append(_loads(json, sqlite, size, 1 if quick else 15))
            found.append(_changes(json, sqlite, what, 2 if quick else 60))
            found += _idle(json, sqlite, what, 2.0 if quick else _LONG)
    return sorted(found, key=lambda each: each.what.partition(",")[0].split()[0])
