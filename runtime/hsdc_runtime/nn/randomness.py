"""Stateless randomness: every seed is derived from what it is for, so there is no generator state to restore."""

from __future__ import annotations

import hashlib

from hsdc_schemas.digests import canonical


def derive_seed(*parts: int | str) -> int:
    """A seed of 63 bits from the sha256 of the parts' canonical JSON. ValueError for an integer beyond 2**53 - 1."""
    return int.from_bytes(hashlib.sha256(canonical(list(parts))).digest()[:8], "big") >> 1
