from __future__ import annotations

import itertools
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from hsdc_runtime.nn.sampling import epoch_order, joint_weights, micro_batch_cost, micro_batches, steps_of
from hsdc_schemas.encoder import JointOversampling


def plain_weights(polarity: list[int], kind: list[int], spec: JointOversampling, labels: dict) -> list[float]:
    cells = list(zip(polarity, kind, strict=True))
    sizes = Counter(cells)
    expected = []
    for cell in cells:
        weight = min(spec.max_multiplier, (max(sizes.values()) / sizes[cell]) ** spec.alpha)
        for name, value in (("polarity", cell[0]), ("type", cell[1])):
            for label, factor in spec.boosts.get(name, {}).items():
                if value >= 0 and labels[name][value] == label:
                    weight *= factor
        expected.append(weight)
    return expected


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0])
def test_joint_weights_against_a_count_by_hand(make: SimpleNamespace, alpha: float) -> None:
    random = np.random.default_rng(3)
    polarity = random.choice([-100, 0, 1, 2], 200, p=[0.1, 0.05, 0.25, 0.6])
    kind = random.choice([-100, 0, 1], 200, p=[0.2, 0.7, 0.1])
    boosts = {"polarity": {"negative": 1.5, "neutral": 0.5}, "type": {"yes": 2.0}}
    spec = JointOversampling(kind="joint_oversampling", alpha=alpha, max_multiplier=5.0, boosts=boosts)
    found = joint_weights({"type": kind, "polarity": polarity}, make.heads(), spec)
    np.testing.assert_allclose(found, plain_weights(polarity.tolist(), kind.tolist(), spec, make.labels), rtol=1e-15)
    assert found.dtype == np.float64
    if alpha == 1.0:
        assert found.max() > 5.0, "the cap comes before the boosts"


def test_full_balance_gives_every_cell_the_same_total(make: SimpleNamespace) -> None:
    polarity, kind = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 0, 1, 1, 1])
    spec = JointOversampling(kind="joint_oversampling", alpha=1.0, max_multiplier=100.0)
    weights = joint_weights({"polarity": polarity, "type": kind}, make.heads(), spec)
    assert [weights[polarity == value].sum() for value in range(3)] == pytest.approx([3.0, 3.0, 3.0])


def test_a_boost_of_what_is_not_there_is_refused(make: SimpleNamespace) -> None:
    targets = {"polarity": np.zeros(3, np.int64), "type": np.zeros(3, np.int64)}
    for boosts in ({"polarity": {"hostile": 2.0}}, {"mood": {"no": 2.0}}):
        spec = JointOversampling(kind="joint_oversampling", boosts=boosts)
        with pytest.raises((KeyError, ValueError)):
            joint_weights(targets, make.heads(), spec)


def test_order_without_weights_is_a_permutation_of_seed_and_epoch() -> None:
    orders = {(seed, epoch): epoch_order(50, None, seed, epoch) for seed in (1, 2) for epoch in (0, 1)}
    assert all(sorted(order.tolist()) == list(range(50)) for order in orders.values())
    assert len({tuple(order.tolist()) for order in orders.values()}) == 4
    np.random.default_rng().random(3)
    assert epoch_order(50, None, 1, 0).tolist() == orders[1, 0].tolist()


def test_order_with_weights_draws_in_proportion() -> None:
    weights = np.array([1.0, 3.0, 0.5, 5.5])
    rows = np.tile(weights, 5000)
    counts = np.bincount(epoch_order(20000, rows, 9, 2) % 4, minlength=4)
    assert counts.sum() == 20000
    np.testing.assert_allclose(counts / 20000, weights / 10, atol=0.012)
    assert epoch_order(20000, rows, 9, 2).tolist() == epoch_order(20000, rows, 9, 2).tolist()


def test_steps_cover_the_order_and_the_last_is_short() -> None:
    steps = steps_of(np.arange(10), 4)
    assert [step.tolist() for step in steps] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert steps_of(np.arange(0), 4) == []


@pytest.mark.parametrize("copies", [1, 2])
def test_micro_batches_cover_each_row_once_and_hold_the_budget(copies: int) -> None:
    random = np.random.default_rng(11)
    for _ in range(150):
        lengths = random.integers(2, 65, 80)
        rows = random.integers(0, 80, random.integers(1, 49))  # oversampled rows repeat
        budget = int(random.integers(30, 600))
        batches = micro_batches(rows, lengths, budget, copies)
        assert sorted(np.concatenate(batches).tolist()) == sorted(rows.tolist())
        for batch in batches:
            assert len(batch) == 1 or len(batch) * copies * lengths[batch].max() <= budget
        flat = lengths[np.concatenate(batches)]
        assert (np.diff(flat) >= 0).all()


def test_micro_batches_are_the_cheapest_cut() -> None:
    random = np.random.default_rng(12)
    for _ in range(25):
        rows, lengths = np.arange(9), random.integers(2, 200, 9)
        budget = int(random.integers(100, 1500))
        ordered = sorted(lengths.tolist())

        def cost(cuts: tuple[int, ...], ordered: list[int] = ordered, budget: int = budget) -> float:
            total = 0.0
            for low, high in itertools.pairwise((0, *cuts, 9)):
                size = (high - low) * ordered[high - 1]
                total += size + micro_batch_cost(budget) if high - low == 1 or size <= budget else float("inf")
            return total

        least = min(cost(cuts) for count in range(9) for cuts in itertools.combinations(range(1, 9), count))
        batches = micro_batches(rows, lengths, budget)
        found = sum(len(batch) * int(lengths[batch].max()) + micro_batch_cost(budget) for batch in batches)
        assert found == least


def test_equal_lengths_keep_the_order_of_the_sampler() -> None:
    random = np.random.default_rng(4)
    rows, lengths = random.integers(0, 90, 200), random.integers(4, 6, 90)
    flat = np.concatenate(micro_batches(rows, lengths, 200))
    assert flat.tolist() == [row for length in (4, 5) for row in rows.tolist() if lengths[row] == length]


def test_one_more_micro_batch_costs_a_share_of_the_budget() -> None:
    assert [micro_batch_cost(budget) for budget in (64, 2048, 65536)] == [8, 32, 1024]
