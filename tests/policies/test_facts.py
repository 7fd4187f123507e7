from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from policies.errors import BrokenCheckpoint, MissingTokenizer, PolicyError, UnsupportedArchitecture
from policies.export import save_policy
from policies.facts import read_facts, resolve_model
from policies.families.registry import PRESETS
from policies.tokenizer import load_tokenizer
from tests.policies.tiny import tiny_policy, write_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tokenizer(tmp_path / "tokenizer")
    return save_policy(tiny_policy("tiny-llama"), tmp_path / "policy", tmp_path / "tokenizer")


def edit_config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize("preset", PRESETS)
def test_facts_equal_the_model(tmp_path: Path, preset: str):
    model = tiny_policy(preset)
    facts = read_facts(save_policy(model, tmp_path / "policy", None), need_tokenizer=False)
    assert facts.architecture == type(model).__name__
    assert facts.family == model.config.model_type
    assert facts.vocab_size == model.config.vocab_size
    assert facts.hidden_size == model.config.hidden_size
    assert facts.mtp_layers == len(model.model.layers) - model.config.num_hidden_layers
    copies = 2 * facts.mtp_layers * facts.vocab_size * facts.hidden_size
    buffers = sum(b.numel() for n, b in model.named_buffers() if n.endswith("correction_bias"))
    assert facts.parameters == sum(p.numel() for p in model.parameters()) + copies + buffers
    assert facts.max_positions == model.config.max_position_embeddings
    assert not facts.has_tokenizer


def test_unknown_architecture_names_file_value_and_choices(folder: Path):
    edit_config(folder, architectures=["GPT2LMHeadModel"])
    with pytest.raises(
        UnsupportedArchitecture, match=r"config\.json.*GPT2LMHeadModel.*DeepseekV3ForCausalLM"
    ):
        read_facts(folder)


@pytest.mark.parametrize("value", [None, [], "nonsense"])
def test_a_config_without_an_architecture_is_refused(folder: Path, value: object):
    edit_config(folder, architectures=value)
    with pytest.raises(UnsupportedArchitecture):
        read_facts(folder)


def test_quantised_weights_are_refused(folder: Path):
    edit_config(folder, quantization_config={"quant_method": "fp8"})
    with pytest.raises(UnsupportedArchitecture, match="fp8"):
        read_facts(folder)


def test_a_folder_without_tokenizer(folder: Path):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(MissingTokenizer, match=r"no tokenizer\.json"):
        read_facts(folder)
    assert not read_facts(folder, need_tokenizer=False).has_tokenizer


