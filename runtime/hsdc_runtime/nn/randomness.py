"""Stateless randomness: every seed is derived from what it is for, so there is no generator state to restore."""

from __future__ import annotations

import hashlib

from hsdc_schemas.digests import LARGEST, canonical


def derive_seed(*parts: int | str) -> int:
    """A seed of 63 bits from the sha256 of the parts' canonical JSON, with integers beyond its numbers as texts."""
    written = [str(part) if isinstance(part, int) and abs(part) > LARGEST else part for part in parts]
    return int.from_bytes(hashlib.sha256(canonical(written)).digest()[:8], "big") >> 1
