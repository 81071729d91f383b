"""Small data sets, laid out as their authors distribute them."""

import numpy as np
import pytest
from dataset_helpers import lines, save_mask, save_photo
from scipy.io import savemat


@pytest.fixture
def voc(tmp_path):
    base = tmp_path / "VOCdevkit" / "VOC2012"
    lines(base / "ImageSets/Segmentation/val.txt", "2007_000033", "2007_000042")
    for name in ("2007_000033", "2007_000042"):
        save_photo(base / f"JPEGImages/{name}.jpg")
    save_mask(base / "SegmentationClass/2007_000033.png", [[0, 1, 2, 20], [255, 5, 0, 0], [15, 15, 7, 1]], "P")
    save_mask(base / "SegmentationClass/2007_000042.png", np.zeros((3, 4)), "P")
    return tmp_path


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


@pytest.fixture
def coco(tmp_path):
    for name in ("000000000139", "000000000285"):
        save_photo(tmp_path / f"val2017/{name}.jpg")
    # 0 person, 10 fire hydrant (code 11, "street sign", is unused), 12 stop sign, 89 hair drier? 181 wood, 255 void.
    codes = [[0, 10, 12, 181], [89, 91, 92, 255], [13, 24, 26, 66]]
    save_mask(tmp_path / "stuffthingmaps/val2017/000000000139.png", codes)
    save_mask(tmp_path / "stuffthingmaps/val2017/000000000285.png", np.full((3, 4), 255))
    return tmp_path


@pytest.fixture
def ade(tmp_path):
    base = tmp_path / "ADEChallengeData2016"
    save_photo(base / "images/validation/ADE_val_00000001.jpg")
    save_mask(base / "annotations/validation/ADE_val_00000001.png", [[0, 1, 2, 150], [3, 0, 149, 7], [1, 1, 1, 1]])
    return tmp_path


@pytest.fixture
def folder(tmp_path):
    save_photo(tmp_path / "images/b.png")
    save_photo(tmp_path / "images/a.jpg")
    lines(tmp_path / "classes.txt", "background: wall, floor", "cat", "sofa, couch")
    save_mask(tmp_path / "masks/a.png", [[0, 1, 2, 255]] * 3)
    save_mask(tmp_path / "masks/b.png", [[2, 2, 65535, 0]] * 3, "16")
    return tmp_path
