"""What an attacker and an unlucky user did once: each must stay refused, or be said in one line."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from hsdc import __main__ as entry
from hsdc.commands import run as run_command
from hsdc.commands.compile import require_inside
from hsdc_runtime import execute as executing
from hsdc_runtime import inputs
from hsdc_runtime import run as running
from hsdc_runtime.inputs import Located, Read, only_locked
from hsdc_runtime.store import Store
from hsdc_runtime.work import Made
from hsdc_schemas.digests import digest_file
from hsdc_schemas.errors import HsdcError
from hsdc_schemas.manifest import Input, InputFile

KEY = "sha256:" + "ab" * 32


def test_no_execution_begins_where_another_run_ended(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.checkpoints(KEY) != store.checkpoints(KEY, "again") != store.checkpoints(KEY, "far")
    assert store.checkpoints(KEY, "again") == store.checkpoints(KEY, "again")


def test_checkpoints_are_gone_before_the_key_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    folder = store.checkpoints(KEY)
    (folder / "step-000000025").mkdir()
    (tmp_path / "out").write_text("made")
    found: list[bool] = []
    monkeypatch.setattr(store, "record_action", lambda action: found.append(folder.exists()))
    step = SimpleNamespace(stage=SimpleNamespace(name="train", outputs=("out",)), key=KEY)
    executing._publish(store, step, Made({"out": tmp_path / "out"}), (1.0, 1.0), folder)  # type: ignore[arg-type]
    assert found == [False]


def test_a_full_disk_that_a_library_tells_in_its_own_class_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def stage(work: object) -> None:
        raise RuntimeError(f"I/O error: No space left on device (os error {errno.ENOSPC})")

    monkeypatch.setattr(executing.importlib, "import_module", lambda name: SimpleNamespace(train=stage))
    with pytest.raises(HsdcError) as caught:
        executing._call("train", SimpleNamespace())  # type: ignore[arg-type]
    assert [(fault.code, int(fault.exit)) for fault in caught.value.diagnostics] == [("E433", 4)]


def test_a_record_of_another_manifest_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "generated/demo/one.record.json"
    old.parent.mkdir(parents=True)
    old.write_text("measured")
    monkeypatch.setattr(
        running, "load_sealed", lambda *_: SimpleNamespace(digest="sha256:0123456789abcdef", run="one", profile="demo")
    )
    running._keep_former(tmp_path, SimpleNamespace(run="one", profile="demo"))  # type: ignore[arg-type]
    assert not old.exists()
    assert (old.parent / "superseded/one.0123456789ab.record.json").read_text() == "measured"


def test_a_model_is_read_through_links_to_what_was_verified(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "model.safetensors", "adapter_config.json", "config.4.0.0.json"):
        (model / name).write_text(name)
    names = ["config.json", "model.safetensors"]
    files = [SimpleNamespace(path=name) for name in names]
    experiment = SimpleNamespace(model="m")
    locked = SimpleNamespace(input=lambda _: SimpleNamespace(files=files), experiment=experiment)
    for _ in range(2):
        found = only_locked(Located({}, {}, model), locked, tmp_path / "models").model  # type: ignore[arg-type]
        assert {path.name: path.read_text() for path in found.iterdir()} == {name: name for name in names}
        (found / "tokenizer.json").write_text("slipped in")
    assert len(list((tmp_path / "models").iterdir())) == 1


def test_an_input_that_changes_during_a_run_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_text("locked")
    locked = InputFile(path="m", digest=digest_file(file)[0], bytes=6)
    item = Input(name="model", source="file:m", digest="", files=(locked,))
    read: list[Read] = []
    assert not inputs._compare(item, [("m", file)], read)
    found = Located({}, {}, tmp_path, tuple(read))
    inputs.still_locked(found)
    file.touch()
    inputs.still_locked(found)
    file.write_text("harmed")
    with pytest.raises(HsdcError) as caught:
        inputs.still_locked(found)
    assert [(fault.code, int(fault.exit)) for fault in caught.value.diagnostics] == [("E415", 4)]
    file.unlink()
    with pytest.raises(HsdcError):
        inputs.still_locked(found)


def test_no_checkpoint_outlives_inputs_that_changed(tmp_path: Path) -> None:
    bench = SimpleNamespace(inputs=Located({}, {}, tmp_path, (Read("m", tmp_path / "gone", "", ()),)))
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(HsdcError):
        executing._require_unchanged(bench, tmp_path / "checkpoints")  # type: ignore[arg-type]
    assert not (tmp_path / "checkpoints").exists()


def test_a_manifest_under_another_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for run, profile in (("../../escaped", "demo"), ("one", "full")):
        loaded = SimpleNamespace(run=run, profile=profile)
        monkeypatch.setattr(run_command, "load_sealed", lambda *_, loaded=loaded: loaded)
        with pytest.raises(HsdcError) as caught:
            run_command._manifest(tmp_path, "demo", "one")
        assert caught.value.diagnostics[0].code == "E503"


def test_nothing_is_written_through_a_link_that_leads_out(tmp_path: Path) -> None:
    root, other = tmp_path / "project", tmp_path / "other"
    (root / "generated").mkdir(parents=True)
    other.mkdir()
    require_inside(root, "demo")
    (root / "generated/demo").symlink_to(other)
    with pytest.raises(HsdcError) as caught:
        require_inside(root, "demo")
    assert caught.value.diagnostics[0].code == "E003"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (IsADirectoryError(errno.EISDIR, "Is a directory", "ledger"), 4, "error[E433] Is a directory: ledger; move"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "store"), 4, "error[E433] Not a directory: store; move"),
        (OSError(errno.ENOSPC, "No space left on device"), 4, "the disk; make room and run again"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), 2, "the current folder is gone"),
    ],
)
def test_what_the_machine_lacks_is_no_fault_of_hsdc(
    error: OSError, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry._fault(error) == code
    assert said in capsys.readouterr().err


def test_a_fault_is_said_where_no_file_can_be_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", full)
    assert entry._fault(ZeroDivisionError("by nought")) == 70
    assert capsys.readouterr().err == "error[E900] a fault of hsdc: ZeroDivisionError: by nought; please report it\n"


def test_a_folder_that_is_gone_and_closed_streams_leave_no_traceback(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = f"cd {gone} && rmdir {gone} && exec '{sys.executable}' -m hsdc compile"
    answer = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=environment, check=False)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith("error[E001] the current folder is gone")
    closed = f"exec '{sys.executable}' -m hsdc explain E001 >&-"
    answer = subprocess.run(["sh", "-c", closed], capture_output=True, text=True, env=environment, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")
