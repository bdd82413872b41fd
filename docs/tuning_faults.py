"""Writes the part of finetuning.md that says what goes wrong with fine-tunes, made to go wrong in a copy of a spec.

`python -m docs.tuning_faults` writes the part anew; a test compares it with what is printed now.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from docs.data_faults import BEGINS, Change, provoked, replaced, told

PAGE = Path(__file__).resolve().parent / "finetuning.md"
ENDS = "## What tests alone make go wrong\n"
SPEC, MODEL, PROFILE = "specs/lora_validation.yaml", "specs/models/smollm2.yaml", "specs/profiles/demo.yaml"
BASELINES = ("prompt_baseline", "prompt_baseline_100")
COPIED = (
    SPEC,
    MODEL,
    "specs/models/lora_base.yaml",
    "specs/models/gpt_oss.yaml",
    *(f"specs/datasets/{name}.yaml" for name in ("hate_posts", "hate_lessons", "sample_hate", "sample_lessons")),
    *(f"specs/prompts/{name}.yaml" for name in ("one_word", "baseline_standard")),
    *(f"data/sample_hate/{name}.json" for name in ("train", "validation", "test", "few_train", "few_validation")),
    "locks/runtime.txt",
)
DEMO = """\
hsdc: 1
profile: demo
bind:
  dataset: {hate_posts: sample_hate, hate_lessons: sample_lessons}
  model: {gpt_oss: smollm2, lora_base: smollm2}
execution: {device: cpu, precision: float32, threads: 1, answer: rank}
"""
UNPINNED = """\
hsdc: 1
model: smollm2
source: hf:ORG/NAME
remote_code: true
"""


@dataclass(frozen=True)
class Fault:
    """What went wrong somewhere, and how it is planted; with `runs`, what is compiled is run then."""

    told: str
    changes: tuple[Change, ...]
    runs: bool = False
    more: tuple[str, ...] = ()


def _spec(old: str, new: str) -> tuple[Change, ...]:
    return (replaced(SPEC, old, new),)


def _evaluated(line: str) -> tuple[Change, ...]:
    return _spec("evaluation:\n", f"evaluation:\n  {line}\n")


FAULTS = (
    Fault("The best checkpoint is chosen on the rows that are scored", _evaluated("fit_split: test")),
    Fault("Rows that are learnt are scored", _spec("  split: test", "  split: train")),
    Fault("The baseline was measured on a hundred rows", _evaluated("against: prompt_baseline_100"), True, BASELINES),
    Fault("An improvement counts that so many rows cannot tell from chance", ()),
    Fault("The bias that is to fall is of a group that the rows do not name", _spec("group=lgbtq ", "group=LGBTQ ")),
    Fault("F1 of which label, or averaged how?", _spec("f1_macro >= 0.620", "f1 >= 0.620")),
    Fault("A temperature is set, and nothing is drawn", _spec("max_tokens: 10", "max_tokens: 10, temperature: 0.1")),
    Fault("The loss hardly falls: the warm-up outlasts the training", _spec("warmup_steps: 100", "warmup_steps: 300")),
    Fault("A setting has a name that nothing reads", _spec("  epochs: 3", "  epochs: 3\n  learnig_rate: 1.0e-4")),
    Fault("A module is called as in another architecture", _spec("[q_proj, k_proj, v_proj", "[qkv_proj")),
    Fault("Training is set to half precision", (replaced(PROFILE, "float32", "float16"),)),
    Fault("The model's own code runs, whatever it is today", ((MODEL, lambda text: UNPINNED),)),
    Fault("The model is not on this machine", (replaced(PROFILE, ", lora_base: smollm2", ""),)),
)


def part() -> str:
    """The part of the page, with everything that is printed had anew."""
    return told(BEGINS, [(fault.told, *_had(fault)) for fault in FAULTS])


def _had(fault: Fault) -> tuple[int, str]:
    copied = [*COPIED, *(f"specs/{name}.yaml" for name in fault.more)]
    return provoked(copied, {PROFILE: DEMO}, fault.changes, ("run", "lora_validation") if fault.runs else ())


if __name__ == "__main__":
    before, _, rest = PAGE.read_text("utf-8").partition(BEGINS)
    PAGE.write_text(f"{before}{part()}\n{ENDS}{rest.partition(ENDS)[2]}", "utf-8")
