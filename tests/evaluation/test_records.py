"""Damaged records, a full disk, a broken image: nothing is hidden, and the rest goes on."""

import errno
import os
import shutil

import numpy as np
import pytest
from evaluation_helpers import METHODS, StopAt, contents, records, run
from PIL import Image

import ovss
from ovss.errors import InputError
from ovss.evaluation.records import Record, Shard, Store, _unpacked, make_shards
from ovss.evaluation.results import Evaluation


def test_a_damaged_record_is_made_again(backbone, data, tmp_path):
    run(backbone, data, tmp_path)
    before = contents(tmp_path)
    damaged = sorted(tmp_path.rglob("*.npz"))[1]
    damaged.write_bytes(damaged.read_bytes()[:-40])
    with pytest.raises(InputError, match=f"record '{damaged}' is damaged"):
        Evaluation.load(tmp_path).summary()
    with pytest.warns(UserWarning, match=f"record '{damaged}' is damaged: .*; it is made again"):
        run(backbone, data, tmp_path)
    assert contents(tmp_path) == before


def test_no_flip_of_a_bit_no_cut_and_no_swap_of_records_moves_a_result(backbone, data, tmp_path):
    whole = run(backbone, data, tmp_path)
    store, shards = whole._store, make_shards(10, 3)
    path = sorted(tmp_path.rglob("*.npz"))[1]
    content = path.read_bytes()
    assert store.get(shards[1]) is not None
    damaged = [content[:size] for size in range(0, len(content), 7)]
    damaged += [content + b"\0", path.with_name("000006-000009.npz").read_bytes()]
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        damaged.append(bytes(flipped))
    for version in damaged:
        path.write_bytes(version)
        with pytest.raises(InputError, match=r"000003-000006.npz' is damaged"):
            store.get(shards[1])
    for version in damaged[:: len(damaged) // 8]:
        path.write_bytes(version)
        with pytest.warns(UserWarning, match=r"000003-000006.npz' is damaged: .*; it is made again"):
            again = run(backbone, data, tmp_path)
        assert path.read_bytes() == content
        for label in METHODS:
            assert np.array_equal(again.counts(label), whole.counts(label))


def test_a_record_is_bound_to_the_images_of_its_shard(tmp_path):
    counts = np.ones((3, 4), dtype=np.int64)
    record = Record.collect([("a", {"m": counts}), ("b", {"m": counts})], ["m"], 4, {})
    Store("f" * 64, tmp_path).put(Shard(0, 2), record)
    assert Store("f" * 64, tmp_path, ["a", "b", "c"]).get(Shard(0, 2)) is not None
    with pytest.raises(InputError, match=r"000000-000002.npz' is damaged: its images are others"):
        Store("f" * 64, tmp_path, ["a", "c", "b"]).get(Shard(0, 2))
    (folder,) = (tmp_path / "records").iterdir()
    (folder / "000000-000002.npz").rename(folder / "000002-000004.npz")
    with pytest.raises(InputError, match=r"000002-000004.npz' is damaged: it is of images 0 to 1"):
        Store("f" * 64, tmp_path).get(Shard(2, 4))


@pytest.mark.parametrize("broken", ["picture", "mask", "missing mask", "mask size", "mask label"])
def test_a_bad_file_in_the_middle_is_named_and_what_came_before_is_safe(backbone, data, folder, tmp_path, broken):
    fingerprint = data.fingerprint
    picture, mask = folder / "images" / "p07.jpg", folder / "masks" / "p07.png"
    named = picture if broken == "picture" else mask
    if broken in ("picture", "mask"):
        named.write_bytes(named.read_bytes()[:60])
    elif broken == "missing mask":
        mask.unlink()
    elif broken == "mask size":
        Image.new("L", (20, 20)).save(mask)
    else:
        labels = np.array(Image.open(mask))
        labels[5, 6] = 77
        Image.fromarray(labels).save(mask)
    with pytest.raises(InputError, match=str(named)) as caught:
        run(backbone, data, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert len(records(tmp_path / "run")) == 2
    skipping = run(backbone, data, tmp_path / "run", skip_bad=True)
    assert skipping.facts["dataset_fingerprint"] == fingerprint
    assert skipping.summary()["skipped"].tolist() == [1, 1]
    assert skipping.summary()["images"].tolist() == [9, 9]
    assert list(skipping.skipped) == ["p07"]
    assert str(named) in skipping.skipped["p07"]
    assert "p07" in (tmp_path / "run" / "run.json").read_text()
    with pytest.raises(InputError, match=str(named)):
        run(backbone, data, tmp_path / "run")


def test_every_kind_of_bad_file_is_skipped_and_the_others_go_on(backbone, folder, tmp_path, monkeypatch):
    masks, images = folder / "masks", folder / "images"
    (masks / "p01.png").unlink()
    (masks / "p02.png").unlink()
    os.mkfifo(masks / "p02.png")
    Image.new("L", (90, 70)).save(tmp_path / "a.dds")
    (images / "p04.jpg").write_bytes((tmp_path / "a.dds").read_bytes()[:140])
    Image.effect_noise((90, 70), 50).convert("RGB").save(tmp_path / "a.avif")
    (images / "p05.jpg").write_bytes((tmp_path / "a.avif").read_bytes()[:300])
    Image.new("1", (20000, 20000)).save(masks / "p07.png")
    found = run(backbone, ovss.load_dataset("folder", folder), tmp_path / "run", skip_bad=True, methods="clip")
    assert sorted(found.skipped) == ["p01", "p02", "p04", "p05", "p07"]
    assert len(found.ids) == 5
    for name, reason in found.skipped.items():
        assert name in reason
        assert "\n" not in reason


def test_skipping_leaves_the_other_images_as_they_were(backbone, data, folder):
    whole = run(backbone, data)
    (folder / "images" / "p01.jpg").write_bytes(b"no picture")
    rest = run(backbone, data, skip_bad=True)
    kept = [index for index, name in enumerate(whole.ids) if name != "p01"]
    assert np.abs(rest.counts("clip") - whole.counts("clip")[kept]).sum() <= 4


def test_a_full_disk_is_one_clear_error_and_the_run_goes_on_later(backbone, data, tmp_path, monkeypatch):
    out, original, calls = tmp_path / "run", os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) >= 5:  # after a probe, the note of the run and two records
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match=r"cannot write '.*000006-000009.npz': No space left on device") as caught:
            run(backbone, data, out)
    assert "\n" not in str(caught.value)
    assert list(records(out)) == ["000000-000003.npz", "000003-000006.npz"]
    assert not list(out.rglob("*.part"))
    run(backbone, data, out)
    run(backbone, data, tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")


def test_an_output_that_cannot_be_written_is_refused_before_any_work(backbone, data, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"output folder '.*file/run.*' cannot be written"):
        run(backbone, StopAt(data, 0, AssertionError("a picture was read")), tmp_path / "file" / "run")


def test_the_folder_vanishing_in_the_middle_is_reported(backbone, data, tmp_path):
    out = tmp_path / "run"

    class Vanish(StopAt):
        def __getitem__(self, index):
            if index == 9:
                shutil.rmtree(out)
            return self._data[index]

    with pytest.raises(InputError, match="cannot write"):
        run(backbone, Vanish(data, 9, None), out)


def test_shards_cover_every_image_once():
    for images, size in ((1, 32), (32, 32), (33, 32), (100, 7)):
        covered = [index for shard in make_shards(images, size) for index in range(*shard)]
        assert covered == list(range(images))


def test_a_record_survives_its_file_and_refuses_another_run(tmp_path):
    counts = np.random.default_rng(0).integers(0, 3, (2, 3, 300))
    record = Record.collect([("a", {"m": counts[0]}), ("b ü", {"m": counts[1]})], ["m"], 300, {"c": "why"})
    store = Store("f" * 64, tmp_path, ["a", "b ü", "c"])
    store.put(Shard(0, 3), record)
    again = store.get(Shard(0, 3))
    assert again is not None
    assert (again.ids, again.methods, dict(again.skipped)) == (("a", "b ü"), ("m",), {"c": "why"})
    assert np.array_equal(again.counts("m"), counts)
    with pytest.raises(InputError, match="it is of another run"):
        Store("f" * 16 + "0" * 48, tmp_path).get(Shard(0, 3))


@pytest.mark.parametrize("shape", [(0, 0), (0, 6), (1, 5), (700, 8)])
def test_rows_of_extras_come_back_as_they_were(shape):
    rows = np.random.default_rng(0).integers(-(2**31), 2**31, shape)
    record = Record(("a",), ("clip",), 2, np.zeros((0, 6), dtype=np.int64), extras={"errors": rows})
    content = record.to_bytes("key", Shard(0, 1))
    np.testing.assert_array_equal(Record.from_bytes(content, "key", Shard(0, 1)).extras["errors"], rows)
    assert content == record.to_bytes("key", Shard(0, 1))


def test_a_number_of_an_extra_that_does_not_fit_is_refused():
    record = Record(("a",), ("clip",), 2, np.zeros((0, 6), dtype=np.int64), extras={"errors": np.array([[2**31]])})
    with pytest.raises(ValueError, match="does not fit 32 bits"):
        record.to_bytes("key", Shard(0, 1))


def test_extras_of_older_records_are_planes_of_bytes():
    rows = np.array([[1, -2, 300], [4, 70000, 6]])
    planes = np.stack(
        [[[(int(value) >> 8 * byte) & 255 for value in column] for byte in range(4)] for column in rows.T]
    )
    np.testing.assert_array_equal(_unpacked(planes.astype(np.uint8)), rows)
