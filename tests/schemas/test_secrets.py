"""What looks like a secret is refused before it is written, and the refusal never says what it was."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from pathlib import Path

import pytest

from hsdc.__main__ import main
from hsdc_schemas.errors import HsdcError
from hsdc_schemas.secrets import redacted, require_no_secrets, secrets_in
from tests.repository import Campaign

LETTERS = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF3hJ6"  # made up: no key of anybody's
TOKENS = {
    "a Hugging Face token": f"hf_{LETTERS}",
    "an API key": f"sk-proj-{LETTERS}",
    "a GitHub token": f"ghp_{LETTERS}",
    "an AWS access key": "AKIA" + LETTERS.upper()[:16],
    "a private key": "-----BEGIN OPENSSH PRIVATE KEY-----",
}
ORDINARY = (
    "hf_hub_download_of_the_whole_model_folder",
    "risk-adjusted-scores-of-the-year-2024",
    "task-sk-2024",
    "AKIAB",
)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if re.search("(KEY|TOKEN|SECRET|PASSWORD)$", name, re.IGNORECASE)]:
        monkeypatch.delenv(name)


def refused(value: object) -> str:
    """The one message about a JSON value."""
    (fault,) = secrets_in([("some.json", json.dumps(value, ensure_ascii=False).encode())])
    assert (fault.code, fault.exit) == ("E810", 3)
    return fault.message


@pytest.mark.parametrize(("what", "token"), TOKENS.items())
def test_a_token_is_known_by_its_form(what: str, token: str) -> None:
    message = refused({"stages": [{"facts": {"note": f"see {token}, please"}}]})
    assert message == f"some.json would hold {what}, at stages.0.facts.note; nothing was written"
    assert redacted(f"before {token} after") == f"before ({what}) after"


def test_a_token_as_a_key_is_not_named() -> None:
    token = TOKENS["a GitHub token"]
    assert refused({"labels": {token: 1}}) == "some.json would hold a GitHub token, at labels; nothing was written"


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_texts_pass(text: str) -> None:
    assert secrets_in([("some.json", json.dumps({"a": text, text: 1}).encode())]) == []
    assert redacted(text) == text


@pytest.mark.parametrize("name", ["HF_TOKEN", "OPENAI_API_KEY", "db_password", "CLIENT_SECRET"])
@pytest.mark.parametrize("value", ["open sesame", 'quo"ted\\and\nbroken', "Straße-geheim"])
def test_a_value_of_the_environment_is_found(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    message = refused({"a": {"b": f"x{value}y"}})
    assert f"the value of the variable {name}, at a.b;" in message
    assert value not in message
    assert value not in redacted(f"seen: {value}")


def test_what_is_no_secret_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT_KEY", "epochs7")
    monkeypatch.setenv("KEYBOARD", "training.epochs")
    assert secrets_in([("some.json", b'{"epochs7":"training.epochs"}')]) == []


def test_a_place_that_is_a_secret_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUN_PASSWORD", "adjudications")
    with pytest.raises(HsdcError) as caught:
        require_no_secrets("generated/adjudications.lock.json", b'{"run":"adjudications"}')
    assert "adjudications" not in str(caught.value)


def test_a_manifest_with_a_secret_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Campaign(tmp_path / "project")
    made.replace("specs/run2.yaml", "why: To see.", f"why: To see.\nnotes: with {TOKENS['a Hugging Face token']}")
    monkeypatch.chdir(made.root)
    monkeypatch.setenv("SERVICE_PASSWORD", "layers: 2, hidden")
    assert main(["compile"]) == 3
    said = capsys.readouterr()
    expected = "generated/demo/run2.provenance.json would hold a Hugging Face token, at notes; nothing was written"
    assert f"error[E810] {expected}" in said.err
    assert LETTERS not in said.err + said.out
    assert not (made.root / "generated").exists()
    made.replace("specs/run2.yaml", f"notes: with {TOKENS['a Hugging Face token']}", "notes: without")
    made.replace("specs/run1.yaml", "title: The first", "title: layers, 2 hidden")
    monkeypatch.setenv("SERVICE_PASSWORD", "layers, 2 hidden")
    assert main(["compile"]) == 3
    said = capsys.readouterr()
    assert "the value of the variable SERVICE_PASSWORD, at title" in said.err
    assert "or unset SERVICE_PASSWORD if it is no secret" in said.err
    assert "layers, 2" not in said.err + said.out
    monkeypatch.delenv("SERVICE_PASSWORD")
    assert main(["compile"]) == 0


def test_a_message_about_a_line_with_a_token_does_not_show_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Campaign(tmp_path / "project")
    made.replace("specs/run2.yaml", "why: To see.", f"why: To see.\nnoets: {TOKENS['a GitHub token']}")
    monkeypatch.chdir(made.root)
    assert main(["compile"]) == 2
    said = capsys.readouterr()
    assert "error[E307]" in said.err
    assert "noets: (a GitHub token)" in said.err
    assert LETTERS not in said.err + said.out


@pytest.mark.parametrize("form", [["--json"], ["--format", "github"], ["--format", "sarif"]])
def test_a_message_for_programs_does_not_say_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: list[str]
) -> None:
    made, token = Campaign(tmp_path / "project"), TOKENS["a Hugging Face token"]
    made.replace("specs/run2.yaml", "budget: 1", f"budget: 1\n{token}: 1")
    monkeypatch.chdir(made.root)
    assert main(["compile", *form]) == 2
    said = capsys.readouterr()
    assert LETTERS not in said.err + said.out
    assert "(a Hugging Face token)" in said.out


def test_the_report_of_a_fault_does_not_hold_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(f"sent {TOKENS['an API key']} to nobody")

    made = Campaign(tmp_path / "project")
    monkeypatch.chdir(made.root)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("hsdc.commands.compile.recompile", fail)
    assert main(["compile"]) == 70
    (report,) = tmp_path.glob("hsdc-fault-*.txt")
    said = capsys.readouterr().err
    assert "error[E900] a fault of hsdc: RuntimeError: sent (an API key) to nobody" in said
    assert "sent (an API key) to nobody" in report.read_text()
    assert LETTERS not in said + report.read_text()


def test_looking_costs_nothing_that_anybody_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        monkeypatch.setenv(f"SERVICE_{number}_TOKEN", f"{number}{LETTERS}")
    data = Path(__file__).parents[2].joinpath("generated/demo/run4.provenance.json").read_bytes()
    began = time.process_time()
    assert secrets_in([("some.json", data)] * 200) == []
    assert (time.process_time() - began) / 200 < 0.005, "seconds for one file"
