"""The story of the demo, about a fictional project, as plain data."""

from __future__ import annotations

from collections.abc import Iterator

from tui.demo.story import Ending, Role, Step, Task

PROJECT = "lantern"

TASKS = {
    "search": Task(
        "Move photo search to PostgreSQL full text without downtime",
        "P0",
        1500,
        (("Design", "APPROVED"), ("Build", "ACTIVE"), ("Cut over", "PENDING")),
        phase=1,
    ),
    "speed": Task(
        "Bring album pages under 200 ms at the 95th percentile",
        "P1",
        840,
        (("Measure", "UNDER_REVIEW"), ("Improve", "PENDING")),
    ),
    "release": Task("Prepare release 2.4: packages, changelog, translations", "P2", 420),
}


def _backfill() -> Iterator[Step]:
    for done in range(4, 100, 4):
        yield Step(
            done,
            f"Backfilled {done * 42_000:,} of 4,200,000 photos",
            runs="lantern backfill --batch 5000 --resume" if done % 12 == 0 else "",
        )
    yield Step(100, "All 4,200,000 photos have a search vector; 0 rows differ")


_SEARCH = (
    Role(
        "search_architect",
        "search",
        None,
        "Lead the move of photo search from SQLite FTS5 to PostgreSQL. Split the work, keep both "
        "indexes in step until parity is proven, and cut over only after a green rehearsal.",
        (
            Step(5, "Reading search/ and the 14 places that call it"),
            Step(15, "Plan: dual writes, backfill, parity check, cut-over"),
            Step(20, "Schema is agreed; migration and queries can go on side by side"),
            Step(25, "Starting a parity checker", spawns=("parity_checker",)),
            Step(35, "Dual writes are on in staging", runs="lantern flags set dual_write=on"),
            Step(
                40,
                "Starting a rehearsal of the cut-over",
                spawns=("cutover_rehearser",),
                finding=("insight", "medium", "Both indexes fit in memory: 3.1 GB together"),
            ),
            Step(45, "Watching the backfill; write lag is 120 ms"),
            Step(50, "Comparing error rates of both indexes: 0.02 % and 0.02 %"),
            Step(60, "Asking for parity once more on the newest photos"),
            Step(50, "New photos came in; comparing again"),
        ),
        Ending.CYCLES,
        pace=5,
        ago=1380,
        past=3,
        again=6,
    ),
    Role(
        "schema_designer",
        "search",
        "search_architect",
        "Design the tsvector columns and indexes for captions, places, people and file names. "
        "Measure GIN against RUM on a copy of production.",
        (
            Step(20, "Measuring GIN and RUM on 400,000 photos", runs="pgbench -f search.sql"),
            Step(
                70,
                "GIN wins: half the size, 9 ms slower on phrases only",
                finding=("decision", "high", "GIN with fastupdate=off: steady 31 ms at p95"),
            ),
            Step(100, "Schema is in migrations/0042_search_vector.sql, with its revert"),
        ),
        Ending.COMPLETES,
        ago=1200,
        past=3,
        silent=640,
    ),
    Role(
        "migration_writer",
        "search",
        "search_architect",
        "Write migration 0042 so that it never holds a lock on photos for more than 100 ms. "
        "Batches, resumable, with a tested revert.",
        (
            Step(10, "Reading the schema and the size of each table"),
            Step(25, "Columns are added without a rewrite of the table"),
            Step(40, "Writing the trigger that keeps the vector in step"),
            Step(55, "Trigger costs 0.3 ms a write", runs="pytest tests/migrations -k trigger"),
            Step(65, "Index is built concurrently, in 6 min on the copy"),
            Step(75, "Testing how to revert the migration"),
            Step(85, "Reverting the migration takes 2 s and leaves no trace"),
            Step(95, "Last review of locks held: 38 ms at most"),
            Step(100, "Migration 0042 is ready: 38 ms of locks, revert tested"),
        ),
        Ending.COMPLETES,
        pace=7,
        ago=560,
        past=3,
    ),
    Role(
        "backfill_runner",
        "search",
        "migration_writer",
        "Fill the search vectors of all photos in batches, at most 30 % of the database's time. "
        "Resume where you stopped.",
        tuple(_backfill()),
        Ending.COMPLETES,
        script=True,
        pace=9,
        ago=240,
        past=5,
    ),
    Role(
        "rollback_tester",
        "search",
        "migration_writer",
        "Break the migration at every statement and prove that the revert restores the schema "
        "byte for byte.",
        (
            Step(15, "Breaking the migration at statement 1 of 11"),
            Step(45, "Statements 1 to 5 roll back cleanly"),
            Step(60, "Statement 7 leaves an invalid index behind", runs="pg_dump --schema-only"),
        ),
        Ending.DIES,
        pace=3,
        ago=200,
        past=2,
    ),
    Role(
        "query_porter",
        "search",
        "search_architect",
        "Port the 23 queries in search/queries.py from FTS5 to PostgreSQL and keep their ranking "
        "within 5 % of the old order.",
        (
            Step(20, "9 of 23 queries are ported"),
            Step(45, "16 of 23 queries are ported", runs="pytest tests/search -x"),
            Step(50, "Waiting for a decision: accents folded, or kept?", "blocked"),
            Step(50, "Still waiting: accents folded, or kept?", "blocked"),
            Step(50, "Still waiting; three queries hang on it", "blocked"),
            Step(55, "Answer is in: accents are folded. Going on"),
            Step(
                65,
                "19 of 23 queries are ported; ranking needs a second pair of eyes",
                spawns=("ranking_tuner",),
                finding=("issue", "high", "ts_rank puts long captions first; FTS5 did not"),
            ),
            Step(80, "22 of 23 queries are ported"),
            Step(95, "All queries are ported; running the whole suite", runs="pytest -q"),
            Step(100, "All 23 queries are ported: 412 tests pass, ranking within 3 %"),
        ),
        Ending.COMPLETES,
        pace=8,
        ago=620,
        past=2,
    ),
    Role(
        "parity_checker",
        "search",
        "search_architect",
        "Run last week's 18,400 searches on both indexes and report every difference in the first "
        "ten results.",
        (
            Step(10, "Reading 18,400 searches of last week"),
            Step(40, "7,300 searches compared: 41 differ"),
            Step(
                70,
                "12,900 searches compared: 58 differ, all on accents",
                finding=(
                    "issue",
                    "medium",
                    "58 searches differ: 'café' and 'cafe' are one word now",
                ),
            ),
            Step(100, "18,400 searches compared: 61 differ, all of them wanted"),
        ),
        Ending.COMPLETES,
        pace=9,
        past=0,
        later=True,
    ),
    Role(
        "cutover_rehearser",
        "search",
        "search_architect",
        "Rehearse the cut-over on staging until it works three times in a row, and write down "
        "how long reads were stale.",
        (
            Step(30, "First rehearsal: reads stale for 900 ms"),
            Step(
                60, "Second rehearsal: reads stale for 140 ms", runs="lantern cutover --rehearse"
            ),
            Step(90, "Third rehearsal: reads stale for 130 ms"),
            Step(40, "Staging has new data; rehearsing again"),
        ),
        Ending.CYCLES,
        pace=8,
        past=0,
        later=True,
    ),
    Role(
        "ranking_tuner",
        "search",
        "query_porter",
        "Find weights for ts_rank that bring the order of results within 3 % of the old one.",
        (
            Step(25, "Trying 40 sets of weights on 500 searches"),
            Step(60, "Captions 0.6, places 0.3, file names 0.1: within 4 %"),
            Step(100, "Length counts by its logarithm now: within 3 %"),
        ),
        Ending.COMPLETES,
        pace=8,
        past=0,
        later=True,
    ),
)

