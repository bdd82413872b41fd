"""The one file of the compiler that may use the network: fetches a pinned revision into the hub's own cache.

The hub's client brings each file into the cache whole or not at all. `config.json`, without which no folder is taken
for a model, comes last, so that a fetch that was killed is never mistaken for a whole model. The client's long retries
are cut short, it prints nothing, and every file is compared with what the hub's listing says of it.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from hsdc_schemas.errors import Exit, HsdcError, fail
from hsdc_schemas.model_files import PATTERNS
from hsdc_schemas.sources import hub_cache

PATIENCE: Final = 5.0
"""Seconds that the hub may take to connect, to answer, and between two pieces of an answer to a question."""
ATTEMPTS: Final = {"HEAD": 1, "GET": 4}
"""How often one address is asked; a download that broke off goes on where it stopped."""

_PAGES = 20
_LAST = "config.json"
_CONNECT = "connect to the hub (or set HF_ENDPOINT) and run hsdc compile again, or bind another one in a profile"
_AGAIN = "run hsdc compile again"
_TOKEN = "set HF_TOKEN to a token that may read it"
_REASONS: Final = (
    ("OfflineModeIsEnabled", "HF_HUB_OFFLINE forbids to ask {hub}", f"unset HF_HUB_OFFLINE; {_CONNECT}"),
    ("GatedRepoError", "{hub} gives it only to those who accepted its terms", f"accept them there, and {_TOKEN}"),
    ("DisabledRepoError", "{hub} has disabled it", "bind another one in a profile"),
    ("RevisionNotFoundError", "{hub} has no such revision of it", "write as 'revision' a commit of its history"),
    ("RepositoryNotFoundError", "{hub} has no such repository, or shows it to few", f"mend 'source', or {_TOKEN}"),
    ("ProxyError", "the proxy on the way to {hub} refuses", "mend HTTP_PROXY, HTTPS_PROXY or NO_PROXY"),
    ("TimeoutException", "{hub} does not answer in time", _CONNECT),
    ("ConnectError", "{hub} cannot be reached: {text}", _CONNECT),
    ("UnsupportedProtocol", "HF_ENDPOINT is no address of a hub", "write it as https://HOST"),
    ("TransportError", "{hub} broke off: {text}", _AGAIN),
)


class _NotHadError(Exception):
    """Why a repository cannot be had, and the way out."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class _Listed:
    """A file as the hub lists it; `oid` is the SHA-256 of its bytes (64 digits) or its git object (40)."""

    name: str
    size: int
    oid: str


def fetch(repository: str, revision: str, file: str = "") -> Path:
    """The folder of a model at a full commit, downloaded if need be, or of a data set of which one file is wanted.

    `HF_ENDPOINT` names another hub. Raises HsdcError with exit 4 when the hub, the repository, the revision or a whole
    file cannot be had.
    """
    with _quiet():
        try:
            return _fetch(repository, revision, file)
        except Exception as error:  # the client raises its own, its transport's and the system's errors
            reason, hint = _explained(error)
            raise _failure(repository, revision, reason, hint) from None


def wanted(names: Iterable[str]) -> tuple[str, ...]:
    """Those of a repository's files that make a model, sorted, with `config.json` last."""
    kept = {name for name in names if "/" not in name and any(fnmatchcase(name, pattern) for pattern in PATTERNS)}
    return tuple(sorted(kept, key=lambda name: (name == _LAST, name)))


def _failure(repository: str, revision: str, reason: str, hint: str) -> HsdcError:
    message = f"hf:{repository} at {revision[:12]} is not in the cache and cannot be fetched: {reason}"
    return fail("E414", Exit.ENVIRONMENT, message, None, hint)


def _fetch(repository: str, revision: str, file: str) -> Path:
    from huggingface_hub import get_session, hf_hub_download

    session = get_session()
    kind = "dataset" if file else "model"
    files = _listing(session, f"{kind}s/{repository}/tree/{revision}/{file.rpartition('/')[0]}".rstrip("/"))
    names = (file,) if file else wanted(files)
    _require(names, files, data=bool(file))
    folder = Path()
    with _bounded(session):
        for name in names:
            found = Path(
                hf_hub_download(
                    repository,
                    name,
                    repo_type=kind,
                    revision=revision,
                    cache_dir=hub_cache(),
                    etag_timeout=PATIENCE,
                    token=None,
                )
            )
            _check(found, files[name])
            folder = found.parents[name.count("/")]
            if folder.name != revision:
                raise _NotHadError(f"{_hub()} gives the commit {folder.name[:12]} instead", "set HF_ENDPOINT to a hub")
    return folder


def _require(names: tuple[str, ...], files: Mapping[str, _Listed], *, data: bool) -> None:
    """What is wanted has to be listed: the file of a data set, or what makes a model."""
    if data:
        if names[0] not in files:
            raise _NotHadError(f"it holds no '{names[0]}'", "mend 'files', or take a revision that has it")
        return
    other = "take a revision that has it, or bind another one in a profile"
    if _LAST not in names:
        raise _NotHadError("it holds no config.json", other)
    if not any(name.endswith(".safetensors") for name in names):
        raise _NotHadError("it holds no safetensors weights", other)


