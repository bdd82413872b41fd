"""Responses that were received, one file each by the digest of its request, so that nothing is asked twice."""

from __future__ import annotations

from pathlib import Path

from hsdc_schemas.digests import PREFIX, canonical, from_json, write_atomically
from hsdc_schemas.manifest import sealed


class Kept:
    """Responses below a folder; `damaged` counts those that were there and could not be trusted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged = 0

    def get(self, request: str) -> str | None:
        """The response to a request, if an intact one is kept; a damaged one counts as none and is replaced."""
        path = self._path(request)
        try:
            value = from_json(path.read_bytes())
            if sealed(value) == value and value["request"] == request and isinstance(value["response"], str):
                return str(value["response"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass
        self.damaged += 1
        return None

    def put(self, request: str, response: str) -> None:
        """Keep a response, durably: whoever is killed after this does not ask again."""
        body = sealed({"request": request, "response": response})
        write_atomically(self._path(request), canonical(body) + b"\n")

    def _path(self, request: str) -> Path:
        name = request.removeprefix(PREFIX)
        return self.folder / name[:2] / f"{name[2:]}.json"
