"""Floor 2: from specs to locked manifests. No torch, no clock, no randomness, no network but `hub.py`."""