_SPEED = (
    Role(
        "latency_profiler",
        "speed",
        None,
        "Find out where the 640 ms of an album page go. Profile on staging with production data; "
        "change nothing yourself.",
        (
            Step(15, "Recording 2,000 album pages on staging", runs="py-spy record -d 120"),
            Step(35, "Half of the time is thumbnails, a quarter is permissions"),
            Step(
                50,
                "Permissions are asked once a photo instead of once an album",
                finding=("issue", "critical", "N+1: 214 permission queries for one album page"),
            ),
            Step(65, "One query for the album: 640 ms become 410 ms"),
            Step(90, "Checking the same on shared albums"),
            Step(100, "Report is in: thumbnails 310 ms, permissions 165 ms, templates 60 ms"),
        ),
        Ending.COMPLETES,
        pace=6,
        ago=760,
        past=2,
    ),
    Role(
        "flamegraph_reader",
        "speed",
        "latency_profiler",
        "Read the flame graphs of the slowest hundred pages and name the five widest frames.",
        (
            Step(30, "Reading 100 flame graphs"),
            Step(75, "Widest frame: Image.resize at 38 %"),
            Step(100, "Five frames make 81 % of the time; list is in findings"),
        ),
        Ending.LEAKS,
        pace=6,
        ago=310,
        past=2,
    ),
    Role(
        "thumbnail_cacher",
        "speed",
        "latency_profiler",
        "Cache thumbnails by content hash, on disk, with a limit of 20 GB. An album page must not "
        "resize a single photo when it is opened for the second time.",
        (
            Step(25, "Cache key is the photo's hash and the size"),
            Step(40, "First pages from the cache: 410 ms become 190 ms"),
            Step(50, "Writing the limit of 20 GB, least recently used goes first"),
            Step(60, "Two workers made the same thumbnail at once; adding a lock"),
            Step(70, "Lock works, no wait above 5 ms", runs="pytest tests/thumbs -n 4"),
            Step(80, "Measuring with a cold disk: 230 ms"),
            Step(
                90,
                "Warming the cache after an upload: 170 ms",
                finding=("solution", "high", "p95 of album pages is 170 ms with a warm cache"),
            ),
            Step(100, "Album pages: 170 ms at p95, 0 resizes on the second visit"),
        ),
        Ending.COMPLETES,
        pace=11,
        ago=280,
    ),
    Role(
        "cache_invalidation_tester",
        "speed",
        "thumbnail_cacher",
        "Rotate, crop, replace and delete photos while album pages are open. No page may show an "
        "old thumbnail for more than a second.",
        (
            Step(20, "Rotating 50 photos while their albums are open"),
            Step(35, "Crop is right; waiting for the browser to answer", runs="playwright test"),
        ),
        Ending.STALLS,
        ago=150,
        past=2,
    ),
    Role(
        "load_tester",
        "speed",
        None,
        "Keep 200 users on staging and report p50, p95 and errors of every round.",
        (
            Step(10, "Round begins: 200 users, 15 albums each", runs="k6 run albums.js"),
            Step(35, "p50 88 ms, p95 402 ms, no errors"),
            Step(60, "p50 86 ms, p95 236 ms, no errors"),
            Step(85, "p50 71 ms, p95 181 ms, no errors"),
            Step(100, "Round is through: 48,000 pages, 0 errors"),
        ),
        Ending.CYCLES,
        pace=4,
        ago=430,
        past=2,
        helper=True,
    ),
    Role(
        "query_profiler",
        "speed",
        None,
        "Find the ten slowest queries of the album pages and say what each waits for.",
        (
            Step(30, "Sampling: 6 of 10 queries wait for albums_photos"),
            Step(55, "Explaining query 7 of 10", runs="psql -c 'EXPLAIN ANALYZE ...'"),
        ),
        Ending.DIES,
        pace=5,
        ago=220,
    ),
)

