"""The one file of the face that may use the network: a folder to a model hub, with the user's own token."""

from __future__ import annotations

import os
from pathlib import Path

from hsdc_schemas.errors import Exit, fail

TOKEN = "HF_TOKEN"


def push(folder: Path, repository: str, message: str) -> str:
    """Upload all files of a folder as one commit to a repository, which is made private where it is new; its commit.

    The token is the one in the environment. HsdcError (E553) where there is none, or the hub refuses.
    """
    token = os.environ.get(TOKEN)
    if not token:
        raise fail("E553", Exit.ENVIRONMENT, f"{TOKEN} is not set, so the hub would not know you", None, f"set {TOKEN}")
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError:
        message = "pushing needs the package huggingface_hub, which is not installed"
        raise fail("E553", Exit.ENVIRONMENT, message, None, "pip install 'hsdc[runtime]'") from None
    hub = HfApi(token=token, endpoint=os.environ.get("HF_ENDPOINT") or None)
    try:
        hub.create_repo(repository, private=True, exist_ok=True)
        commit = hub.upload_folder(repo_id=repository, folder_path=folder, commit_message=message)
    except (HfHubHTTPError, OSError, ValueError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0].replace(token, "…")
        told = f"the hub did not take it: {first}"
        raise fail("E553", Exit.ENVIRONMENT, told, None, "the folder itself is written") from None
    return str(commit.oid)