def _listing(session: Any, place: str) -> dict[str, _Listed]:
    """Files in a folder of a repository, asked for once and without retries."""
    from huggingface_hub import hf_raise_for_status
    from huggingface_hub.constants import ENDPOINT
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    entries: list[Any] = []
    url: str | None = f"{ENDPOINT}/api/{place}"
    for _ in range(_PAGES):
        if url is None or not url.startswith(f"{ENDPOINT}/"):  # the token goes to no other host
            break
        response = session.get(url, headers=build_hf_headers(), timeout=PATIENCE)
        hf_raise_for_status(response)
        try:
            entries += response.json()
        except (ValueError, TypeError):
            raise _no_hub() from None
        url = response.links.get("next", {}).get("url")
    try:
        listed = [
            _Listed(str(entry["path"]), int(entry["size"]), str((entry.get("lfs") or entry)["oid"]))
            for entry in entries
            if entry["type"] == "file"
        ]
    except (LookupError, TypeError, ValueError, AttributeError):
        raise _no_hub() from None
    return {file.name: file for file in listed}


def _check(path: Path, listed: _Listed) -> None:
    """Bytes other than the listed ones are taken out of the cache again."""
    size = path.stat().st_size
    digest = hashlib.sha256() if len(listed.oid) == 64 else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    if size == listed.size and digest.hexdigest() == listed.oid:
        return
    if path.is_symlink():
        (path.parent / path.readlink()).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    raise _NotHadError(f"the bytes of '{listed.name}' are not those that {_hub()} lists", _AGAIN)


class _Guard:
    """Ends the client's own retries: it asks every address a few times only, whatever the answers were."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, str]] = Counter()
        self.status = 0

    def request(self, request: Any) -> None:
        """Counts a request before it goes out, and stops it when it is one too many."""
        key = (request.method, str(request.url))
        self.asked[key] += 1
        if self.asked[key] > ATTEMPTS.get(request.method, 1):
            why = f"answers with status {self.status}" if self.status >= 400 else "does not answer in time"
            raise _NotHadError(f"{_hub()} {why if request.method == 'HEAD' else 'breaks off again and again'}", _AGAIN)
        self.status = 0

    def response(self, response: Any) -> None:
        """Notes how a request was answered; the client would sleep as long as a busy hub asks it to."""
        self.status = int(response.status_code)
        if self.status in (408, 429):
            raise _NotHadError(f"{_hub()} is busy (status {self.status})", f"wait a little, then {_AGAIN}")


@contextmanager
def _bounded(session: Any) -> Iterator[None]:
    guard, hooks = _Guard(), session.event_hooks
    session.event_hooks = {
        "request": [*hooks.get("request", []), guard.request],
        "response": [*hooks.get("response", []), guard.response],
    }
    try:
        yield
    finally:
        session.event_hooks = hooks


@contextmanager
def _quiet() -> Iterator[None]:
    """Neither warnings nor progress bars of the client, also while it is imported, and no statistics for the hub."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from logging import CRITICAL  # weight, as all of these

        from huggingface_hub import constants
        from huggingface_hub.utils.logging import get_verbosity, set_verbosity
        from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

        before = get_verbosity(), are_progress_bars_disabled(), constants.HF_HUB_DISABLE_TELEMETRY
        set_verbosity(CRITICAL + 1)
        disable_progress_bars()
        constants.HF_HUB_DISABLE_TELEMETRY = True
        try:
            yield
        finally:
            verbosity, hidden, constants.HF_HUB_DISABLE_TELEMETRY = before
            set_verbosity(verbosity)
            if not hidden:
                enable_progress_bars()


def _explained(error: BaseException) -> tuple[str, str]:
    """The reason in one line, without a secret, and the way out; classes go by name, the client's transport varies."""
    link: BaseException | None = error
    while link is not None:
        names = {kind.__name__ for kind in type(link).__mro__}
        if isinstance(link, _NotHadError):
            return str(link), link.hint
        for name, reason, hint in _REASONS:
            if name in names:
                return reason.format(hub=_hub(), text=_text(link)), hint
        status = getattr(getattr(link, "response", None), "status_code", None)
        if status in (401, 403):
            return f"{_hub()} refuses (status {status})", _TOKEN
        if status is not None:
            return f"{_hub()} answers with status {status}", _AGAIN
        if isinstance(link, OSError) and link.errno and link.strerror:
            return f"the cache cannot be written: {link.strerror}", "make room, or set HF_HOME to a folder of yours"
        link = link.__cause__ or link.__context__
    return _text(error), _CONNECT


def _text(error: BaseException) -> str:
    """The first line of an error's text; a token or a password in it is left out."""
    from huggingface_hub import get_token
    from huggingface_hub.constants import ENDPOINT

    text = str(error).strip() or type(error).__name__
    for secret in (get_token(), urlsplit(ENDPOINT).password):
        text = text.replace(secret, "…") if secret else text
    return text.splitlines()[0][:200]


def _hub() -> str:
    from huggingface_hub.constants import ENDPOINT

    return urlsplit(ENDPOINT).netloc.rpartition("@")[2] or "the hub"


def _no_hub() -> _NotHadError:
    return _NotHadError(f"what answers at {_hub()} is no hub", "mend HF_ENDPOINT, or sign in to the network")
