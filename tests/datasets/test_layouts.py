"""Data sets as mmsegmentation prepares them: the same labels as from the original files, or a refusal."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from paths import shared_path
from PIL import Image
from scipy.io import savemat

from ovss.cli.datasets import summary
from ovss.datasets import load_dataset
from ovss.datasets.base import CODES
from ovss.datasets.check import inspect
from ovss.errors import InputError

GAPS = [11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90]
SEED = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("OVSS_CACHE", str(tmp_path_factory.mktemp("cache")))


def save(path: Path, values, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values)).save(path, **options)
    return path


def photo(path: Path, size=(8, 6)) -> Path:
    return save(path, np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def train_ids(codes: np.ndarray) -> np.ndarray:
    """mmsegmentation's table for COCO-Stuff: codes count on, but for eleven gaps; 255 stays."""
    return np.where(codes == 255, 255, codes - np.searchsorted(GAPS, codes)).astype(np.uint8)


def object_ids(codes: np.ndarray) -> np.ndarray:
    """The released COCO-Object conversion: things from 1 on, every code above 90 and 255 become 0."""
    return np.where(codes > 90, 0, train_ids(codes) + 1).astype(np.uint8)


def real_codes() -> dict[str, np.ndarray]:
    """Codes of 24 real COCO masks, from panoptic labels by class name."""
    sample = shared_path("data", "coco_sample")
    # Codes of panoptic stuff in order; merged classes stand for one of their members.
    stuff = [91, 92, 94, 98, 106, 108, 111, 117, 118, 120, 124, 127, 129, 132, 137, 140, 143, 144, 146, 147, 148, 149]
    stuff += [153, 154, 155, 158, 160, 164, 165, 170, 174, 175, 176, 177, 178, 179, 180]
    stuff += [168, 112, 102, 156, 93, 164, 114, 139, 134, 123, 109, 138, 119, 95, 149, 171, 130]
    things = [code for code in range(90) if code not in GAPS]
    table = np.full(256, 255)
    table[: len(things) + len(stuff)] = things + stuff
    masks = sorted((sample / "masks_panoptic133").glob("*.png"))
    return {path.stem: table[np.asarray(Image.open(path))] for path in masks}


def coco(root: Path, codes: dict[str, np.ndarray], convert=lambda codes: codes, ending="", base="coco_stuff164k"):
    for name, values in codes.items():
        image = root / base / f"images/val2017/{name}.jpg"
        if not image.exists():
            photo(image, values.shape[::-1])
        save(root / base / f"annotations/val2017/{name}{ending}.png", convert(values).astype(np.uint8))
    return root


@pytest.fixture(scope="module")
def codes():
    rng = np.random.default_rng(3)
    used = [code for code in range(182) if code not in GAPS] + [255]
    return {f"{number:012d}": rng.choice(used, (6, 8)) for number in range(6)}


def labels(dataset) -> list:
    return [sample.labels.tolist() for sample in dataset]


@pytest.mark.parametrize("name", ["coco_stuff171", "coco_object", "coco_object-void"])
def test_coco_gives_the_same_labels_from_codes_train_ids_and_train_ids_under_the_plain_name(tmp_path, codes, name):
    original = load_dataset(name, coco(tmp_path / "codes", codes))
    suffix = load_dataset(name, coco(tmp_path / "suffix", codes, train_ids, "_labelTrainIds"))
    plain = load_dataset(name, coco(tmp_path / "plain", codes, train_ids))
    assert labels(original) == labels(suffix) == labels(plain)
    assert "codes 0..181" in original.reading
    assert "*_labelTrainIds.png, train ids" in suffix.reading
    assert "annotations/val2017/*.png, train ids" in plain.reading
    both = load_dataset(name, coco(tmp_path / "codes", codes, train_ids, "_labelTrainIds"))
    assert both.reading == original.reading
    assert not inspect(plain).problems


