"""A data run takes its records from the corpus that the profile binds, and leaves as files that others read."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from hsdc.push import Hub, Pushed

SPEC = """\
hsdc: 1
run: posts
kind: data
corpus: {use: own}
splits: {kind: given, names: {train: train, test: test}}
leakage: {exact: drop, similar: allow}
prompt: {user: "{{ text }}", format: {kind: label}}
task: {target: label, labels: [hate, normal]}
outputs: {chat: {kind: chat}, table: {kind: rows, format: parquet}}
"""
OWN = """\
hsdc: 1
corpus: own
shapes:
  post:
    fields: {id: {}, text: {}, label: {allowed: [hate, normal]}, split: {allowed: [train, test]}}
    columns: {id: id, text: text, label: label, split: split}
sources:
  all: {source: "local:private/posts.json", format: json, shapes: [post], license: MIT}
expect: {rows: {train: {minimum: 1000}}}
"""
OTHER = """\
hsdc: 1
corpus: other
extends: own
change:
  shapes:
    post:
      fields: {label: {allowed: [bad, fine]}, tags: {type: texts, nullable: true}}
      columns: {label: {$replace: {path: label, values: {bad: hate, fine: normal}}}}
  sources: {all: {source: "file:data/posts.json"}}
  expect: {rows: {train: {minimum: 3, maximum: 3}}}
"""
PACKAGES = ("google-re2", "jinja2", "msgspec", "numpy", "pyarrow")


def spec_files(text: str) -> dict[str, str]:
    profiles = {"demo": "bind: {corpus: {own: other}}\n", "full": ""}
    lines = {f"profiles/{name}": f"hsdc: 1\nprofile: {name}\n{bound}" for name, bound in profiles.items()}
    return {"posts": text, "corpora/own": OWN, "corpora/other": OTHER, **lines}


def rows() -> list[dict[str, Any]]:
    labels = ("bad", "fine", "fine", "bad", "fine")
    splits = ("train", "train", "test", "train", "test")
    pairs = enumerate(zip(labels, splits, strict=True))
    return [{"id": f"p{n}", "text": f"a post {n}", "label": a, "split": b, "tags": None} for n, (a, b) in pairs]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in spec_files(SPEC).items():
        path = tmp_path / f"specs/{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for folder in ("data", "locks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "data/posts.json").write_text(json.dumps(rows()))
    (tmp_path / "locks/runtime.txt").write_text("".join(f"{name}=={metadata.version(name)}\n" for name in PACKAGES))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_profile_puts_another_corpus_with_shapes_of_its_own_in_place(project: Path, hsdc: Callable[..., Any]) -> None:
    assert hsdc("compile").code == 0
    manifest = json.loads((project / "generated/demo/posts.lock.json").read_bytes())
    assert manifest["components"] == {"corpus": {"named": "own", "used": "other"}}
    assert [item["source"] for item in manifest["inputs"]] == ["file:data/posts.json"]
    answer = hsdc("run", "posts")
    assert answer.code == 0, answer.err
    record = json.loads((project / "generated/demo/posts.record.json").read_bytes())
    assert record["rows"] == {"all": {"read": 5, "kept": 5, "filtered": {}, "rejected": {}}}
    elsewhere = hsdc("compile", "--profile", "full")
    assert (elsewhere.code, "error[E406]" in elsewhere.err) == (4, True)
    assert "'local:private/posts.json'" in elsewhere.err


def test_what_the_corpus_expects_is_held_against_the_result(project: Path, hsdc: Callable[..., Any]) -> None:
    other = project / "specs/corpora/other.yaml"
    other.write_text(OTHER.replace("{minimum: 3, maximum: 3}", "{minimum: 4, maximum: 5}"))
    assert hsdc("compile").code == 0
    answer = hsdc("run", "posts")
    assert (answer.code, "rows of train: 3, expected at least 4 and at most 5" in answer.err) == (1, True)


def test_rows_leave_under_the_names_of_their_metadata(project: Path, hsdc: Callable[..., Any]) -> None:
    assert hsdc("compile").code == 0
    answer = hsdc("export", "posts", "--to", "out")
    assert (answer.code, "error[E550]" in answer.err) == (2, True)
    assert hsdc("run", "posts").code == 0
    answer = hsdc("export", "posts", "--to", "out", "--json")
    files = ["README.md", "chat.test.jsonl", "chat.train.jsonl", "croissant.json", "table.test.parquet"]
    assert json.loads(answer.out)["files"] == [*files, "table.train.parquet"]
    told = json.loads((project / "out/croissant.json").read_bytes())
    for file in told["distribution"]:
        assert (project / "out" / file["contentUrl"]).stat().st_size == int(file["contentSize"].removesuffix(" B"))
    lines = (project / "out/chat.train.jsonl").read_text().splitlines()
    assert [json.loads(line)["messages"][-1]["content"] for line in lines] == ["hate", "normal", "hate"]
    assert "Licence: MIT" in (project / "out/README.md").read_text()
    again = hsdc("export", "posts", "--to", "out")
    assert (again.code, "error[E551]" in again.err) == (2, True)
    merged = hsdc("export", "posts", "--to", "merged", "--merge")
    assert (merged.code, "error[E000]" in merged.err, (project / "merged").exists()) == (2, True, False)


def test_rows_are_not_compared(project: Path, hsdc: Callable[..., Any]) -> None:
    (project / "specs/more.yaml").write_text(
        "hsdc: 1\nrun: more\nextends: posts\nbudget: 1\nwhy: Fewer.\n"
        "change: {filters: [{kind: length, column: text, minimum: 3}]}\n"
    )
    assert hsdc("compile").code == 0
    answer = hsdc("compare", "posts", "more")
    assert (answer.code, "error[E824] 'posts' makes rows, which are not scored" in answer.err) == (2, True)


def test_rows_are_pushed_as_a_data_set(
    project: Path, hsdc: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, ...]] = []

    def push(to: Hub, folder: Path, repository: str, message: str, kind: str) -> Pushed:
        seen.append((repository, kind, (folder / "croissant.json").is_file()))
        return Pushed("c0ffee", private=True)

    monkeypatch.setattr("hsdc.push.hub", lambda: Hub("secret"))
    monkeypatch.setattr("hsdc.push.push", push)
    assert hsdc("compile").code == 0
    assert hsdc("run", "posts").code == 0
    answer = hsdc("export", "posts", "--push", "me/posts")
    assert (answer.code, seen) == (0, [("me/posts", "dataset", True)])
    assert "pushed: me/posts at c0ffee, private, 6 files: README.md" in answer.out
