"""An adapter that is pushed: what a hub on the loopback gets of it, as whom, and what is said where it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from hsdc.__main__ import main
from hsdc.push import hub as hub_of_user
from hsdc.push import push
from hsdc_schemas.errors import HsdcError
from tests.finetune.test_run import record_of
from tests.hub.taking import COMMIT, TOKEN, TakingHub

FILES = ["README.md", "adapter_config.json", "adapter_model.safetensors"]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[TakingHub]:
    """A hub that knows one token, and a user who has none yet."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "home/token"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with TakingHub().listening() as listening:
        monkeypatch.setenv("HF_ENDPOINT", listening.endpoint)
        yield listening


@pytest.fixture
def there(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(finished)
    return finished


def test_the_hub_gets_what_is_written(
    there: Path, hub: TakingHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert main(["export", "tune", "--to", str(tmp_path / "a"), "--push", "me/mine"]) == 0
    assert hub.private == {"me/mine": True}
    assert hub.files["me/mine"] == {name: (tmp_path / "a" / name).read_bytes() for name in FILES}
    assert hub.messages == [f"tune: manifest {record_of(there).manifest.removeprefix('sha256:')[:12]}"]
    assert {token for _, _, token in hub.seen} == {f"Bearer {TOKEN}"}
    out, said = capfd.readouterr()
    assert out.splitlines()[1] == f"pushed: me/mine at {COMMIT}, private"
    assert said == "pushing to me/mine\n", "the client is silent"


def test_a_login_of_the_hub_serves_and_a_folder_need_not_stay(
    there: Path, hub: TakingHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/token").write_text(TOKEN)
    hub.private["me/known"] = False
    before = sorted(there.rglob("*"))
    assert main(["export", "tune", "--push", "me/known"]) == 0
    assert sorted(hub.files["me/known"]) == FILES
    assert sorted(there.rglob("*")) == before
    out = capsys.readouterr().out
    assert out.startswith(f"pushed: me/known at {COMMIT}, public, adapter ")
    assert TOKEN not in out


def test_without_a_token_nothing_is_asked_or_written(
    there: Path, hub: TakingHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "tune", "--to", str(tmp_path / "a"), "--push", "me/mine"]) == 4
    told = capsys.readouterr().err
    assert "error[E553]" in told
    assert "set HF_TOKEN, or log in: hf auth login" in told
    assert not (tmp_path / "a").exists()
    assert hub.seen == []


@pytest.mark.parametrize("name", ["mine", "me/mine/too", "/mine", "me/", "me/my mine", "me/../you", "me/a--b", "-m/a"])
def test_a_name_that_no_repository_has(
    there: Path, hub: TakingHub, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["export", "tune", "--to", str(tmp_path / "a"), f"--push={name}"]) == 2
    assert "is no name of a repository" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
    assert hub.seen == []


def test_neither_folder_nor_repository(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "tune"]) == 2
    assert "name a folder with --to, or a repository with --push" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["others/theirs", "me/refused"])
def test_a_hub_that_refuses_is_told_in_a_line_without_the_token(
    there: Path,
    hub: TakingHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.status = 413
    assert main(["export", "tune", "--to", str(tmp_path / "a"), "--push", name]) == 4
    told = capsys.readouterr().err
    assert "error[E553] the hub did not take it: " in told
    assert TOKEN not in told
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == FILES
    assert hub.files == {}


def test_nobody_is_there(hub: TakingHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    (tmp_path / "file").write_text("x")
    with pytest.raises(HsdcError, match="the hub did not take it") as caught:
        push(hub_of_user(), tmp_path, "me/mine", "why")
    assert TOKEN not in repr(caught.value)
    assert TOKEN not in repr(hub_of_user())


def test_weights_go_to_the_store_without_the_token(
    hub: TakingHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub._commit_api.is_xet_available", lambda: False)
    hub.large = (".safetensors",)
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights" * 1000)
    (folder / "README.md").write_text("# what it is")
    assert push(hub_of_user(), folder, "me/mine", "why").private
    assert hub.files["me/mine"] == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert [token for method, _, token in hub.seen if method == "PUT"] == [None]
