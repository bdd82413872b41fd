"""Floor 1, the contract: typed specs, manifests, records; rows and scores; digests; errors. No heavy library."""
