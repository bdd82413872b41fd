"""Floor 2: from a manifest to a record. Reads no specs; heavy libraries live in `stages/` and `nn/` alone."""
