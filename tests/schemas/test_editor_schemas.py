"""The schemas that editors use: what ships is valid, what people get wrong is refused, every field says what it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from hsdc_compiler.parse import parse
from hsdc_compiler.pipeline import compile_project
from hsdc_compiler.project import HEADERS
from hsdc_schemas.errors import HsdcError
from hsdc_schemas.export import schemas
from hsdc_schemas.spec import SLOTS
from tests.cases.update import HERE, lay, parts, valid

ROOT = Path(__file__).resolve().parents[2]
KINDS = {"": "spec", "profiles": "profile", **{folder: slot for slot, (folder, _) in SLOTS.items()}}
FRESH = {Path(path).name: json.loads(data) for path, data in schemas().items()}


@cache
def validator(name: str) -> Draft202012Validator:
    schema = FRESH[f"{name}.schema.json"]
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def kind_of(path: str) -> str:
    return KINDS["/".join(path.split("/")[1:-1])]


def faults(kind: str, value: object) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator(kind).iter_errors(value)]


def written() -> Iterator[tuple[str, bytes]]:
    """Every spec that ships, and every one of the valid cases."""
    for root in (ROOT, HERE / "base", *valid()):
        for path in sorted((root / "specs").rglob("*.yaml")):
            yield path.relative_to(root).as_posix(), path.read_bytes()


SPECS = list(written())


@pytest.mark.parametrize(("path", "data"), SPECS, ids=[path for path, _ in SPECS])
def test_what_compiles_is_valid(path: str, data: bytes) -> None:
    assert faults(kind_of(path), plain(path, data)) == []


def plain(path: str, data: bytes) -> Any:
    """The values of a spec as JSON would hold them, as the compiler reads them."""
    return json.loads(json.dumps(parse(path, data).plain()))


def test_shipped_specs_name_their_schema() -> None:
    for path in sorted((ROOT / "specs").rglob("*.yaml")):
        first = path.read_text(encoding="utf-8").splitlines()[0]
        marker, _, target = first.partition("$schema=")
        assert marker == "# yaml-language-server: ", path
        kind = kind_of(path.relative_to(ROOT).as_posix())
        assert (path.parent / target).resolve() == ROOT / f"schemas/{kind}.schema.json"


def test_what_hsdc_wrote_is_valid() -> None:
    for case in sorted((HERE / "valid").rglob("*.lock.json")):
        manifest = json.loads(case.read_bytes())
        assert faults("manifest", manifest) == []
        assert faults("experiment", manifest["experiment"]) == []
        if manifest["experiment"]["kind"] != "encoder":
            continue
        manifest["experiment"]["training"]["seed"] = str(2**60)  # as JSON holds what is beyond its numbers
        assert faults("experiment", manifest["experiment"]) == []
        del manifest["experiment"]["evaluation"]["cross_slices"]
        assert faults("experiment", manifest["experiment"]) == ["$.evaluation: 'cross_slices' is a required property"]


CHILD = "hsdc: 1\nrun: case\nextends: parent\nbudget: 9\nwhy: A mistake.\n"
MISTAKES = {  # what stands under `change`
    "misspelt section": "trainig: {epochs: 4}",
    "misspelt key": "training: {learnig_rate: 1.0e-5}",
    "misspelt key of a head": "heads: {tone: {wieght: 2.0}}",
    "misspelt key of a variant": "heads: {tone: {loss: {gama: 2.0}}}",
    "key of another variant": "heads: {tone: {loss: {kind: cross_entropy, gamma: 2.0}}}",
    "text for a number": "training: {epochs: four}",
    "number in quotes": "training: {learning_rate: '2e-5'}",
    "number for a text": "model: {revision: 1.1}",
    "yes for true": "evaluation: {cross_slices: yes}",
    "no epochs": "training: {epochs: 0}",
    "negative seed": "training: {seed: -1}",
    "half an epoch": "training: {epochs: 1.5}",
    "dropout of one": "head: {dropout: 1}",
    "unknown choice": "encoder: {pooling: avg}",
    "unknown variant": "heads: {tone: {loss: {kind: focl}}}",
    "unknown calibration": "evaluation: {calibration: {kind: temprature}}",
    "metric without its head": "training: {best_metric: f1_macro}",
    "null where none is allowed": "training: {epochs: null}",
    "list for a mapping": "head: [2, 32]",
    "one label": "heads: {tone: {labels: [cold]}}",
    "component without use": "dataset: corpus",
    "component by a path": "model: {use: ../profiles/demo}",
    "head that is no name": "heads: {Tone: {weight: 2.0}}",
    "operator that is none": "training: {epochs: {$set: 4}}",
    "operator beside a key": "training: {$replace: {epochs: 4}, epochs: 4}",
    "two operators": "heads: {tone: {labels: {$replace: [cold, warm], $append: [even]}}}",
    "unset with a path": "training: {r_drop: {$unset: alpha}}",
    "append to a number": "training: {epochs: {$append: [4]}}",
    "append without a list": "heads: {tone: {labels: {$append: even}}}",
    "replace by another type": "training: {epochs: {$replace: four}}",
    "reference beside a key": "training: {epochs: {$ref: training.seed, note: x}}",
}
HEADERS_WRONG = {
    "no budget": CHILD.replace("budget: 9\n", ""),
    "budget as a text": CHILD.replace("budget: 9", "budget: nine"),
    "negative budget": CHILD.replace("budget: 9", "budget: -1"),
    "misspelt header": CHILD.replace("why:", "wyh:"),
    "section beside change": f"{CHILD}training: {{epochs: 4}}\n",
    "two parents": CHILD.replace("extends: parent", "extends: [parent, other]"),
    "change without parent": CHILD.replace("extends: parent\n", "") + "change: {training: {epochs: 4}}\n",
    "other version": CHILD.replace("hsdc: 1", "hsdc: 2"),
    "operators in change": f"{CHILD}change: {{$unset: true}}\n",
    "claim misspelt": f"{CHILD}reproduces: {{run: parent, metrik: overall.f1_macro}}\n",
    "restore without paths": f"{CHILD}restore: {{from: parent}}\n",
    "axis that is no list": f"{CHILD}matrix: {{axes: {{training.seed: 1}}}}\n",
    "matrix without axes": f"{CHILD}matrix: {{max_runs: 4}}\n",
    "misspelt key of a matrix": f"{CHILD}matrix: {{axes: {{training.seed: [1]}}, replicates: [training.seed]}}\n",
}
WRONG = {name: f"{CHILD}change:\n  {text}\n" for name, text in MISTAKES.items()} | HEADERS_WRONG


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay(HERE / "valid/same_experiment", tmp_path_factory.mktemp("base") / "project")


@pytest.mark.parametrize("mistake", WRONG)
def test_a_typical_mistake_is_refused_by_both(base: Path, mistake: str) -> None:
    """By the schema and by the compiler, so that neither knows a language of its own."""
    text = WRONG[mistake].encode()
    assert faults("spec", plain("specs/case.yaml", text)) != []
    try:
        found = compile_project(base, ["case"], lock=False, overlay={"specs/case.yaml": text}).diagnostics
    except HsdcError as error:
        found = tuple(error.diagnostics)
    assert [fault.code for fault in found if fault.severity == "error"] != []


ACCEPTED = {
    "nothing": "{}",
    "null": "null",
    "a slot by name": "{model: {use: tiny}}",
    "a slot's own values": "{model: {title: Ours}}",
    "a new head": "{heads: {mood: {labels: [a, b], target: tone, loss: {kind: focal}, class_weights: {kind: equal}}}}",
    "a part of a variant": "{heads: {tone: {loss: {gamma: 1.0}}}}",
    "a reference": "{head: {hidden: {$ref: encoder.max_length}}}",
    "every operator on lists": "{heads: {tone: {labels: {$remove: [even], $append: [even], $prepend: [mild]}}}}",
    "a section replaced": "{evaluation: {$replace: {thresholds: {kind: grid}}}}",
    "a literal": "{heads: {tone: {class_weights: {multipliers: {$literal: {cold: 1.5}}}}}}",
    "a section unset": "{evaluation: {$unset: true}}",
    "null for an optional section": "{training: {r_drop: null}}",
}


@pytest.mark.parametrize("change", ACCEPTED)
def test_what_a_change_may_hold_is_accepted(change: str) -> None:
    text = f"{CHILD}change: {ACCEPTED[change]}\n".encode()
    assert faults("spec", plain("specs/case.yaml", text)) == []


def test_a_root_is_whole() -> None:
    root = yaml.safe_load((HERE / "base/specs/parent.yaml").read_text())
    assert faults("spec", root) == []
    for section in ("kind", "dataset", "model", "encoder", "head", "heads", "sampling", "training"):
        assert faults("spec", {key: item for key, item in root.items() if key != section}) != []
    for path in (("training", "epochs"), ("heads", "tone", "loss"), ("heads", "topic", "loss", "kind")):
        broken = yaml.safe_load((HERE / "base/specs/parent.yaml").read_text())
        above = broken
        for key in path[:-1]:
            above = above[key]
        del above[path[-1]]
        assert faults("spec", broken) != [], path
    assert faults("spec", {**root, "training": {**root["training"], "seed": {"$unset": True}}}) != []
    assert faults("spec", {**root, "training": {**root["training"], "seed": {"$ref": "training.epochs"}}}) == []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("profile", "hsdc: 1\nprofile: p\nexecution: {device: gpu}"),
        ("profile", "hsdc: 1\nprofile: p\nexecution: {limit: {epochs: 1}}"),
        ("profile", "hsdc: 1\nprofile: p\nbind: {modle: {large: tiny}}"),
        ("profile", "hsdc: 1\nbind: {model: {large: tiny}}"),
        ("model", "hsdc: 1\nmodel: m\nrevision: abc"),
        ("model", "hsdc: 1\nmodel: m\nsource: hf:x/y\nrevision: 1.1"),
        ("dataset", "hsdc: 1\ndataset: d\nformat: cvs\nsplits: {train: x}\ncolumns: [id, text]\nlabels: {a: a}"),
        ("dataset", "hsdc: 1\ndataset: d\nformat: csv\ncolumns: [id, text]\nlabels: {a: a}"),
    ],
)
def test_mistakes_in_components_and_profiles_are_refused(kind: str, text: str) -> None:
    assert faults(kind, yaml.safe_load(text)) != []


def test_whatever_a_schema_refuses_the_compiler_refuses() -> None:
    """No invalid case but those is needed: what the schema finds wrong in them must be an error of the compiler's."""
    seen = 0
    for case in sorted((HERE / "invalid").glob("*.yaml")):
        expected = case.with_suffix(".txt").read_text(encoding="utf-8")
        for path, data in parts(case):
            try:
                value = plain(path, data) if path.endswith(".yaml") else None
            except HsdcError:
                continue
            if value is not None and faults(kind_of(path), value):
                seen += 1
                assert "error[" in expected, case.name
    assert seen >= 40


