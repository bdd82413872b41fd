"""Every code that the sources use has a page, every page a code, and the examples give what they say."""

from __future__ import annotations

import ast
import io
import re
import shutil
from pathlib import Path

import pytest

from hsdc import codes
from hsdc.__main__ import main
from hsdc_compiler.pipeline import compile_project
from hsdc_compiler.project import HEADERS
from hsdc_schemas.components import Dataset
from hsdc_schemas.errors import HsdcError
from hsdc_schemas.rows import FILE_FAULTS, read_rows

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "tests/cases/base"
CODE = re.compile(r"(?<![A-Za-z0-9])[EW]\d{3}(?![A-Za-z0-9])")
EXAMPLE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"^# file: (\S+)\n", re.MULTILINE)
START = {"hsdc:": "hsdc: 1\n", "run:": "run: case\n", "extends:": "extends: parent\n", "budget:": "budget: 9\n"}
START |= {"why:": "why: It is an example.\n"}
LABELS = {"tone": ("tone", ("cold", "even", "warm")), "topic": ("topic", ("work", "rest"))}


def used() -> set[str]:
    """The codes in string literals of the four packages, docstrings and the help of the command left out."""
    found: set[str] = set()
    for folder in ("schemas/hsdc_schemas", "compiler/hsdc_compiler", "runtime/hsdc_runtime", "hsdc"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            texts = [
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone
            ]
            found |= {code for text in texts if "hsdc explain" not in text for code in CODE.findall(text)}
    return found


def test_codes_and_pages_are_the_same() -> None:
    assert sorted(used() - set(codes.pages())) == [], "codes without a page in hsdc/codes"
    assert sorted(set(codes.pages()) - used()) == [], "pages of codes that no source uses"
    assert len(codes.pages()) > 100


def test_pages_are_short_and_say_the_way_out() -> None:
    for page in codes.pages().values():
        assert "\nMend: " in f"\n{page.text}", page.code
        assert page.title == page.title.strip().rstrip("."), page.code
        assert sum(1 for line in page.text.splitlines() if line) <= 16, page.code
        assert max(map(len, page.text.splitlines())) <= 120, page.code
        assert page.text.count("```") in (0, 2), page.code


def test_the_index_is_fresh() -> None:
    written = (ROOT / "docs/codes.md").read_text(encoding="utf-8")
    assert written == codes.index(), "python -m hsdc.codes writes it anew"
    links = re.findall(r"\]\((\S+?)(?:#(\S+))?\)", written)
    headings = {
        re.sub(r"[^\w\- ]", "", line[3:].lower()).replace(" ", "-")
        for path in (ROOT / "hsdc/codes").glob("*.md")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("## ")
    }
    assert all((ROOT / "docs" / path).is_file() and (not anchor or anchor in headings) for path, anchor in links)


def examples(language: str) -> list[tuple[str, str]]:
    found = [(page.code, EXAMPLE.search(page.text)) for page in codes.pages().values()]
    return [(code, match[2]) for code, match in found if match is not None and match[1] == language]


@pytest.mark.parametrize(("code", "example"), examples("yaml"), ids=lambda value: value if len(value) == 4 else "")
def test_an_example_in_yaml_gives_its_code(tmp_path: Path, code: str, example: str) -> None:
    if "matrix:" in example and "matrix" not in HEADERS:
        pytest.skip("runs have no matrix yet")
    root = tmp_path / "project"
    shutil.copytree(BASE, root)
    pieces = FILE.split(example)
    files = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    if pieces[0].strip():
        missing = [line for key, line in START.items() if not re.search(f"^{key}", pieces[0], re.MULTILINE)]
        files["specs/case.yaml"] = "".join(missing) + pieces[0]
    for name, text in files.items():
        (root / name).write_text(text)
    try:
        compilation = compile_project(root)
        found = {diagnostic.code for diagnostic in compilation.diagnostics}
    except HsdcError as error:
        found = {diagnostic.code for diagnostic in error.diagnostics}
    assert code in found, f"{code} is not among {sorted(found)}"


@pytest.mark.parametrize("form", ["csv", "json"])
def test_an_example_of_rows_gives_its_code(tmp_path: Path, form: str) -> None:
    names = {"csv": "csv", "json": "jsonl"}
    columns = ("id", "text", "tone", "topic")
    for code, example in examples(form):
        path = tmp_path / f"rows.{form}"
        path.write_text(example)
        blank = "mask" if code == "E608" else "reject"
        dataset = Dataset.model_validate(
            {
                "format": names[form],
                "splits": {"train": "file:rows"},
                "columns": columns,
                "labels": {"tone": "tone", "topic": "topic"},
                "blank": blank,
            }
        )
        try:
            found = [diagnostic.code for diagnostic in read_rows(path, "rows", dataset, LABELS).rejected]
        except HsdcError as error:
            found = [diagnostic.code for diagnostic in error.diagnostics]
            assert code in FILE_FAULTS
        assert found == [code]


def test_a_code_is_explained_and_an_unknown_one_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # no project is needed
    for subject in ("E801", "e801"):
        assert main(["explain", subject]) == 0
        text = capsys.readouterr().out
        assert text.startswith("E801: more factors differ than the budget allows\n")
        assert "    budget: 1\n" in text
        assert "```" not in text
    assert main(["explain", "E899"]) == 2
    assert "error[E011]" in (text := capsys.readouterr().err)
    assert "E801" in text
    assert main(["explain", "E801", "training"]) == 2
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs/e801.yaml").write_text("hsdc: 1\nrun: e801\nextends: nobody\n")
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert main(["explain", "e801"]) == 2, "a run of that name comes first"
