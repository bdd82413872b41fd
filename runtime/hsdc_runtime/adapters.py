"""A finished run's adapter as a folder that other software reads, with a card; or merged into its model."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hsdc_runtime.card import adapter_output, card
from hsdc_runtime.environment import before_the_framework
from hsdc_runtime.inputs import only_locked, verify_inputs
from hsdc_runtime.leaving import CARD, new_folder, outputs, require_finished, stored
from hsdc_runtime.store import STORE
from hsdc_schemas.encoder import EncoderExperiment
from hsdc_schemas.errors import Exit, fail
from hsdc_schemas.finetuning import FinetuneExperiment
from hsdc_schemas.manifest import Manifest
from hsdc_schemas.record import Record

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
CLOSE = {"float32": 1e-3, "bfloat16": 0.5}  # what a merged model's logits may differ by, of numbers around ten


@dataclass(frozen=True)
class Exported:
    """What was written: the folder, the digest of the adapter's tensors, and how far merged logits are from it."""

    folder: Path
    adapter: str
    merged: float | None


def export(
    root: Path, manifest: Manifest, to: Path, *, merge: bool, doing: Callable[[str], None] = lambda what: None
) -> Exported:
    """Write a folder, whole or not at all; of an encoder run its heads are in the adapter's file.

    HsdcError where the run trains no adapter, has no record, or has heads that cannot be merged (E550), the folder is
    there (E551), or a merged model says something else than the adapter (E552).
    """
    experiment = manifest.experiment
    if not isinstance(experiment, EncoderExperiment | FinetuneExperiment) or experiment.adapter is None:
        message = f"'{manifest.run}' trains no adapter and makes no rows; its kind is {experiment.kind}"
        raise fail("E550", Exit.SPEC, message, None, "name a run that has an adapter, or one of kind data")
    if merge and isinstance(experiment, EncoderExperiment):
        message = f"'{manifest.run}' trains heads beside its adapter, for which a merged encoder has no place"
        raise fail("E550", Exit.SPEC, message, None, "publish the adapter with its heads: without --merge")
    record = require_finished(root, manifest)
    with new_folder(to) as part:
        difference = _write(root, manifest, experiment, record, part, merge=merge, doing=doing)
        history = json.loads(stored(root, record, "train", "history").read_bytes())
        (part / CARD).write_text(card(manifest, record, difference, history), encoding="utf-8")
    return Exported(to, outputs(record, "train")[adapter_output(experiment)].digest, difference)


def _write(
    root: Path,
    manifest: Manifest,
    experiment: EncoderExperiment | FinetuneExperiment,
    record: Record,
    part: Path,
    *,
    merge: bool,
    doing: Callable[[str], None],
) -> float | None:
    adapter, config = (stored(root, record, "train", name) for name in (adapter_output(experiment), "config"))
    if not merge or isinstance(experiment, EncoderExperiment):
        shutil.copyfile(adapter, part / WEIGHTS)
        shutil.copyfile(config, part / CONFIG)
        return None
    doing("merging the adapter into its model")
    before_the_framework()
    from hsdc_runtime.nn import merging

    inputs = only_locked(verify_inputs(manifest, root), manifest, root / STORE / "models")
    model = inputs.model
    with tempfile.TemporaryDirectory(dir=part.parent) as scratch:
        if experiment.model.gguf:
            model = merging.unpacked(stored(root, record, "convert", "model"), Path(scratch, "model"))
        difference = merging.merge(
            model,
            adapter,
            experiment.adapter,
            manifest.execution,
            stored(root, record, "render", "prompts"),
            part,
            remote_code=experiment.model.remote_code,
        )
    if not difference <= CLOSE[manifest.execution.precision]:
        message = f"the merged model differs from the adapter by {difference:.2g} in a logit"
        raise fail("E552", Exit.NO, message, None, "publish the adapter alone: without --merge")
    return difference
