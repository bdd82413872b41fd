"""What all rows of packed training begin with: where it ends, and how it fills packs."""

from __future__ import annotations

import numpy as np

from hsdc_runtime.nn.examples import Examples, packs


def test_what_all_rows_begin_with_ends_before_the_last_token_of_a_prompt() -> None:
    """What comes after it is told by a token of the row's own."""
    tokens = np.array([1, 2, 3, 7, 1, 2, 3, 8, 1, 2, 4], dtype=np.int32)
    assert Examples(("a", "b"), tokens[:8], np.array([0, 4, 8]), np.array([3, 3])).shared == 2
    assert Examples(("a", "b"), tokens, np.array([0, 4, 11]), np.array([3, 3])).shared == 2
    assert Examples(("a", "b"), tokens[:8], np.array([0, 4, 8]), np.array([1, 3])).shared == 0
    assert Examples(("a",), tokens[:4], np.array([0, 4]), np.array([3])).shared == 2


def test_every_pack_holds_the_beginning() -> None:
    assert [len(part) for part in packs(np.arange(4), np.array([2, 2, 8, 1]), 6, shared=1)] == [2, 1, 1]
