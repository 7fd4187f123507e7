"""`grpo push`: a policy and its card to a model hub, by huggingface_hub. Private unless told otherwise.

The token comes from HF_TOKEN alone, the hub's address from HF_ENDPOINT; neither is printed or stored. The library
resumes and retries, and skips what the hub has already.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from grpo.common.console import say
from grpo.common.errors import ConfigError, RunError
from grpo.common.policy_folder import find_policy, is_adapter, read_json, run_config
from grpo.tracking.model_card import write_card
from grpo.tracking.run_dir import CARD
from policies.facts import read_facts

KINDS = frozenset({".json", ".safetensors", ".jinja", ".md", ".model", ".txt"})
"""Endings of the files that are uploaded: a policy needs no others, and none of these can run code."""
TOKEN = "HF_TOKEN"


def run(
    policy: str, repo_id: str, *, public: bool, revision: str | None, message: str | None, dry_run: bool
) -> None:
    """Upload a policy's folder, or list what an upload would hold.

    Args:
        policy: model folder, run folder, or folder of a LoRA adapter.
        repo_id: "owner/name" on the hub; made if it is not there.
        public: make a new repository public; without it one that is public already is refused.
        revision: branch, made if it is not there; None: main.
        message: of the commit.
        dry_run: only print the list.

    Raises:
        ConfigError: the folder or the id is wrong. RunError: no token, or the hub refuses.
    """
    check_repo_id(repo_id)
    folder = Path(policy).expanduser() if is_adapter(Path(policy).expanduser()) else find_policy(policy)
    if not is_adapter(folder):
        read_facts(folder)
    write_missing_card(folder)
    kept, left_out = files(folder)
    check_card(folder)
    visibility = "public" if public else "private"
    say(f"[bold]{escape(str(folder))}[/] → {escape(repo_id)} ({visibility}), {revision or 'main'}")
    for path in kept:
        say(f"  {path.stat().st_size:>14,} bytes  {escape(str(path.relative_to(folder)))}")
    for path in left_out:
        say(f"  [yellow]left out[/]  {escape(str(path.relative_to(folder)))}: no file of a policy")
    if dry_run:
        say("dry run: nothing was sent")
        return
    say(upload(folder, kept, repo_id, public=public, revision=revision, message=message))


def check_repo_id(repo_id: str) -> None:
    """Check the form of a repository's name.

    Raises:
        ConfigError: it is not "owner/name", or has characters that hubs refuse.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ConfigError(f"{repo_id}: {error}") from error
    if repo_id.count("/") != 1:
        raise ConfigError(f"{repo_id}: write OWNER/NAME, the owner being your account or an organisation")


def files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the files to upload, and those that are no part of a policy (checkpoints, code, hidden files)."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    kept = [
        path
        for path in found
        if path.suffix in KINDS and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    return kept, [path for path in found if path not in kept]


def write_missing_card(folder: Path) -> None:
    """Write the card of a finished run whose policy has none, as runs before cards existed left it."""
    summary = folder.resolve().parent / "summary.json"
    if not (folder / CARD).exists() and run_config(folder) and summary.is_file():
        write_card(folder.resolve().parent, read_json(summary))
        say(f"wrote the model card {escape(str(folder / CARD))}")


def check_card(folder: Path) -> None:
    """Check the card's front matter before anything is sent.

    Raises:
        ConfigError: there is no card, or its front matter is not YAML.
    """
    from huggingface_hub import metadata_load
    from yaml import YAMLError

    card = folder / CARD
    if not card.is_file():
        raise ConfigError(
            f"{card}: no model card; a run writes one at its end. Write one that says how the policy was made"
        )
    try:
        metadata_load(card)
    except (ValueError, YAMLError) as error:
        raise ConfigError(f"{card}: its front matter is not valid YAML: {error}") from error


def upload(
    folder: Path,
    paths: Sequence[Path],
    repo_id: str,
    *,
    public: bool,
    revision: str | None,
    message: str | None,
) -> str:
    """Make the repository if need be and commit the files; returns the commit's address.

    Raises:
        RunError: no token; the repository is public and `public` is False; the hub refuses or cannot be reached.
    """
    from httpx2 import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    token = os.environ.get(TOKEN)
    if not token:
        raise RunError(
            f"no {TOKEN} in the environment: make a token with write access at the hub, then export it"
        )
    hub = HfApi(token=token)
    try:
        try:
            if not hub.repo_info(repo_id).private and not public:
                raise RunError(f"{repo_id} exists and is public; add --public, or choose another name")
        except RepositoryNotFoundError:
            hub.create_repo(repo_id, private=not public)
        if revision is not None:
            hub.create_branch(repo_id, branch=revision, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            revision=revision,
            commit_message=message or "Policy trained with r1-workbench",
            allow_patterns=[str(path.relative_to(folder)) for path in paths],
        )
    except (HfHubHTTPError, HTTPError, ValueError) as error:
        raise RunError(f"the hub did not take {repo_id}: {error}") from error
    return str(commit.commit_url)
