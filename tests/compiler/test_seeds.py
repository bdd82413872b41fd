"""Seeds of 64 bits survive exactly: in the manifest, read again, and as what a run derives its randomness from."""

from __future__ import annotations

import json

import pytest

from hsdc_compiler.node import Node
from hsdc_compiler.parse import parse
from hsdc_runtime.nn.randomness import derive_seed
from hsdc_schemas.digests import canonical, canonical_ready
from hsdc_schemas.encoder import Training
from hsdc_schemas.factors import essence, ready_essence
from hsdc_schemas.stages import typed

REST = "epochs: 1\nlearning_rate: 1.0e-5\noptimizer: {kind: adamw}\nrows_per_step: 1\n"


def training(seed: str) -> Training:
    node: Node = parse("training.yaml", f"{REST}seed: {seed}\n".encode())
    return Training.model_validate(node.plain())


@pytest.mark.parametrize("seed", [0, 2**53 - 1, 2**53, 2**53 + 1, 2**63, 2**64 - 1])
def test_a_seed_survives(seed: int) -> None:
    found = training(str(seed))
    assert found.seed == seed
    assert canonical_ready(ready_essence(found)) == canonical(essence(found))
    again = typed(Training, json.loads(canonical(essence(found))))
    assert again == found
    assert type(again.seed) is int


def test_neighbours_are_told_apart() -> None:
    seeds = [2**53 + offset for offset in range(4)] + [2**64 - 1, 2**64 - 2]
    assert len({canonical(essence(training(str(seed)))) for seed in seeds}) == len(seeds)
    assert len({derive_seed(seed, "epoch", 1) for seed in seeds}) == len(seeds)


@pytest.mark.parametrize("seed", ["-1", str(2**64), '"9007199254740993"', "1.0", "true"])
def test_what_is_no_seed(seed: str) -> None:
    with pytest.raises(ValueError, match="seed"):
        training(seed)