def test_coco_object_gives_the_same_labels_from_the_released_conversion(tmp_path, codes):
    original = load_dataset("coco_object", coco(tmp_path / "codes", codes))
    root = coco(tmp_path / "objects", codes, object_ids, "_instanceTrainIds", base="coco_object")
    converted = load_dataset("coco_object", root)
    assert labels(converted) == labels(original)
    assert "*_instanceTrainIds.png" in converted.reading
    assert "*_instanceTrainIds.png" in summary(converted, inspect(converted))
    with pytest.raises(InputError, match=r"only \*_instanceTrainIds.png, in which unlabelled pixels are background"):
        load_dataset("coco_object-void", root)


def test_unlabelled_pixels_of_coco_object_are_background_and_void_only_on_request(tmp_path, codes):
    root = coco(tmp_path, codes)
    usual = load_dataset("coco_object", root)
    for void in (load_dataset("coco_object-void", root), load_dataset("coco_object", root, unlabelled="void")):
        assert (void.name, void.benchmark, void.vocabulary_name) == ("coco_object-void", "coco_object", "coco_object")
        assert void.fingerprint != usual.fingerprint
        for index, values in enumerate(codes.values()):
            assert (void[index].labels[values == 255] == 255).all()
            assert (usual[index].labels[values == 255] == 0).all()
            assert np.array_equal(void[index].labels[values != 255], usual[index].labels[values != 255])
    with pytest.raises(InputError, match="unlabelled='ignore' of coco_object must be 'background' or 'void'"):
        load_dataset("coco_object", root, unlabelled="ignore")


def test_real_coco_object_masks_are_those_of_the_sample(tmp_path):
    sample = shared_path("data", "coco_sample")
    dataset = load_dataset("coco_object", coco(tmp_path, real_codes()))
    for found in dataset:
        expected = np.asarray(Image.open(sample / f"masks_object81/{found.id}.png"))
        assert np.array_equal(found.labels, expected)


def test_real_train_ids_under_the_plain_name_are_read_as_train_ids(tmp_path):
    codes = real_codes()
    gaps = sum(bool(np.isin(train_ids(values), GAPS).any()) for values in codes.values())
    assert gaps < len(codes) / 2, "most masks hold no value that codes do not have"
    for name in ("coco_stuff171", "coco_object"):
        expected = load_dataset(name, coco(tmp_path / "codes", codes))
        found = load_dataset(name, coco(tmp_path / "ids", codes, train_ids))
        assert labels(found) == labels(expected)


def test_doubtful_coco_masks_are_refused_with_the_evidence(tmp_path, codes):
    few = {"a": np.full((6, 8), 60), "b": np.full((6, 8), 170)}
    root = coco(tmp_path / "few", few)
    with pytest.raises(InputError, match=r"of 2 masks looked at, no mask holds a label that only one of them has"):
        load_dataset("coco_stuff171", root)
    assert load_dataset("coco_stuff171", root, encoding="codes")[0].labels[0, 0] == 60 - 5
    assert load_dataset("coco_stuff171", root, encoding="train-ids")[0].labels[0, 0] == 60
    mixed = coco(tmp_path / "mixed", codes)
    first = next(iter(codes))
    coco(mixed, {first: np.where(codes[first] == 255, 255, 12)}, train_ids)
    with pytest.raises(InputError, match=rf"{first}.png' holds .* pixels .*labels above 170, as codes do \(5 such"):
        load_dataset("coco_stuff171", mixed)
    objects = coco(tmp_path / "objects", codes, object_ids)
    with pytest.raises(InputError, match=r"no label is above 80, as in object masks"):
        load_dataset("coco_object", objects)
    expected = labels(load_dataset("coco_object", coco(tmp_path / "codes", codes)))
    assert labels(load_dataset("coco_object", objects, encoding="object-ids")) == expected
    with pytest.raises(InputError, match="lack what this data set needs"):
        load_dataset("coco_stuff171", objects, encoding="object-ids")


