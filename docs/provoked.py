"""The faults of faults.md: what each begins with, the commands that provoke it, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass

from docs.sessions import Step

STRACE = "strace -f --seccomp-bpf -qq -o /dev/null"
KILLED = "strace -f -qq -o /dev/null -e inject=renameat:signal=KILL:when=5 hsdc run run4"
LAID = {  # state: the state that it is a copy of, a command, and its exit code
    "locked": ("", "hsdc compile", 0),
    "finished": ("locked", "hsdc run run4", 0),
    "killed": ("locked", KILLED, 137),
}


@dataclass(frozen=True)
class Fault:
    """A fault: its title and a sentence, the state that it begins with, its steps, and where it is told.

    `sign` is in the line that tells it, of the answer to step `telling`.
    """

    title: str
    text: str
    begins: str
    steps: tuple[Step, ...]
    telling: int = 1
    sign: str = "error["

    @property
    def traced(self) -> bool:
        """Whether it takes a run under strace, which takes its time."""
        return self.begins == "killed" or any(step.call.startswith("strace") for step in self.steps)


LARGEST = "$(ls -S .hsdc/store/objects/*/* | head -1)"
NEWEST = "$(ls -d .hsdc/store/checkpoints/*/step-* | tail -1)"
DISK = (
    Fault(
        "The disk is full",
        "There is room for the rows and not for the weights. What is finished stays; with more room the run goes on.",
        "locked",
        (
            Step("mount -t tmpfs -o size=2m tmpfs .hsdc"),
            Step("hsdc run run4", code=4),
            Step("mount -o remount,size=64m .hsdc"),
            Step("hsdc run run4", lines=8),
        ),
    ),
    Fault(
        "The disk has no room for another file",
        "There are bytes, and no inodes.",
        "locked",
        (Step("mount -t tmpfs -o nr_inodes=2 tmpfs .hsdc"), Step("hsdc run run4", code=4)),
    ),
    Fault(
        "The disk is full while manifests are written",
        "Those that are written are whole; no half of one is left.",
        "locked",
        (
            Step("mount -t tmpfs -o size=36k tmpfs generated"),
            Step("hsdc compile", code=4),
            Step("ls -A generated/demo"),
            Step("mount -o remount,size=64m generated"),
            Step("hsdc compile", lines=8),
        ),
    ),
    Fault(
        "The disk is full and the ledger has no room",
        "Nothing is begun that cannot be noted.",
        "finished",
        (
            Step("mount -t tmpfs -o size=8k tmpfs .hsdc && head -c 8192 /dev/zero > .hsdc/filling", code=0),
            Step("hsdc run run4 --frozen", code=4),
        ),
    ),
    Fault(
        "The disk fails to keep a line of the ledger",
        "fsync says EIO, once. The write counts as failed and is not tried again: the line is cut off, nothing begins.",
        "locked",
        (
            Step(
                f"{STRACE} -P $PWD/.hsdc/ledger.jsonl -e fsync -e inject=fsync:error=EIO:when=1 hsdc run run4",
                code=4,
            ),
            Step("wc -c .hsdc/ledger.jsonl"),
        ),
        telling=0,
    ),
    Fault(
        "The disk fails to keep a record",
        "Everything was computed, and the last fsync fails: there is no record. The next run takes all stages from the "
        "store and writes it.",
        "locked",
        (
            Step(
                f"{STRACE} -P $PWD/generated/demo -e fsync -e inject=fsync:error=EIO:when=1 hsdc run run4",
                code=4,
            ),
            Step("ls generated/demo/run4.record.json", code=2),
            Step("hsdc run run4", lines=7),
        ),
        telling=0,
    ),
    Fault(
        "The store cannot be written to",
        "Whatever only looks works all the same.",
        "finished",
        (
            Step("mount --bind .hsdc .hsdc && mount -o remount,bind,ro .hsdc"),
            Step("hsdc run run4", code=4),
            Step("hsdc verify run4", lines=6),
        ),
    ),
    Fault(
        "Nobody takes what is printed",
        "Standard output goes to a disk that is full.",
        "locked",
        (Step("hsdc ls > /dev/full", code=4),),
        telling=0,
    ),
)
DAMAGE = (
    Fault(
        "A stored object is damaged",
        "One byte of the weights. They are set aside and made anew, and are what the record says; under `--frozen` "
        "nothing is made.",
        "finished",
        (
            Step(f"f={LARGEST}; chmod u+w $f; printf x | dd of=$f bs=1 seek=5000 conv=notrunc status=none"),
            Step("hsdc verify run4", lines=6, code=1),
            Step("hsdc run run4 --frozen", code=4),
            Step("hsdc run run4", lines=12),
        ),
        telling=1,
        sign="damaged",
    ),
    Fault(
        "What the store knows of a stage is damaged",
        "It counts as unknown, and the stage is made anew; its object is known by its bytes.",
        "finished",
        (Step("truncate -s 100 .hsdc/store/actions/*"), Step("hsdc run run4", lines=5)),
        sign="nothing is stored",
    ),
    Fault(
        "A line of the ledger is edited",
        "Each line names the digest of the line before it.",
        "finished",
        (Step("sed -i 3s/run4/run5/ .hsdc/ledger.jsonl"), Step("hsdc verify --store", code=1)),
        sign="ledger",
    ),
    Fault(
        "A record is edited",
        "It says that it is another run's.",
        "finished",
        (
            Step('sed -i \'s/"run":"run4"/"run":"run5"/\' generated/demo/run4.record.json'),
            Step("hsdc run run4", code=1),
        ),
    ),
    Fault(
        "A manifest is edited",
        "Under `--frozen`, where no spec is looked at.",
        "locked",
        (
            Step('sed -i \'s/"seed":42/"seed":43/\' generated/demo/run4.lock.json'),
            Step("hsdc run run4 --frozen", code=1),
        ),
    ),
    Fault(
        "A checkpoint is damaged",
        "It is passed over, recorded and kept for whoever wants to look; training begins from the last complete one, "
        "here from the start.",
        "killed",
        (Step(f"truncate -s 1000 {NEWEST}/weights.safetensors"), Step("hsdc run run4", lines=10)),
        sign="set aside",
    ),
    Fault(
        "Half a checkpoint is left",
        "A checkpoint gets its name when it is complete; what has none is not looked at.",
        "killed",
        (
            Step(f"d={NEWEST}; mkdir ${{d%/*}}/.step-000000009.part; cp $d/state.json ${{d%/*}}/.step-000000009.part"),
            Step("hsdc run run4", lines=7),
        ),
        sign="epoch",
    ),
)
INPUTS = (
    Fault(
        "A data file has changed",
        "It has other bytes than those that were locked.",
        "finished",
        (Step("sed -i '3s/ the / a /' data/sample_adjudications/test.csv"), Step("hsdc run run4", code=4)),
    ),
    Fault(
        "The model has changed",
        "Also where nobody looks at the specs.",
        "finished",
        (Step("printf x >> models/toy/model.safetensors"), Step("hsdc run run4 --frozen", code=4)),
    ),
    Fault(
        "An input is gone",
        "It is on no disk that this machine has.",
        "locked",
        (Step("rm data/sample_adjudications/train.csv"), Step("hsdc run run4", code=4)),
    ),
    Fault(
        "A package is not the locked one",
        "Results could differ for that reason alone.",
        "locked",
        (
            Step("sed -i 's/^numpy==.*/numpy==1.0.0/' locks/runtime.txt"),
            Step("hsdc compile", lines=0),
            Step("hsdc run run4", code=4),
        ),
        telling=2,
    ),
    Fault(
        "The loss is not finite",
        "The step and its rows are named.",
        "locked",
        (
            Step("hsdc new wild --from run4 --set training.learning_rate=1e30 --why 'To see.'", lines=0),
            Step("hsdc compile", lines=0),
            Step("hsdc run wild", code=1),
        ),
        telling=2,
    ),
)
PROCESSES = (
    Fault(
        "A run is killed",
        "SIGKILL, while a checkpoint is written. The next run goes on from the last checkpoint, to the bits of a run "
        "that nobody killed.",
        "locked",
        (Step(KILLED, code=137), Step("hsdc run run4", lines=7)),
        telling=0,
        sign="Killed",
    ),
    Fault(
        "A run is asked to stop",
        "SIGTERM in training: a checkpoint is written at the next step.",
        "locked",
        (Step(KILLED.replace("KILL", "TERM"), code=75), Step("hsdc run run4", lines=7)),
        telling=0,
        sign="interrupted",
    ),
    Fault(
        "Another process works on the run",
        "A lock is held by a process; the file that it is about may stay.",
        "locked",
        (
            Step("mkdir .hsdc/store .hsdc/store/locks"),
            Step("flock .hsdc/store/locks/run.demo.run4.lock hsdc run run4", code=75),
            Step("echo 1 > .hsdc/store/locks/run.demo.run4.lock"),
            Step("hsdc run run4", lines=3),
        ),
        telling=1,
        sign="busy",
    ),
)
FAULTS = (*DISK, *DAMAGE, *INPUTS, *PROCESSES)
