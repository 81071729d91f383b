"""Data sets: each layout written as its authors distribute it, every label checked by hand."""

import json

import numpy as np
import pytest
from dataset_helpers import save_mask, save_photo
from paths import shared_path
from scipy.io import savemat

from ovss.datasets import load_dataset
from ovss.errors import InputError

VOID = 255

COCO_GAPS = {11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90}


def test_voc21_reads_palette_indices(voc):
    dataset = load_dataset("voc21", voc)
    assert len(dataset) == 2
    assert dataset.ids == ("2007_000033", "2007_000042")
    sample = dataset[0]
    assert sample.labels.tolist() == [[0, 1, 2, 20], [255, 5, 0, 0], [15, 15, 7, 1]]
    assert sample.labels.dtype == np.int64
    assert sample.image.mode == "RGB"
    assert sample.image.size == (4, 3)
    assert (dataset.background, dataset.void, len(dataset.classes)) == (0, VOID, 21)
    assert (dataset.classes[0], dataset.classes[1], dataset.classes[20]) == ("background", "aeroplane", "tv monitor")


def test_voc20_shifts_the_classes_and_ignores_background(voc):
    dataset = load_dataset("voc20", voc)
    assert dataset[0].labels.tolist() == [[VOID, 0, 1, 19], [VOID, 4, VOID, VOID], [14, 14, 6, 0]]
    assert dataset.background is None
    assert dataset.classes[14] == "person"
    assert (dataset[1].labels == VOID).all()


