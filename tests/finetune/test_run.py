"""A fine-tune from spec to verdict: what it learns from, what it leaves as it was, what it says it changed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from hsdc.__main__ import main
from hsdc.changed_view import changed
from hsdc_runtime.nn.examples import load_examples
from hsdc_runtime.store import Store
from hsdc_schemas.answers import load_answers
from hsdc_schemas.manifest import load_sealed
from hsdc_schemas.places import record_path
from hsdc_schemas.record import Record
from tests.finetune.project import SIZES

OTHER_END = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}>{% endif %}"
ROLES = "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}"
BLANK_BEFORE = ROLES + "{% if add_generation_prompt %}assistant:{% endif %}"


def record_of(root: Path, run: str = "tune") -> Record:
    return load_sealed(root / record_path("demo", run), run, Record)


def output(root: Path, stage: str, name: str) -> Path:
    record = record_of(root)
    made = next(item for item in record.stages if item.name == stage).outputs[name]
    return Store(root).look(made.object)


def facts(root: Path, stage: str) -> dict[str, Any]:
    return dict(next(item for item in record_of(root).stages if item.name == stage).facts)


def test_what_is_learnt_is_what_is_asked_with_the_answer_behind_it(finished: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(finished / "model")
    rows = {row["id"]: row for row in json.loads((finished / "data/train.json").read_text())}
    data, _ = load_examples(output(finished, "examples", "examples"), "train")
    assert list(data.ids) == list(rows)
    for number, name in enumerate(data.ids):
        asked = [
            {"role": "system", "content": "answer hate or normal"},
            {"role": "user", "content": f"text {rows[name]['text']}"},
        ]
        whole = [*asked, {"role": "assistant", "content": rows[name]["label"]}]
        tokens, start = data.of(number).tolist(), int(data.starts[number])
        assert tokens == tokenizer.apply_chat_template(whole, return_dict=False)
        assert tokens[:start] == tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
        assert tokenizer.decode(tokens[start:]) == f"{rows[name]['label']}</s>\n"
    prompts = [json.loads(line) for line in output(finished, "render", "prompts").read_text().splitlines()]
    said = facts(finished, "examples")
    assert said["chat_template"] == facts(finished, "render")["chat_template"]
    assert len(prompts) == SIZES["test"]
    train = said["splits"]["train"]
    assert (train["read"], train["kept"], train["truncated"]) == (SIZES["train"], SIZES["train"], 0)
    assert train["supervised_tokens"] == int(data.supervised.sum()) < train["tokens"] == len(data.tokens)


def test_before_is_the_plain_model_bit_by_bit(finished: Path, fresh: Path) -> None:
    """A prompt run with the same prompts shares the base's work: the stage has the same key."""
    spec = (fresh / "specs/tune.yaml").read_text()
    asked = re.sub(r"(?ms)^(adapter|training|evaluation):.*?(?=^\w|\Z)", "", spec)
    (fresh / "specs/asked.yaml").write_text(asked.replace("run: tune", "run: asked").replace("finetune", "prompt"))
    assert main(["compile"]) == 0
    assert main(["run", "asked"]) == 0
    plain = {stage.name: stage for stage in record_of(fresh, "asked").stages}
    tuned = {stage.name: stage for stage in record_of(finished).stages}
    assert plain["rank"].key == tuned["rank"].key
    assert plain["rank"].outputs == tuned["rank"].outputs
    assert tuned["rank"].outputs["rankings"].digest != tuned["rank_adapter"].outputs["rankings"].digest


