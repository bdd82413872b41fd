"""Asking a model behind an OpenAI-compatible endpoint: every response kept, nothing asked twice."""
