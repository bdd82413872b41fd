"""`hsdc explain` and `hsdc show`: every layer of a value, and YAML that reads back to the resolved values."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsdc import yaml_view
from hsdc.__main__ import main
from hsdc_compiler.parse import parse
from hsdc_schemas.spec import SLOTS

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "tests/cases/base"

CHILD = """\
hsdc: 1
run: child
extends: parent
budget: 9
why: Every operation once.
change:
  heads:
    tone: {loss: {gamma: 3.0}}
    topic:
      loss:
        kind: focal
        gamma: 1.5
  training:
    max_grad_norm: {$unset: true}
    r_drop: null
    seed: {$ref: training.rows_per_step}
  sampling:
    boosts: {$replace: {topic: {rest: 3.0}}}
"""
GRANDCHILD = """\
hsdc: 1
run: grandchild
extends: child
budget: 9
why: On top of it.
change:
  training:
    max_grad_norm: 1.0
  heads:
    topic:
      labels: {$append: [play]}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    shutil.copytree(BASE, root)
    (root / "specs/child.yaml").write_text(CHILD)
    (root / "specs/grandchild.yaml").write_text(GRANDCHILD)
    monkeypatch.chdir(root)
    return root


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """What a call writes; its exit code is checked."""
    assert main(list(arguments)) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


EXPLAINED = {
    "training.learning_rate": """\
training.learning_rate = 2.5e-05   (grandchild, profile demo)
  specs/parent.yaml:27  set  2.5e-05  <- wins
""",
    "heads.tone.loss.gamma": """\
heads.tone.loss.gamma = 3.0   (grandchild, profile demo)
  specs/parent.yaml:12  set  2.5
  specs/child.yaml:8    set  3.0  <- wins
""",
    "training.max_grad_norm": """\
training.max_grad_norm = 1.0   (grandchild, profile demo)
  specs/parent.yaml:30     set    0.5
  specs/child.yaml:14      unset  (taken out)
  specs/grandchild.yaml:8  set    1.0          <- wins
""",
    "training.r_drop": """\
training.r_drop = null   (grandchild, profile demo)
  specs/parent.yaml:31  set  {alpha: 0.6, warmup_epochs: 1}
  specs/child.yaml:15   set  null                            <- wins
""",
    "training.seed": """\
training.seed = 4   (grandchild, profile demo)
  specs/parent.yaml:33  set  42
  specs/parent.yaml:29  set  4                                (training.rows_per_step)
  specs/child.yaml:16   ref  {"$ref": training.rows_per_step}  <- wins
""",
    "heads.topic.loss.kind": """\
heads.topic.loss.kind = focal   (grandchild, profile demo)
  specs/parent.yaml:18  set  cross_entropy
  specs/child.yaml:11   set  focal          <- wins
""",
    "heads.topic.labels": """\
heads.topic.labels = [work, rest, play]   (grandchild, profile demo)
  specs/parent.yaml:17      set   [work, rest]
  specs/grandchild.yaml:11  edit  [work, rest, play]  <- wins
""",
    "evaluation.thresholds.low": """\
evaluation.thresholds.low = 0.3   (grandchild, profile demo)
  the schema's default  default  0.3  <- wins
""",
    "dataset.format": """\
dataset.format = csv   (grandchild, profile demo)
  specs/parent.yaml:5              use   corpus
  specs/profiles/demo.yaml:4       bind  sample  (in place of corpus)
  specs/datasets/sample.yaml:4     set   csv                           <- wins
""",
    "execution.limits.epochs": """\
execution.limits.epochs = 1   (grandchild, profile demo)
  specs/profiles/demo.yaml:7  set  1  <- wins
""",
}


@pytest.mark.parametrize("path", EXPLAINED)
def test_every_layer_of_a_value(project: Path, capsys: pytest.CaptureFixture[str], path: str) -> None:
    def words(text: str) -> list[list[str]]:
        return [line.split() for line in text.splitlines()]

    assert words(said(capsys, "explain", "grandchild", path)) == words(EXPLAINED[path])