def test_gates_are_not_held_against_other_rows(fresh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Which is seen before anything is trained."""
    spec = (fresh / "specs/tune.yaml").read_text()
    asked = re.sub(r"(?ms)^(adapter|training|evaluation):.*?(?=^\w|\Z)", "", spec) + "evaluation: {split: validation}\n"
    (fresh / "specs/asked.yaml").write_text(asked.replace("run: tune", "run: asked").replace("finetune", "prompt"))
    (fresh / "specs/tune.yaml").write_text(spec.replace("evaluation:\n", "evaluation:\n  against: asked\n"))
    assert main(["compile"]) == 0
    assert main(["run", "tune"]) == 3
    told = " ".join(capsys.readouterr().err.split())
    assert "E820" in told
    assert "'tune' is scored on 24 rows, and 'asked', which its gates are held against, on 12" in told
    assert "started" not in told


def test_both_answer_the_same_rows_and_gates_are_held_against_the_base(finished: Path) -> None:
    record = record_of(finished)
    answers = load_answers(output(finished, "score", "answers"), "the answers")
    assert answers.header.variants == ("adapter", "base")
    assert [row.id for row in answers.rows] == [f"test-{number}" for number in range(SIZES["test"])]
    assert [gate.gate for gate in record.gates] == ["label.f1_macro >= 0.1", "delta.label.f1_macro >= -0.5"]
    right = {
        variant: [row.answers[variant]["label"] == row.gold["label"] for row in answers.rows]
        for variant in answers.header.variants
    }
    fixed = sum(after and not before for after, before in zip(right["adapter"], right["base"], strict=True))
    broken = sum(before and not after for after, before in zip(right["adapter"], right["base"], strict=True))
    lines = changed(finished, record)
    assert lines[0] == f"the adapter against its base, on the same {SIZES['test']} rows"
    assert [line.split() for line in lines[1:3]] == [["fixed", str(fixed)], ["broken", str(broken)]]
    assert lines[3].startswith("  delta.label.f1_macro ")
    assert sum(line.startswith(("  fixed ", "  broken ")) for line in lines[4:]) == min(5, fixed) + min(5, broken)
    assert fixed + broken > 0, "or this would show nothing"


def test_the_difference_is_shown_within_groups_too(finished: Path) -> None:
    from sklearn.metrics import f1_score

    answers = load_answers(output(finished, "score", "answers"), "the answers")
    lines = [line.split() for line in changed(finished, record_of(finished)) if line.startswith("  label.f1_macro ")]
    assert [line[1] for line in lines] == ["all", "some"]
    lines[0].remove("rows")
    for (metric, group, before, after, delta, low, _, high), kept in zip(
        lines, (answers.rows, [row for row in answers.rows if "some" in row.groups]), strict=True
    ):
        gold = [row.gold["label"] for row in kept]
        was, now = (
            f1_score(gold, [row.answers[variant]["label"] for row in kept], average="macro", zero_division=0)
            for variant in ("base", "adapter")
        )
        assert (metric, before, after) == ("label.f1_macro", f"{was:.4f}", f"{now:.4f}"), group
        assert delta == f"{now - was:+.4f}"
        assert float(low) <= float(delta) <= float(high)


def test_the_adapter_alone_is_stored(finished: Path) -> None:
    from safetensors import safe_open

    with safe_open(output(finished, "train", "adapter"), "numpy") as file:
        names = list(file.keys())
    assert names
    assert all(".lora_A." in name or ".lora_B." in name for name in names)
    assert facts(finished, "rank_adapter")["adapter"] == record_of(finished).stages[4].outputs["adapter"].digest
    said = facts(finished, "train")
    assert said["parameters"] < said["base_parameters"] / 2
    data, _ = load_examples(output(finished, "examples", "examples"), "train")
    saved = said["real_tokens"] - said["padded_tokens"]
    assert saved > 0, "packed rows have what all begin with once"
    assert saved % data.shared == 0


def test_killed_and_run_again_it_is_the_same(finished: Path, fresh: Path) -> None:
    command = [sys.executable, "-m", "hsdc", "run", "tune"]
    checkpoints, end = fresh / ".hsdc/store", time.monotonic() + 120
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not list(checkpoints.rglob("step-00000000[3-9]")):
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < end
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not (fresh / record_path("demo", "tune")).exists()
    assert main(["run", "tune"]) == 0
    again, whole = ([stage.outputs for stage in record_of(root).stages] for root in (fresh, finished))
    assert again == whole


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ("  max_tokens: 20\n", "E444", "training.max_tokens is 20"),
        ("  max_tokens: 20\n  over_length: drop\n", "E449", "has no row to learn"),
    ],
)
def test_rows_that_are_too_long(
    fresh: Path, capsys: pytest.CaptureFixture[str], change: str, code: str, words: str
) -> None:
    spec = fresh / "specs/tune.yaml"
    spec.write_text(spec.read_text().replace("  max_tokens: 200\n", change))
    main(["compile"])
    assert main(["run", "tune"]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert code in told
    assert words in told


def test_a_row_that_is_cut_keeps_its_answer(fresh: Path, finished: Path) -> None:
    spec, most = fresh / "specs/tune.yaml", 40
    spec.write_text(spec.read_text().replace("  max_tokens: 200\n", f"  max_tokens: {most}\n  over_length: truncate\n"))
    assert main(["compile"]) == 0
    assert main(["run", "tune"]) in (0, 1)
    whole, _ = load_examples(output(finished, "examples", "examples"), "train")
    cut, _ = load_examples(output(fresh, "examples", "examples"), "train")
    assert facts(fresh, "examples")["splits"]["train"]["truncated"] == int((whole.lengths > most).sum()) > 0
    assert [cut.of(row).tolist() for row in range(len(cut))] == [
        whole.of(row).tolist()[-most:] for row in range(len(cut))
    ]
    assert cut.supervised.tolist() == whole.supervised.tolist()


@pytest.mark.parametrize(
    ("template", "words"),
    [(OTHER_END, "does not go on"), (BLANK_BEFORE, "does not go on")],
    ids=["prompts end with what no conversation has", "a blank before the answer"],
)
def test_a_template_that_cannot_mark_answers_is_refused(
    fresh: Path, capsys: pytest.CaptureFixture[str], template: str, words: str
) -> None:
    (fresh / "model/chat_template.jinja").write_text(template)
    main(["compile"])
    assert main(["run", "tune"]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "E448" in told
    assert words in told


def test_a_run_that_generates(fresh: Path) -> None:
    assert main(["compile", "--profile", "spoken"]) == 0
    assert main(["run", "tune", "--profile", "spoken"]) in (0, 1)
    record = load_sealed(fresh / record_path("spoken", "tune"), "tune", Record)
    assert [stage.name for stage in record.stages][3:6] == ["generate", "train", "generate_adapter"]
    assert next(item for item in record.stages if item.name == "score").facts["measurement"] == "generate"
