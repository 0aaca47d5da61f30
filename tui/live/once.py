"""Takes one roll call for a command, without watching files."""

from __future__ import annotations

import time
from collections.abc import Sequence

from registry.schema import Workspace
from registry.snapshots import while_busy
from tui.host.tmux import Tmux
from tui.host.tmux_types import TmuxState
from tui.live.agent_processes import noted_processes
from tui.live.builder import RollBuilder
from tui.live.other_servers import OtherServers
from tui.live.separate_registries import SeparateRegistries
from tui.model.evidence import (
    Evidence,
    ProcessEvidence,
    expected_processes,
    expected_sessions,
    next_proof,
    note_absences,
)
from tui.model.policy import Policy
from tui.model.roll import RollCall


def take_roll(workspaces: Sequence[Workspace], tmux: Tmux, policy: Policy) -> RollCall:
    """Returns one roll call. Queries tmux again only if sessions are missing. Blocks."""
    registries = SeparateRegistries(workspaces)
    elsewhere = OtherServers(workspaces, tmux.set_aside)
    answer = tmux.ask()
    for _ in while_busy(lambda: registries.busy):
        registries.rescan()
    answer = registries.spellings().resolve(answer)
    proofs = expected_sessions(registries.states(), policy, time.time())
    of_processes = expected_processes(registries.states(), policy, time.time())
    processes = noted_processes(ProcessEvidence(), of_processes)
    evidence = elsewhere.noted(
        Evidence(answer, note_absences({}, answer, proofs), processes=processes),
        registries.paths(),
    )
    while (again_at := next_proof(evidence, proofs, of_processes)) is not None:
        time.sleep(max(0.0, again_at - time.monotonic()))
        answer = tmux.ask()
        if answer.state is TmuxState.UNKNOWN:
            processes = noted_processes(processes, of_processes)
            evidence = Evidence(answer, evidence.missing_since, processes=processes)
            break
        registries.rescan()
        answer = registries.spellings().resolve(answer)
        expected = expected_sessions(registries.states(), policy, time.time())
        # Only sessions that the first answer lacked count; others could prolong the loop forever.
        proofs = {
            name: proof for name, proof in expected.items() if name in evidence.missing_since
        }
        missing_since = note_absences(evidence.missing_since, answer, proofs)
        # The pids of the first look only: a new pid is first looked up by the next command.
        processes = noted_processes(processes, of_processes)
        evidence = elsewhere.noted(
            Evidence(answer, missing_since, processes=processes), registries.paths()
        )
    return RollBuilder(policy).call(registries, evidence, time.time())