def test_a_value_that_was_taken_out_is_the_default_again(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(said(capsys, "explain", "child", "training.max_grad_norm", "--json"))["values"][0]
    assert found["value"] is None
    assert [(layer["op"], layer["file"], layer["line"]) for layer in found["layers"]] == [
        ("set", "specs/parent.yaml", 30),
        ("unset", "specs/child.yaml", 14),
        ("default", None, None),
    ]
    assert [layer["wins"] for layer in found["layers"]] == [False, False, True]


def test_values_beside_use_and_references_in_components(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    full = "hsdc: 1\nprofile: full\n"
    (project / "specs/profiles/full.yaml").write_text(full)
    data = project / "specs/datasets/corpus.yaml"
    data.write_text(data.read_text() + "notes: {$ref: training.best_metric}\nblank: reject\n")
    parent = project / "specs/parent.yaml"
    parent.write_text(parent.read_text() + "  best_metric: tone.f1_macro\n")
    slot = "dataset: {use: corpus}"
    parent.write_text(parent.read_text().replace(slot, "dataset:\n  use: corpus\n  blank: mask"))
    child = project / "specs/child.yaml"
    child.write_text(CHILD + "  dataset:\n    license: MIT\n    blank: reject\n")

    def layers(path: str, run: str = "child") -> list[tuple[str, str]]:
        found = json.loads(said(capsys, "explain", run, path, "--profile", "full", "--json"))["values"][0]
        return [(layer["op"], f"{layer['file']}:{layer['line']}") for layer in found["layers"]]

    use = ("use", "specs/parent.yaml:6")
    assert layers("dataset.license") == [use, ("set", "specs/child.yaml:20")]
    assert layers("dataset.blank") == [
        use,
        ("set", "specs/datasets/corpus.yaml:12"),
        ("set", "specs/parent.yaml:7"),
        ("set", "specs/child.yaml:21"),
    ]
    reference = [("set", "specs/parent.yaml:36"), ("ref", "specs/datasets/corpus.yaml:11")]
    assert layers("dataset.notes") == [use, *reference]
    child.write_text(CHILD + "  dataset: {use: sample}\n")
    assert layers("dataset.format") == [use, ("use", "specs/child.yaml:19"), ("set", "specs/datasets/sample.yaml:4")]
    assert layers("dataset.blank")[-1] == ("default", "None:None")


def test_a_section_lists_its_leaves_and_no_path_all(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    section = said(capsys, "explain", "child", "sampling")
    assert [line.split()[0] for line in section.splitlines()[2:]] == [
        "sampling.kind",
        "sampling.alpha",
        "sampling.max_multiplier",
        "sampling.boosts.topic.rest",
    ]
    everything = said(capsys, "explain", "child").splitlines()
    assert set(section.splitlines()[2][2:].split()) <= set(" ".join(everything).split())
    shown = json.loads(said(capsys, "show", "child", "--json"))
    assert len(everything) - 2 == sum(1 for _ in leaves({**shown["experiment"], "execution": shown["execution"]}))


def leaves(value: object, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], object]]:
    if isinstance(value, dict) and value:
        return [leaf for key, item in value.items() for leaf in leaves(item, (*path, key))]
    return [(path, value)]


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        ("trainng.epochs", "did you mean 'training.epochs'?"),
        ("training.learn", "did you mean 'training.learning_rate'?"),
        ("heads.t", "did you mean 'heads.tone' or 'heads.topic' or 'heads.tone.loss'?"),
        ("max_grad_norm", "did you mean 'training.max_grad_norm'?"),
    ],
)
def test_an_unknown_path(project: Path, capsys: pytest.CaptureFixture[str], wanted: str, hint: str) -> None:
    assert said(capsys, "explain", "child", wanted, code=2) == f"error[E010] 'child' has no value '{wanted}'; {hint}\n"


def test_a_fault_elsewhere_hides_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "specs/broken.yaml").write_text("hsdc: 1\nrun: broken\nextends: nobody\n")
    assert "specs/child.yaml:8" in said(capsys, "explain", "child", "heads.tone.loss.gamma")
    assert "E304" in said(capsys, "explain", "broken", code=2)


def test_inputs_are_not_read(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(project / "data")
    shutil.rmtree(project / "models")
    assert "specs/datasets/sample.yaml:4" in said(capsys, "explain", "child", "dataset")
    assert said(capsys, "show", "child").startswith("# child, profile demo\n")


def test_show_reads_back_to_the_manifest(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped runs: what is shown is what the committed manifests hold, each line where provenance has it."""
    monkeypatch.chdir(ROOT)
    for lock in sorted((ROOT / "generated/demo").glob("*.lock.json")):
        run = lock.name.removesuffix(".lock.json")
        if not (ROOT / f"specs/{run}.yaml").exists():
            continue
        text = said(capsys, "show", run)
        shown = plain(parse("shown.yaml", text.encode()).plain())
        manifest = json.loads(lock.read_bytes())
        experiment = {key: item for key, item in shown.items() if key != "execution"}
        for slot in [slot for slot in SLOTS if experiment.get(slot) is not None]:
            experiment[slot] = {
                key: item for key, item in experiment[slot].items() if key not in ("title", "notes", "license")
            }
        assert experiment == manifest["experiment"]
        assert shown["execution"] == manifest["execution"]
        assert json.loads(said(capsys, "show", run, "--json"))["experiment"]["kind"] == shown["kind"]
        provenance = json.loads((ROOT / f"generated/demo/{run}.provenance.json").read_bytes())["values"]
        winners = [layers[0] for section in provenance.values() for layers in section.values()]
        # An empty mapping holds defaults alone, and says so line by line.
        assert comments(text) >= {f"{path}:{line}" for path, line, _, *value in winners if value != [{}]}


def comments(text: str) -> set[str]:
    return {line.rpartition("  # ")[2] for line in text.splitlines()[1:]}


def plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(
        ["null", "True", "no", "~", "1e5", "0x1f", ".5", "a: b", "a #b", "- a", "é\u2028", "\x1b[31m", "%"]
    ),
)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=0, max_size=8)
VALUES = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS | st.lists(SCALARS, max_size=3), lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(VALUES)
def test_whatever_is_written_reads_back(values: dict[str, object]) -> None:
    text = "\n".join(yaml_view.lines(values, lambda path: "default"))
    read = plain(parse("shown.yaml", text.encode()).plain())
    assert read == values
    assert json.dumps(read, sort_keys=True) == json.dumps(values, sort_keys=True)  # 1, 1.0 and true are three values
    assert all(character.isprintable() or character == "\n" for character in text)


def test_hostile_values_are_inert(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = r"\x1b[2J\u202e\r\n::error::" + "x" * 5000
    (project / "specs/datasets/sample.yaml").write_text(
        (BASE / "specs/datasets/sample.yaml").read_text().replace("A few rows of the same shape", f'"{hostile}"')
    )
    for call in (("explain", "child"), ("explain", "child", "dataset.title")):
        text = said(capsys, *call)
        assert all(character.isprintable() for character in text.replace("\n", ""))
        assert max(map(len, text.splitlines())) < 260
    shown = said(capsys, "show", "child")
    assert "\x1b" not in shown
    assert "\r" not in shown
    read = parse("shown.yaml", shown.encode()).at(("dataset", "title"))
    assert read is not None
    assert read.value == "\x1b[2J\u202e\r\n::error::" + "x" * 5000
