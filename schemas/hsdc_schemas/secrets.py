"""What must not be written down: values of the environment's secrets, and texts in the form of well-known tokens.

Whatever writes a manifest, a record or a line of the ledger asks here first, and writes nothing where the answer is no.
A refusal names the place and the kind of secret, never the secret.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from hsdc_schemas.digests import canonical
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError

NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)\Z", re.IGNORECASE)
"""Names of environment variables that hold secrets."""
SHORTEST = 8
"""Characters of a variable's value; a shorter one would be found everywhere."""
SHAPES = (
    ("a Hugging Face token", b"hf_", rb"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{30,}"),
    ("an API key", b"sk-", rb"(?<![\w-])sk-(?=[A-Za-z_-]*[0-9])[\w-]{20,}"),
    ("a GitHub token", b"ghp_", rb"(?<![A-Za-z0-9])ghp_[A-Za-z0-9]{30,}"),
    ("a GitHub token", b"github_pat_", rb"(?<![A-Za-z0-9])github_pat_\w{30,}"),
    ("an AWS access key", b"AKIA", rb"(?<![A-Za-z0-9])AKIA[0-9A-Z]{16}(?![A-Za-z0-9])"),
    ("a private key", b"PRIVATE KEY-----", rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----"),
)
"""What it is, a part that is searched for first because that is fast, and its whole form."""

_WAY_OUT = "take it out: programs find secrets in the environment"


class Secret(NamedTuple):
    """What it is, a part to search for first, its whole form in JSON, and the way out."""

    what: str
    part: bytes
    form: re.Pattern[bytes]
    hint: str = _WAY_OUT


_SHAPES = tuple(Secret(what, part, re.compile(form)) for what, part, form in SHAPES)


def require_no_secrets(name: str, data: bytes) -> None:
    """Raise HsdcError (E810, POLICY) where some JSON bytes, to be written under a name, hold a secret."""
    if faults := secrets_in([(name, data)]):
        raise HsdcError(faults)


def secrets_in(files: Iterable[tuple[str, bytes]]) -> list[Diagnostic]:
    """A fault (E810) for the first secret in each of some (name, JSON bytes)."""
    known = [*_of_the_environment(), *_SHAPES]
    return [fault for name, data in files if (fault := _fault(name, data, known)) is not None]


def redacted(text: str) -> str:
    """A text for people or a log, every secret in it replaced by what it is."""
    data = text.encode(errors="surrogateescape")
    for secret in (*_of_the_environment(), *_SHAPES):
        if secret.part in data:
            data = f"({secret.what})".encode().join(secret.form.split(data))
    return data.decode(errors="replace")


def _of_the_environment() -> list[Secret]:
    """The values of secret variables, as they are and as JSON writes them in a text."""
    found: dict[bytes, Secret] = {}
    for name, value in os.environ.items():
        if NAMES.search(name) and len(value.strip()) >= SHORTEST:
            plain = value.strip().encode(errors="replace")
            what, hint = f"the value of the variable {name}", f"{_WAY_OUT}, or unset {name} if it is no secret"
            for form in (canonical(plain.decode())[1:-1], plain):
                found.setdefault(form, Secret(what, form, re.compile(re.escape(form)), hint))
    return list(found.values())


def _fault(name: str, data: bytes, known: Iterable[Secret]) -> Diagnostic | None:
    for secret in known:
        if secret.part in data and secret.form.search(data):
            place = _place(data, secret)
            message = f"{name} would hold {secret.what}{place and ', at '}{place}; nothing was written"
            return Diagnostic("E810", Exit.POLICY, redacted(message), None, secret.hint)
    return None


def _place(data: bytes, secret: Secret) -> str:
    """Where in some JSON it is; a key that is a secret is not named, what it is in is."""
    try:
        return ".".join(next(_paths(json.loads(data), secret, ()), ()))
    except (ValueError, RecursionError):
        return ""


def _paths(value: Any, secret: Secret, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from [path] if secret.form.search(canonical(key)) else _paths(item, secret, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _paths(item, secret, (*path, str(index)))
    elif isinstance(value, str) and secret.form.search(canonical(value)):
        yield path
