"""What all data sets share, the folder of one's own, and what is refused."""

import json

import numpy as np
import pytest
from dataset_helpers import lines, save_mask, save_photo
from paths import shared_path
from PIL import Image

from ovss.datasets import BENCHMARKS, list_datasets, load_dataset
from ovss.errors import InputError
from ovss.vocabulary import load_vocabulary


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