@pytest.fixture
def context(tmp_path):
    base = tmp_path / "VOCdevkit/VOC2010"
    (base / "ImageSets/SegmentationContext").mkdir(parents=True)
    (base / "ImageSets/SegmentationContext/val.txt").write_text("a\nb\n")
    ids = CODES["context59_mat_ids"]
    for name in "ab":
        photo(base / f"JPEGImages/{name}.jpg")
        numbers = np.random.default_rng(ord(name)).integers(0, 60, (6, 8))
        # 0 stands for all ids that are none of the 59: 1, 459 and unlabelled.
        full = np.where(
            numbers > 0, np.array([0, *ids])[numbers], np.array([0, 1, 459])[np.arange(48) % 3].reshape(6, 8)
        )
        (base / "trainval").mkdir(exist_ok=True)
        savemat(base / f"trainval/{name}.mat", {"LabelMap": full.astype(np.uint16)}, do_compression=True)
        save(base / f"SegmentationClassContext/{name}.png", numbers.astype(np.uint8))
    return tmp_path


@pytest.mark.parametrize("name", ["context59", "context60"])
def test_pascal_context_gives_the_same_labels_without_its_mat_files(context, name):
    original = load_dataset(name, context)
    assert "trainval/*.mat" in original.reading
    expected = labels(original)
    shutil.rmtree(context / "VOCdevkit/VOC2010/trainval")
    prepared = load_dataset(name, context)
    assert labels(prepared) == expected
    assert "SegmentationClassContext" in prepared.reading
    with pytest.raises(InputError, match="SegmentationClassContext lacks 400 classes"):
        load_dataset("context459", context)


def test_voc_is_read_from_the_augmented_masks_where_only_they_are_left(tmp_path):
    base = tmp_path / "VOCdevkit/VOC2012"
    (base / "ImageSets/Segmentation").mkdir(parents=True)
    (base / "ImageSets/Segmentation/val.txt").write_text("a\n")
    photo(base / "JPEGImages/a.jpg")
    mask = SEED.choice([*range(21), 255], (6, 8)).astype(np.uint8)
    save(base / "SegmentationClassAug/a.png", mask)
    prepared = load_dataset("voc21", tmp_path)
    assert "SegmentationClassAug" in prepared.reading
    assert prepared[0].labels.tolist() == mask.tolist()
    save(base / "SegmentationClass/a.png", mask)
    assert "SegmentationClass/*.png, as distributed" in load_dataset("voc21", tmp_path).reading
    assert labels(load_dataset("voc21", tmp_path)) == labels(prepared)


def test_cityscapes_gives_the_same_labels_from_train_ids(tmp_path):
    base = tmp_path / "cityscapes"
    ids = SEED.integers(0, 34, (6, 8)).astype(np.uint8)
    kept = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    converted = np.array([kept.index(i) if i in kept else 255 for i in ids.ravel()], np.uint8).reshape(6, 8)
    photo(base / "leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png")
    stem = base / "gtFine/val/ulm/ulm_000000_000019_gtFine"
    save(stem.with_name(stem.name + "_labelTrainIds.png"), converted)
    prepared = load_dataset("cityscapes", tmp_path)
    assert "labelTrainIds" in prepared.reading
    save(stem.with_name(stem.name + "_labelIds.png"), ids)
    original = load_dataset("cityscapes", tmp_path)
    assert "labelIds" in original.reading
    assert labels(original) == labels(prepared)


def test_ade150_is_found_in_mmsegmentations_folder(tmp_path):
    base = tmp_path / "ade/ADEChallengeData2016"
    photo(base / "images/validation/ADE_val_00000001.jpg")
    save(base / "annotations/validation/ADE_val_00000001.png", np.full((6, 8), 7, np.uint8))
    assert load_dataset("ade150", tmp_path)[0].labels[0, 0] == 6