def test_a_file_cut_in_half(folder: Path):
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    for size in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(BrokenCheckpoint, match=r"model\.safetensors: .*(cut short|damaged)"):
            read_facts(folder)
    file.write_bytes(whole + b"\0")
    with pytest.raises(BrokenCheckpoint, match="its header says"):
        read_facts(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_pointer_of_git_lfs_is_named(folder: Path, name: str) -> None:
    """What `git clone https://huggingface.co/…` without Git LFS leaves."""
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n")
    with pytest.raises(BrokenCheckpoint, match=rf"{name}: a pointer of Git LFS .* `git lfs pull`"):
        load_tokenizer(read_facts(folder).folder)


def test_a_damaged_header(folder: Path):
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[8] = ord("x")
    file.write_bytes(content)
    with pytest.raises(BrokenCheckpoint, match="header is not JSON"):
        read_facts(folder)
    file.write_bytes((2).to_bytes(8, "little") + b"[]")
    with pytest.raises(BrokenCheckpoint, match="lists no tensors"):
        read_facts(folder)


def test_no_weights(folder: Path):
    (folder / "model.safetensors").unlink()
    assert read_facts(folder, need_weights=False).parameters == 0
    with pytest.raises(BrokenCheckpoint, match=r"no model\.safetensors"):
        read_facts(folder)
    (folder / "pytorch_model.bin").touch()
    with pytest.raises(BrokenCheckpoint, match="is a pickle and is not read"):
        read_facts(folder)


def test_shards_are_checked_against_their_index(tmp_path: Path):
    model = tiny_policy("tiny-v3")
    folder = tmp_path / "policy"
    model.save_pretrained(folder, max_shard_size="200KB")
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 2
    facts = read_facts(folder, need_tokenizer=False)
    assert facts.parameters == sum(p.numel() for p in model.state_dict().values())
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    name, shard = next(iter(index["weight_map"].items()))
    index["weight_map"][name] = next(s.name for s in shards if s.name != shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BrokenCheckpoint, match=f"{name} is missing"):
        read_facts(folder, need_tokenizer=False)
    shards[1].unlink()
    said = rf"1 of the {len(shards)} files that model\.safetensors\.index\.json lists are not there, {shards[1].name}"
    with pytest.raises(BrokenCheckpoint, match=said):
        read_facts(folder, need_tokenizer=False)


def test_weights_that_contradict_the_config(folder: Path):
    edit_config(folder, vocab_size=65)
    with pytest.raises(BrokenCheckpoint, match=r"\(64, 64\).*vocab_size 65"):
        read_facts(folder)


@pytest.mark.parametrize("value", [None, "64", 0, -1, True])
def test_a_config_value_of_the_wrong_kind(folder: Path, value: object):
    edit_config(folder, hidden_size=value)
    with pytest.raises(BrokenCheckpoint, match=r"config\.json: hidden_size"):
        read_facts(folder)


def test_config_missing_or_not_json(tmp_path: Path):
    with pytest.raises(BrokenCheckpoint, match="is this a model folder"):
        read_facts(tmp_path)
    (tmp_path / "config.json").write_text("[1")
    with pytest.raises(BrokenCheckpoint, match="not valid JSON"):
        read_facts(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(BrokenCheckpoint, match="expected a JSON object"):
        read_facts(tmp_path)


@pytest.mark.parametrize(
    ("given", "inside"),
    [
        ("runs/x", ["runs/x/policy"]),
        ("runs/x", ["runs/x/policy", "runs/x/checkpoints/step-000002/policy"]),
        ("runs/x/checkpoints/step-000002", ["runs/x/checkpoints/step-000002/policy"]),
        ("runs/x", ["runs/x/checkpoints/step-000002/policy"]),
        ("runs/graph", ["runs/graph/base/policy", "runs/graph/zero/policy"]),
    ],
)
@pytest.mark.parametrize("config", [None, '{"stage": "rl", "steps": 3}', "[1"])
def test_a_folder_that_holds_a_policy_offers_it(
    folder: Path, tmp_path: Path, given: str, inside: list[str], config: str | None
):
    place = tmp_path / "there" / given
    place.mkdir(parents=True)
    if config is not None:
        (place / "config.json").write_text(config)
    paths = [tmp_path / "there" / path for path in inside]
    for path in paths:
        shutil.copytree(folder, path)
    with pytest.raises(UnsupportedArchitecture) as error:
        read_facts(resolve_model(place))
    first, *rest = paths
    assert f"{place} is no model folder; did you mean {first}" in str(error.value)
    assert all(str(path) in str(error.value) for path in rest)


def test_a_file_of_a_model_folder_offers_the_folder(folder: Path):
    with pytest.raises(PolicyError, match=f"is a file; a policy is a folder; did you mean {folder}"):
        resolve_model(folder / "model.safetensors")


def test_resolving_a_folder_gives_it_back(tmp_path: Path):
    assert resolve_model(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a/b/c"])
def test_a_missing_folder_is_not_looked_up_on_the_hub(name: str):
    with pytest.raises(PolicyError, match="no such folder"):
        resolve_model(name)


def test_a_hub_model_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(PolicyError, match="the hub did not give a model of that name"):
        resolve_model("nobody/no-such-model")


def test_only_harmless_files_are_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    asked: list[tuple[str, list[str]]] = []

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert resolve_model("some/model") == tmp_path
    ((name, patterns),) = asked
    assert name == "some/model"
    assert not [p for p in patterns if p.endswith((".bin", ".py", ".pt", "*"))]
