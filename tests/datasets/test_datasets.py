"""Data sets: each layout written as its authors distribute it, every label checked by hand."""

import json

import numpy as np
import pytest
from paths import shared_path
from PIL import Image
from scipy.io import savemat

from ovss.datasets import BENCHMARKS, list_datasets, load_dataset
from ovss.errors import InputError
from ovss.vocabulary import load_vocabulary

VOID = 255
COCO_GAPS = {11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90}


def save_photo(path, size=(4, 3), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, 77).save(path)


def save_mask(path, codes, kind="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    codes = np.asarray(codes)
    if kind == "P":
        image = Image.fromarray(codes.astype(np.uint8)).copy()
        # A palette as VOC has it, in which index and colour have nothing to do with each other.
        image.putpalette([(7 * value + 31) % 256 for value in range(768)])
        image.save(path)
    elif kind == "16":
        Image.fromarray(codes.astype(np.uint16)).save(path)
    elif kind == "RGB":
        Image.fromarray(codes.astype(np.uint8), "RGB" if codes.shape[-1] == 3 else None).save(path)
    else:
        Image.fromarray(codes.astype(np.uint8)).save(path)


def lines(path, *names):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names))


@pytest.fixture
def voc(tmp_path):
    base = tmp_path / "VOCdevkit" / "VOC2012"
    lines(base / "ImageSets/Segmentation/val.txt", "2007_000033", "2007_000042")
    for name in ("2007_000033", "2007_000042"):
        save_photo(base / f"JPEGImages/{name}.jpg")
    save_mask(base / "SegmentationClass/2007_000033.png", [[0, 1, 2, 20], [255, 5, 0, 0], [15, 15, 7, 1]], "P")
    save_mask(base / "SegmentationClass/2007_000042.png", np.zeros((3, 4)), "P")
    return tmp_path


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


@pytest.fixture
def context(tmp_path):
    base = tmp_path / "VOCdevkit" / "VOC2010"
    lines(base / "ImageSets/SegmentationContext/val.txt", "2008_000002")
    save_photo(base / "JPEGImages/2008_000002.jpg")
    (base / "trainval").mkdir()
    # 2 aeroplane, 9 bag, 458 wood and 454 window are among the 59; 1 accordion and 459 are not; 0 is unlabelled.
    label_map = np.array([[0, 1, 2, 9], [454, 458, 459, 2], [3, 420, 25, 1]], dtype=np.uint16)
    savemat(base / "trainval/2008_000002.mat", {"LabelMap": label_map})
    return tmp_path


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


@pytest.fixture
def coco(tmp_path):
    for name in ("000000000139", "000000000285"):
        save_photo(tmp_path / f"val2017/{name}.jpg")
    # 0 person, 10 fire hydrant (code 11, "street sign", is unused), 12 stop sign, 89 hair drier? 181 wood, 255 void.
    codes = [[0, 10, 12, 181], [89, 91, 92, 255], [13, 24, 26, 66]]
    save_mask(tmp_path / "stuffthingmaps/val2017/000000000139.png", codes)
    save_mask(tmp_path / "stuffthingmaps/val2017/000000000285.png", np.full((3, 4), 255))
    return tmp_path


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


@pytest.fixture
def ade(tmp_path):
    base = tmp_path / "ADEChallengeData2016"
    save_photo(base / "images/validation/ADE_val_00000001.jpg")
    save_mask(base / "annotations/validation/ADE_val_00000001.png", [[0, 1, 2, 150], [3, 0, 149, 7], [1, 1, 1, 1]])
    return tmp_path


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


@pytest.fixture
def folder(tmp_path):
    save_photo(tmp_path / "images/b.png")
    save_photo(tmp_path / "images/a.jpg")
    lines(tmp_path / "classes.txt", "background: wall, floor", "cat", "sofa, couch")
    save_mask(tmp_path / "masks/a.png", [[0, 1, 2, 255]] * 3)
    save_mask(tmp_path / "masks/b.png", [[2, 2, 65535, 0]] * 3, "16")
    return tmp_path


def test_a_folder_of_images_and_index_masks(folder):
    dataset = load_dataset("folder", folder)
    assert dataset.ids == ("a", "b")
    assert dataset[0].labels[0].tolist() == [0, 1, 2, 255]
    assert dataset[1].labels[0].tolist() == [2, 2, 255, 0]
    assert (dataset.classes, dataset.background) == (("background", "cat", "sofa"), 0)
    assert load_vocabulary(dataset.vocabulary_name).words == (("wall", "floor"), ("cat",), ("sofa", "couch"))


def test_folders_may_lie_apart(folder, tmp_path):
    (folder / "masks").rename(tmp_path / "elsewhere")
    options = {"images": folder / "images", "masks": tmp_path / "elsewhere", "classes": folder / "classes.txt"}
    assert len(load_dataset("folder", **options)) == 2
    with pytest.raises(InputError, match="needs a root folder, or all of images, masks and classes"):
        load_dataset("folder", images=folder / "images")