@pytest.mark.parametrize("size", [(1301, 977), (700, 1101), (600, 500), (600, 600), (1024, 1024)])
def test_ade847_is_shrunk_as_the_released_preparation_does(tmp_path, size):
    width, height = size
    index = np.array([*CODES["ade847_index"][:60], 0, 1])
    objects = np.kron(np.random.default_rng(5).choice(index, (height // 9 + 1, width // 9 + 1)), np.ones((9, 9), int))
    objects = objects[:height, :width].astype(np.int32)
    base = tmp_path / "ade/ADE20K_2021_17_01"
    folder = base / "images/ADE/validation/urban/street"
    pixels = np.random.default_rng(6).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    save(folder / "ADE_val_00000001.jpg", cv2.resize(pixels, size), quality=95)
    coded = np.stack([objects // 256 * 10, objects % 256, objects * 0], -1).astype(np.uint8)
    save(folder / "ADE_val_00000001_seg.png", coded)
    original = load_dataset("ade847", tmp_path)
    assert "shrunk" in original.reading
    sample = original[0]
    # The preparation's own calls: OpenCV and Pillow.
    image, short = np.asarray(Image.open(folder / "ADE_val_00000001.jpg")), min(size)
    if short > 512:
        new = (round(width / height * 512), 512) if width >= height else (512, round(height / width * 512))
        image = cv2.resize(image, new, interpolation=cv2.INTER_LINEAR)
        objects = cv2.resize(objects, new, interpolation=cv2.INTER_NEAREST)
    by_code = {code: label for label, code in enumerate(CODES["ade847_index"])}
    expected = np.vectorize(lambda code: by_code.get(code, 65535))(objects)
    shutil.rmtree(base / "images")
    save(base / "images_detectron2/validation/ADE_val_00000001.jpg", image)
    save(base / "annotations_detectron2/validation/ADE_val_00000001.tif", expected.astype(np.uint16))
    prepared = load_dataset("ade847", tmp_path)
    assert "annotations_detectron2" in prepared.reading
    assert np.array_equal(sample.labels, expected)
    assert np.array_equal(prepared[0].labels, expected)
    assert np.array_equal(np.asarray(sample.image), np.asarray(prepared[0].image))


@pytest.mark.parametrize(
    ("name", "original", "prepared"),
    [
        ("voc21", "SegmentationClass,ImageSets", "SegmentationClassAug"),
        ("context60", r"trainval/\*.mat", "SegmentationClassContext"),
        ("coco_object", "stuffthingmaps", "_instanceTrainIds"),
        ("coco_stuff171", "stuffthingmaps", "_labelTrainIds"),
        ("ade150", "ADEChallengeData2016/{images", "ade/ADEChallengeData2016"),
        ("ade847", "_seg.png", "annotations_detectron2"),
        ("cityscapes", "_labelIds", "_labelTrainIds"),
    ],
)
def test_what_is_not_there_is_named_with_both_layouts_their_source_and_the_command(tmp_path, name, original, prepared):
    command = f"ovss datasets check {name} --root '{tmp_path}'"
    with pytest.raises(InputError, match=rf"{original}.* mmsegmentation .*{prepared}.*page.*{command}$") as caught:
        load_dataset(name, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:tiny has never seen these words")
def test_the_void_variant_is_reachable_from_the_command_line_and_every_row_says_so(tmp_path, codes, capsys):
    from ovss.cli import main
    from ovss.evaluation.results import Evaluation

    big = {name: np.kron(values, np.ones((12, 12), int)) for name, values in list(codes.items())[:2]}
    root = coco(tmp_path / "data", big)
    rows = {}
    for name in ("coco_object", "coco_object-void"):
        command = ["evaluate", "--data", name, "--root", str(root), "--methods", "clip", "--device", "cpu"]
        assert main([*command, "--out", str(tmp_path / name)]) == 0
        rows[name] = Evaluation.load(tmp_path / name).summary().iloc[0]
        assert rows[name]["dataset"] == name
        assert "annotations/val2017/*.png, codes 0..181" in rows[name]["reading"]
    usual, void = rows.values()
    assert usual["dataset_fingerprint"] != void["dataset_fingerprint"]
    assert usual["protocol_hash"] == void["protocol_hash"], "the variant is measured under the benchmark's settings"
    truth = {name: Evaluation.load(tmp_path / name).counts("clip")[:, 1].sum() for name in rows}
    unlabelled = sum(int((values == 255).sum()) for values in big.values())
    assert truth["coco_object"] - truth["coco_object-void"] == unlabelled
    assert main(["datasets", "check", "coco_object-void", "--root", str(root)]) == 0
    assert "reading: annotations/val2017/*.png" in capsys.readouterr().out