@pytest.mark.parametrize("part", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_voc_is_found_from_any_of_its_folders(voc, part):
    assert len(load_dataset("voc21", voc / part)) == 2


def test_context459_counts_from_zero_and_its_void_is_16_bit(context):
    dataset = load_dataset("context459", context)
    assert dataset[0].labels.tolist() == [[65535, 0, 1, 8], [453, 457, 458, 1], [2, 419, 24, 0]]
    assert (dataset.void, len(dataset.classes), dataset.background) == (65535, 459, None)
    assert (dataset.classes[0], dataset.classes[1], dataset.classes[457]) == ("accordion", "aeroplane", "wood")


def test_context60_and_context59_are_parts_of_the_459_by_id(context):
    sixty, fiftynine = load_dataset("context60", context), load_dataset("context59", context)
    names = fiftynine.classes
    expected = {2: "aeroplane", 9: "bag", 454: "window", 458: "wood", 420: "tree", 25: "bird"}
    raw = [[0, 1, 2, 9], [454, 458, 459, 2], [3, 420, 25, 1]]
    for row, codes in enumerate(raw):
        for column, code in enumerate(codes):
            narrow, wide = fiftynine[0].labels[row, column], sixty[0].labels[row, column]
            if code in expected:
                assert names[narrow] == expected[code]
                assert wide == narrow + 1
                assert sixty.classes[wide] == expected[code]
            else:
                assert (narrow, wide) == (VOID, 0)
    assert fiftynine[0].labels[0, 2] == 0
    assert fiftynine[0].labels[1, 1] == 58


def test_the_59_classes_of_context_are_those_of_the_459_with_the_same_names(context):
    full = load_dataset("context459", context).classes
    for label, code in enumerate(json.loads(shared_path("spec", "label_codes.json").read_text())["context59_mat_ids"]):
        assert full[code - 1] == load_dataset("context59", context).classes[label]


def test_context_accepts_the_merged_annotation_as_its_list(context):
    base = context / "VOCdevkit/VOC2010"
    (base / "ImageSets/SegmentationContext/val.txt").unlink()
    images = [{"file_name": f"{name}.jpg", "phase": phase} for name, phase in (("b", "train"), ("2008_000002", "val"))]
    (base / "trainval_merged.json").write_text(json.dumps({"images": images}))
    assert load_dataset("context60", context).ids == ("2008_000002",)
    assert load_dataset("context60", context, "train").ids == ("b",)
    (base / "trainval_merged.json").write_text("{}")
    with pytest.raises(InputError, match=r"trainval_merged.json' must hold 'images'"):
        load_dataset("context60", context)


def test_a_mat_file_without_label_map_is_refused(context):
    path = context / "VOCdevkit/VOC2010/trainval/2008_000002.mat"
    savemat(path, {"Labels": np.zeros((3, 4))})
    with pytest.raises(InputError, match=r"2008_000002.mat' must hold an array LabelMap; it holds Labels"):
        load_dataset("context60", context)[0]
    path.write_bytes(b"no mat file")
    with pytest.raises(InputError, match=r"2008_000002.mat' cannot be read as a .mat file"):
        load_dataset("context60", context)[0]


def test_coco_stuff_closes_the_gaps_of_the_codes(coco):
    dataset = load_dataset("coco_stuff171", coco)
    codes = [[0, 10, 12, 181], [89, 91, 92, 255], [13, 24, 26, 66]]
    expected = [[VOID if c == 255 else c - sum(gap < c for gap in COCO_GAPS) for c in row] for row in codes]
    assert dataset[0].labels.tolist() == expected
    assert expected[0] == [0, 10, 11, 170]
    names = [dataset.classes[label] for label in (0, 10, 11, 79, 80, 170)]
    assert names == ["person", "fire hydrant", "stop sign", "toothbrush", "banner", "wood"]
    assert dataset.classes[dataset[0].labels[1, 0]] == "toothbrush"
    assert dataset.classes[dataset[0].labels[1, 1]] == "banner"
    assert len(dataset.classes) == 171


def test_coco_object_has_eighty_things_and_all_stuff_is_background(coco):
    dataset = load_dataset("coco_object", coco)
    assert dataset[0].labels.tolist() == [[1, 11, 12, 0], [80, 0, 0, 0], [13, 24, 25, 61]]
    assert (dataset.classes[1], dataset.classes[80], dataset.background) == ("person", "toothbrush", 0)
    assert dataset.classes[61] == "dining table"
    assert (dataset[1].labels == 0).all()


@pytest.mark.parametrize("gap", [*sorted(COCO_GAPS), 182, 254])
def test_codes_that_coco_does_not_use_are_refused(coco, gap):
    mask = np.zeros((3, 4))
    mask[1, 2] = gap
    save_mask(coco / "stuffthingmaps/val2017/000000000139.png", mask)
    for name in ("coco_stuff171", "coco_object"):
        with pytest.raises(InputError, match=rf"000000000139.png' holds 1 pixels .* row 1, column 2: {gap}"):
            load_dataset(name, coco)[0]


def test_ade150_ignores_zero_and_counts_from_one(ade):
    dataset = load_dataset("ade150", ade)
    assert dataset[0].labels.tolist() == [[VOID, 0, 1, 149], [2, VOID, 148, 6], [0, 0, 0, 0]]
    assert (dataset.classes[0], dataset.classes[149], len(dataset.classes)) == ("wall", "flag", 150)
    assert load_dataset("ade150", ade / "ADEChallengeData2016").ids == ("ADE_val_00000001",)
    save_mask(ade / "ADEChallengeData2016/annotations/validation/ADE_val_00000001.png", np.full((3, 4), 151))
    with pytest.raises(InputError, match=r"12 pixels .*: 151"):
        load_dataset("ade150", ade)[0]


def test_ade847_decodes_red_and_green(tmp_path):
    codes = json.loads(shared_path("spec", "label_codes.json").read_text())["ade847_index"]
    folder = tmp_path / "ADE20K_2021_17_01/images/ADE/validation/urban/street"
    objects = [codes[0], codes[1], codes[846], codes[254], codes[255], codes[300], 0, 1]
    assert 1 not in codes
    pixels = np.zeros((2, 4, 3), dtype=np.uint8)
    for place, code in enumerate(objects):
        # Red carries the hundreds in tens; blue and red's last digit mean nothing here.
        pixels[place // 4, place % 4] = (code // 256 * 10 + place, code % 256, 200)
    save_photo(folder / "ADE_val_00000001.jpg", (4, 2))
    save_mask(folder / "ADE_val_00000001_seg.png", pixels, "RGB")
    dataset = load_dataset("ade847", tmp_path)
    assert dataset[0].labels.tolist() == [[0, 1, 846, 254], [255, 300, 65535, 65535]]
    assert (dataset.void, len(dataset.classes), dataset.classes[0]) == (65535, 847, "wall")
    assert dataset.ids == ("ADE_val_00000001",)
    save_mask(folder / "ADE_val_00000001_seg.png", pixels[..., 0])
    with pytest.raises(InputError, match=r"_seg.png' is a L image"):
        dataset[0]


def test_cityscapes_maps_nineteen_ids_and_ignores_the_others(tmp_path):
    kept = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    codes = np.array([*range(34), 255, 0]).reshape(6, 6)
    for city, number in (("munster", 1), ("frankfurt", 0), ("frankfurt", 2)):
        stem = f"{city}_{number:06d}_000019"
        save_photo(tmp_path / f"leftImg8bit/val/{city}/{stem}_leftImg8bit.png", (6, 6))
        save_mask(tmp_path / f"gtFine/val/{city}/{stem}_gtFine_labelIds.png", codes)
    dataset = load_dataset("cityscapes", tmp_path)
    expected = [kept.index(code) if code in kept else VOID for code in codes.flatten()]
    assert dataset[0].labels.flatten().tolist() == expected
    assert dataset.ids == ("frankfurt_000000_000019", "frankfurt_000002_000019", "munster_000001_000019")
    assert [dataset.classes[label] for label in (0, 6, 13, 18)] == ["road", "traffic light", "car", "bicycle"]
