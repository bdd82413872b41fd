"""The one file of the face that may use the network: a folder to a model hub, with the user's own token."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hsdc_schemas.errors import Exit, HsdcError, fail

NAME = re.compile(r"[A-Za-z0-9](?:[\w.-]*\w)?/\w(?:[\w.-]*\w)?", re.ASCII)
LOGIN = "set HF_TOKEN, or log in: hf auth login"


@dataclass(frozen=True)
class Hub:
    """A hub that takes folders from whoever the token names; the token is shown nowhere."""

    token: str = field(repr=False)
    endpoint: str | None = None


@dataclass(frozen=True)
class Pushed:
    """The commit, and whether those alone see it whom its owner lets."""

    commit: str
    private: bool


def hub() -> Hub:
    """The hub of `HF_ENDPOINT`, with the token in `HF_TOKEN` or of the hub's own login; HsdcError (E553) without one.

    Nothing is asked of the hub yet.
    """
    with _quiet():
        try:
            from huggingface_hub import get_token

            token = get_token()
        except ImportError:
            raise _refused("the package huggingface_hub is not installed", "pip install 'hsdc[runtime]'") from None
        except Exception as error:  # of a login that does not work: whatever its service raises
            raise _refused(f"the login to the hub does not work: {_first(error)}", LOGIN) from None
    if not token:
        raise _refused("there is no token, so the hub would not know you", LOGIN)
    return Hub(token, os.environ.get("HF_ENDPOINT") or None)


def require_name(repository: str) -> None:
    """HsdcError (E000) where a repository is not named as hubs name them."""
    if not NAME.fullmatch(repository) or ".." in repository or "--" in repository or repository.endswith(".git"):
        message = f"'{repository}' is no name of a repository"
        raise fail("E000", Exit.SPEC, message, None, "write it as OWNER/NAME")


def push(to: Hub, folder: Path, repository: str, message: str, kind: str = "model") -> Pushed:
    """Put all files of a folder into a repository as one commit; a new repository is private.

    `kind` is that of the repository, as the hub calls it: `model` or `dataset`.

    HsdcError (E553) where the hub cannot be reached or refuses; then it has all files or none.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with _quiet():
        from huggingface_hub import CommitOperationAdd, HfApi

        api = HfApi(token=to.token, endpoint=to.endpoint)
        added = [CommitOperationAdd(path.relative_to(folder).as_posix(), path) for path in files]
        try:
            api.create_repo(repository, repo_type=kind, private=True, exist_ok=True)
            private = bool(api.repo_info(repository, repo_type=kind).private)
            commit = api.create_commit(repository, added, repo_type=kind, commit_message=message)
        except Exception as error:  # the client raises its own, its transport's and the system's errors
            told = f"the hub did not take it: {_first(error).replace(to.token, '…')}"
            raise _refused(told, "mend this and export again, to another folder") from None
    return Pushed(str(commit.oid), private)


def _refused(message: str, hint: str) -> HsdcError:
    return fail("E553", Exit.ENVIRONMENT, message, None, hint)


def _first(error: Exception) -> str:
    """What an error says, in one line."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    text = " ".join(str(error).split()) or type(error).__name__
    return f"{f'status {status}, ' if status else ''}{text}"[:200]


@contextmanager
def _quiet() -> Iterator[None]:
    """Neither warnings nor progress bars of the client, also while it is imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from huggingface_hub.utils import logging as client
            from huggingface_hub.utils.tqdm import (
                are_progress_bars_disabled,
                disable_progress_bars,
                enable_progress_bars,
            )
        except ImportError:
            yield
            return
        before, hidden = client.get_verbosity(), are_progress_bars_disabled()
        client.set_verbosity(logging.CRITICAL + 1)
        disable_progress_bars()
        try:
            yield
        finally:
            client.set_verbosity(before)
            if not hidden:
                enable_progress_bars()
