from __future__ import annotations

import hashlib

from hsdc_runtime.nn.randomness import derive_seed


def test_a_seed_is_the_upper_63_bits_of_the_digest_of_its_parts() -> None:
    expected = int(hashlib.sha256(b'[42,"micro",3]').hexdigest()[:16], 16) // 2
    assert derive_seed(42, "micro", 3) == expected
    assert 0 <= expected < 2**63


def test_every_part_its_kind_and_its_place_count() -> None:
    parts = [(1, 2), (2, 1), ("1", 2), (12,), (1, 2, 0), ()]
    assert len({derive_seed(*part) for part in parts}) == len(parts)


def test_an_integer_beyond_the_numbers_of_json_counts_exactly() -> None:
    assert len({derive_seed(2**53 + offset, "x") for offset in range(8)}) == 8
