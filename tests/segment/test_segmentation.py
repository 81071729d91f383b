"""What a segmentation offers beyond its labels: masks, boxes, exports, its look in a notebook."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import ovss
from ovss.errors import InputError

WORDS = "grass; sky; ladybird; star; lava"


@pytest.fixture(scope="module")
def segmenter():
    return ovss.Segmenter("tiny", "naclip(sigma=2.0)", WORDS)


@pytest.fixture(scope="module")
def found(segmenter):
    data = ovss.load_dataset("scenes")
    results = [segmenter(data[i].image) for i in range(4)]
    return max(results, key=lambda one: len(one.shares))


def test_names_stand_for_models_and_methods(segmenter):
    assert segmenter.backbone.is_tiny
    assert segmenter.method == ovss.create_method("naclip", sigma=2.0)
    with pytest.raises(InputError, match="ViT-B-17"):
        ovss.Segmenter("ViT-B-17=openai", "naclip", WORDS)


def test_masks_share_the_image_out_and_boxes_enclose_them(found):
    assert len(found.masks) > 1
    assert np.array_equal(sum(found.masks.values()), np.ones_like(found.labels))
    for name, mask in found.masks.items():
        left, top, right, bottom = found.boxes[name]
        assert mask[top:bottom, left:right].sum() == mask.sum()
        assert all(part.any() for part in (mask[top], mask[bottom - 1], mask[:, left], mask[:, right - 1]))


def test_coco_annotations_are_what_pycocotools_reads_back(found):
    tools = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    annotations = json.loads(json.dumps(found.to_coco(image_id=7)))
    assert [one["category_name"] for one in annotations] == list(found.masks)
    for one in annotations:
        assert np.array_equal(tools.decode(one["segmentation"]).astype(bool), found.masks[one["category_name"]])
        assert tools.area(one["segmentation"]) == one["area"]
        assert tools.toBbox(one["segmentation"]).tolist() == one["bbox"]
        assert one["image_id"] == 7


def test_detections_have_the_shapes_that_supervision_asks_for(found):
    detections = found.to_detections()
    count, size = len(found.masks), found.labels.shape
    assert detections["xyxy"].shape == (count, 4)
    assert detections["mask"].shape == (count, *size)
    assert detections["mask"].dtype == bool
    assert detections["class_id"].shape == detections["confidence"].shape == (count,)
    assert (detections["confidence"] > 1 / len(found.classes)).all()
    assert list(detections["data"]["class_name"]) == list(found.masks)


def test_lists_folders_iterators_and_tensors_give_what_each_image_gives_alone(segmenter, tmp_path):
    data = ovss.load_dataset("scenes")
    images = [data[i].image for i in range(6)]
    for i, image in enumerate(images):
        image.save(tmp_path / f"{i}.png")
    alone = [segmenter(image).labels for image in images]
    tensors = [torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images]
    for several in (
        segmenter(images),
        segmenter(tmp_path),
        list(segmenter.stream(str(tmp_path))),
        list(segmenter.stream(iter(images))),
        segmenter(tensors),
        segmenter([tensor / 255 for tensor in tensors]),
    ):
        assert len(several) == 6
        assert np.mean([np.array_equal(one.labels, labels) for one, labels in zip(several, alone, strict=True)]) == 1


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b.png", "none.png"])
def test_names_of_no_file_are_one_line(segmenter, name):
    with pytest.raises(InputError) as caught:
        segmenter(name)
    assert "\n" not in str(caught.value)


def test_images_before_a_bad_one_come_out_first(segmenter, tmp_path):
    good = ovss.load_dataset("scenes")[0].image
    (tmp_path / "bad.png").write_bytes(b"none")
    stream = segmenter.stream([good, good, tmp_path / "bad.png", good])
    assert next(stream).labels.shape == next(stream).labels.shape
    with pytest.raises(InputError, match=r"bad\.png"):
        next(stream)


@pytest.mark.parametrize(
    ("tensor", "words"), [(torch.zeros(4, 4), r"\(3, H, W\)"), (torch.full((3, 64, 64), 2.0), "0 to 1")]
)
def test_tensors_that_are_no_image_are_refused(segmenter, tensor, words):
    with pytest.raises(InputError, match=words):
        segmenter(tensor)


def test_labels_of_a_geotiff_lie_where_the_image_lies(segmenter, tmp_path):
    rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
    values = np.array(ovss.load_dataset("scenes")[0].image).transpose(2, 0, 1)
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(0.5, 0, 400_000, 0, -0.5, 5_800_000)}
    size = {"height": values.shape[1], "width": values.shape[2], "count": 3, "dtype": "uint8"}
    with rasterio.open(tmp_path / "field.tif", "w", driver="GTiff", **size, **place) as file:
        file.write(values)
    segmentation = segmenter(tmp_path / "field.tif")
    *_, mask = segmentation.save(tmp_path / "out" / "field")
    with rasterio.open(mask) as stored:
        assert stored.crs == place["crs"]
        assert stored.transform == place["transform"]
        assert np.array_equal(stored.read(1), segmentation.labels)
    plain = segmenter(values.transpose(1, 2, 0)).save(tmp_path / "out" / "plain")
    assert len(plain) == 3
    (tmp_path / "field.tif").write_bytes(b"II*\0" + b"rubbish" * 20)
    with pytest.raises(InputError, match=r"field\.tif' on the map cannot be read"):
        segmentation.save(tmp_path / "late")
    assert not list(tmp_path.glob("late*"))


def test_a_notebook_shows_the_image_and_tables_with_every_word_escaped(segmenter, found):
    assert found._repr_png_().startswith(b"\x89PNG")
    assert Image.fromarray(np.array(found.to_pil())).size == found.image.size
    assert "pixels by naclip(sigma=2.0)" in repr(found)
    assert repr(segmenter) == "Segmenter(tiny, naclip(sigma=2.0), 5 classes: grass, sky, ladybird, star, lava)"
    page = ovss.load_vocabulary("<script>x</script>; sky, heaven")._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "sky; heaven" in page
    assert "sigma" in segmenter.method._repr_html_()
    assert "short_side" in segmenter.protocol._repr_html_()
    assert len(repr(segmenter.protocol)) < 200
    evaluation = ovss.evaluate("tiny", ["clip", "naclip"], "scenes", limit=3)
    assert "<th>mIoU</th>" in evaluation._repr_html_()
