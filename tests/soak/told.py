"""What a soak run did and found, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from killed import PHASES

from benchmarks.results import Requirement, Result, Table

if TYPE_CHECKING:
    from soak import Soak


def result(soak: Soak, kills: int, seed: int, controls: list[tuple[str, int, str]]) -> Result:
    """What was done and found, as tables."""
    done = sum(soak.kills.values())
    rounds = [
        (kind, str(soak.rounds[kind]), str(soak.of_kind[kind]), f"{soak.seconds[kind]:.0f}") for kind in soak.rounds
    ]
    rounds.append(("all", str(soak.rounds.total()), str(done), f"{soak.seconds.total():.0f}"))
    phases = [
        (phase, str(soak.kills[phase]), str(soak.kills[phase] - soak.aimed[phase]), str(soak.aimed[phase]))
        for phase in PHASES
    ]
    blind = [name for name, _, noticed in controls if not noticed]
    training = soak.kills["stage train"] + soak.kills["train's checkpoint"]
    return Result(
        "soak",
        f"python tests/soak/soak.py --kills {kills} --seed {seed}",
        "Processes killed by SIGKILL, and whether what they left is whole and goes on to the same bits",
        (
            Table("Rounds", ("rounds of", "rounds", "kills", "seconds"), tuple(rounds)),
            Table("Kills by phase", ("phase", "kills", "at a moment", "before an operation"), tuple(phases)),
            Table(
                "With a guard taken away",
                ("guard", "kills until noticed", "what was noticed first"),
                tuple((name, str(count), noticed or "nothing") for name, count, noticed in controls),
                (0, 2),
            ),
        ),
        (
            Requirement(f"at least {kills} kills", str(done), done >= kills),
            Requirement("at least 50 of them in training", str(training), training >= 50),
            Requirement("no fault", str(len(soak.faults)), not soak.faults),
            Requirement(
                "every run that was killed ends with the outputs of one that was not, bit by bit",
                f"{soak.compared} runs compared, after {soak.of_kind['run'] + soak.of_kind['training']} kills",
                not any("reference" in fault for fault in soak.faults),
            ),
            Requirement("every guard that is gone is noticed", ", ".join(blind) or "all", not blind),
        ),
        {
            "kills": dict(soak.kills),
            "faults": soak.faults,
            "temporary_files_left": soak.temporary,
            "untold": soak.untold,
        },
        (
            "Rounds of training are one run of 30 epochs each, killed a random time after its training began or",
            "went on, and then let through.",
            "Every phase is that of the process when the signal came; `before an operation` is just before one that",
            "changes a file, in half of a write, or with a part of the ledger's last line lost.",
            f"Temporary files that the kills left beside what they were for, and that nothing reads: {soak.temporary}.",
            "Runs killed after their record and before the ledger's line `run finished`; their next run is noted as",
            f"`run checked`: {soak.untold}.",
        ),
    )