def fields(schema: Any, path: str = "$") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        for name, item in schema.get("properties", {}).items():
            if isinstance(item, dict):
                yield f"{path}.{name}", item
        for key, item in schema.items():
            if key != "if":
                yield from fields(item, f"{path}.{key}")
    elif isinstance(schema, list):
        for item in schema:
            yield from fields(item, path)


@pytest.mark.parametrize("kind", ["experiment", "profile", "dataset", "model", "prompt"])
def test_every_field_says_what_it_is(kind: str) -> None:
    schema = FRESH[f"{kind}.schema.json"]
    plain = {
        name: item for name, item in schema["$defs"].items() if not name.endswith(("Change", "Written", "Operators"))
    }
    body = schema.get("else", schema)
    found = list(fields({**body.get("else", body), "$defs": plain}))
    assert len(found) > 5
    assert [path for path, field in found if not said(schema, field).endswith(".")] == []


def said(schema: dict[str, Any], field: dict[str, Any]) -> str:
    """What a reader is shown: the words of the field, or of the section that it is."""
    section = schema.get("$defs", {}).get(field.get("$ref", "").rpartition("/")[2], {})
    return str(field.get("description") or section.get("description", ""))


def test_the_words_of_a_field_are_shown_in_a_change_too() -> None:
    definitions = FRESH["spec.schema.json"]["$defs"]
    rate = definitions["TrainingChange"]["properties"]["learning_rate"]
    assert rate["description"].startswith("Peak rate")
    assert definitions["TrainingWritten"]["properties"]["seed"]["default"] == 42
    assert all(field["description"] for field in FRESH["spec.schema.json"]["then"]["properties"].values())


