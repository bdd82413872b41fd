"""Faults to plant: what is replaced in which file, and the tests that must notice."""

from __future__ import annotations

from dataclasses import dataclass

from faults_of_adapters import ADAPTERS
from faults_of_rows import ROWS


@dataclass(frozen=True)
class Fault:
    """A fault: the file, the stretch that occurs once in it, what comes in its place, and where the tests are."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


NN, RUNTIME = "runtime/hsdc_runtime/nn", "runtime/hsdc_runtime"
SCHEMAS, COMPILER = "schemas/hsdc_schemas", "compiler/hsdc_compiler"
FAILED_WRITES = "tests/runtime/test_failing_disk.py::test_a_file_that_was_not_there_is_not_there_after_a_failed_write"
FAILED_LINES = "tests/runtime/test_failing_disk.py::test_a_line_that_the_disk_failed_is_cut_off_again"
DISK = (
    Fault(
        "files are not forced to the disk",
        f"{SCHEMAS}/digests.py",
        "            if durable:\n                force(handle, where)\n",
        "",
        (FAILED_WRITES, FAILED_LINES),
    ),
    Fault(
        "a failed fsync is tried again",
        f"{SCHEMAS}/digests.py",
        "        os.fsync(handle)\n    except OSError as error:\n",
        "        os.fsync(handle)\n    except OSError:\n        os.fsync(handle)\n    except ValueError as error:\n",
        (FAILED_WRITES, FAILED_LINES),
    ),
    Fault(
        "a failing disk is a fault of hsdc",
        f"{SCHEMAS}/machine.py",
        "    errno.EIO:",
        "    -1:",
        ("tests/schemas/test_machine.py",),
    ),
    Fault(
        "objects are not hashed again when they are reused",
        f"{RUNTIME}/store.py",
        "return path.is_file() and digest_file(path)[0] == digest",
        "return path.is_file()",
        ("tests/runtime/test_store_damage.py::test_an_object_with_a_flipped_bit_is_set_aside",),
    ),
    Fault(
        "what is noted of a stage is not held against its seal",
        f"{RUNTIME}/store.py",
        'if sealed(value) != value or value["key"] != key:',
        'if value["key"] != key:',
        ("tests/runtime/test_store_damage.py::test_an_entry_that_cannot_be_trusted_counts_as_unknown",),
    ),
    Fault(
        "a manifest or record is not held against its digest",
        f"{SCHEMAS}/manifest.py",
        'intact = digest_json(body) == value.get("digest") and canonical(value) + b"\\n" == data',
        "intact = bool(body)",
        (
            "tests/runtime/test_store_damage.py::test_a_damaged_manifest_or_record_is_refused",
            "tests/runtime/test_flips.py::test_flips_are_noticed",
        ),
    ),
    Fault(
        "the ledger is not chained",
        f"{RUNTIME}/ledger.py",
        "previous = digest_bytes(lines[-1]) if lines else FIRST",
        "previous = FIRST",
        ("tests/runtime/test_ledger.py",),
    ),
    Fault(
        "a torn line of the ledger is not cut off",
        f"{RUNTIME}/ledger.py",
        "                file.truncate(end)\n",
        "                file.flush()\n",
        ("tests/runtime/test_ledger.py",),
    ),
    Fault(
        "the lock of the ledger is not taken",
        f"{RUNTIME}/ledger.py",
        'self._lock = FileLock(str(self.path.with_suffix(".lock")))',
        'self._lock = __import__("contextlib").nullcontext()',
        ("tests/runtime/test_ledger.py",),
    ),
    Fault(
        "the lock of a run is not taken",
        f"{RUNTIME}/locks.py",
        '    lock = _taken(folder / f"{name}.lock", busy)\n',
        '    lock = FileLock(str(folder / f"{name}.lock"))\n',
        ("tests/runtime/test_stopping.py::test_what_another_process_works_on_is_busy",),
    ),
    Fault(
        "the lock of a stage is not taken",
        f"{RUNTIME}/execute.py",
        "with lock.acquire(blocking=False):",
        "if lock is not None:",
        ("tests/runtime/test_stopping.py::test_what_another_process_works_on_is_busy",),
    ),
)
INPUTS = (
    Fault(
        "inputs are not hashed before a run",
        f"{RUNTIME}/inputs.py",
        "        if digest != one.digest:\n",
        "        if not digest:\n",
        ("tests/runtime/test_locked_inputs.py",),
    ),
    Fault(
        "an input that changed is not noticed after a stage",
        f"{RUNTIME}/inputs.py",
        "if _stamp(item.path) == item.stamp or digest_file(item.path)[0] == item.digest:",
        "if item.path.exists():",
        ("tests/face/test_attacks.py", "tests/runtime/test_locked_inputs.py"),
    ),
    Fault(
        "inputs are not looked at again after a stage",
        f"{RUNTIME}/execute.py",
        "        _require_unchanged(bench, checkpoints)\n",
        "",
        ("tests/runtime/test_locked_inputs.py",),
    ),
    Fault(
        "a key without the sections that its stage reads",
        f"{SCHEMAS}/stages.py",
        '"section": part,',
        '"section": {},',
        ("tests/compiler/test_cases.py", "tests/runtime/test_sharing.py"),
    ),
    Fault(
        "a key without the inputs of its stage",
        f"{SCHEMAS}/stages.py",
        '"inputs": {name: inputs[name] for name in stage.inputs},',
        '"inputs": {},',
        ("tests/compiler/test_cases.py", "tests/runtime/test_locked_inputs.py"),
    ),
    Fault(
        "another environment than the locked one is not refused",
        f"{RUNTIME}/environment.py",
        "if not environment.differs or allowed:",
        "if not environment.differs or allowed is not None:",
        ("tests/runtime/test_refusals.py::test_another_version_than_the_locked_one",),
    ),
    Fault(
        "weights of another training are taken",
        f"{RUNTIME}/stages/predict.py",
        'if (file.metadata() or {}).get("train") != work.keys["train"]:',
        'if not work.keys["train"]:',
        ("tests/runtime/test_weights_of_others.py",),
    ),
    Fault(
        "a claim is compared with work that was reused",
        f"{RUNTIME}/run.py",
        "anew = anew or (original is not None and before is None and step.stage.anew)",
        "anew = False",
        ("tests/runtime/test_reproduce.py",),
    ),
    Fault(
        "more factors may differ than the budget says",
        f"{COMPILER}/budget.py",
        "    if len(changed) > declared.value:\n",
        "    if len(changed) > declared.value + 1:\n",
        ("tests/face/test_compile_command.py", "tests/compiler/test_cases.py"),
    ),
    Fault(
        "what a finished record stands on may change",
        f"{COMPILER}/committed.py",
        "if record is None or record.manifest == digest:",
        "if record is None or digest:",
        ("tests/face/test_compile_command.py",),
    ),
)
TRAINING = (
    Fault(
        "the seed does not decide the order of rows",
        f"{NN}/sampling.py",
        'derive_seed(seed, "order", epoch)',
        'derive_seed("order", epoch)',
        ("tests/nn/test_sampling.py",),
    ),
    Fault(
        "every epoch has the same order",
        f"{NN}/sampling.py",
        'derive_seed(seed, "order", epoch)',
        'derive_seed(seed, "order")',
        ("tests/nn/test_sampling.py",),
    ),
    Fault(
        "dropout is not seeded by step and micro-batch",
        f"{NN}/step.py",
        '"micro", epoch, step, index',
        '"micro"',
        ("tests/nn/test_step.py", "tests/nn/test_loop.py"),
    ),
    Fault(
        "the loss grows with the number of micro-batches",
        f"{NN}/losses.py",
        "1.0 / max(1, labelled[name])",
        "1.0 / max(1, int((targets[name] != MASKED).sum()))",
        ("tests/nn/test_losses.py", "tests/nn/test_step.py"),
    ),
    Fault(
        "the mask of labels is inverted",
        f"{NN}/losses.py",
        "known = targets != MASKED",
        "known = targets == MASKED",
        ("tests/nn/test_losses.py",),
    ),
    Fault(
        "class weights are ignored",
        f"{NN}/losses.py",
        "weights = class_weights.to(logits.device)",
        "weights = torch.ones_like(class_weights).to(logits.device)",
        ("tests/nn/test_losses.py",),
    ),
    Fault(
        "a loss that is not finite is not looked at",
        f"{NN}/step.py",
        "    if not isfinite(loss):\n",
        "    if loss is None:\n",
        (
            "tests/nn/test_step.py",
            "tests/nn/test_loop.py",
            "tests/runtime/test_refusals.py::test_a_loss_that_is_not_finite",
        ),
    ),
    Fault(
        "gradients are not set to zero between steps",
        f"{NN}/step.py",
        "learner.optimizer.zero_grad(set_to_none=True)",
        "learner.optimizer.state_dict()",
        ("tests/nn/test_step.py", "tests/nn/test_loop.py"),
    ),
    Fault(
        "gradients are not clipped",
        f"{NN}/optimizer.py",
        "nn.utils.clip_grads_with_norm_(chosen, limit, norm)",
        "norm = norm.clone()",
        ("tests/nn/test_optimizer.py", "tests/nn/test_step.py"),
    ),
    Fault(
        "padding is attended to",
        f"{NN}/batches.py",
        "np.tile(mask.astype(np.int64), tiles)",
        "np.tile(np.ones(mask.shape, np.int64), tiles)",
        ("tests/nn/test_batches.py",),
    ),
    Fault(
        "dropout stays on in validation",
        f"{NN}/batches.py",
        "    classifier.eval()\n",
        "    classifier.train()\n",
        ("tests/nn/test_batches.py",),
    ),
)
RESUMING = (
    Fault(
        "a resumed training begins to count its patience anew",
        f"{NN}/loop.py",
        '"history": tuple(fields["history"])}',
        '"history": tuple(fields["history"]), "waited": 0}',
        ("tests/nn/test_resume.py",),
    ),
    Fault(
        "a resumed training forgets its best weights",
        f"{NN}/loop.py",
        'best = weights if _best_is_current(state) else snapshot.tensors.get("best")',
        "best = weights",
        ("tests/nn/test_resume.py",),
    ),
    Fault(
        "a resumed training begins with a fresh optimizer",
        f"{NN}/loop.py",
        'snapshot.tensors["optimizer"])',
        "{})",
        ("tests/nn/test_resume.py",),
    ),
    Fault(
        "checkpoints are not looked at before training goes on from them",
        f"{NN}/checkpoint.py",
        "return present == set(digests) and all(digest_file(path / name)[0] == digests[name] for name in digests)",
        "return bool(present)",
        ("tests/nn/test_checkpoint.py", "tests/nn/test_resume.py"),
    ),
    Fault(
        "checkpoints have their name before they are complete",
        f"{NN}/checkpoint.py",
        'part = folder / f".{final.name}.part"',
        "part = final",
        ("tests/nn/test_checkpoint.py",),
    ),
    Fault(
        "damaged checkpoints are not recorded",
        f"{RUNTIME}/execute.py",
        "    for path in sorted(checkpoints.glob(DAMAGED)):\n",
        "    for path in sorted(checkpoints.glob(DAMAGED))[:0]:\n",
        ("tests/runtime/test_damaged_checkpoints.py::test_one_that_a_killed_process_passed_over_is_recorded_once",),
    ),
)
SCORES = (
    Fault(
        "thresholds are fitted on the split that is scored",
        f"{RUNTIME}/stages/thresholds.py",
        'split = work.experiment["evaluation"]["fit_split"]',
        'split = "test"',
        ("tests/runtime/test_fitted_split.py",),
    ),
    Fault(
        "calibration is fitted on the split that is scored",
        f"{RUNTIME}/stages/calibrate.py",
        'split = work.experiment["evaluation"]["fit_split"]',
        'split = "test"',
        ("tests/runtime/test_fitted_split.py",),
    ),
    Fault(
        "rows without a label count as the first label",
        f"{RUNTIME}/stages/score.py",
        "return None if place == MASKED else labels[place]",
        "return labels[max(0, place)]",
        ("tests/runtime/test_refusals.py::test_rows_that_have_one_of_two_labels",),
    ),
)
FAULTS = (*DISK, *INPUTS, *TRAINING, *RESUMING, *SCORES, *(Fault(*row) for row in (*ROWS, *ADAPTERS)))