def test_more_than_255_classes_need_16_bit_masks(folder):
    lines(folder / "classes.txt", *(f"class {number}" for number in range(300)))
    save_mask(folder / "masks/b.png", [[255, 256, 299, 65535]] * 3, "16")
    dataset = load_dataset("folder", folder)
    assert dataset.void == 65535
    assert dataset[1].labels[0].tolist() == [255, 256, 299, 65535]
    with pytest.raises(InputError, match=r"a.png' is 8-bit and holds 255"):
        dataset[0]


@pytest.mark.parametrize("value", [3, 254, 256, 65534])
def test_a_label_outside_the_list_is_named_with_file_value_and_place(folder, value):
    mask = np.zeros((3, 4))
    mask[2, 1:3] = value
    save_mask(folder / "masks/a.png", mask, "16")
    with pytest.raises(InputError, match=rf"a.png' holds 2 pixels .* row 2, column 1: {value}"):
        load_dataset("folder", folder)[0]


def test_a_mask_that_is_missing_damaged_coloured_or_of_another_size_is_named(folder):
    dataset, mask = load_dataset("folder", folder), folder / "masks/a.png"
    save_mask(mask, np.zeros((4, 3)))
    with pytest.raises(InputError, match=r"a.png' is 3x4 pixels, but its image '.*a.jpg' is 4x3"):
        dataset[0]
    Image.new("RGB", (4, 3)).save(mask)
    with pytest.raises(InputError, match=r"a.png' is a RGB image; a mask has one channel"):
        dataset[0]
    save_mask(mask, np.arange(12000).reshape(100, 120) % 251)
    mask.write_bytes(mask.read_bytes()[:200])
    with pytest.raises(InputError, match=r"a.png' cannot be read"):
        dataset[0]
    mask.write_text("text")
    with pytest.raises(InputError, match=r"a.png' is not an image"):
        dataset[0]
    mask.unlink()
    with pytest.raises(InputError, match=r"mask '.*a.png' is missing"):
        dataset[0]
    assert dataset[1].labels.shape == (3, 4)


def test_one_mask_cannot_serve_two_images(folder):
    save_photo(folder / "images/a.png")
    with pytest.raises(InputError, match="two images named 'a'"):
        load_dataset("folder", folder)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("voc21", "VOCdevkit/VOC2012/JPEGImages"),
        ("context60", "VOCdevkit/VOC2010/JPEGImages"),
        ("coco_stuff171", "val2017"),
        ("ade150", "images/validation"),
        ("ade847", "images/ADE/validation"),
        ("cityscapes", "leftImg8bit/val"),
        ("folder", "images"),
    ],
)
def test_a_wrong_layout_names_the_expected_path_and_what_is_there(tmp_path, name, expected):
    (tmp_path / "stray.txt").touch()
    with pytest.raises(InputError, match=rf"expected at '{tmp_path}/{expected}'.*holds stray.txt") as caught:
        load_dataset(name, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "removed", "message"),
    [
        ("voc21", "VOCdevkit/VOC2012/ImageSets", r"split file of voc21 expected at '.*Segmentation/val.txt'"),
        ("voc21", "VOCdevkit/VOC2012/SegmentationClass", r"masks expected at '.*SegmentationClass'"),
        ("context60", "VOCdevkit/VOC2010/trainval", r"folder of the 459-class .mat files expected at '.*trainval'"),
        ("context60", "VOCdevkit/VOC2010/ImageSets", r"split file of Pascal Context expected at '.*val.txt'"),
        ("coco_object", "stuffthingmaps", r"stuffthingmaps expected at '.*stuffthingmaps/val2017' \(or"),
    ],
)
def test_a_missing_part_is_named(name, removed, message, request):
    import shutil

    root = request.getfixturevalue({"voc21": "voc", "context60": "context", "coco_object": "coco"}[name])
    shutil.rmtree(root / removed)
    with pytest.raises(InputError, match=message):
        load_dataset(name, root)


