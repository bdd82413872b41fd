"""Stage ask: a reply for every prompt, from a model behind an OpenAI-compatible endpoint."""

from __future__ import annotations
