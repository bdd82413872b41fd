"""The pages in docs/: their examples compile, their tables are the code's, their sessions are what hsdc prints now."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from docs.sessions import HEAVY, LIGHT, PAGE, page, steady
from hsdc import cli, completion
from hsdc_compiler.compilation import Compilation
from hsdc_compiler.parse import parse
from hsdc_compiler.pipeline import compile_project
from hsdc_schemas.errors import HsdcError
from hsdc_schemas.factors import essence, factors
from hsdc_schemas.manifest import Manifest
from hsdc_schemas.record import Record
from hsdc_schemas.stages import section
from hsdc_schemas.tables import ENCODER
from tests.schemas.test_editor_schemas import faults, kind_of

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"^```yaml ?(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MEANT = {"W747"}  # of the campaign's own gates, which stand beside the examples
FOLDERS = {
    "run": "",
    "dataset": "datasets/",
    "corpus": "corpora/",
    "model": "models/",
    "prompt": "prompts/",
    "profile": "profiles/",
}


class Example(NamedTuple):
    """A file of the page on the language, and the code with which it is refused."""

    path: str
    text: str
    code: str


def text_of(*names: str) -> str:
    return "\n".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in names)


def examples() -> Iterator[Example]:
    for code, body in BLOCK.findall(text_of("language.md", "kinds.md")):
        if body.startswith("hsdc: 1\n"):
            kind, name = body.splitlines()[1].split(": ")
            yield Example(f"specs/{FOLDERS[kind]}{name}.yaml", body, code)


SOUND = [example for example in examples() if not example.code]
REFUSED = [example for example in examples() if example.code]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("language") / "project"
    for folder in ("specs", "locks"):
        shutil.copytree(ROOT / folder, root / folder)
    for example in SOUND:
        assert not (root / example.path).exists(), "an example has the name of a spec that ships"
        (root / example.path).write_text(example.text)
    return root


@pytest.fixture(scope="module")
def compiled(project: Path) -> Compilation:
    return compile_project(project, lock=False)


def test_the_examples_of_the_language_compile(compiled: Compilation) -> None:
    assert len(SOUND) >= 12
    assert [fault.message for fault in compiled.diagnostics if fault.code not in MEANT] == []
    runs = [Path(example.path).stem for example in SOUND if example.path.count("/") == 1]
    assert [run for run in runs if not any(name.partition(".")[0] == run for name in compiled.resolved)] == []


def test_budgets_of_the_examples_are_what_they_change(compiled: Compilation) -> None:
    counted = {}
    for name, found in compiled.resolved.items():
        if found.parent is not None:
            changed = set(factors(compiled.resolved[found.parent].experiment, found.experiment))
            counted[name.partition(".")[0]] = len(changed)
    for example in SOUND:
        budget = re.search(r"^budget: (\d+)$", example.text, re.MULTILINE)
        if budget is not None:
            assert counted[Path(example.path).stem] == int(budget[1]), example.path


@pytest.mark.parametrize("example", REFUSED, ids=lambda example: example.code)
def test_what_the_page_says_is_refused_is(project: Path, example: Example) -> None:
    try:
        found = compile_project(project, lock=False, overlay={example.path: example.text.encode()}).diagnostics
    except HsdcError as error:
        found = tuple(error.diagnostics)
    assert {diagnostic.code for diagnostic in found} - MEANT == {example.code}


def test_examples_become_what_the_page_says(compiled: Compilation) -> None:
    seen = 0
    for _, body in BLOCK.findall(text_of("language.md")):
        if claim := re.match(r"# (\w+) becomes\n", body):
            seen += 1
            _within(yaml.safe_load(body), essence(compiled.resolved[claim[1]].experiment), claim[1])
    assert seen >= 4


def _within(expected: dict[str, Any], found: dict[str, Any], path: str) -> None:
    for key, value in expected.items():
        if isinstance(value, dict):
            _within(value, found[key], f"{path}.{key}")
            if key == "multipliers":
                assert value == found[key], "whole, so that what was taken out is seen to be gone"
        else:
            assert (value, type(value)) == (found[key], type(found[key])), f"{path}.{key}"


def test_the_names_of_the_matrix_are_those_of_its_runs(compiled: Compilation) -> None:
    named = set(re.findall(r"`(sweep\.[\w.+-]+)`", text_of("language.md")))
    assert named == {name for name in compiled.resolved if name.startswith("sweep.")}


def test_editors_agree_with_the_page_on_the_language() -> None:
    for example in SOUND:
        values = parse(example.path, example.text.encode()).plain()
        assert faults(kind_of(example.path), _json(values)) == [], example.path


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _json(item) for key, item in value.items()}
    return [_json(item) for item in value] if isinstance(value, tuple) else value


def tables(name: str) -> dict[str, list[list[str]]]:
    """The tables of a page by the text of their first heading; cells as plain text."""
    found: dict[str, list[list[str]]] = {}
    for block in re.findall(r"(?:^\|.*\|\n)+", text_of(name), re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        found.setdefault(rows[0][0], []).extend(rows[2:])
    return found


def test_the_fields_of_manifest_and_record_are_all_there() -> None:
    rows = tables("manifests.md")["field"]
    named = [re.findall(r"`(\w+)`", row[0]) for row in rows]
    cut = named.index(["digest"]) + 1
    assert sorted(chain.from_iterable(named[:cut])) == sorted(Manifest.model_fields)
    assert sorted(chain.from_iterable(named[cut:])) == sorted(Record.model_fields)


def test_the_table_of_stages_is_the_codes() -> None:
    rows = tables("manifests.md")["stage"]
    written = [[row[0].strip("`"), *(tuple(filter(None, cell.split(", "))) for cell in row[1:])] for row in rows]
    assert written == [[stage.name, stage.needs, stage.inputs, stage.outputs] for stage in ENCODER]


def test_what_runs_again_follows_from_the_stages() -> None:
    rows = tables("manifests.md")["a change of"]
    assert len(rows) >= 6
    for path, again in rows:
        keys = path.strip("`").split(".")
        value: Any = 1
        for key in reversed(keys):
            value = {key: value}
        values = value if keys[0] == "execution" else {"experiment": value}
        stale: list[str] = []
        for stage in ENCODER:
            if "1" in str(section(values, stage.sections)) or {*stage.needs} & {*stale}:
                stale.append(stage.name)
        assert again == ", ".join(stale), path


def test_calls_on_the_pages_parse() -> None:
    seen = 0
    for path in PAGES:
        for call in re.findall(r"^(?:    | *- run: |        run: |\$ )(hsdc [^\n]+)$", path.read_text(), re.MULTILINE):
            bare = re.split(r" {2,}| >>? ", call)[0].replace("${{ github.base_ref }}", "main")
            if "COMMAND" not in bare:
                assert cli.parse(shlex.split(bare)[1:]).command, call
                seen += 1
    assert seen >= 25


def test_links_between_pages_lead_somewhere() -> None:
    for path in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_pages_are_short_enough_to_be_read() -> None:
    for path in PAGES:
        if path.name not in ("codes.md", "commands.md", "faults.md"):
            lines = path.read_text(encoding="utf-8").splitlines()
            assert len(lines) <= 320, path.name
            assert max(len(line) for line in lines if not line.startswith("|")) <= 120, path.name  # but for tables


def test_hooks_call_what_there_is() -> None:
    hooks = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
    assert {*hooks} == {"hsdc-fmt", "hsdc-check"}
    for hook in hooks.values():
        assert {"id", "name", "entry", "language", "files"} <= {*hook}
        options = cli.parse(shlex.split(hook["entry"])[1:])
        assert options.command in ("fmt", "compile")
    fmt, check = hooks["hsdc-fmt"], hooks["hsdc-check"]
    assert cli.parse([*shlex.split(fmt["entry"])[1:], "specs/run1.yaml", "specs/profiles/demo.yaml"]).files
    assert all(re.search(fmt["files"], path) for path in ("specs/run1.yaml", "specs/models/mbert.yaml"))
    assert not re.search(fmt["files"], "generated/demo/run1.lock.json")
    assert check["pass_filenames"] is False
    assert all(re.search(check["files"], path) for path in ("specs/a.yaml", "locks/runtime.txt", "generated/demo/x"))
    for configuration in (yaml.safe_load(body) for _, body in BLOCK.findall(text_of("ci.md"))):
        for item in configuration.get("repos", ()):
            for hook in item["hooks"]:
                assert cli.parse([*shlex.split(hooks[hook["id"]]["entry"])[1:], *hook.get("args", ())])


@pytest.fixture
def switches() -> Iterator[None]:
    """What a run sets for its whole process is set back."""
    import torch

    threads = torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def test_sessions_are_what_the_commands_print(switches: None) -> None:
    found, written = page((*LIGHT, *HEAVY)), PAGE.read_text(encoding="utf-8")
    light = f"\n## hsdc {HEAVY[0].command}\n"
    assert found.partition(light)[0] == written.partition(light)[0], "python -m docs.sessions writes it anew"
    assert steady(found) == steady(written), "python -m docs.sessions writes it anew"


def test_faults_are_told_as_the_page_says() -> None:
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare here")
    alone = ["unshare", "--mount", "--map-root-user", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    tried = subprocess.run(alone, capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"nothing can be mounted here: {tried.stderr.strip()}")
    told = [sys.executable, "-m", "docs.faults", "--print"]
    answer = subprocess.run(told, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    found, written = (_parts(text) for text in (answer.stdout, text_of("faults.md")))
    assert len(found) > 15
    assert {name: written.get(name) for name in found} == found, "python -m docs.faults writes it anew"


def _parts(page: str) -> dict[str, str]:
    """The sections of the page on faults, and the rows of its table, by what they begin with."""
    sections = re.split("^## ", page, flags=re.MULTILINE)
    rows = [line for line in sections[0].splitlines() if line.startswith("| [")]
    return {part.partition("\n")[0][:60]: steady(part) for part in (*sections[1:], *rows)}


def test_every_command_has_a_session() -> None:
    commands = {command.name for command in completion.commands(cli.command_line()) if command.name}
    assert commands == {item.command for item in (*LIGHT, *HEAVY)}, "add a Session to docs/sessions.py"