def test_empty_folders_and_lists_are_refused(coco, voc):
    for photo in (coco / "val2017").iterdir():
        photo.unlink()
    with pytest.raises(InputError, match=r"COCO images expected as '.*\*.jpg'; '.*' is empty"):
        load_dataset("coco_object", coco)
    (voc / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt").write_text("\n")
    with pytest.raises(InputError, match=r"val.txt' is empty"):
        load_dataset("voc21", voc)


def test_images_are_read_only_when_asked_for(voc):
    (voc / "VOCdevkit/VOC2012/JPEGImages/2007_000033.jpg").unlink()
    dataset = load_dataset("voc21", voc)
    assert dataset[1].id == "2007_000042"
    with pytest.raises(InputError, match=r"2007_000033.jpg' does not exist"):
        dataset[0]


def test_a_data_set_is_a_sequence(voc):
    dataset = load_dataset("voc21", voc)
    assert [sample.id for sample in dataset] == list(dataset.ids)
    with pytest.raises(IndexError):
        dataset[2]


def test_the_fingerprint_follows_files_and_the_way_they_are_read(voc):
    first = load_dataset("voc21", voc).fingerprint
    assert first == load_dataset("voc21", voc / "VOCdevkit").fingerprint
    assert first != load_dataset("voc20", voc).fingerprint
    save_mask(voc / "VOCdevkit/VOC2012/SegmentationClass/2007_000042.png", np.eye(3, 4), "P")
    changed = load_dataset("voc21", voc).fingerprint
    assert changed != first
    lines(voc / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt", "2007_000042", "2007_000033")
    assert load_dataset("voc21", voc).fingerprint != changed


@pytest.mark.parametrize("name", ["scenes", "scenes-objects", "scenes-large"])
def test_generated_images_are_a_data_set_like_any_other(name):
    dataset = load_dataset(name, length=3)
    again = load_dataset(name, length=3)
    sample = dataset[2]
    assert len(dataset) == 3
    assert sample.labels.shape == (sample.image.height, sample.image.width)
    assert sample.labels.dtype == np.int64
    assert set(np.unique(sample.labels)) <= set(range(len(dataset.classes)))
    assert np.array_equal(sample.labels, again[2].labels)
    assert np.array_equal(np.asarray(sample.image), np.asarray(again[2].image))
    assert [other.id for other in dataset] == list(dataset.ids)
    assert len(load_vocabulary(dataset.vocabulary_name).classes) == len(dataset.classes)
    with pytest.raises(IndexError):
        dataset[3]


def test_generated_splits_differ_and_their_fingerprints_too():
    validation, test, seeded = (load_dataset("scenes", split=split, length=2) for split in ("val", "test", "test-7"))
    assert len({validation.fingerprint, test.fingerprint, seeded.fingerprint}) == 3
    assert validation.fingerprint != load_dataset("scenes", length=3).fingerprint
    assert not np.array_equal(np.asarray(test[0].image), np.asarray(seeded[0].image))
    assert len(load_dataset("scenes")) == 500


def test_objects_are_scenes_with_all_stuff_as_background():
    scenes, objects = load_dataset("scenes", length=4), load_dataset("scenes-objects", length=4)
    assert (objects.background, scenes.background) == (0, None)
    for full, things in zip(scenes, objects, strict=True):
        expected = [objects.classes.index(name) if name in objects.classes else 0 for name in scenes.classes]
        assert np.array_equal(np.array(expected)[full.labels], things.labels)


@pytest.mark.parametrize("name", [*BENCHMARKS, "scenes", "scenes-objects", "scenes-large", "scenes-shifted"])
def test_labels_and_words_share_their_indices(name):
    from ovss.datasets.base import class_names

    names, vocabulary = class_names(name), load_vocabulary(name)
    assert len(names) == len(vocabulary.classes)
    assert ("background" in names) == (vocabulary.background is not None)
    same = sum(a == b for a, b in zip(names, vocabulary.classes, strict=True))
    assert same >= 0.5 * len(names) or name == "ade847"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "voc22"}, r"data set 'voc22' is unknown. Did you mean 'voc21'\?"),
        ({"name": "voc21", "root": ".", "split": "test"}, "'voc21' has no split 'test'; it has val, train, trainval"),
        ({"name": "scenes", "split": "dev"}, "split 'dev' must be"),
        ({"name": "scenes", "length": 0}, "length of at least 1"),
        ({"name": "scenes", "size": 3}, "'scenes' has no option 'size'; its options: length"),
        ({"name": "voc21", "root": "/no/such/folder"}, "folder '/no/such/folder' of data set voc21"),
    ],
)
def test_wrong_requests_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        load_dataset(**arguments)


def test_all_documented_data_sets_are_known():
    assert {*BENCHMARKS, "folder", "scenes", "scenes-objects", "scenes-large"} <= set(list_datasets())


def test_real_coco_masks_are_read_as_a_folder(tmp_path):
    sample = shared_path("data", "coco_sample")
    names = json.loads((sample / "classes.json").read_text())["object81"]
    listed = {"background": ["background"], "classes": [names[str(number)] for number in range(1, 81)]}
    (tmp_path / "classes.json").write_text(json.dumps(listed))
    dataset = load_dataset(
        "folder",
        images=sample / "images",
        masks=sample / "masks_object81",
        classes=tmp_path / "classes.json",
    )
    assert len(dataset) == 24
    for picture in dataset:
        raw = np.asarray(Image.open(sample / f"masks_object81/{picture.id}.png"))
        assert np.array_equal(picture.labels, raw)
    assert dataset.classes[23] == "zebra"