def test_the_header_of_a_run_is_the_compilers() -> None:
    spec = FRESH["spec.schema.json"]
    assert {*spec["then"]["properties"]} == {*HEADERS}
    assert {*HEADERS} - {*spec["else"]["properties"]} == {"change", "restore"}


def test_the_committed_schemas_are_fresh() -> None:
    for path, data in schemas().items():
        assert (ROOT / path).read_bytes() == data, "hsdc schema writes it anew"
    assert {path.name for path in (ROOT / "schemas").glob("*.json")} == {*FRESH}


def test_every_field_with_few_values_offers_them_where_editors_look() -> None:
    """An editor that completes a value reads what a field itself says, and nothing below a condition."""
    few = {}
    for path, field in fields(FRESH["spec.schema.json"]):
        value = field.get("else", {})
        if choices := value.get("enum") or ([True, False] if value.get("type") == "boolean" else []):
            few[path.rpartition(".")[2]] = choices
            assert set(field["examples"]) <= set(choices), path
            assert {*field["examples"], *([field["default"]] if "default" in field else ())} & set(choices), path
    assert few["pooling"] == ["cls", "mean", "last4_mean", "attention"]
    assert {"kind", "method", "cross_slices"} <= few.keys()


def test_every_section_of_a_change_says_what_it_is() -> None:
    change = FRESH["spec.schema.json"]["then"]["properties"]["change"]["properties"]
    assert [name for name, field in change.items() if not field.get("description")] == []


@pytest.mark.parametrize("key", ["extend", "chnage", "trainig"])
def test_a_misspelt_key_is_named_before_the_kind_is_known(key: str) -> None:
    assert any(f"'{key}'" in fault for fault in faults("spec", {"hsdc": 1, "run": "new", key: "parent"}))
    assert not any("'training'" in fault for fault in faults("spec", {"hsdc": 1, "run": "new", "training": {}}))
