from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hsdc_runtime.nn.batches import Rows, predict


def tiny() -> Rows:
    tokens = np.array([5, 6, 7, 8, 9, 4], dtype=np.int32)
    return Rows(("a", "b", "c"), tokens, np.array([0, 2, 5, 6]), {"x": np.array([0, 1, -100])})


def test_rows_are_padded_to_the_longest_of_the_batch() -> None:
    rows = tiny()
    assert rows.lengths.tolist() == [2, 3, 1]
    tokens, mask = rows.pad(np.array([2, 0, 2]), 0, 2)
    assert tokens.tolist() == [[4, 0], [5, 6], [4, 0]] * 2
    assert mask.tolist() == [[1, 0], [1, 1], [1, 0]] * 2
    assert tokens.dtype == mask.dtype == torch.int64


@pytest.mark.parametrize(
    ("offsets", "targets", "message"),
    [
        ([0, 2, 5], [0, 0, 0], "offsets do not fit"),
        ([0, 2, 5, 7], [0, 0, 0], "offsets do not fit"),
        ([0, 2, 2, 6], [0, 0, 0], "row b has no tokens"),
        ([0, 2, 5, 6], [0, 0], "head x has targets"),
    ],
)
def test_rows_that_do_not_fit_are_refused(offsets: list[int], targets: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rows(("a", "b", "c"), np.zeros(6, np.int32), np.array(offsets), {"x": np.array(targets)})


def test_predictions_are_in_row_order_and_those_of_each_row_alone(make: SimpleNamespace) -> None:
    model, rows = make.classifier(dropout=0.5), make.rows(23)
    model.train()
    found = predict(model, rows, 0, 60, "cpu", False)
    assert model.training
    model.eval()
    assert {name: values.shape for name, values in found.items()} == {"polarity": (23, 3), "type": (23, 2)}
    for index in range(23):
        tokens = torch.from_numpy(rows.tokens[rows.offsets[index] : rows.offsets[index + 1]]).long()[None]
        with torch.no_grad():
            alone = model(tokens, torch.ones_like(tokens))
        for name, values in alone.items():
            assert found[name].dtype == np.float32
            np.testing.assert_allclose(found[name][index], values[0].numpy(), rtol=1e-4, atol=1e-6)


def test_no_rows_give_empty_predictions(make: SimpleNamespace) -> None:
    empty = Rows((), np.zeros(0, np.int32), np.zeros(1, np.int64), {})
    assert predict(make.classifier(), empty, 0, 60, "cpu", False)["polarity"].shape == (0, 3)


def test_autocast_predictions_are_near(make: SimpleNamespace) -> None:
    model, rows = make.classifier(), make.rows(9)
    full, half = (predict(model, rows, 0, 60, "cpu", autocast) for autocast in (False, True))
    assert not np.array_equal(full["type"], half["type"])
    np.testing.assert_allclose(full["type"], half["type"], rtol=0.1, atol=0.02)
