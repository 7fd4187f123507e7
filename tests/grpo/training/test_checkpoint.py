import errno
import json

import pytest

from grpo.common.errors import BrokenRun, RunError
from grpo.training.checkpoint import MANIFEST, STATE, find_error, latest, save_checkpoint


def write(folder):
    (folder / "policy").mkdir()
    (folder / "policy" / "model.safetensors").write_bytes(bytes(range(256)) * 8)
    (folder / "optimizer.safetensors").write_bytes(b"x" * 1000)


def save(root, *steps, keep=10):
    for step in steps:
        save_checkpoint(root, step, {"cursor": 7 * step}, write, keep)


def names(root):
    return sorted(p.name for p in root.iterdir())


def test_latest_is_the_newest_with_what_was_saved(tmp_path):
    assert latest(tmp_path / "none") is None
    save(tmp_path, 5, 20, 10)
    found = latest(tmp_path)
    assert (found.step, found.extra, found.path) == (20, {"cursor": 140}, tmp_path / "step-000020")
    assert find_error(found.path) is None


def test_old_ones_go_and_the_newest_stay(tmp_path):
    save(tmp_path, 1, 2, 3, 4, keep=2)
    assert names(tmp_path) == ["step-000003", "step-000004"]


def test_protected_ones_stay_however_old(tmp_path):
    for step in (1, 2, 3, 4, 5):
        save_checkpoint(tmp_path, step, {}, write, 2, protected=(2, 99))
    assert names(tmp_path) == ["step-000002", "step-000004", "step-000005"]
    save_checkpoint(tmp_path, 6, {}, write, 1, protected=(5,))
    assert names(tmp_path) == ["step-000005", "step-000006"]


def test_a_run_that_is_killed_while_it_deletes_leaves_only_whole_checkpoints(tmp_path, monkeypatch):
    save(tmp_path, 1, 2, 3)

    def die_half_way(folder, **_):
        remove(folder / MANIFEST)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("grpo.training.checkpoint.shutil.rmtree", die_half_way)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path, 4, {}, write, 2)
    found = [path for path in tmp_path.glob("step-*") if find_error(path) is not None]
    assert found == []
    assert latest(tmp_path).step == 4
    save(tmp_path, 5, keep=2)
    assert names(tmp_path) == ["step-000004", "step-000005"]


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def remove(path):
    path.unlink()


@pytest.mark.parametrize("damage", [cut_in_half, flip_a_bit, remove])
@pytest.mark.parametrize("file", ["policy/model.safetensors", "optimizer.safetensors", STATE, MANIFEST])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path, caplog, damage, file):
    save(tmp_path, 1, 2)
    damage(tmp_path / "step-000002" / file)
    with caplog.at_level("WARNING"):
        found = latest(tmp_path)
    assert found.step == 1
    assert "step-000002" in caplog.text
    assert "damaged" in caplog.text


def test_no_whole_checkpoint_is_an_error_that_names_the_files(tmp_path):
    save(tmp_path, 1)
    cut_in_half(tmp_path / "step-000001" / "optimizer.safetensors")
    with pytest.raises(BrokenRun, match=r"optimizer\.safetensors has 500 bytes, not 1,000"):
        latest(tmp_path)


def test_a_manifest_that_forgets_the_state_is_not_whole(tmp_path):
    save(tmp_path, 1)
    path = tmp_path / "step-000001" / MANIFEST
    manifest = json.loads(path.read_text())
    del manifest["files"][STATE]
    path.write_text(json.dumps(manifest))
    assert "state.json" in find_error(tmp_path / "step-000001")


def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_half_written(tmp_path):
    save(tmp_path, 1, keep=1)

    def full(folder):
        write(folder)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(RunError, match=r"step-000002.*No space left.*resumes"):
        save_checkpoint(tmp_path, 2, {}, full, keep=1)
    assert names(tmp_path) == ["step-000001"]
    assert latest(tmp_path).step == 1


def test_other_errors_pass_through_and_clean_up(tmp_path):
    def fail(folder):
        write(folder)
        raise KeyError("bug")

    with pytest.raises(KeyError):
        save_checkpoint(tmp_path, 2, {}, fail, keep=1)
    assert names(tmp_path) == []


def test_a_killed_writer_leaves_nothing_that_counts_and_is_cleaned_by_the_next(tmp_path):
    save(tmp_path, 1)
    (tmp_path / ".writing-abc").mkdir()
    write(tmp_path / ".writing-abc")
    assert latest(tmp_path).step == 1
    save(tmp_path, 2)
    assert names(tmp_path) == ["step-000001", "step-000002"]


def test_a_step_can_be_saved_again(tmp_path):
    save(tmp_path, 1)
    save_checkpoint(tmp_path, 1, {"cursor": 99}, write, keep=2)
    assert latest(tmp_path).extra == {"cursor": 99}
    assert names(tmp_path / "step-000001") == [MANIFEST, "optimizer.safetensors", "policy", STATE]
