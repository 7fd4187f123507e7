"""What is known of a policy without its weights: a folder with its config and tokenizer.

find_description("Qwen/Qwen2.5-Math-1.5B")     a folder, a few MB from the hub; None if it cannot be reached now
"""

from __future__ import annotations

from pathlib import Path

_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
)
ETAG_TIMEOUT_S = 10.0
"""How long the hub may take to answer."""


def find_description(name: str) -> Path | None:
    """Return a local folder, or a folder with the config and tokenizer of a model on the hub.

    None: there is no such folder, and the hub does not give a model of that name now.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path if (path / "config.json").is_file() else None
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(_FILES), etag_timeout=ETAG_TIMEOUT_S))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError):
        return None