_RELEASE = (
    Role(
        "release_manager",
        "release",
        None,
        "Prepare release 2.4. Nothing is published without a person's word; collect what is "
        "missing and keep the checklist true.",
        (
            Step(20, "Checklist has 18 items, 7 are done"),
            Step(40, "11 of 18 items are done"),
            Step(55, "Waiting for packages; reading open issues meanwhile"),
            Step(60, "13 of 18 items are done"),
            Step(50, "A fix came in; two items are open again"),
        ),
        Ending.CYCLES,
        pace=9,
        ago=390,
        past=1,
        again=2,
    ),
    Role(
        "changelog_writer",
        "release",
        "release_manager",
        "Write the changelog of 2.4 for people who run Lantern, from 96 merged changes.",
        (
            Step(30, "Sorting 96 changes: 12 matter to people"),
            Step(60, "Writing the part on shared albums"),
            Step(80, "Writing what to do when upgrading"),
            Step(100, "Changelog of 2.4 is written: 12 entries, 2 notes on upgrading"),
        ),
        Ending.COMPLETES,
        pace=6,
        ago=180,
        past=1,
    ),
    Role(
        "package_builder",
        "release",
        "release_manager",
        "Build and install the packages for Debian, Fedora and Docker, on amd64 and arm64.",
        (
            Step(25, "Debian packages are built", runs="make deb"),
            Step(40, "Fedora packages are built", runs="make rpm"),
            Step(55, "Docker image: amd64 is built"),
            Step(70, "Docker image: building arm64"),
            Step(
                70,
                "libvips has no arm64 wheel in this base image; giving up",
                finding=("issue", "critical", "arm64: libvips 8.15 is missing in the base image"),
            ),
        ),
        Ending.FAILS,
        pace=10,
        ago=260,
        past=2,
    ),
    Role(
        "docs_translator",
        "release",
        None,
        "Bring the German and French settings pages to the state of the English ones.",
        (
            Step(50, "German is complete: 61 strings"),
            Step(100, "French is complete: 61 strings, 3 to be looked at by a speaker"),
        ),
        Ending.COMPLETES,
        ago=400,
        past=2,
        silent=130,
    ),
    Role(
        "link_checker",
        "release",
        None,
        "Check every link of the documentation and of the changelog.",
        (Step(35, "412 of 1,180 links are fine"), Step(60, "731 of 1,180 links are fine")),
        Ending.DIES,
        pace=8,
        ago=150,
    ),
)

ROLES = {role.type: role for role in (*_SEARCH, *_SPEED, *_RELEASE)}

ORPHAN = Role(
    "lint_fixer",
    "release",
    None,
    "Left over from yesterday: its entry was removed, its session was not.",
    (),
    Ending.STALLS,
    past=0,
)
"""A session that no registry lists."""

REVIEWER = Role(
    "phase_reviewer",
    "speed",
    None,
    "Review the phase 'Measure': are the numbers reproducible, and is anything not measured?",
    (
        Step(10, "Reading the reports of the phase 'Measure'", "reviewing"),
        Step(40, "Measuring again on staging: 636 ms instead of 640 ms", "reviewing"),
        Step(70, "Shared albums were not measured; asking for them", "reviewing"),
        Step(50, "New numbers came in; reading them", "reviewing"),
    ),
    Ending.CYCLES,
    pace=7,
    ago=120,
    again=1,
    phase=-1,
)
"""A reviewer, which only a demo with a database has."""


def role_of(agent_id: str) -> Role:
    """Returns the role of an agent; the id begins with the type, or with a part of the type."""
    name = agent_id.rsplit("-", 2)[0]
    roles = (*ROLES.values(), ORPHAN, REVIEWER)
    return next(role for role in roles if role.type.startswith(name))
