import errno
from itertools import pairwise

import pandas as pd
import pytest
import torch
from conftest import make_activations

import workbench.tensorfile as tensorfile
from workbench.errors import RunError
from workbench.parts import Parts, key_of, parquet_bytes
from workbench.store import create_run, load_activations, open_run, save_activations


@pytest.fixture
def parts(tmp_path):
    parts = Parts(tmp_path / "rollouts")
    for number in range(3):
        parts.write(number, f"key{number}", {"parquet": parquet_bytes(pd.DataFrame({"row": [number]}))})
    return parts


KEYS = ["key0", "key1", "key2"]


def test_what_is_written_is_not_missing(parts):
    assert Parts(parts.folder).missing(KEYS) == []
    assert Parts(parts.folder).missing([*KEYS, "key3"]) == [3]
    assert parts.is_whole()


def test_resuming_compares_rows_not_existence(parts):
    assert Parts(parts.folder).missing(["key0", "other rows", "key2"]) == [1]


def test_a_damaged_part_is_set_aside_and_named(parts):
    path = parts.folder / "part-00001.parquet"
    path.write_bytes(path.read_bytes()[:-5])
    again = Parts(parts.folder)
    assert again.missing(KEYS) == [1]
    assert again.set_aside == [str(path)]
    assert not path.exists()
    assert (parts.folder / "damaged-part-00001.parquet").exists()


def test_a_damaged_part_is_never_read(parts):
    path = parts.folder / "part-00002.parquet"
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(RunError, match=r"part-00002\.parquet is damaged"):
        parts.read(2, "parquet")


def test_a_part_without_a_record_is_missing(parts):
    """Killed between the file and the manifest: the part is made again."""
    manifest = parts.folder / "parts.jsonl"
    lines = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join(lines[:2]) + lines[2][:20])
    again = Parts(parts.folder)
    assert again.missing(KEYS) == [2]
    again.write(2, KEYS[2], {"parquet": b"anew"})
    assert Parts(parts.folder).is_whole()


def test_parts_made_in_any_order_are_whole_and_a_gap_is_not(tmp_path):
    parts = Parts(tmp_path)
    for number in (2, 0):
        parts.write(number, f"rows {number}", {"parquet": bytes([number])})
    assert not Parts(tmp_path).is_whole()
    parts.write(1, "rows 1", {"parquet": b"b"})
    assert Parts(tmp_path).is_whole()
    parts.keep(1)
    assert (len(Parts(tmp_path)), len(list(tmp_path.glob("part-*.parquet")))) == (1, 1)


def test_a_part_costs_a_line_however_many_there_are(tmp_path):
    parts, sizes = Parts(tmp_path), []
    for number in range(60):
        parts.write(number, "0" * 24, {"parquet": b"x"})
        sizes.append((tmp_path / "parts.jsonl").stat().st_size)
    grown = {b - a for a, b in pairwise(sizes)}
    assert max(grown) - min(grown) <= 1  # the number of a part gets a digit longer


def test_half_written_files_never_get_the_name(tmp_path, monkeypatch):
    target = tmp_path / "table.csv"
    tensorfile.write_bytes(target, b"old")

    def killed(fd):
        raise KeyboardInterrupt

    monkeypatch.setattr(tensorfile.os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        tensorfile.write_bytes(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def full(fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tensorfile.os, "fsync", full)
    with pytest.raises(RunError, match=r"cannot write .*x\.csv: the disk is full; what was finished is kept"):
        tensorfile.write_bytes(tmp_path / "x.csv", b"new")
    assert list(tmp_path.iterdir()) == []


def test_the_same_table_gives_the_same_bytes():
    frame = pd.DataFrame({"row": ["a"], "ids": [[1, 2]]})
    assert parquet_bytes(frame) == parquet_bytes(frame.copy())
    assert key_of(["a", "b"]) != key_of(["a\nb", ""])
    assert key_of(["a"], "x") != key_of(["a"], "y")


def test_a_run_is_opened_again(tmp_path):
    create_run(tmp_path / "run", {"model": "m", "seed": 0}).record("rollouts", n=3)
    run = open_run(tmp_path / "run")
    assert run.is_done("rollouts")
    assert "m, done: rollouts" in repr(run)
    assert create_run(tmp_path / "run", {"model": "m", "seed": 0}).is_done("rollouts")


def test_other_settings_are_refused(tmp_path):
    create_run(tmp_path / "run", {"model": "m", "seed": 0}).record("rollouts", n=1)
    with pytest.raises(RunError, match=r"other settings \(seed 0, now 1\): give the same ones to go on, or choose another folder"):
        create_run(tmp_path / "run", {"model": "m", "seed": 1})


def test_settings_may_change_while_nothing_was_done(tmp_path):
    create_run(tmp_path / "run", {"roles": "misspelt"})
    assert create_run(tmp_path / "run", {"roles": "right"}).config == {"roles": "right"}
    assert open_run(tmp_path / "run").config == {"roles": "right"}


def test_folders_that_are_no_runs(tmp_path):
    with pytest.raises(RunError, match=r"is not a run folder: it has no study\.json"):
        open_run(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty and holds no study"):
        create_run(tmp_path, {})
    with pytest.raises(RunError, match="is a file"):
        create_run(tmp_path / "notes.txt", {})
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(RunError, match=r"study\.json cannot be read"):
        open_run(tmp_path)
    (tmp_path / "study.json").write_text('{"format": "other/2"}')
    with pytest.raises(RunError, match=r"is not a study of persona-workbench/1 \(format 'other/2'\)"):
        open_run(tmp_path)


def test_steps_that_were_not_made_name_their_command(tmp_path):
    run = create_run(tmp_path / "run", {"model": "m"})
    with pytest.raises(RunError, match="has no axis yet: run `workbench axis"):
        _ = run.axis
    with pytest.raises(RunError, match="has no sweep yet"):
        _ = run.recommended_layer


def test_activations_survive_their_file(tmp_path):
    acts = make_activations(torch.randn(2, 3, 4), ["a", "b"], n=[3, 4])
    loaded = load_activations(save_activations(tmp_path / "x.safetensors", acts, "role vectors", {"keep": "all"}))
    assert torch.equal(loaded.values, acts.values)
    assert loaded.site == acts.site
    pd.testing.assert_frame_equal(loaded.rows, acts.rows, check_dtype=False)
