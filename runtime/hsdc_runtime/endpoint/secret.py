"""The key of an endpoint: read from the environment, sent, and kept out of everything else."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hsdc_schemas.errors import Exit, fail

SHORTEST = 8
_KEY = re.compile(r"[!#-\[\]-~]+")  # what JSON and HTTP headers write as it is


class Key:
    """A key, or none; it shows itself nowhere."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "Key()"

    def reveal(self) -> str:
        """The key itself, for the one header that carries it; "" where there is none."""
        return self._value

    def redacted(self, text: str) -> str:
        """A text in which the key is blanked."""
        return text.replace(self._value, "[key]") if self._value else text

    def shown(self, text: str) -> str:
        """What somebody else wrote, as part of a message: on one short line, without control signs and the key."""
        plain = " ".join("".join(sign if sign.isprintable() else " " for sign in self.redacted(text)).split())
        return plain if len(plain) <= 200 else plain[:200] + "…"


def key_from(name: str, environment: Mapping[str, str]) -> Key:
    """The key in a variable of the environment; none for no name. Raises HsdcError (E460) where there is none."""
    if not name:
        return Key("")
    value = environment.get(name, "").strip()
    if not value:
        raise fail("E460", Exit.ENVIRONMENT, f"the endpoint's key is in {name}, which is not set", None, f"set {name}")
    if len(value) < SHORTEST or not _KEY.fullmatch(value):
        message = f"{name} holds no key: one has at least {SHORTEST} characters of ASCII, without blanks and quotes"
        raise fail("E460", Exit.ENVIRONMENT, message, None, "set the key; leave it out where the endpoint needs none")
    return Key(value)
