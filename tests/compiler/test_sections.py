"""A section that is checked where it changed is the one that a check of it all makes, and is refused where that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hsdc_compiler.merge import merge, put
from hsdc_compiler.node import Node
from hsdc_compiler.parse import parse
from hsdc_compiler.pipeline import compile_project
from hsdc_compiler.sections import Sections
from hsdc_schemas.encoder import EncoderExperiment
from hsdc_schemas.fields import Model
from tests.repository import FILES

HEAD = "{labels: [a, b], loss: {kind: focal}, class_weights: {kind: equal}}"
SOUND = (
    "training: {learning_rate: 1}",
    "training: {learning_rate: 1, epochs: 5}",
    "training: {seed: 18446744073709551615}",
    "training: {max_grad_norm: null}",
    "training: {r_drop: {alpha: 0.25, warmup_epochs: 1}}",
    "training: {r_drop: null, early_stopping: null}",
    "training: {schedule: {kind: cosine}}",
    "training: {schedule: {warmup_ratio: 0.0}, optimizer: {beta1: 0}}",
    "training: {layer_decay: 1}",
    "training: {head_max_grad_norm: {tone: 1}}",
    "training: {seed: {$unset: true}}",
    "heads: {tone: {weight: 3}}",
    "heads: {tone: {loss: {label_smoothing: 0}}}",
    "heads: {tone: {loss: {kind: cross_entropy}}}",
    "heads: {tone: {class_weights: {kind: balanced, multipliers: {kind: 2}}}}",
    "heads: {tone: {labels: {$append: [other]}}}",
    f"heads: {{more: {HEAD}}}",
    f"heads: {{tone: {{$replace: {HEAD}}}}}",
    "evaluation: {calibration: {kind: temperature}}",
    "dataset: {title: Another title}",
    "dataset: {labels: {tone: other}}",
)
FAULTY = (
    "training: {learning_rate: -1}",
    "training: {epochs: 1.5}",
    "training: {epochs: true}",
    "training: {nothing: 1}",
    "training: {schedule: {nothing: 1}}",
    "training: {epochs: {$unset: true}}",
    "training: {r_drop: {warmup_epochs: 1.5}}",
    "heads: {tone: {loss: {kind: other}}}",
    "heads: {tone: {loss: {gamma: fast}}}",
    "heads: {tone: {class_weights: {$replace: 1}}}",
    "heads: {Tone: 1}",
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Node:
    root = tmp_path_factory.mktemp("project")
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return compile_project(Path(root), ["run1"], lock=False).resolved["run1"].tree


def shown(value: Any) -> Any:
    """A typed value with the types of all that is in it, and the fields that were given."""
    if isinstance(value, Model):
        return type(value), value.model_fields_set, {name: shown(item) for name, item in vars(value).items()}
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items()}
    return (type(value), tuple(map(shown, value))) if isinstance(value, tuple) else (type(value), value)


def compared(base: Node, tree: Node) -> bool:
    """Whether a tree makes an experiment, which it does the same after the one that it was merged on and alone."""
    after, alone = Sections(), Sections()
    assert after.assemble(base, EncoderExperiment) is not None
    found, expected = after.assemble(tree, EncoderExperiment), alone.assemble(tree, EncoderExperiment)
    assert (found is None) == (expected is None)
    if found is None or expected is None:
        return False
    assert {name: shown(part.typed) for name, part in found[1].items()} == {
        name: shown(part.typed) for name, part in expected[1].items()
    }
    assert [part.text for part in found[1].values()] == [part.text for part in expected[1].values()]
    whole = EncoderExperiment.model_validate(tree.plain())
    assert {name: shown(part.typed) for name, part in found[1].items()} == shown(whole)[2]
    assert repr(found[0]) == repr(whole)
    return True


def changed(base: Node, text: str) -> Node:
    return merge(base, parse("specs/other.yaml", text.encode()), lambda fault: None)


@pytest.mark.parametrize("text", SOUND)
def test_what_changed_is_typed_as_all_of_it(tree: Node, text: str) -> None:
    assert compared(tree, changed(tree, text))


@pytest.mark.parametrize("text", FAULTY)
def test_what_is_wrong_is_refused(tree: Node, text: str) -> None:
    assert not compared(tree, changed(tree, text))


def test_a_value_that_is_put_beside_those_that_were_merged(tree: Node) -> None:
    merged, other = changed(tree, "training: {epochs: 5}"), changed(tree, "training: {learning_rate: 1}")
    there = ("training", "learning_rate")
    restored = put(merged, there, other.nearest(there))
    assert compared(tree, restored)
    assert [restored.nearest(("training", name)).value for name in ("epochs", "learning_rate")] == [5, 1]
