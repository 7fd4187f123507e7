"""A model folder with another context or chat template: links to its files beside a changed config.

    with_changes(folder, run_dir / "base", max_positions=131072, chat_template="deepseek-v2")

R1's students need it: Qwen2.5-Math has 4,096 positions (the released student of it 131,072, with the same RoPE base),
and Llama-3.1's base has no chat template. The weights are not copied.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from policies.errors import PolicyError
from policies.facts import read_config
from policies.files import replace_folder, write_atomic

CHAT_TEMPLATES = {
    "deepseek-v2": (
        "{{ bos_token }}{% for message in messages %}"
        "{% if message['role'] == 'user' %}User: {{ message['content'] }}\n\n"
        "{% elif message['role'] == 'assistant' %}Assistant: {{ message['content'] }}{{ eos_token }}"
        "{% else %}{{ message['content'] }}\n\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}Assistant:{% endif %}"
    ),
}
"""Chat templates by name, for bases without one. "deepseek-v2": V2's (its README), plain words for any vocabulary."""
FILE = "chat_template.jinja"


def with_changes(
    folder: Path, out: Path, *, max_positions: int | None = None, chat_template: str | None = None
) -> Path:
    """Return `folder`, or `out` made of links to its files and the changes, if there are any.

    Args:
        folder: a model folder.
        out: where the changed folder is put; what an earlier call left there is replaced.
        max_positions: `max_position_embeddings` of its config.json.
        chat_template: a name of `CHAT_TEMPLATES`, or a file of Jinja text.

    Raises:
        PolicyError: there is no such template.
        BrokenCheckpoint: the folder has no config.json that can be read.
    """
    if max_positions is None and chat_template is None:
        return folder
    template = None if chat_template is None else template_text(chat_template)
    config = read_config(folder)
    if max_positions is not None:
        config["max_position_embeddings"] = max_positions
    out.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        for file in sorted(folder.iterdir()):
            if file.is_file() and file.name not in ("config.json", FILE if template is not None else ""):
                (building / file.name).symlink_to(file.resolve())
        write_atomic(building / "config.json", json.dumps(config, indent=2) + "\n")
        if template is not None:
            write_atomic(building / FILE, template)
        building.chmod(0o755)
        replace_folder(building, out)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return out


def template_text(name: str) -> str:
    """Return the Jinja text of a chat template by its name or file.

    Raises:
        PolicyError: it is neither.
    """
    if name in CHAT_TEMPLATES:
        return CHAT_TEMPLATES[name]
    path = Path(name).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(
            f"chat_template = {name!r}: no file that can be read ({error}), and none of {', '.join(CHAT_TEMPLATES)}"
        ) from error
    if "messages" not in text:
        raise PolicyError(
            f"chat_template = {name!r}: the text does not read `messages`, so it is no chat template"
        )
    return text
